"""Every backend passes the suite that is shipped for backends of others."""

from __future__ import annotations

from typing import Any

from paceline import make_vec
from paceline.vector import VecEnv
from paceline.vector.conformance import VecEnvConformance


class TestSerial(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="serial", **options)


class TestThread(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="thread", num_env_runners=min(2, num_envs), **options)


class TestPipe(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="pipe", num_env_runners=min(2, num_envs), **options)


class TestShm(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="shm", num_env_runners=min(2, num_envs), **options)
