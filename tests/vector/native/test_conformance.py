"""The conformance suite over the native backend: not a bit apart from plain environments."""

from __future__ import annotations

from typing import Any

from paceline.envs import env_factory
from paceline.vector.base import VecEnv
from paceline.vector.batched import VecOptions
from paceline.vector.conformance import VecEnvConformance, cases_of
from paceline.vector.native import NativeVecEnv

CLASSIC = ("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1")


class TestMujoco(VecEnvConformance):
    cases = cases_of(
        f"{name}-v5?max_episode_steps=6"
        for name in (
            "HalfCheetah", "Hopper", "Walker2d", "Swimmer", "InvertedPendulum", "Reacher", "Pusher", "Ant", "Humanoid",
            "HumanoidStandup",
        )
    )  # fmt: skip
    env = "Hopper-v5?max_episode_steps=6"
    runs_own_envs = False

    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return NativeVecEnv(env_factory(env), num_envs, min(2, num_envs), VecOptions(**options))


class TestMujocoNearly(TestMujoco):
    """The task whose reward Gymnasium computes with ``pow``."""

    cases = cases_of(["InvertedDoublePendulum-v5?max_episode_steps=6"])
    env = "InvertedDoublePendulum-v5?max_episode_steps=6"
    tolerance = 1e-14


class TestClassic(VecEnvConformance):
    cases = cases_of(f"{name}?max_episode_steps=6" for name in CLASSIC)
    env = "CartPole-v1?max_episode_steps=6"
    runs_own_envs = False

    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return NativeVecEnv(env_factory(env), num_envs, 1, VecOptions(**options))
