"""An environment whose step waits until it is let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class GateEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Observes how many steps it has taken. Where there is a gate, each step waits for a word in it.

    Args:
        gate: a named pipe; None: steps do not wait.
    """

    def __init__(self, gate: Path | None = None) -> None:
        self.observation_space = gymnasium.spaces.Box(0.0, 1e6, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._gate = gate
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._gate is not None:
            self._gate.read_bytes()  # waits for somebody to open it for writing, and to close it
        self._steps += 1
        return np.array([self._steps], np.float32), float(action), False, False, {}
