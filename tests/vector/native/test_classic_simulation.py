"""Batched classic-control tasks against Gymnasium's own environments: same seeds, same actions, same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.envs import env_factory
from paceline.errors import EnvRaisedError, PlanError, RequestError
from paceline.vector.arrays import Layout, VecArrays
from paceline.vector.batched import BatchedVecEnv, VecOptions
from paceline.vector.faults import FaultPolicy
from paceline.vector.native import NativeVecEnv
from paceline.vector.native.classic_simulation import ClassicSimulation
from paceline.vector.native.support import CLASSIC_TASKS, Choice, choose, load_classic
from paceline.vector.serial import SerialVecEnv

TASKS = ("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1")
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((name, {}) for name in TASKS),
    ("CartPole-v1", {"sutton_barto_reward": True}),
    ("Pendulum-v1", {"g": 9.81, "max_episode_steps": 37}),
    ("Pendulum-v1", {"g": 3}),
    ("MountainCar-v0", {"goal_velocity": 0.02, "max_episode_steps": 1000}),
    ("MountainCarContinuous-v0", {"goal_velocity": 0.07, "max_episode_steps": 300}),
    ("MountainCarContinuous-v0", {"goal_velocity": float(np.float32(0.07))}),
)
SAME, NEXT, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED
Policy = Callable[[np.random.Generator, Any], Any]


def _simulated(name: str, num_envs: int, **kwargs: Any) -> tuple[ClassicSimulation, VecArrays]:
    factory = env_factory(name, **kwargs)
    choice = choose(factory)
    assert isinstance(choice, Choice)
    simulation = ClassicSimulation(factory(), load_classic(choice), num_envs, 1)
    layout = Layout(simulation.observation_space, simulation.action_space, num_envs, 1, NEXT)
    return simulation, layout.arrays_over(np.zeros(layout.nbytes, np.uint8))


def _bits(values: Any) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def _random(rng: np.random.Generator, observation: Any, space: Any) -> Any:
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.int64(rng.integers(space.n))
    kind = rng.integers(8)
    if kind == 0:  # at a bound, and just beyond it
        edge = rng.choice([space.low[0], space.high[0]])
        return np.array([rng.choice([edge, np.nextafter(edge, np.float32(9 * edge))])], np.float32)
    return (rng.uniform(-1.5, 1.5, 1) * space.high).astype(np.float32)


def _along_the_velocity(rng: np.random.Generator, observation: Any, space: Any) -> Any:
    """Push a car to where it rolls: it comes to the top."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.int64(2 if observation[1] >= 0 else 0)
    return np.array([1.3 if observation[1] >= 0 else -rng.uniform(0.5, 1.3)], np.float32)


def _follow(
    name: str,
    seeds: list[int],
    num_steps: int,
    policy: Any = _random,
    options: dict[str, float] | None = None,
    **kwargs: Any,
) -> tuple[int, int]:
    """Step both side by side, subsets now and then; return how many episodes terminated and were truncated."""
    num_envs = len(seeds)
    everyone = np.arange(num_envs)
    envs = [gymnasium.make(name, disable_env_checker=True, **kwargs) for _ in seeds]
    simulation, arrays = _simulated(name, num_envs, **kwargs)
    simulation.begin(everyone, list(seeds), arrays, options)
    for i, env in enumerate(envs):
        assert _bits(arrays.observations[i]) == _bits(env.reset(seed=seeds[i], options=options)[0])
    rng = np.random.default_rng(seeds)
    counts = [0, 0]
    for step in range(num_steps):
        ids = None if step % 3 or num_envs == 1 else everyone[step % 2 :: 1 + step % 5 // 3]
        chosen = (everyone if ids is None else ids).tolist()
        for i in chosen:
            arrays.actions[i] = policy(rng, arrays.observations[i], simulation.action_space)
        assert simulation.advance(ids, arrays) == ()
        assert simulation.step_infos(ids) == {}
        over = []
        for i in chosen:
            action = arrays.actions[i]
            observation, reward, terminated, truncated, info = envs[i].step(action.copy() if action.ndim else action)
            state: Any = envs[i].unwrapped.state  # type: ignore[attr-defined]
            where = f"{name} env {i} step {step}"
            assert _bits(arrays.observations[i]) == _bits(observation), where
            assert _bits(simulation._state[: len(state), i]) == _bits(np.asarray(state, np.float64)), where
            assert _bits(arrays.rewards[i]) == _bits(np.float64(reward)), where
            assert (arrays.terminated[i], arrays.truncated[i]) == (terminated, truncated), where
            assert info == {}
            counts[0] += terminated
            counts[1] += truncated
            if terminated or truncated:
                over.append(i)
        if over:
            simulation.begin(np.array(over), None, arrays)
            for i in over:
                assert _bits(arrays.observations[i]) == _bits(envs[i].reset()[0])
    for env in envs:
        env.close()
    return counts[0], counts[1]


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_equals_gymnasium_bit_for_bit_over_whole_episodes(name: str, kwargs: dict[str, Any]) -> None:
    terminated, truncated = _follow(name, [3, 1, 4, 15, 9], 420, **kwargs)
    assert terminated + truncated > 0 or name in ("MountainCarContinuous-v0", "MountainCar-v0", "Acrobot-v1")


@pytest.mark.parametrize("num_envs", [1, 2, 7, 8, 16, 33, 128])
def test_the_number_of_environments_changes_no_bit(num_envs: int) -> None:
    for name in TASKS:
        _follow(name, list(range(num_envs)), 1 + 700 // num_envs)


@pytest.mark.parametrize(
    ("name", "kwargs"), [one for one in VARIANTS if one[0].startswith("MountainCar") and "goal_velocity" not in one[1]]
)
def test_cars_reach_the_top_as_gymnasiums_do(name: str, kwargs: dict[str, Any]) -> None:
    terminated, _ = _follow(name, [0, 1, 2], 400, _along_the_velocity, **kwargs)
    assert terminated > 3


@pytest.mark.parametrize("goal_velocity", [0, 0.03, 0.07, float(np.float32(0.07)), -0.07, 1])
def test_cars_are_judged_by_their_velocity_as_gymnasiums_are(goal_velocity: float) -> None:
    """Beyond the goal at full speed, and rolling back at full speed: speeds that were cut to a bound included."""
    for name in ("MountainCar-v0", "MountainCarContinuous-v0"):
        ended = _follow(name, [5, 6], 500, _along_the_velocity, goal_velocity=goal_velocity, max_episode_steps=400)
        assert sum(ended) > 0
        _follow(name, [5, 6], 30, _along_the_velocity, {"low": 0.4, "high": 0.6}, goal_velocity=goal_velocity)


@given(
    st.sampled_from(VARIANTS),
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9),
    st.integers(20, 80),
    st.sampled_from([_random, _along_the_velocity]),
)
@settings(max_examples=60, deadline=None)
def test_equals_gymnasium_whatever_the_seeds(
    variant: tuple[str, dict[str, Any]], seeds: list[int], num_steps: int, policy: Any
) -> None:
    name, kwargs = variant
    _follow(name, seeds, num_steps, policy if name.startswith("MountainCar") else _random, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_equals_gymnasium_over_many_thousand_steps(name: str, kwargs: dict[str, Any]) -> None:
    for policy in (_random, _along_the_velocity) if name.startswith("MountainCar") else (_random,):
        _follow(name, list(range(40)), 1200, policy, **kwargs)


@pytest.mark.parametrize("name", TASKS)
def test_reset_options_are_heeded_in_the_reset_that_is_given_them(name: str) -> None:
    options = {"x_init": 0.5, "y_init": 7.5} if name == "Pendulum-v1" else {"low": -0.3, "high": -0.2}
    _follow(name, [1, 2, 3], 60, _random, options)


def test_an_acrobat_that_whirls_is_gymnasiums() -> None:
    """Angles that are wrapped on both sides, velocities at their bounds, starts anywhere in single precision."""
    for spread in (3.0, 30.0, 60.0):
        for first in range(0, 40, 8):
            seeds = list(range(first, first + 8))
            terminated, _ = _follow("Acrobot-v1", seeds, 12, _random, {"low": -spread, "high": spread})
            assert terminated


@pytest.mark.parametrize("options", [{"x_init": "far", "low": 1, "high": -1}, {"y_init": np.inf, "low": -np.inf}])
@pytest.mark.parametrize("name", TASKS)
def test_reset_options_that_make_no_sense_are_refused_as_serial_refuses_them(
    name: str, options: dict[str, Any]
) -> None:
    told = []
    for venv in _both(name, 2, VecOptions()):
        with pytest.raises(EnvRaisedError) as caught:
            venv.reset(seed=[7, 8], options=options)
        error = caught.value
        told.append((str(error), error.env_index, error.seed, error.step, error.action))
        venv.close()
    assert told[0] == told[1]


def _both(name: str, num_envs: int, options: VecOptions, **kwargs: Any) -> tuple[BatchedVecEnv, BatchedVecEnv]:
    factory = env_factory(name, **kwargs)
    return NativeVecEnv(factory, num_envs, 1, options), SerialVecEnv([factory] * num_envs, options)


def _require_same(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(theirs, dict):
        assert sorted(ours) == sorted(theirs), where
        for key, value in theirs.items():
            _require_same(ours[key], value, f"{where}/{key}")
        return
    assert np.asarray(ours).dtype == np.asarray(theirs).dtype, where
    if np.asarray(theirs).dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert type(one) is type(other), where
            if other is not None:
                _require_same(one, other, where)
    else:
        assert _bits(ours) == _bits(theirs), where


@pytest.mark.parametrize("infos", ["all", "final", "none"])
@pytest.mark.parametrize("mode", [SAME, NEXT, DISABLED])
@pytest.mark.parametrize("name", TASKS)
def test_everything_is_as_serial_returns_it(name: str, mode: AutoresetMode, infos: Any) -> None:
    """Final observations and infos included, to their keys, dtypes and masks."""
    ours, theirs = _both(name, 5, VecOptions(autoreset_mode=mode, infos=infos), max_episode_steps=17)
    for part, other in zip(ours.reset(seed=3), theirs.reset(seed=3), strict=True):
        _require_same(part, other, "reset")
    ours.action_space.seed(1)
    ends = 0
    for step in range(60):
        actions = ours.action_space.sample()
        found, expected = ours.step(actions), theirs.step(actions)
        for part, other in zip(found, expected, strict=True):
            _require_same(part, other, f"step {step}")
        _require_same(ours._arrays.reset_rows, theirs._arrays.reset_rows, f"reset rows {step}")
        over = found[2] | found[3]
        ends += int(over.sum())
        if mode is DISABLED and over.any():
            _require_same(ours.reset(mask=over)[0], theirs.reset(mask=over)[0], f"reset after step {step}")
    assert ends > 10
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("name", "action"), [("CartPole-v1", 2), ("CartPole-v1", -1), ("MountainCar-v0", 3), ("Acrobot-v1", 3)]
)
def test_an_action_outside_the_space_is_told_as_serial_tells_it(name: str, action: int) -> None:
    told = []
    for venv in _both(name, 3, VecOptions()):
        venv.reset(seed=[5, 6, 7])
        venv.step(np.zeros(3, np.int64))
        with pytest.raises(EnvRaisedError) as caught:
            venv.step(np.array([0, action, 0]))
        error = caught.value
        told.append((str(error), error.env_index, error.seed, error.step, error.action))
        with pytest.raises(RequestError, match="after it failed"):
            venv.step(np.zeros(3, np.int64))
        venv.close()
    assert told[0] == told[1]
    assert told[0][1:] == (1, 6, 2, action)


def test_a_negative_index_of_acrobats_torques_is_one_as_it_is_for_gymnasium() -> None:
    ours, theirs = _both("Acrobot-v1", 3, VecOptions())
    for venv in (ours, theirs):
        venv.reset(seed=1)
    actions = np.array([-1, -2, -3])
    for part, other in zip(ours.step(actions), theirs.step(actions), strict=True):
        _require_same(part, other, "step")
    ours.close()
    theirs.close()


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("mode", [SAME, NEXT])
def test_an_environment_that_raised_is_mended_as_serial_mends_it(mode: AutoresetMode, num_envs: int) -> None:
    ours, theirs = _both("CartPole-v1", num_envs, VecOptions(autoreset_mode=mode, faults=FaultPolicy("restart", 2)))
    for venv in (ours, theirs):
        venv.reset(seed=1)
    rng = np.random.default_rng(0)
    for step in range(40):
        actions = rng.integers(2, size=num_envs)
        if step == 6:
            actions[-1] = 9
        for part, other in zip(ours.step(actions)[:4], theirs.step(actions)[:4], strict=True):
            _require_same(part, other, f"step {step}")
        for flag in ("restarted", "reset_rows"):
            _require_same(getattr(ours._arrays, flag), getattr(theirs._arrays, flag), f"{flag} {step}")
    assert [(one.env_index, one.step, one.new_seed) for one in ours.faults] == [
        (one.env_index, one.step, one.new_seed) for one in theirs.faults
    ]
    assert len(ours.faults) == 1 and ours.env_seeds == theirs.env_seeds
    ours.close()
    theirs.close()


def test_it_runs_in_the_calling_thread_and_says_so() -> None:
    venv, _ = _both("CartPole-v1", 6, VecOptions(batch_size=2))
    assert venv.backend_reason == (
        "native: batched NumPy steps CartPole-v1 in the calling thread, with Gymnasium's data"
    )
    venv.reset(seed=0)
    venv.send(np.zeros(6, np.int64))
    assert [venv.recv()[1].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert venv._dispatcher._thread is None  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match="expected reset before the first step"):
        _both("CartPole-v1", 2, VecOptions())[0].step(np.zeros(2, np.int64))
    venv.close()


def test_more_threads_than_one_are_refused() -> None:
    with pytest.raises(PlanError, match=r"expected num_env_runners 1 for CartPole-v1 with backend native, .* got 2"):
        NativeVecEnv(env_factory("CartPole-v1"), 4, 2, VecOptions())


def test_no_task_is_left_out() -> None:
    assert {str(gymnasium.spec(name).entry_point) for name in TASKS} == set(CLASSIC_TASKS)
