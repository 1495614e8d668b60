"""When a checkpoint is due, and that a run resumed from a boundary is the run that was never stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fake_envs import small_spec

import paceline
from paceline.errors import OutputError, PlanError, SpecError
from paceline.spec import Budget, Plan, RunSpec, build_spec
from paceline.training.checkpoint import Checkpoint, CheckpointStore
from paceline.training.driver import Driver
from paceline.training.progress import SilentDisplay
from paceline.training.saving import Saver, caution_about_interval
from paceline.training.status import Status

ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"name": "ppo", "batch_size": 64, "minibatch_size": 32, "num_epochs": 2},
    "a2c": {"name": "a2c", "batch_size": 32, "updates_per_iteration": 2},
    "impala": {"name": "impala", "batch_size": 32, "updates_per_iteration": 2},
}


class StoppingAfter(SilentDisplay):
    """Stops the run after an iteration, as a person does; keeps what it is told."""

    def __init__(self, iteration: int) -> None:
        self._last = iteration
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def iteration(self, status: Status) -> None:
        if status.record.iteration + 1 == self._last:
            raise KeyboardInterrupt


def exact(env: str, algo: str, **fields: Any) -> RunSpec:
    data = small_spec(env).model_dump(mode="json")
    choices = {**ALGORITHMS[algo], "normalize_observations": True, "normalize_rewards": True}
    every = {"exact_resume": True, "checkpoint_every_iterations": 3, "budget": {"iterations": 6}}
    return build_spec(RunSpec, {**data, "algo": choices, **every, **fields})


def last_of(out: Path) -> Checkpoint:
    return CheckpointStore(out / "checkpoints").last()


def stopped_and_resumed(spec: RunSpec, out: Path, after: int) -> StoppingAfter:
    display = StoppingAfter(after)
    with pytest.raises(KeyboardInterrupt):
        paceline.train(spec, out=out, display=display)
    paceline.train(spec, out=out, resume=True)
    return display


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("algo", list(ALGORITHMS))
def test_a_run_stopped_and_resumed_equals_the_one_that_was_not(algo: str, env: str, tmp_path: Path) -> None:
    spec = exact(env, algo)
    paceline.train(spec, out=tmp_path / "whole")
    display = stopped_and_resumed(spec, tmp_path / "parts", after=3)
    whole, parts = last_of(tmp_path / "whole"), last_of(tmp_path / "parts")
    assert whole.meta["num_iterations"] == parts.meta["num_iterations"] == 6
    assert display.messages[-1] == "stopping: saving a checkpoint and the results"
    assert_equal(whole, parts)


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name, strict=True)


@pytest.mark.slow
def test_stopped_between_boundaries_it_repeats_what_came_after_the_last(tmp_path: Path) -> None:
    spec = exact("CartPole-v1", "ppo")
    paceline.train(spec, out=tmp_path / "whole")
    display = stopped_and_resumed(spec, tmp_path / "parts", after=5)
    assert display.messages[-1].startswith("exact_resume: --resume goes on from the last boundary")
    assert_equal(last_of(tmp_path / "whole"), last_of(tmp_path / "parts"))
    lines = (tmp_path / "parts" / "progress.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["iteration", "0", "1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_without_it_the_resumed_run_is_another(tmp_path: Path) -> None:
    spec = exact("CartPole-v1", "ppo", exact_resume=False)
    paceline.train(spec, out=tmp_path / "whole")
    stopped_and_resumed(spec, tmp_path / "parts", after=3)
    with pytest.raises(AssertionError):
        assert_equal(last_of(tmp_path / "whole"), last_of(tmp_path / "parts"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"checkpoint_every_iterations": None}, "exact_resume needs checkpoint_every_iterations, got none"),
        ({"budget": {"minutes": 1}}, "exact_resume needs a budget in steps or iterations, got minutes"),
    ],
)
def test_what_cannot_be_exact_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        exact("CartPole-v1", "ppo", **fields)


def test_a_plan_that_lags_cannot_be_exact(tmp_path: Path) -> None:
    spec = exact("CartPole-v1", "ppo")
    plan = Plan(num_env_runners=1, inference="runner", schedule="sync")
    with pytest.raises(PlanError, match="expected schedule sync and inference learner with exact_resume"):
        Saver(spec.model_copy(update={"plan": plan}), counters(), CheckpointStore(tmp_path))


def counters(**fields: int) -> Driver:
    zeros = {"num_iterations": 0, "num_updates": 0, "total_env_steps": 0}
    return cast(Driver, SimpleNamespace(**{**zeros, **fields}, checkpoint_state=lambda: {"a": np.zeros(1)}))


def saver(driver: Driver, folder: Path, **fields: Any) -> tuple[Saver, list[float]]:
    spec = small_spec("CartPole-v1", checkpoint_every_s=100.0, **fields)
    clock = [0.0]
    spec = spec.model_copy(update={"plan": spec.plan.for_algorithm("ppo")})
    return Saver(spec, driver, CheckpointStore(folder), clock_s=lambda: clock[0]), clock


def test_a_checkpoint_is_due_by_time_or_by_steps_whichever_comes_first(tmp_path: Path) -> None:
    driver: Any = counters()
    made, clock = saver(driver, tmp_path, checkpoint_every_steps=1000)
    driver.num_updates, driver.num_iterations, driver.total_env_steps = 1, 1, 999
    assert not made.is_due
    driver.total_env_steps = 1000
    assert made.is_due
    made.save(None, 0.0)
    assert not made.is_due
    assert made.is_saved
    clock[0] = 100.0
    assert made.is_due
    driver.num_updates, driver.total_env_steps = 2, 1500
    assert not made.is_saved
    made.save(1.0, 7.5)
    assert not made.is_due
    assert [path.name for path in CheckpointStore(tmp_path).paths()] == ["000000001000", "000000001500"]
    assert CheckpointStore(tmp_path).last().meta["wall_s"] == 7.5


def test_what_could_not_be_written_is_not_saved_but_put_off(tmp_path: Path) -> None:
    driver: Any = counters()
    made, clock = saver(driver, tmp_path / "store", checkpoint_every_steps=1000)
    driver.num_updates, driver.total_env_steps, clock[0] = 1, 1000, 100.0
    (tmp_path / "store").touch()  # where the folder should be
    with pytest.raises(OutputError, match="cannot write the checkpoint"):
        made.save(None, 100.0)
    assert not made.is_saved
    assert not made.is_due  # not again at once
    (tmp_path / "store").unlink()
    made.save(None, 100.0)
    assert made.is_saved
    assert CheckpointStore(tmp_path / "store").last().meta["num_updates"] == 1


def test_iterations_are_counted_from_the_beginning(tmp_path: Path) -> None:
    driver: Any = counters(num_iterations=2)
    made, clock = saver(driver, tmp_path, checkpoint_every_iterations=3)
    assert not made.is_due
    driver.num_iterations = 3
    assert made.is_due
    driver.num_iterations, clock[0] = 4, 100.0
    assert made.is_due  # time counts as well


def test_an_exact_run_is_saved_at_boundaries_alone(tmp_path: Path) -> None:
    driver: Any = counters(num_iterations=4, num_updates=4)
    made, clock = saver(driver, tmp_path, checkpoint_every_iterations=3, exact_resume=True, checkpoint_every_steps=1)
    driver.total_env_steps, clock[0] = 10_000, 10_000.0
    assert not made.is_due
    driver.num_iterations = driver.num_updates = 6
    assert made.is_due
    made.save(None, 0.0)
    assert CheckpointStore(tmp_path).last().meta["is_boundary"] is True


def test_an_interval_shorter_than_an_episode_is_told() -> None:
    spec = exact("CartPole-v1", "ppo")  # 64 steps of 4 environments, three times: 48 of each
    assert "cuts episodes of up to 500 steps after 48" in caution_about_interval(spec, 500)
    assert "checkpoint_every_iterations 32 or more" in caution_about_interval(spec, 500)
    assert caution_about_interval(spec, 48) == caution_about_interval(spec, None) == ""
    assert caution_about_interval(small_spec("CartPole-v1"), 500) == ""


@pytest.mark.slow
def test_a_resumed_run_that_is_no_boundary_says_so(tmp_path: Path) -> None:
    spec = exact("CartPole-v1", "ppo", budget={"iterations": 4})
    paceline.train(spec, out=tmp_path)
    display = StoppingAfter(0)
    longer = spec.model_copy(update={"budget": Budget(iterations=6)})
    paceline.train(longer, out=tmp_path, resume=True, display=display)
    assert "going on after iteration 4, 256 steps, which is no boundary: not exact" in display.messages
