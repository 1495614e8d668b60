"""Synthetic environments do exactly what they promise."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from paceline.envs import make_env
from paceline.envs.synthetic import ACTION_SPACES, FAULTS, OBSERVATION_SPACES
from paceline.errors import SpecError


def roll(env: Any, seed: int, steps: int) -> list[Any]:
    env.action_space.seed(seed)
    trail: list[Any] = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        trail.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            trail.append(env.reset()[0])
    return trail


@pytest.mark.parametrize(
    "name",
    ["busy?us=1&sigma=0.3&episode_length=5", "sleep?us=1&episode_length=5", "known-return", "known-return?action=box",
     "known-return?ending=truncate&observe_time=true", "faulty?at=1000000", "spaces"]
    + [f"spaces?obs={obs}" for obs in OBSERVATION_SPACES] + [f"spaces?action={action}" for action in ACTION_SPACES],
)  # fmt: skip
def test_they_keep_gymnasiums_contract_and_are_deterministic(name: str) -> None:
    env_id = f"synthetic:{name}"
    if not name.startswith("faulty"):  # its step count outlives a reset
        check_env(make_env(env_id), skip_render_check=True)
    assert repr(roll(make_env(env_id), 3, 20)) == repr(roll(make_env(env_id), 3, 20))
    if not name.startswith("faulty"):
        assert repr(roll(make_env(env_id), 3, 20)) != repr(roll(make_env(env_id), 4, 20))


def spent(env: Any, steps: int, clock: Any) -> float:
    env.reset(seed=0)
    begin = clock()
    for _ in range(steps):
        env.step(0)
    return float(clock() - begin)


@pytest.mark.parametrize(
    ("name", "clock"),
    [("busy?us=200", time.thread_time), ("busy?us=200&clock=wall", time.perf_counter),
     ("sleep?us=200", time.perf_counter)],
)  # fmt: skip
def test_a_step_costs_at_least_what_it_says(name: str, clock: Any) -> None:
    assert spent(make_env(f"synthetic:{name}"), 20, clock) >= 20 * 200e-6


def test_busy_computes_and_sleep_does_not() -> None:
    assert spent(make_env("synthetic:busy?us=300"), 20, time.thread_time) >= 20 * 300e-6

    class Clock:
        """Time passes while it is read, as if the environment computed meanwhile, and while one sleeps."""

        def __init__(self) -> None:
            self.now, self.naps = 0.0, []

        def read(self) -> float:
            self.now += 0.25e-3
            return self.now

        def sleep(self, seconds: float) -> None:
            self.naps.append(seconds)
            self.now += seconds

    clock, env = Clock(), make_env("synthetic:sleep?ms=2")
    env._now, env._sleep = clock.read, clock.sleep  # type: ignore[attr-defined]
    env.reset(seed=0)  # which costs nothing
    assert clock.naps == []
    begin = clock.now
    for _ in range(20):
        env.step(0)
    assert clock.naps == pytest.approx([1.75e-3] * 20)  # all but what the step itself took
    assert clock.now - begin == pytest.approx(20 * 2.25e-3)


def test_heavy_tails_have_the_mean_and_spread_they_say() -> None:
    class Recorded:
        """Takes the place of the clock: time passes only when the environment waits for it."""

        def __init__(self) -> None:
            self.now, self.costs = 0.0, []

    env: Any = make_env("synthetic:busy?us=100&sigma=0.8")
    record = Recorded()
    env._spend = lambda begin, cost_s: record.costs.append(cost_s)
    env.reset(seed=1)
    for _ in range(20_000):
        env.step(0)
    costs = np.array(record.costs[1:])
    assert abs(costs.mean() / 100e-6 - 1) < 0.05
    assert abs(np.log(costs).std() - 0.8) < 0.02


def test_costs_do_not_change_the_data() -> None:
    plain = make_env("synthetic:busy?us=0")
    heavy = make_env("synthetic:busy?us=1&sigma=1")
    assert repr(roll(plain, 1, 30)) == repr(roll(heavy, 1, 30))


@pytest.mark.parametrize("action", ["discrete", "box"])
def test_known_return_is_what_it_says(action: str) -> None:
    env: Any = make_env(f"synthetic:known-return?episode_length=20&num_actions=4&action={action}")
    cues = env.unwrapped

    def mean_return(answer: Any, episodes: int) -> float:
        total = 0.0
        observation, _ = env.reset(seed=0)
        for _ in range(episodes):
            over = False
            while not over:
                observation, reward, terminated, truncated, _ = env.step(answer(observation))
                total += reward
                over = terminated or truncated
            observation, _ = env.reset()
        return total / episodes

    best = (lambda o: int(o.argmax())) if action == "discrete" else (lambda o: np.array([o.argmax() - 0.5]))
    assert mean_return(best, 5) == cues.optimal_return == 20
    env.action_space.seed(0)
    assert abs(mean_return(lambda _: env.action_space.sample(), 1500) / cues.random_return - 1) < 0.03


def test_known_values_follow_the_ending() -> None:
    ends: Any = make_env("synthetic:known-return?episode_length=10")
    cut: Any = make_env("synthetic:known-return?episode_length=10&ending=truncate")
    assert ends.optimal_value(0.9) == pytest.approx(sum(0.9**t for t in range(10)))
    assert cut.optimal_value(0.9) == pytest.approx(sum(0.9**t for t in range(1000)))
    assert ends.optimal_value(1.0) == 10 and cut.optimal_value(1.0) == float("inf")
    assert [roll(env, 0, 10)[10][2:] for env in (ends, cut)] == [(True, False), (False, True)]


def test_spaces_show_every_difference_in_what_led_to_them() -> None:
    env: Any = make_env("synthetic:spaces?obs=image&action=multibinary&episode_length=30")
    seen = set()
    for flipped in range(4):
        env.reset(seed=9)
        for step in range(5):
            action = np.zeros(6, dtype=np.int8)
            action[0] = step == flipped
            observation, *_ = env.step(action)
        seen.add(observation.tobytes())
    assert len(seen) == 4
    with pytest.raises(ValueError, match="is not in"):
        env.step(np.full(6, 2, dtype=np.int8))


IN_STEP = [
    fault
    for fault in FAULTS
    if fault not in ("hang", "exit", "kill", "leak") and not fault.endswith(("-reset", "-close", "-init"))
]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("fault", IN_STEP)
def test_faults_come_at_their_step_and_only_there(fault: str, nested: bool) -> None:
    healthy: Any = make_env("synthetic:faulty", fault=fault, at=3, only_seed=1, nested=nested)
    healthy.reset(seed=2)
    for _ in range(5):
        observation, reward, *_, info = healthy.step(0)
        assert healthy.observation_space.contains(observation) and reward == 1 and info == {}
    faulty: Any = make_env("synthetic:faulty", fault=fault, at=3, only_seed=1, nested=nested)
    faulty.reset(seed=1)
    for _ in range(2):
        observation, reward, *_, info = faulty.step(0)
        assert faulty.observation_space.contains(observation) and reward == 1 and info == {}
    if fault.startswith("raise") or fault == "system-exit":
        with pytest.raises((RuntimeError, SystemExit), match=r"fails at step 3|^3$"):
            faulty.step(0)
    else:
        state = np.array([3, 3, 1], np.float32)
        expected: Any = {"counts": state, "rest": (3, np.array(3.0))} if nested else state
        assert repr(faulty.step(0)) != repr((expected, 1.0, False, False, {}))


def test_faults_outside_steps_come_where_they_are_said_to() -> None:
    with pytest.raises(Exception, match="always fails to build"):
        make_env("synthetic:faulty", fault="raise-in-init")
    for fault in ("raise-in-reset", "nan-in-reset"):
        env: Any = make_env("synthetic:faulty", fault=fault, at=2)
        assert not np.isnan(env.reset(seed=0)[0]).any()
        env.step(0)
        if fault == "nan-in-reset":
            assert np.isnan(env.reset()[0]).all()
        else:
            with pytest.raises(RuntimeError, match="fails to reset"):
                env.reset()
    env = make_env("synthetic:faulty", fault="raise-in-close", only_seed=1)
    env.close()
    env.reset(seed=1)
    with pytest.raises(RuntimeError, match="fails to close"):
        env.close()


def test_a_leak_grows_by_what_it_is_told() -> None:
    env: Any = make_env("synthetic:faulty", fault="leak", at=3, mib=1.0)
    env.reset(seed=0)
    held = []
    for _ in range(5):
        env.step(0)
        held.append(sum(array.nbytes for array in env._leaked) / 2**20)
    assert held == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "name",
    ["busy?us=-1", "busy?episode_length=0", "busy?clock=moon", "sleep?us=1&ms=1", "known-return?num_actions=1",
     "known-return?ending=never", "spaces?obs=sphere", "faulty?fault=rudeness"],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"expected .* got "):
        make_env(f"synthetic:{name}")
