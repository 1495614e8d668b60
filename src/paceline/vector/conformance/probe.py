"""Environments that stand for what users write: with things to call, and with habits that a backend must bear."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class ProbeEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Observes its ``level``; renders it, too.

    Attributes:
        level: 0 until somebody sets it.
        num_calls: of :meth:`scaled`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.render_mode = "rgb_array"
        self.level = 0.0
        self.num_calls = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Do nothing; the reward is the level."""
        return self._observe(), self.level, False, False, {}

    def scaled(self, factor: float, *, plus: float = 0.0) -> float:
        """Return ``level * factor + plus``."""
        self.num_calls += 1
        return self.level * factor + plus

    def fails(self) -> None:
        """Raise."""
        raise KeyError("this method always fails")

    @property
    def sealed(self) -> float:
        """The level, which cannot be set by this name."""
        return self.level

    @sealed.setter
    def sealed(self, value: float) -> None:
        raise KeyError(f"this attribute cannot be set to {value}")

    def render(self) -> NDArray[np.uint8]:
        """Return an image of one colour, the level."""
        return np.full((2, 3, 3), int(self.level) % 256, np.uint8)

    def _observe(self) -> NDArray[np.float32]:
        return np.array([self.level], np.float32)


class ReusingEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Keeps the very array of its last action, and returns the same observation array and info dict again and again.

    It observes the sum of the last action, as it reads it now, and the number of its steps; episodes last three.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self._observation = np.zeros(2, np.float32)
        self._info: dict[str, Any] = {}
        self._action = np.zeros(3, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in the arrays of the last one."""
        super().reset(seed=seed)
        self._observation[:] = -1.0, 0.0
        self._info.clear()
        self._info["begun"] = True
        return self._observation, self._info

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Look at the action before, and keep this one."""
        self._observation[0] = self._action.sum()
        self._observation[1] += 1.0
        self._action = action
        self._info.clear()
        self._info["steps"] = float(self._observation[1])
        return self._observation, float(action[0]), bool(self._observation[1] == 3.0), False, self._info
