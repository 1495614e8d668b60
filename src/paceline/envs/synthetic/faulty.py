"""An environment that misbehaves at a chosen step."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.errors import SpecError

FAULTS = (
    "raise", "raise-in-reset", "raise-in-init", "hang", "hang-in-reset", "exit", "kill", "wrong-shape", "wrong-dtype",
    "wrong-type", "none-observation", "wrong-reward", "four-values", "wrong-info", "nan", "nan-reward", "inf-reward",
)  # fmt: skip


class FaultyEnv(gymnasium.Env[Any, Any]):
    """Behaves until step ``at`` (counted from 1 over all episodes), then commits ``fault``.

    Args:
        fault: one of :data:`FAULTS`. ``exit`` ends the process with status 7, ``kill`` by SIGKILL; ``hang`` sleeps for
            an hour; faults in reset happen in the first reset after step ``at`` - 1 (``at`` = 1: in the first of all).
        at: the step of the fault.
        only_seed: only the environment that was reset with this seed is faulty; None: all are.
        episode_length: steps until the episode is truncated.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(
        self, fault: str = "raise", at: int = 1, only_seed: int | None = None, episode_length: int = 1000
    ) -> None:
        if fault not in FAULTS:
            raise SpecError(f"expected fault to be one of {', '.join(FAULTS)}, got {fault!r}")
        if fault == "raise-in-init":
            raise RuntimeError("this environment always fails to build")
        self.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (3,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._fault = fault
        self._at = at
        self._only_seed = only_seed
        self._episode_length = episode_length
        self._seed: int | None = None
        self._steps = 0
        self._episode_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self._seed = seed if seed is not None else self._seed
        self._episode_steps = 0
        if self._chosen() and self._steps >= self._at - 1:
            if self._fault == "raise-in-reset":
                raise RuntimeError("this environment fails to reset")
            if self._fault == "hang-in-reset":
                time.sleep(3600)
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        """Count; at step ``at`` commit the fault."""
        self._steps += 1
        self._episode_steps += 1
        observation: Any = self._observe()
        reward: Any = 1.0
        info: Any = {}
        if self._chosen() and self._steps == self._at:
            self._fail_outright()
            observation = self._spoil(observation)
            reward = {"wrong-reward": "much", "nan-reward": float("nan"), "inf-reward": float("inf")}.get(
                self._fault, reward
            )
            if self._fault == "four-values":
                return observation, reward, False, {}
            if self._fault == "wrong-info":
                info = "fine"
        return observation, reward, False, self._episode_steps >= self._episode_length, info

    def _chosen(self) -> bool:
        return self._only_seed is None or self._seed == self._only_seed

    def _observe(self) -> NDArray[np.float32]:
        return np.array([self._steps, self._episode_steps, (self._seed or 0) % 1000], dtype=np.float32)

    def _fail_outright(self) -> None:
        if self._fault == "raise":
            raise RuntimeError(f"this environment fails at step {self._at}")
        if self._fault == "hang":
            time.sleep(3600)
        if self._fault == "exit":
            os._exit(7)
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def _spoil(self, observation: NDArray[np.float32]) -> Any:
        if self._fault == "wrong-shape":
            return observation[:1]  # would broadcast over the row if nobody checked
        if self._fault == "wrong-dtype":
            return observation.astype(np.float64)
        if self._fault == "wrong-type":
            return observation.tolist()
        if self._fault == "none-observation":
            return None
        if self._fault == "nan":
            return np.full_like(observation, np.nan)
        return observation
