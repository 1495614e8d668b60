"""Environments that do not suit every plan."""

from __future__ import annotations

import itertools
import os
import sys
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Tame(gymnasium.Env[Any, Any]):
    """Counts, and does nothing else."""

    alive: ClassVar[int] = 0
    """Instances in this process."""

    def __init__(self) -> None:
        type(self).alive += 1
        self.observation_space = spaces.Box(-1e9, 1e9, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return self._observe(), 1.0, False, self._steps % 100 == 0, {}

    def close(self) -> None:
        type(self).alive -= 1

    def _observe(self) -> Any:
        return np.full(2, self._steps % 100, np.float32)


class Only(Tame):
    """There can be one in a process at a time."""

    def __init__(self) -> None:
        if type(self).alive:
            raise RuntimeError("the simulator is in use")
        super().__init__()


class Once(Tame):
    """There can be one in a process, ever."""

    built = itertools.count()

    def __init__(self) -> None:
        if next(type(self).built):
            raise RuntimeError("the simulator was started before")
        super().__init__()


class DiesOfTwo(Tame):
    """A second one in a process takes it down."""

    def __init__(self) -> None:
        super().__init__()
        if type(self).alive > 1:
            os._exit(9)


class NotInRunners(Tame):
    """No runner process can have it."""

    def __init__(self) -> None:
        if getattr(sys.modules["__main__"], "__spec__", None) is None:  # started with a command, not with a module
            raise RuntimeError("no display here")
        super().__init__()


class AtMostFour(Tame):
    """With five in a process, stepping takes it down."""

    def step(self, action: Any) -> Any:
        if type(self).alive > 4:
            print("five are too many", flush=True)
            os._exit(9)
        return super().step(action)


class Leaks(Tame):
    """Waits for half a millisecond in every step, and keeps some KiB of it."""

    def __init__(self, kib: int = 32) -> None:
        super().__init__()
        self._kib = kib
        self._kept: list[bytearray] = []

    def step(self, action: Any) -> Any:
        time.sleep(0.0005)
        self._kept.append(bytearray(b"x") * (1024 * self._kib))
        return super().step(action)
