"""Environments and settings that several tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
from numpy.typing import NDArray

from paceline.envs import make_env
from paceline.spec import Plan, PPOSpec, RunSpec, build_spec
from paceline.training.learner import make_agent
from paceline.training.policy import Policy


class LengthBySeed(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Every step pays 1; episodes last 2 steps if the first seed was even, else 30."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self._length = 2
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._length = 30 if seed % 2 else 2
        self._steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return np.zeros(2, np.float32), 1.0, self._steps >= self._length, False, {}


class FailsOnce(LengthBySeed):
    """The first environment that comes to it dies with its process, or hangs; all others are well.

    Args:
        marker: a path where no file is: whoever makes one is the first.
        now: "build" or "reset".
        how: "die" or "hang".
    """

    def __init__(self, marker: str, now: str, how: str) -> None:
        super().__init__()
        self._marker, self._now, self._how = Path(marker), now, how
        self._come_to("build")

    def reset(self, **options: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._come_to("reset")
        return super().reset(**options)

    def _come_to(self, now: str) -> None:
        if now != self._now:
            return
        try:
            self._marker.touch(exist_ok=False)
        except FileExistsError:
            return
        if self._how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


class PressesCtrlC(LengthBySeed):
    """An environment that stops the program, as a user would, in step ``at``."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


def small_spec(env: str, **fields: Any) -> RunSpec:
    """Return a run of 4 environments with a learner that compiles and updates in no time."""
    algo = PPOSpec(batch_size=64, minibatch_size=32, num_epochs=2)
    plan = Plan(num_envs_per_env_runner=4, learner_threads=1, device="cpu")
    return build_spec(RunSpec, {"env": {"id": env}, "algo": algo, "plan": plan, **fields})


def fresh_policy(env: str, **fields: Any) -> Policy:
    """Return a policy with parameters drawn at random."""
    spec = small_spec(env, **fields)
    made = make_env(spec.env)
    agent = make_agent(spec, made.observation_space, made.action_space)
    made.close()
    return Policy(agent, agent.init(jax.random.key(1)), spec)


class LeavesAChild(LengthBySeed):
    """An environment that forks: the child outlives its parent, with everything open that nobody closed."""

    def __init__(self) -> None:
        super().__init__()
        if os.fork() == 0:
            signal.alarm(20)
            signal.pause()
