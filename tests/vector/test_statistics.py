"""Where time went: counted against what was done, on a clock of our own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paceline import make_vec
from paceline.vector import statistics
from paceline.vector.selection import Selection
from paceline.vector.statistics import StepClock, sampling_skew

NONE = np.zeros(3, np.bool_)


class FakeTime:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def passes(self, ns: int) -> None:
        self.now_ns += ns


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(statistics, "perf_counter_ns", fake)
    return fake


def arrays(**counters: list[int]) -> Any:
    names = ("busy_ns", "env_steps", "wakeups", "wake_latency_ns")
    return SimpleNamespace(**{name: np.array(counters.get(name, [0, 0]), np.int64) for name in names})


def test_waiting_overhead_and_stragglers_are_told_apart(time: FakeTime) -> None:
    clock = StepClock(3)
    clock.restart(arrays(busy_ns=[100, 100], env_steps=[5, 5], wakeups=[1, 1], wake_latency_ns=[10, 10]))
    for _ in range(2):
        begin_ns = time.now_ns
        time.passes(10)
        clock.sent(begin_ns)
        clock.waits()
        time.passes(70)
        clock.waited()
        time.passes(20)
        clock.received_all(np.array([time.now_ns - 30, time.now_ns - 25]), NONE)
    counted = arrays(busy_ns=[250, 160], env_steps=[9, 7], wakeups=[3, 3], wake_latency_ns=[4010, 10])
    told = clock.statistics(counted, [2, 1], batch_size=3, num_restarts=4)
    assert told.wall_s == pytest.approx(200e-9)
    assert told.wait_s == pytest.approx(140e-9) and told.overhead_s == pytest.approx(60e-9)
    assert told.wait_s + told.overhead_s == pytest.approx(told.wall_s), "nothing else was done"
    assert told.straggler_s == pytest.approx(10e-9)
    assert (told.batches, told.env_steps, told.batch_fill, told.sampling_skew) == (2, 6, 1.0, 0.0)
    first, second = told.runners
    assert (first.busy_s, first.env_steps, first.wakeups) == (pytest.approx(150e-9), 4, 2)
    assert first.env_step_us == pytest.approx(150e-3 / 4) and first.wait_s == pytest.approx(50e-9)
    assert (first.wakeup_latency_us, second.wakeup_latency_us) == (pytest.approx(2.0), 0.0)
    assert (first.num_envs, second.num_envs, told.restarts) == (2, 1, 4)


def test_first_ready_batches_tell_who_was_sampled() -> None:
    clock = StepClock(4)
    clock.restart(arrays())
    for ids in ([0, 1], [0, 2], [0, 1], [3]):
        clock.received(Selection(np.array(ids)), np.zeros(len(ids), np.bool_))
    told = clock.statistics(arrays(), [2, 2], batch_size=2, num_restarts=0)
    assert told.steps_of_env.tolist() == [3, 2, 1, 1] and told.env_steps == 7
    assert told.batch_fill == 7 / 8 and told.sampling_skew == pytest.approx((3 - 1) / (7 / 4))
    assert told.straggler_s == 0.0


def test_resets_are_no_steps_and_a_restart_of_the_clock_forgets_none() -> None:
    clock = StepClock(3)
    clock.restart(arrays())
    clock.received_all(np.array([0]), NONE)
    clock.received_all(np.array([0]), np.array([True, False, False]))
    clock.received(Selection(np.array([1, 2])), np.array([False, True]))
    assert clock.steps_taken().tolist() == [1, 3, 2]
    clock.restart(arrays())
    assert clock.steps_taken().tolist() == [1, 3, 2]
    clock.received_all(np.array([0]), NONE)
    assert clock.steps_taken().tolist() == [2, 4, 3]
    assert clock.statistics(arrays(), [3], 3, 0).env_steps == 3, "statistics begin anew"


def test_skew() -> None:
    assert sampling_skew(np.zeros(3, np.int64)) == 0.0
    assert sampling_skew(np.array([4, 4])) == 0.0
    assert sampling_skew(np.array([1, 3])) == 1.0


def test_before_the_first_reset_there_is_nothing_to_tell() -> None:
    told = StepClock(2).statistics(arrays(), [1, 1], 2, 0)
    assert (told.batches, told.env_steps, told.batch_fill, told.runners) == (0, 0, 0.0, ())


@pytest.mark.parametrize(("backend", "runners"), [("serial", None), ("thread", 2), ("shm", 2), ("pipe", 2)])
def test_every_execution_tells_what_it_did(backend: Any, runners: int | None) -> None:
    venv = make_vec("synthetic:sleep?us=500", 4, backend=backend, num_env_runners=runners)
    venv.reset(seed=0)
    steps: Callable[[], Any] = lambda: venv.step(np.zeros(4, np.int64))  # noqa: E731
    for _ in range(5):
        steps()
    venv.reset(seed=0)
    for _ in range(3):
        steps()
    told = venv.statistics()
    venv.close()
    assert (told.batches, told.env_steps, told.batch_fill) == (3, 12, 1.0)
    assert [(runner.num_envs, runner.env_steps) for runner in told.runners] == (
        [(4, 12)] if runners is None else [(2, 6), (2, 6)]
    )
    assert all(500 <= runner.env_step_us < 20_000 for runner in told.runners)
    assert sum(runner.busy_s for runner in told.runners) >= 12 * 500e-6
    assert 0 < told.wait_s + told.overhead_s <= told.wall_s
    if backend in ("serial", "pipe"):
        assert all(runner.wakeups == runner.wakeup_latency_us == 0 for runner in told.runners), "not measured"
    if backend in ("thread", "shm"):
        assert all(runner.wakeups == 3 and runner.wakeup_latency_us > 0 for runner in told.runners)
