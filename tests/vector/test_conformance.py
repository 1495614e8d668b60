"""Every backend passes the suite that is shipped for backends of others."""

from __future__ import annotations

import sys
from typing import Any

from paceline import make_vec
from paceline.vector import VecEnv
from paceline.vector.conformance import VecEnvConformance

# Forks of a server are ready in half a second, and there are two dozen vectors; what is started is the same program.
START: Any = "forkserver" if sys.platform == "linux" else None


class TestSerial(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="serial", **options)


class TestThread(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="thread", num_env_runners=min(2, num_envs), **options)


class TestPipe(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="pipe", num_env_runners=min(2, num_envs), start_method=START, **options)


class TestShm(VecEnvConformance):
    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return make_vec(env, num_envs, backend="shm", num_env_runners=min(2, num_envs), start_method=START, **options)
