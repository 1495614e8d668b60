from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import PlanError, SpecError
from paceline.spec import EnvSpec, PPOSpec, RunSpec, SweepSpec
from paceline.sweep.grid import SweepPlan, interleaved, plan_sweep, remaining_s, sweep_spec

RUNNERS, ENVS = "plan.num_env_runners", "plan.num_envs_per_env_runner"


def fill_in(runs: Sequence[RunSpec]) -> list[RunSpec]:
    """Resolve as presets do: sizes that depend on the environment where none are given."""
    filled = []
    for run in runs:
        size = run.algo.batch_size or (1024 if run.env.id == "Small-v0" else 2048)
        algo = run.algo.model_copy(update={"batch_size": size, "minibatch_size": run.algo.minibatch_size or 64})
        filled.append(run.model_copy(update={"algo": algo}))
    return filled


def plan(axes: dict[str, Any], *, seed: int = 0, machine: Any = None, **options: Any) -> SweepPlan:
    algo = options.pop("algo", PPOSpec())
    base = RunSpec(env=EnvSpec(id="Fake-v0"), seed=seed, algo=algo)
    axes = {name: tuple(values) for name, values in axes.items()}
    return plan_sweep(SweepSpec(base=base, axes=axes, **options), resolve=fill_in, machine=machine)


def test_the_grid_is_the_product_of_its_axes() -> None:
    made = plan({RUNNERS: [0, 1, 2], ENVS: [1, 4, 16]})
    assert sorted(trial.name for trial in made.trials) == sorted(f"{r}x{e}" for r in (0, 1, 2) for e in (1, 4, 16))
    assert sorted(trial.index for trial in made.trials) == list(range(9))
    assert sorted(trial.point for trial in made.trials) == list(range(9))
    assert made.batch_size == 2048
    assert (made.notes, made.skipped, made.cautions) == ((), (), ())
    for trial in made.trials:
        assert trial.spec.plan.label == trial.name
        assert (trial.config.num_env_runners, trial.config.axes) == (trial.spec.plan.num_env_runners, {})


def test_any_field_of_a_run_is_an_axis() -> None:
    made = plan(
        {
            "algo.num_epochs": [4, 10],
            "algo.learning_rate": [3e-4],
            "env.kwargs.difficulty": ["hard"],
            "algo.network.hidden_sizes": [[64, 64]],
            "seed": [5],
        }
    )
    first = min(made.trials, key=lambda trial: trial.point)
    assert first.name == "0x8 num_epochs=4 learning_rate=0.0003 difficulty=hard hidden_sizes=[64,64] seed=5"
    assert first.spec.algo.num_epochs == 4
    assert first.spec.algo.network.hidden_sizes == (64, 64)
    assert first.spec.env.kwargs == {"difficulty": "hard"}
    assert first.spec.seed == 5
    assert first.config.axes["algo.num_epochs"] == 4


def test_axes_of_one_last_name_are_told_apart() -> None:
    (trial,) = plan({"env.kwargs.seed": [1], "seed": [2]}).trials
    assert trial.name == "0x8 env.kwargs.seed=1 seed=2"


def test_no_axes_is_a_sweep_of_one() -> None:
    (trial,) = plan({}).trials
    assert trial.name == "0x8"


def test_impossible_points_are_skipped_with_the_reason() -> None:
    made = plan({RUNNERS: [0, 2], "plan.backend": ["serial", "shm"]})
    assert sorted(trial.name for trial in made.trials) == ["0x8 backend=serial", "2x8 backend=shm"]
    reasons = {point.name: point.reason for point in made.skipped}
    assert set(reasons) == {"0x8 backend=shm", "2x8 backend=serial"}
    assert "use num_env_runners 0" in reasons["2x8 backend=serial"]


def test_a_grid_of_impossible_points_is_refused() -> None:
    with pytest.raises(PlanError, match=r"got none of 2 .*2x8 backend=serial: backend serial steps"):
        plan_sweep(
            sweep_spec(
                RunSpec(env=EnvSpec(id="Fake-v0")),
                num_env_runners=[2, 3],
                axes={"plan.backend": ["serial"]},
            ),
            resolve=fill_in,
        )


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"plan.num_runners": [1]}, "unknown key 'plan.num_runners'; did you mean 'num_env_runners'"),
        ({"plan.num_env_runners": [1, -1]}, "greater than or equal to 0"),
        ({"plan.num_env_runners": ["many"]}, "valid integer"),
        ({"plan.backend": ["serial", "pigeon"]}, "plan.backend"),
        ({"seed.x": [1]}, "seed"),
        ({"budget.minutes": [1]}, "leave budget out"),
    ],
)
def test_a_malformed_axis_is_refused_before_anything_starts(axes: dict[str, list[Any]], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        plan(axes)


def test_values_that_no_file_can_hold_are_refused() -> None:
    with pytest.raises(SpecError, match="expected plain values"):
        plan({"env.kwargs.reward": [object()]})


def test_one_batch_size_suits_all_trials_and_an_adjustment_is_said() -> None:
    made = plan({RUNNERS: [1, 2, 3], ENVS: [1, 4]}, algo=PPOSpec(batch_size=2048, minibatch_size=64))
    assert {trial.spec.algo.batch_size for trial in made.trials} == {made.batch_size} == {2016}
    assert {trial.spec.algo.minibatch_size for trial in made.trials} == {63}
    (note,) = made.notes
    assert "batch_size is 2016 in place of 2048, minibatch_size 63 in place of 64" in note


def test_environments_that_no_common_batch_suits_are_refused() -> None:
    with pytest.raises(PlanError, match="choose numbers of environments with common factors"):
        plan({ENVS: [7, 11, 13, 16]}, algo=PPOSpec(batch_size=256, minibatch_size=64))


def test_batch_size_as_an_axis_allows_comparing_sps_only() -> None:
    made = plan({"algo.batch_size": [2048, 4096], ENVS: [1, 3]})
    assert made.batch_size is None
    assert len(made.trials) == 4
    assert any("only SPS can be compared" in note for note in made.notes)
    for trial in made.trials:
        assert (trial.spec.algo.batch_size or 0) % trial.spec.plan.num_envs == 0


def test_minibatch_size_as_an_axis_keeps_its_values_where_they_fit() -> None:
    made = plan({"algo.minibatch_size": [64, 512]}, algo=PPOSpec(batch_size=2048))
    assert {trial.spec.algo.minibatch_size for trial in made.trials} == {64, 512}
    assert made.batch_size == 2048


def test_presets_of_two_environments_do_not_give_two_batch_sizes() -> None:
    made = plan({"env.id": ["Large-v0", "Small-v0"]})
    assert made.batch_size == 2048
    assert any("the environment differs" in note for note in made.notes)


def test_repeats_are_outermost_and_have_seeds_of_their_own() -> None:
    made = plan({ENVS: [1, 2, 4]}, repeats=3, seed=10)
    assert [trial.repeat for trial in made.trials] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {(trial.repeat, trial.spec.seed) for trial in made.trials} == {(0, 10), (1, 11), (2, 12)}
    assert len({trial.key for trial in made.trials}) == 9


def test_a_seed_axis_is_taken_at_its_word() -> None:
    made = plan({"seed": [3, 4]}, repeats=2)
    assert sorted(trial.spec.seed for trial in made.trials) == [3, 3, 4, 4]


@given(num_points=st.integers(1, 12), repeats=st.integers(1, 6), seed=st.integers(0, 2**31 - 1))
def test_linear_drift_cancels_in_each_pair_of_repeats(num_points: int, repeats: int, seed: int) -> None:
    order = interleaved(num_points, repeats, seed)
    assert sorted(order) == [(r, p) for r in range(repeats) for p in range(num_points)]
    assert order == interleaved(num_points, repeats, seed)
    when = {pair: moment for moment, pair in enumerate(order)}
    for first, second in list(pairwise(range(repeats)))[::2]:
        assert len({when[first, point] + when[second, point] for point in range(num_points)}) == 1


def test_another_seed_gives_another_order() -> None:
    assert len({tuple(interleaved(8, 1, seed)) for seed in range(5)}) > 1


def test_time_left_is_a_guess_first_and_then_what_trials_took() -> None:
    made = plan({ENVS: [1, 2]}, repeats=2, iterations=5, warmup_iterations=1)
    assert remaining_s(made.trials, {}) == pytest.approx(4 * (8 + 6 * 2048 / 5000))
    one, other = made.trials[:2]
    assert remaining_s(made.trials[2:], {one.name: [10.0]}) == pytest.approx(20.0)  # all that is known
    assert remaining_s(made.trials[2:], {one.name: [10.0], other.name: [40.0]}) == pytest.approx(50.0)


@dataclass
class FakeMachine:
    usable_cores: float = 2.0
    memory_limit_bytes: int = 2 * 2**30


def test_points_that_overload_the_machine_are_cautioned_about() -> None:
    made = plan({RUNNERS: [1, 8, 16]}, machine=FakeMachine())
    memory, cores = made.cautions
    assert "16x8: 16 runner processes need about 3.0 GiB, this machine allows 2.0 GiB" in memory
    assert "8x8, 16x8: more than two runner processes per usable core (2)" in cores
    assert len(made.trials) == 3


def test_a_sweep_is_made_from_an_environments_name() -> None:
    spec = sweep_spec("Fake-v0", num_env_runners=[0, 1], axes={"algo.num_epochs": [1]}, iterations=2)
    assert spec.axes == {RUNNERS: (0, 1), "algo.num_epochs": (1,)}
    assert (spec.base.env.id, spec.iterations) == ("Fake-v0", 2)
    with pytest.raises(SpecError, match="did you mean 'iterations'"):
        sweep_spec("Fake-v0", iteration=2)
