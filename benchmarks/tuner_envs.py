"""The five environments of the tuner's benchmarks, the image one among them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

SIDE = 84
_FALLS = 60


class Catch(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """A ball falls, a paddle catches it: four stacked frames of 84 x 84 pixels, as Atari agents see them.

    Reward 1 for a catch, 0 for a miss; an episode is ten balls. A step draws one frame and moves the stack.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 4), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._frames = np.zeros((SIDE, SIDE, 4), np.uint8)
        self._ball = np.zeros(2)
        self._paddle = SIDE // 2
        self._balls = 0

    def reset(  # noqa: D102
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._paddle, self._balls = SIDE // 2, 0
        self._drop()
        self._frames[...] = 0
        self._draw()
        return self._frames.copy(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:  # noqa: D102
        self._paddle = int(np.clip(self._paddle + 3 * (int(action) - 1), 4, SIDE - 5))
        self._ball[0] += SIDE / _FALLS
        reward, over = 0.0, False
        if self._ball[0] >= SIDE - 3:
            reward = float(abs(self._ball[1] - self._paddle) <= 6)
            self._balls += 1
            over = self._balls == 10
            self._drop()
        self._draw()
        return self._frames.copy(), reward, over, False, {}

    def _drop(self) -> None:
        self._ball[:] = 0.0, self.np_random.integers(4, SIDE - 4)

    def _draw(self) -> None:
        self._frames[..., :3] = self._frames[..., 1:]
        frame = self._frames[..., 3]
        frame[...] = 0
        row, column = int(self._ball[0]), int(self._ball[1])
        frame[max(0, row - 2) : row + 3, column - 2 : column + 3] = 255
        frame[SIDE - 3 :, self._paddle - 4 : self._paddle + 5] = 128


TUNED: dict[str, tuple[str, dict[str, Any]]] = {
    "cheetah": ("HalfCheetah-v5", {}),
    "cartpole": ("CartPole-v1", {}),
    "busy": ("synthetic:busy?us=1000", {}),
    "tail": ("synthetic:sleep?ms=2&sigma=1", {}),
    "image": ("benchmarks.tuner_envs:Catch", {"batch_size": 512, "minibatch_size": 128, "num_epochs": 2}),
}
"""By name: the environment, and what its algorithm (PPO) has other than the preset."""
