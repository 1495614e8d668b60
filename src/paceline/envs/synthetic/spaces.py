"""An environment of every supported space, whose observations tell exactly what led to them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from paceline.errors import SpecError

Space = gymnasium.Space[Any]


def _box() -> Space:
    return spaces.Box(-10.0, 10.0, (5,), np.float32)


def _discrete() -> Space:
    return spaces.Discrete(7, start=-2)


def _multidiscrete() -> Space:
    return spaces.MultiDiscrete([3, 5, 2])


def _multibinary() -> Space:
    return spaces.MultiBinary(6)


def _dict() -> Space:
    return spaces.Dict({"position": spaces.Box(-1.0, 1.0, (3,), np.float64), "gear": spaces.Discrete(4)})


def _tuple() -> Space:
    return spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 255, (2, 2), np.uint8)))


def _nested() -> Space:
    scalar = spaces.Box(-1.0, 1.0, (), np.float32)
    return spaces.Dict({"outer": spaces.Tuple((_dict(), _multibinary())), "scalar": scalar})


def _image() -> Space:
    return spaces.Box(0, 255, (16, 16, 3), np.uint8)


ACTION_SPACES = {
    "discrete": lambda: spaces.Discrete(5, start=1),
    "multidiscrete": _multidiscrete,
    "multibinary": _multibinary,
    "box": lambda: spaces.Box(-1.0, 1.0, (3,), np.float32),
    "dict": _dict,
    "tuple": _tuple,
}
OBSERVATION_SPACES = {
    "box": _box,
    "image": _image,
    "discrete": _discrete,
    "multidiscrete": _multidiscrete,
    "multibinary": _multibinary,
    "dict": _dict,
    "tuple": _tuple,
    "nested": _nested,
}


def digest(tree: Any) -> int:
    """Return a CRC-32 of an action or observation: its values, shapes and dtypes, nested or not."""
    if isinstance(tree, Mapping):
        return zlib.crc32(repr([(key, digest(tree[key])) for key in sorted(tree)]).encode())
    if isinstance(tree, Sequence):
        return zlib.crc32(repr([digest(item) for item in tree]).encode())
    array = np.ascontiguousarray(tree)
    return zlib.crc32(array.tobytes(), zlib.crc32(f"{array.dtype.str}{array.shape}".encode()))


class SpacesEnv(gymnasium.Env[Any, Any]):
    """Observes a function of (seed, episode, step, all actions of the episode): any corruption on the way shows.

    The reward is the digest of the action, scaled to [0, 1). Episodes end after a number of steps that differs from
    episode to episode, terminated and truncated in turn. With ``info="all"`` every call returns an info, with
    ``"final"`` only the last step of an episode does, with ``"none"`` none does.

    Args:
        obs: one of :data:`OBSERVATION_SPACES`.
        action: one of :data:`ACTION_SPACES`.
        episode_length: longest episode; they last between half of it and all of it.
        info: ``all``, ``final`` or ``none``.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(self, obs: str = "box", action: str = "discrete", episode_length: int = 8, info: str = "none") -> None:
        if obs not in OBSERVATION_SPACES or action not in ACTION_SPACES or info not in ("all", "final", "none"):
            raise SpecError(
                f"expected obs in {', '.join(OBSERVATION_SPACES)}, action in {', '.join(ACTION_SPACES)} and info all, "
                f"final or none, got obs={obs}, action={action}, info={info}"
            )
        self.observation_space = OBSERVATION_SPACES[obs]()
        self.action_space = ACTION_SPACES[action]()
        self._longest = episode_length
        self._info = info
        self._seed = 0
        self._episode = -1
        self._step = 0
        self._length = episode_length
        self._history = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._seed, self._episode = seed, -1
        self._episode += 1
        self._step = 0
        self._history = digest(np.array(sorted((options or {}).items()), dtype=str)) if options else 0
        shortest = max(1, self._longest // 2)
        self._length = shortest + (self._seed + self._episode) % (self._longest - shortest + 1)
        return self._observe(), {"episode_number": self._episode} if self._info == "all" else {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Mix the action into the history and observe it."""
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        self._step += 1
        answer = digest(action)
        self._history = zlib.crc32(answer.to_bytes(4, "little"), self._history)
        ended = self._step >= self._length
        truncated = ended and self._episode % 2 == 1
        info = self._inform(answer, ended)
        return self._observe(), answer / 2**32, ended and not truncated, truncated, info

    def _inform(self, answer: int, ended: bool) -> dict[str, Any]:
        if self._info == "all":
            where = {"history": self._history}
            info: dict[str, Any] = {"digest": np.float64(answer), "step": self._step, "where": where}
            if self._step % 3 == 0:
                info["vector"] = np.arange(3) + self._step
                info["word"] = f"step {self._step}"
            return info
        return {"episode": {"l": self._step}} if self._info == "final" and ended else {}

    def _observe(self) -> Any:
        state = self._seed * 7919 + self._episode * 104729 + self._step * 31 + self._history
        self.observation_space.seed(state % 2**31)
        return self.observation_space.sample()
