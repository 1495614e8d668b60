"""The contract that every execution of a batch of environments keeps.

A ``VecEnv`` is a real ``gymnasium.vector.VectorEnv``. Two ways to step it:

* ``step(actions)``: Gymnasium's own call, copies by default, infos included;
* ``send(actions)`` then ``recv()``: the training path. ``recv`` returns views that the next ``send``, ``reset`` or
  ``close`` may overwrite; nothing is allocated per environment.

Arrays carry the environment axis first: ``[N, ...]``.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

ObsTree = Any
"""Observations of N environments: an array ``[N, ...]``, or a dict / tuple of such (as the space nests)."""


class StepBatch(NamedTuple):
    """What one vector step returned. Arrays are views, valid until the next ``send``, ``reset`` or ``close``.

    Attributes:
        observations: ``[N, ...]`` per leaf; in ``SAME_STEP`` mode the first observation of the next episode where an
            episode ended, else what the environment returned.
        rewards: float64 ``[N]``; 0 in reset rows.
        terminated: bool ``[N]``; the episode ended in a state whose value is zero by definition.
        truncated: bool ``[N]``; the episode was cut short; its last state has a value.
        reset_rows: bool ``[N]``; rows that are resets, not steps (``NEXT_STEP`` mode: action ignored, reward 0).
        final_observations: ``[N, ...]`` per leaf; true last observation of the episode, meaningful only in rows with
            ``terminated | truncated``.
        infos: Gymnasium vector infos of this step ({} when no environment returned any).
    """

    observations: ObsTree
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    reset_rows: NDArray[np.bool_]
    final_observations: ObsTree
    infos: dict[str, Any]


class VecEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """N environments behind one call.

    Attributes:
        num_envs: N.
        num_env_runners: R, the number of runner processes (0 = in this process).
        autoreset_mode: what happens in the step at, or after, the end of an episode.
        env_seeds: the seed that each environment was last reset with, or None.
    """

    num_env_runners: int = 0
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP
    env_seeds: tuple[int | None, ...] = ()

    @abstractmethod
    def send(self, actions: Any) -> None:
        """Start one step of every environment.

        Args:
            actions: one action per environment, ``[N, ...]`` (nested as the action space is).
        """

    @abstractmethod
    def recv(self) -> StepBatch:
        """Wait for the step that :meth:`send` started and return views on it.

        Raises:
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """

    @abstractmethod
    def busy_ns(self) -> NDArray[np.int64]:
        """Return the cumulative nanoseconds that each runner spent in its environments, int64 ``[max(R, 1)]``.

        Measured around the loop over the runner's environments, so that it costs two clock readings a step.
        """

    @abstractmethod
    def runner_pids(self) -> tuple[int, ...]:
        """Return the process ids of the runners (empty when R = 0)."""
