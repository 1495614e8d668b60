"""An environment that misbehaves at a chosen step."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.errors import SpecError

FAULTS = (
    "raise", "raise-in-reset", "raise-in-init", "raise-in-close", "raise-unpicklable", "system-exit",
    "hang", "hang-in-reset", "hang-in-close", "exit", "exit-in-reset", "kill", "leak",
    "wrong-shape", "wrong-dtype", "wrong-type", "none-observation", "wrong-reward", "four-values", "wrong-info",
    "unpicklable-info", "nan", "nan-in-reset", "nan-reward", "inf-reward",
)  # fmt: skip

_HANG_S = 3600


class FaultyEnv(gymnasium.Env[Any, Any]):
    """Behaves until step ``at`` (counted from 1 over all episodes), then commits ``fault``.

    Observations count: steps in all, steps of the episode, and the seed modulo 1000. The reward is 1 in every step.

    Args:
        fault: one of :data:`FAULTS`. ``exit`` ends the process with status 7, ``kill`` by SIGKILL; ``hang`` sleeps for
            an hour; ``leak`` keeps ``mib`` MiB more in every step from ``at`` on; faults in reset happen in every reset
            after step ``at`` - 1 (``at`` = 1: in the first of all).
        at: the step of the fault.
        only_seed: only the environment that was reset with this seed is faulty; None: all are.
        episode_length: steps until the episode is truncated.
        mib: what ``leak`` leaks in a step, MiB.
        nested: put the observation into a ``Dict`` with a ``Tuple`` in it; ``nan`` then spoils one leaf alone.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(
        self,
        fault: str = "raise",
        at: int = 1,
        only_seed: int | None = None,
        episode_length: int = 1000,
        mib: float = 8.0,
        nested: bool = False,
    ) -> None:
        if fault not in FAULTS:
            raise SpecError(f"expected fault to be one of {', '.join(FAULTS)}, got {fault!r}")
        if fault == "raise-in-init":
            raise RuntimeError("this environment always fails to build")
        counts = spaces.Box(-1e6, 1e6, (3,), np.float32)
        rest = spaces.Tuple((spaces.Discrete(1000), spaces.Box(-1e6, 1e6, (), np.float64)))
        self.observation_space = spaces.Dict({"counts": counts, "rest": rest}) if nested else counts
        self.action_space = spaces.Discrete(2)
        self._fault = fault
        self._at = at
        self._only_seed = only_seed
        self._episode_length = episode_length
        self._leaked_bytes = int(mib * 2**20)
        self._leaked: list[NDArray[np.uint8]] = []
        self._nested = nested
        self._seed: int | None = None
        self._steps = 0
        self._episode_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self._seed = seed if seed is not None else self._seed
        self._episode_steps = 0
        observation = self._observe()
        if self._chosen() and self._steps >= self._at - 1:
            if self._fault == "raise-in-reset":
                raise RuntimeError("this environment fails to reset")
            if self._fault == "hang-in-reset":
                time.sleep(_HANG_S)
            if self._fault == "exit-in-reset":
                os._exit(7)
            if self._fault == "nan-in-reset":
                observation = self._with_nan()
        return observation, {}

    def step(self, action: Any) -> Any:
        """Count; at step ``at`` commit the fault."""
        self._steps += 1
        self._episode_steps += 1
        observation: Any = self._observe()
        reward: Any = 1.0
        info: Any = {}
        if self._chosen() and self._fault == "leak" and self._steps >= self._at:
            self._leaked.append(np.ones(self._leaked_bytes, np.uint8))
        if self._chosen() and self._steps == self._at:
            self._fail_outright()
            observation = self._spoil(observation)
            reward = {"wrong-reward": "much", "nan-reward": float("nan"), "inf-reward": float("inf")}.get(
                self._fault, reward
            )
            if self._fault == "four-values":
                return observation, reward, False, {}
            info = {"wrong-info": "fine", "unpicklable-info": {"lock": threading.Lock()}}.get(self._fault, info)
        return observation, reward, False, self._episode_steps >= self._episode_length, info

    def close(self) -> None:
        """Close; some faults are committed here."""
        if self._chosen():
            if self._fault == "raise-in-close":
                raise RuntimeError("this environment fails to close")
            if self._fault == "hang-in-close":
                time.sleep(_HANG_S)

    def _chosen(self) -> bool:
        return self._only_seed is None or self._seed == self._only_seed

    def _observe(self) -> Any:
        counts = np.array([self._steps, self._episode_steps, (self._seed or 0) % 1000], dtype=np.float32)
        return self._nest(counts, float(self._steps))

    def _nest(self, counts: Any, steps: float) -> Any:
        return {"counts": counts, "rest": (self._steps % 1000, np.asarray(steps))} if self._nested else counts

    def _with_nan(self) -> Any:
        if not self._nested:
            return np.full_like(self._observe(), np.nan)
        return self._nest(self._observe()["counts"], float("nan"))

    def _fail_outright(self) -> None:
        if self._fault == "raise":
            raise RuntimeError(f"this environment fails at step {self._at}")
        if self._fault == "raise-unpicklable":
            raise _UnpicklableError(f"this environment fails at step {self._at}")
        if self._fault == "system-exit":
            sys.exit(3)
        if self._fault == "hang":
            time.sleep(_HANG_S)
        if self._fault == "exit":
            os._exit(7)
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def _spoil(self, observation: Any) -> Any:
        if self._fault == "nan":
            return self._with_nan()
        if self._fault == "none-observation":
            return None
        counts = observation["counts"] if self._nested else observation
        if self._fault == "wrong-shape":
            counts = counts[:1]  # would broadcast over the row if nobody checked
        elif self._fault == "wrong-dtype":
            counts = counts.astype(np.float64)
        elif self._fault == "wrong-type":
            counts = counts.tolist()
        else:
            return observation
        return self._nest(counts, float(self._steps))


class _UnpicklableError(RuntimeError):
    """An exception that no other process can be sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()
