"""An environment with things to call, read, set and render."""

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

    def render(self) -> NDArray[np.uint8]:
        """Return an image of one colour, the level."""
        return np.full((2, 3, 3), int(self.level) % 256, np.uint8)

    def _observe(self) -> NDArray[np.float32]:
        return np.array([self.level], np.float32)
