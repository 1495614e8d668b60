"""The choice of an execution: what a step costs is measured, and the choice follows from the figures."""

from __future__ import annotations

import ctypes
import math
import random
import sys
import warnings
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.envs import env_factory
from paceline.errors import EnvRaisedError
from paceline.vector import choose
from paceline.vector.choose import EnvCost, choose_backend, choose_untried, measure_env_cost, serial_us, shm_us
from paceline.vector.native import NativeWay


def cost_of(step_us: float, **others: Any) -> EnvCost:
    fields = {"build_s": 0.0, "reset_us": 50.0, "p95_us": step_us, "mean_us": step_us, "cv": 0.0, "cpu_us": step_us}
    return EnvCost(step_us=step_us, **{**fields, **others})


def sleeping(step_us: float = 2100.0, cpu_us: float = 60.0, *, releases_gil: bool = True, **others: Any) -> EnvCost:
    waiting = 1 - cpu_us / step_us
    return cost_of(step_us, cpu_us=cpu_us, waiting_share=waiting, releases_gil=releases_gil, **others)


class Counting(gymnasium.Env[Any, Any]):
    """Counts its life's events; the action space is shared by all, as an attribute of the class."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(5, seed=3)
    events: list[str] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.events.append("build")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.events.append("reset")
        np.random.random()
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        random.random()
        warnings.warn("an environment warns", stacklevel=1)
        self.events.append("step")
        return np.zeros(1, np.float32), 0.0, self.events.count("step") % 10 == 0, False, {}

    def close(self) -> None:
        self.events.append("close")


@pytest.fixture(autouse=True)
def no_events() -> None:
    Counting.events.clear()


def test_one_environment_is_built_stepped_and_closed() -> None:
    cost = measure_env_cost(Counting)
    assert cost is not None
    events = Counting.events
    assert (events[0], events[-1]) == ("build", "close")
    assert (events.count("build"), events.count("close")) == (1, 1)
    assert events.count("step") == cost.num_steps > 100
    assert abs(events.count("reset") - 1 - cost.num_steps // 10) <= 1, "an episode that is over is not stepped"
    assert 0 < cost.step_us <= cost.p95_us and cost.mean_us > 0 and cost.reset_us > 0 and cost.cv >= 0
    assert not cost.waits and cost.releases_gil is None


def test_measuring_leaves_all_random_generators_as_they_were() -> None:
    random.seed(1)
    np.random.seed(1)
    Counting.action_space.seed(1)
    before = random.random(), np.random.random(), [Counting.action_space.sample() for _ in range(5)]
    random.seed(1)
    np.random.seed(1)
    Counting.action_space.seed(1)
    assert measure_env_cost(Counting, budget_s=0.01) is not None
    assert (random.random(), np.random.random(), [Counting.action_space.sample() for _ in range(5)]) == before


def test_the_budget_ends_resets_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own: building takes 3 s, a reset 2 s, a step 1 s."""
    now = [0.0]

    class Slow(Counting):
        def __init__(self) -> None:
            super().__init__()
            now[0] += 3.0

        def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
            now[0] += 2.0
            return super().reset()

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            now[0] += 1.0
            return super().step(action)

    monkeypatch.setattr("paceline.vector.env_cost.perf_counter", lambda: now[0])
    monkeypatch.setattr("paceline.vector.env_cost.time.process_time", lambda: now[0])
    cost = measure_env_cost(Slow, budget_s=0.1)
    assert Counting.events == ["build", "reset", "step", "close"]
    assert cost is not None
    assert (cost.build_s, cost.reset_us, cost.step_us, cost.mean_us, cost.num_steps) == (3.0, 2e6, 1e6, 1e6, 1)
    Counting.events.clear()
    cost = measure_env_cost(Slow, budget_s=14.5)
    assert Counting.events == ["build", "reset", *["step"] * 10, "reset", "step", "close"]
    assert cost is not None and cost.num_steps == 11
    assert cost.mean_us == pytest.approx((11 + 2) / 11 * 1e6), "resets between episodes are part of a step's price"


def test_a_busy_step_is_told_from_a_waiting_one() -> None:
    busy = measure_env_cost(env_factory("synthetic:busy?us=400"), budget_s=0.05)
    asleep = measure_env_cost(env_factory("synthetic:sleep?ms=2"), budget_s=0.05)
    assert busy is not None and asleep is not None
    assert not busy.waits and busy.cpu_us > 300
    assert asleep.waits and asleep.releases_gil and asleep.step_us > 1900 and asleep.cpu_us < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library")
def test_a_step_that_waits_with_the_interpreter_lock_held_is_seen() -> None:
    library = ctypes.PyDLL(None)  # keeps the lock, as a careless binding does

    class Selfish(Counting):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            library.usleep(3000)
            return super().step(action)

    cost = measure_env_cost(Selfish, budget_s=0.05)
    assert cost is not None and cost.waits
    assert cost.releases_gil is False
    assert choose_backend(cost, 16, 2).backend == "shm"


@pytest.mark.parametrize("where", ["__init__", "reset", "step", "close"])
@pytest.mark.parametrize("error", [ValueError, SystemExit, EnvRaisedError])
def test_a_broken_environment_is_left_to_the_real_set_up(where: str, error: type[BaseException]) -> None:
    def break_down(*args: Any, **kwargs: Any) -> Any:
        raise error("broken")

    broken = type("Broken", (Counting,), {where: break_down})
    assert measure_env_cost(broken, budget_s=0.01) is None
    assert ("close" in Counting.events) == (where in ("reset", "step"))


def test_ctrl_c_is_not_taken_for_a_broken_environment() -> None:
    class Interrupted(Counting):
        def step(self, action: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_env_cost(Interrupted)
    assert Counting.events[-1] == "close"


def test_a_cheap_step_stays_in_this_process() -> None:
    choice = choose_backend(cost_of(4.0), 16, 2)
    assert (choice.backend, choice.num_env_runners) == ("serial", 0)
    assert choice.reason == (
        "serial: a step takes 4.0 us, so 16 in turn take about 93 us; 2 runners would take about 91 us, 42 us of it "
        "to wake them, which is not 1.4 times as fast"
    )


def test_a_crowded_machine_changes_the_figures_and_not_the_choice() -> None:
    for step_us in (4.0, 45.0, 400.0):
        quiet, crowded = cost_of(step_us), cost_of(3 * step_us, slowness=3.0)
        for num_envs in (2, 16, 64):
            chosen, same = choose_backend(quiet, num_envs, 8), choose_backend(crowded, num_envs, 8)
            assert (chosen.backend, chosen.num_env_runners) == (same.backend, same.num_env_runners)
            assert serial_us(crowded, num_envs) == pytest.approx(3 * serial_us(quiet, num_envs))
            assert shm_us(crowded, num_envs, 2) == pytest.approx(3 * shm_us(quiet, num_envs, 2))


def test_a_mujoco_step_goes_to_processes() -> None:
    choice = choose_backend(cost_of(45.0), 16, 2)
    assert (choice.backend, choice.num_env_runners) == ("shm", 2)
    assert choice.reason == (
        "shm, 2 runners: a step takes 45 us, so 16 in turn would take about 749 us; 2 runners take about 429 us"
    )


def test_waiting_steps_share_the_time_in_threads() -> None:
    choice = choose_backend(sleeping(), 16, 2)
    assert (choice.backend, choice.num_env_runners) == ("thread", 16)
    assert choice.reason == (
        "thread, 16 threads: a step takes 2.1 ms but computes for 60 us of it, so 16 in turn would take about 34 ms; "
        "16 threads that wait at the same time take about 2.9 ms"
    )
    assert choose_backend(sleeping(), 32, 2).num_env_runners == 32


def test_waiting_steps_that_hold_the_lock_go_to_more_processes_than_cores() -> None:
    choice = choose_backend(sleeping(releases_gil=False), 32, 2)
    assert (choice.backend, choice.num_env_runners) == ("shm", 2 * choose.MOST_PROCESSES_PER_CORE)


def test_with_many_cores_processes_wait_better_than_threads_that_compute_in_turn() -> None:
    assert choose_backend(sleeping(cpu_us=500.0), 64, 16).backend == "shm"
    assert choose_backend(sleeping(cpu_us=500.0), 64, 1).backend == "thread"


def test_long_steps_that_let_others_run_need_no_processes() -> None:
    def chosen(step_us: float, *, releases_gil: bool | None) -> str:
        return choose_backend(cost_of(step_us, releases_gil=releases_gil), 16, 4).backend

    assert chosen(1000.0, releases_gil=True) == "thread"
    assert chosen(60.0, releases_gil=True) == "shm"
    assert chosen(1000.0, releases_gil=None) == chosen(1000.0, releases_gil=False) == "shm"


def test_the_choice_is_made_without_a_measurement_where_it_is_forced() -> None:
    assert choose_backend(None, 1, 8).backend == choose_backend(cost_of(1e6), 1, 8).backend == "serial"
    assert choose_backend(None, 16, 1).backend == choose_backend(cost_of(1e6), 16, 1).backend == "serial"
    assert choose_backend(None, 16, 4) == choose.Choice(
        "shm", 4, "shm, 4 runners: one for each usable core; a step's cost is not known"
    )
    assert choose_backend(None, 3, 4).reason.startswith("shm, 3 runners: one for each environment")
    native = choose_backend(cost_of(4.0), 16, 4, native=NativeWay("mujoco.rollout steps HalfCheetah-v5"))
    assert native == choose.Choice("native", 4, "native, 4 threads: mujoco.rollout steps HalfCheetah-v5")
    numpy = choose_backend(None, 16, 4, native=NativeWay("batched NumPy steps CartPole-v1", most_threads=1))
    assert numpy == choose.Choice("native", 1, "native, 1 thread: batched NumPy steps CartPole-v1")


def test_what_must_not_be_tried_out_here_always_gets_a_process() -> None:
    for num_envs in (1, 2, 16):
        for cores in (1, 2, 16):
            choice = choose_untried(num_envs, cores, ["on_fault restart"])
            assert (choice.backend, choice.num_env_runners) == ("shm", min(num_envs, cores))
    assert choose_untried(16, 2, ["on_fault restart"]).reason == (
        "shm, 2 runners: one for each usable core; on_fault restart needs processes, so no step was tried out in this "
        "one"
    )
    both = choose_untried(1, 2, ["on_fault restart", "step_timeout_s"]).reason
    assert both.startswith(
        "shm, 1 runner: one for each environment; on_fault restart and step_timeout_s need processes"
    )


def test_where_there_are_no_processes_none_are_chosen() -> None:
    measured = (cost_of(4.0), cost_of(1e4), sleeping(), sleeping(cpu_us=500.0))
    costs = [replace(cost, releases_gil=releases) for cost in measured for releases in (None, False, True)]
    for cost in (None, *costs):
        for num_envs in (1, 2, 64):
            for cores in (1, 2, 64):
                choice = choose_backend(cost, num_envs, cores, has_processes=False)
                assert choice.backend in ("serial", "thread") and choice.reason.startswith(choice.backend)
    assert choose_backend(sleeping(), 16, 2, has_processes=False) == choose_backend(sleeping(), 16, 2)
    assert choose_backend(sleeping(cpu_us=500.0), 64, 16, has_processes=False).backend == "thread"
    assert choose_backend(sleeping(releases_gil=False), 16, 2, has_processes=False).backend == "serial"
    assert choose_backend(cost_of(1e4, releases_gil=True), 16, 4, has_processes=False).backend == "thread"
    computing = choose_backend(cost_of(1e4), 16, 4, has_processes=False)
    assert computing.reason == (
        "serial: a step takes 10 ms and lets no other thread run, and runner processes need Linux or macOS"
    )
    untried = choose_untried(16, 4, ["step_timeout_s"], has_processes=False)
    assert (untried.backend, untried.num_env_runners) == ("thread", 4)
    assert untried.reason.endswith("step_timeout_s needs processes, but runner processes need Linux or macOS")


def test_few_environments_get_few_runners() -> None:
    runners = [choose_backend(cost_of(100.0), num_envs, 16).num_env_runners for num_envs in (4, 8, 16, 64, 256)]
    assert runners == sorted(runners)
    assert runners[0] <= 4 and runners[-1] == 16
    assert choose_backend(cost_of(1e4), 9, 8).num_env_runners == 5, "5 runners are as fast as 8: two steps each"


@given(
    step_us=st.floats(0.1, 1e6),
    cv=st.floats(0, 3),
    num_envs=st.integers(1, 300),
    cores=st.integers(1, 64),
    share=st.floats(0, 1),
    releases=st.sampled_from([None, True, False]),
)
def test_every_choice_can_be_made_and_is_no_slower_than_stepping_in_turn(
    step_us: float, cv: float, num_envs: int, cores: int, share: float, releases: bool | None
) -> None:
    cost = cost_of(step_us, cv=cv, cpu_us=step_us * (1 - share), waiting_share=share, releases_gil=releases)
    choice = choose_backend(cost, num_envs, cores)
    assert choice.reason.startswith(choice.backend) and "nan" not in choice.reason
    assert (choice.num_env_runners == 0) == (choice.backend == "serial")
    assert choice.num_env_runners <= num_envs
    if choice.backend == "shm" and not cost.waits:
        assert choice.num_env_runners <= cores
        assert shm_us(cost, num_envs, choice.num_env_runners) < serial_us(cost, num_envs)


def test_the_last_of_several_runners_is_as_late_as_in_a_simulation() -> None:
    rng = np.random.default_rng(0)
    for runners in (1, 2, 4, 16, 64):
        simulated = rng.standard_normal((20_000, runners)).max(axis=1).mean()
        assert choose._expected_maximum(runners) == pytest.approx(simulated, abs=0.04)
    assert choose._expected_maximum(1) == pytest.approx(0.0, abs=1e-12)
    assert NormalDist().inv_cdf(0.5) == 0.0 and math.isfinite(choose._expected_maximum(10_000))


@pytest.mark.parametrize(
    ("us", "text"),
    [(0.04, "0.0 us"), (4.04, "4.0 us"), (9.96, "10 us"), (999.4, "999 us"), (999.6, "1.0 ms"), (16_400, "16 ms"),
     (1.2e6, "1.2 s"), (32e6, "32 s"), (7.2e9, "7,200 s")],
)  # fmt: skip
def test_times_are_told_with_two_or_three_digits(us: float, text: str) -> None:
    assert choose._duration(us) == text
