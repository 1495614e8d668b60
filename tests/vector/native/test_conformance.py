"""The conformance suite over the native backend: not a bit apart from plain environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode

from paceline.envs import env_factory
from paceline.vector.base import VecEnv
from paceline.vector.batched import VecOptions
from paceline.vector.conformance import Case, VecEnvConformance
from paceline.vector.native import NativeVecEnv

SAME, NEXT, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED


class TestMujoco(VecEnvConformance):
    cases = tuple(
        Case(f"{name}-v5?max_episode_steps=6", mode)
        for name, mode in (
            ("HalfCheetah", SAME), ("Hopper", NEXT), ("Walker2d", DISABLED), ("Swimmer", SAME),
            ("InvertedPendulum", NEXT), ("Reacher", DISABLED), ("Pusher", SAME), ("Ant", NEXT), ("Humanoid", SAME),
            ("HumanoidStandup", NEXT),
        )
    )  # fmt: skip
    env = "Hopper-v5?max_episode_steps=6"
    runs_own_envs = False

    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return NativeVecEnv(env_factory(env), num_envs, min(2, num_envs), VecOptions(**options))


class TestMujocoNearly(TestMujoco):
    """The task whose reward Gymnasium computes with ``pow``."""

    cases = tuple(Case("InvertedDoublePendulum-v5?max_episode_steps=6", mode) for mode in (SAME, NEXT, DISABLED))
    env = "InvertedDoublePendulum-v5?max_episode_steps=6"
    tolerance = 1e-14
