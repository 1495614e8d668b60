from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.bench.actions import action_batches
from paceline.bench.windows import LoopStepper, Totals, VecStepper, attribute, run_window
from paceline.envs import env_factory
from paceline.measure.bench_result import BENCH_PHASES
from paceline.vector import make_vec

SHORT = "synthetic:busy?us=0&episode_length=3"


class Workshop:
    """A stepper and the clock that it moves."""

    def __init__(self, batch_ns: int, rows: int = 2) -> None:
        self.now_ns = 0
        self.batch_ns = batch_ns
        self.rows = rows
        self.batches = 0

    def step(self, count: int) -> int:
        self.batches += count
        self.now_ns += count * self.batch_ns
        return count * self.rows

    def clock_ns(self) -> int:
        return self.now_ns


@pytest.mark.parametrize(
    ("batch_ns", "least_s", "most_s"),
    [
        (10_000, 0.3, 0.33),  # quick: as long as asked for, and hardly longer
        (20_000_000, 0.4, 0.45),  # 20 batches take longer than the window
        (100_000_000, 0.9, 1.0),  # not more than three times as long
        (5_000_000_000, 5.0, 5.0),  # one batch is always run
    ],
)
def test_a_window_is_as_long_as_asked_for_or_as_twenty_batches_take(
    batch_ns: int, least_s: float, most_s: float
) -> None:
    shop = Workshop(batch_ns)
    window = run_window(shop.step, 0.3, clock_ns=shop.clock_ns)
    assert least_s <= window.wall_ns * 1e-9 <= most_s
    assert window.wall_ns == shop.now_ns
    assert (window.num_batches, window.num_env_steps) == (shop.batches, 2 * shop.batches)


@given(*[st.floats(-0.1, 2.0) for _ in range(4)], st.floats(0.01, 1.0))
def test_phases_add_up_to_the_wall_clock(
    busy: float, straggler: float, wakeup: float, transfer: float, wall: float
) -> None:
    phases = attribute(wall, Totals(busy, straggler, wakeup, transfer))
    assert tuple(phases) == BENCH_PHASES
    assert sum(phases.values()) == pytest.approx(wall)
    assert all(value >= 0 for value in phases.values())
    assert phases["env_step"] == pytest.approx(min(max(busy, 0.0), wall))


def test_what_fits_is_told_as_it_was_measured_and_what_does_not_in_proportion() -> None:
    assert attribute(1.0, Totals(0.5, 0.1, 0.2, 0.05)) == pytest.approx(
        {"env_step": 0.5, "straggler": 0.1, "wakeup": 0.2, "transfer": 0.05, "unattributed": 0.15}
    )
    assert attribute(1.0, Totals(0.6, 0.2, 0.4, 0.2)) == pytest.approx(
        {"env_step": 0.6, "straggler": 0.1, "wakeup": 0.2, "transfer": 0.1, "unattributed": 0.0}
    )


def make_stepper(path: str, mode: str, backend: str = "serial", **options: Any) -> tuple[Any, VecStepper]:
    venv = make_vec(SHORT, 4, backend=backend, autoreset_mode=mode, infos="none", **options)  # type: ignore[arg-type]
    venv.reset(seed=0)
    rows = options.get("batch_size", 4)
    return venv, VecStepper(venv, action_batches("random", venv.single_action_space, rows, 0), path)


@pytest.mark.parametrize("path", ["send", "step"])
@pytest.mark.parametrize(("mode", "real"), [("same_step", 12), ("next_step", 9)])
def test_rows_that_are_resets_are_not_counted(path: str, mode: str, real: int) -> None:
    venv, step = make_stepper(path, mode)
    with closing(venv):
        # Episodes of 3 steps: in NEXT_STEP mode every fourth row is a reset.
        assert sum(step(1) for _ in range(12)) == 4 * real
        assert step(12) == 4 * real


def test_first_ready_batches_leave_nothing_under_way() -> None:
    venv, step = make_stepper("send", "same_step", "shm", num_env_runners=2, batch_size=2)
    with closing(venv):
        for _ in range(3):
            step.begin()
            assert step(5) == 10
            step.end()
        assert venv.statistics().env_steps == 3 * (4 // 2 * 2 + 5 * 2 + 4)
        venv.reset(seed=1)  # would be refused with steps under way


class Counting(gymnasium.Env[Any, Any]):
    """Counts its resets and steps; an episode is two steps."""

    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.steps = 0
        self.resets: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.resets.append(seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return 0, 0.0, self.steps % 2 == 0, False, {}


def test_the_bare_loop_steps_every_environment_and_resets_those_that_end() -> None:
    envs = [Counting(), Counting()]
    step = LoopStepper(envs, [[0, 1], [1, 0]], seed=5)
    assert step(3) + step(2) == 10
    assert [env.steps for env in envs] == [5, 5]
    assert [env.resets for env in envs] == [[5, None, None], [6, None, None]]


def test_counters_of_a_real_vector_environment_fit_into_its_wall_clock() -> None:
    venv = make_vec(env_factory("synthetic:busy?us=50"), 4, backend="shm", num_env_runners=2)
    with closing(venv):
        venv.reset(seed=0)
        step = VecStepper(venv, action_batches("zero", venv.single_action_space, 4, 0), "send")
        before = Totals.of(venv)
        window = run_window(step, 0.05)
        spent = Totals.of(venv) - before
    assert window.num_env_steps == 4 * window.num_batches
    assert spent.busy_s >= 0.9 * window.num_batches * 2 * 50e-6  # two environments of 50 us a runner
    assert min(spent.straggler_s, spent.wakeup_s, spent.transfer_s) >= 0
    assert np.isclose(sum(attribute(window.wall_ns * 1e-9, spent).values()), window.wall_ns * 1e-9)
