"""The backend changes the speed and never the data; Gymnasium's own vector environment is the oracle."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from paceline import make_vec
from paceline.envs import env_factory
from paceline.vector import VecEnv

NUM_ENVS = 5
NUM_STEPS = 30
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
PAIRS = [
    ("box", "discrete"),
    ("image", "box"),
    ("discrete", "multidiscrete"),
    ("multidiscrete", "multibinary"),
    ("multibinary", "dict"),
    ("dict", "tuple"),
    ("tuple", "box"),
    ("nested", "discrete"),
]


def assert_same(left: Any, right: Any, where: str = "") -> None:
    """Compare nested infos and observations: same types of containers, same dtypes, same bits."""
    if isinstance(left, dict):
        assert isinstance(right, dict) and left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, tuple | list):
        assert type(left) is type(right) and len(left) == len(right), where
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape, where
        if left.dtype == object:
            for index, (a, b) in enumerate(zip(left, right, strict=True)):
                assert_same(a, b, f"{where}[{index}]")
        else:
            assert left.tobytes() == right.tobytes(), where
    else:
        assert left == right, where


def roll(env: gymnasium.vector.VectorEnv[Any, Any, Any], seeds: list[int], num_steps: int = NUM_STEPS) -> list[Any]:
    """Return everything that a fixed sequence of actions brings, resets of ended rows included."""
    env.action_space.seed(3)
    trail: list[Any] = [env.reset(seed=seeds, options={"level": 2})]
    for _ in range(num_steps):
        observations, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
        trail.append((observations, rewards, terminated, truncated, infos))
        ended = terminated | truncated
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
            trail.append(env.reset(options={"reset_mask": ended}))
    return trail


def spaces_id(obs: str, action: str) -> str:
    return f"synthetic:spaces?obs={obs}&action={action}&info=all&episode_length=9"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize(("obs", "action"), PAIRS)
def test_serial_returns_what_gymnasium_returns(obs: str, action: str, mode: AutoresetMode) -> None:
    env_id = spaces_id(obs, action)
    seeds = [11, 7, 5, 3, 2]
    oracle = SyncVectorEnv([env_factory(env_id)] * NUM_ENVS, autoreset_mode=mode)
    ours = make_vec(env_id, NUM_ENVS, backend="serial", autoreset_mode=mode)
    expected, got = roll(oracle, seeds), roll(ours, seeds)
    assert any("digest" in item[-1] for item in expected)
    assert_same(expected, got)


@pytest.mark.parametrize(
    ("obs", "action", "mode", "runners"),
    [(obs, action, AutoresetMode.SAME_STEP, 2) for obs, action in PAIRS]
    + [("nested", "dict", AutoresetMode.NEXT_STEP, 3), ("box", "discrete", AutoresetMode.DISABLED, 2)],
)
def test_shm_returns_what_serial_returns(obs: str, action: str, mode: AutoresetMode, runners: int) -> None:
    env_id = spaces_id(obs, action)
    serial = make_vec(env_id, NUM_ENVS, backend="serial", autoreset_mode=mode)
    shm = make_vec(env_id, NUM_ENVS, backend="shm", num_env_runners=runners, autoreset_mode=mode)
    try:
        seeds = list(range(NUM_ENVS))
        assert_same(roll(serial, seeds), roll(shm, seeds))
        assert shm.env_seeds == serial.env_seeds == tuple(seeds)
    finally:
        shm.close()


def test_training_path_is_the_same_for_every_division_among_runners() -> None:
    def record(env: VecEnv) -> list[Any]:
        env.action_space.seed(1)
        trail: list[Any] = [env.reset(seed=42)[0]]
        for _ in range(60):
            env.send(env.action_space.sample())
            batch, _ = env.recv()
            ended = batch.terminated | batch.truncated
            trail.append([part.copy() for part in batch[:5]] + [batch.final_observations[ended].copy()])
            assert batch.infos == {}
        return trail

    trails = []
    for runners in (0, 1, 3):
        env = make_vec(
            "CartPole-v1", NUM_ENVS, num_env_runners=runners, autoreset_mode=AutoresetMode.SAME_STEP, infos="none"
        )
        try:
            trails.append((record(env), env.env_seeds))
        finally:
            env.close()
    assert any(len(item[-1]) for item in trails[0][0][1:]), "no episode ended: the test shows nothing"
    assert_same(trails[0], trails[1])
    assert_same(trails[0], trails[2])


def test_mujoco_is_the_same_bit_for_bit() -> None:
    trails = []
    for runners in (0, 2):
        env = make_vec("HalfCheetah-v5", 3, num_env_runners=runners)
        try:
            trails.append(roll(env, [1, 2, 3], num_steps=10))
        finally:
            env.close()
    assert "x_position" in trails[0][1][-1]
    assert_same(trails[0], trails[1])
