"""An environment whose observations tell all that led to them, and that breaks at a chosen step of its first life."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from paceline.envs.synthetic import SpacesEnv


class BrittleEnv(SpacesEnv):
    """Breaks at step ``at`` of the environment that was first reset with ``seed``.

    In a step: ``raise``, ``nan``, ``nan-reward``, ``shape`` (after half of the observation was accepted), ``kill``. In
    the first reset after step ``at``: ``raise-in-reset``, ``nan-in-reset``, ``kill-in-reset``.

    Args:
        fault: how.
        seed: which.
        at: when, counted from 1 over all episodes.
        flag: a file; while it exists no environment can be built.
        **kwargs: of :class:`SpacesEnv`.
    """

    def __init__(self, fault: str, seed: int, at: int, flag: str | None = None, **kwargs: Any) -> None:
        if flag is not None and Path(flag).exists():
            raise RuntimeError("the licence has run out")
        super().__init__(**kwargs)
        self._fault, self._brittle_seed, self._at = fault, seed, at
        self._first_seed: int | None = None
        self._num_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self._first_seed is None:
            self._first_seed = seed
        observation, info = super().reset(seed=seed, options=options)
        if self._breaks() and self._num_steps >= self._at and self._fault.endswith("-in-reset"):
            observation = self._break(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._num_steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        if self._breaks() and self._num_steps == self._at and not self._fault.endswith("-in-reset"):
            observation = self._break(observation)
            reward = float("nan") if self._fault == "nan-reward" else reward
        return observation, reward, terminated, truncated, info

    def _breaks(self) -> bool:
        return self._first_seed == self._brittle_seed

    def _break(self, observation: Any) -> Any:
        how = self._fault.removesuffix("-in-reset")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise RuntimeError("broken on purpose")
        if how == "nan":
            observation["position"][1] = np.nan
        if how == "shape":
            observation["gear"] = np.zeros(2, np.int64)
        return observation
