"""An environment whose optimal return, random return and values are known in closed form."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.errors import SpecError


class KnownReturnEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """Answer the cue: each step shows a random cue, and the action is paid for matching it.

    With ``action="discrete"`` one of ``num_actions`` cues is shown one-hot and the reward is 1 for naming it, else 0.
    With ``action="box"`` the cue is c = -0.5 or 0.5 and the reward is 1 - (clip(a, -1, 1) - c)^2.

    An episode lasts L = ``episode_length`` steps and then is terminated or truncated, with nothing in the observation
    that tells (unless ``observe_time``). So an optimal agent that bootstraps from the final observation of truncated
    episodes values every state 1 / (1 - gamma), and one that is told of termination values the first state
    (1 - gamma^L) / (1 - gamma): see :meth:`optimal_value`.

    Args:
        episode_length: L, steps of an episode.
        num_actions: number of cues and actions (discrete only).
        ending: how episodes end: ``terminate`` or ``truncate``.
        action: ``discrete`` or ``box``.
        observe_time: append the share of the episode that has passed, step / L.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(
        self,
        episode_length: int = 10,
        num_actions: int = 4,
        ending: Literal["terminate", "truncate"] = "terminate",
        action: Literal["discrete", "box"] = "discrete",
        observe_time: bool = False,
    ) -> None:
        if episode_length < 1 or num_actions < 2:
            raise SpecError(
                f"expected episode_length of at least 1 and num_actions of at least 2, got {episode_length} and "
                f"{num_actions}"
            )
        if ending not in ("terminate", "truncate") or action not in ("discrete", "box"):
            raise SpecError(
                f"expected ending terminate or truncate and action discrete or box, got {ending!r} and {action!r}"
            )
        self._length = episode_length
        self._num_cues = num_actions if action == "discrete" else 2
        self._terminates = ending == "terminate"
        self._discrete = action == "discrete"
        self._observe_time = observe_time
        size = self._num_cues + int(observe_time)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = (
            gymnasium.spaces.Discrete(num_actions)
            if self._discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        )
        self._cue = 0
        self._step = 0

    @property
    def optimal_return(self) -> float:
        """Undiscounted return of an optimal policy: L."""
        return float(self._length)

    @property
    def random_return(self) -> float:
        """Expected undiscounted return of uniformly random actions.

        Discrete: L / K. Box, a ~ U(-1, 1): L (1 - E[(a - c)^2]) = L (1 - 1/3 - 1/4) = 5 L / 12.
        """
        return self._length / self._num_cues if self._discrete else self._length * 5.0 / 12.0

    def optimal_value(self, gamma: float) -> float:
        """Return the optimal value of the first state, (1 - gamma^L) / (1 - gamma); truncation: L -> infinity."""
        if self._terminates:
            return float(self._length) if gamma == 1 else (1 - gamma**self._length) / (1 - gamma)
        return 1 / (1 - gamma) if gamma < 1 else float("inf")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode with a random cue."""
        super().reset(seed=seed)
        self._step = 0
        return self._next_cue(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Pay the answer to the last cue and show the next one."""
        if self._discrete:
            reward = float(int(action) == self._cue)
        else:
            answer = min(1.0, max(-1.0, float(np.asarray(action).reshape(-1)[0])))
            reward = 1.0 - (answer - (self._cue - 0.5)) ** 2
        self._step += 1
        ended = self._step >= self._length
        return self._next_cue(), reward, ended and self._terminates, ended and not self._terminates, {}

    def _next_cue(self) -> NDArray[np.float32]:
        self._cue = int(self.np_random.integers(self._num_cues))
        observation = np.zeros(self._num_cues + int(self._observe_time), dtype=np.float32)
        observation[self._cue] = 1.0
        if self._observe_time:
            observation[-1] = self._step / self._length
        return observation
