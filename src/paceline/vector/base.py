"""The contract that every execution of a batch of environments keeps.

A ``VecEnv`` is a real ``gymnasium.vector.VectorEnv``. Two ways to step it:

* ``step(actions)``: Gymnasium's own call for all N environments, copies by default, infos included;
* ``send(actions, env_ids)`` then ``recv()``: the training path. ``send`` starts a step of some environments or of all,
  ``recv`` waits for ``batch_size`` of them, whichever are ready first, and returns views.

**Lifetime of views.** What ``recv`` returns, and ``reset`` and ``step`` with ``copy=False``, is valid until the next
``send``, ``recv``, ``reset``, ``step`` or ``close``; copy what must live longer.

**First ready.** With ``batch_size < num_envs`` environments that are ready earlier are returned earlier. Those that
wait are served in the order in which they became ready, so that none starves. An environment has at most one step
under way; its own transitions are complete and in order.

Two halves that take turns (one steps while the policy acts for the other) are a few lines on top::

    halves = np.arange(num_envs).reshape(2, -1)
    observations, _ = venv.reset(seed=0)
    for half in halves:
        venv.send(policy(observations[half]), half)
    while training:
        for half in halves:
            batch, _ = venv.recv(half)  # waits for these very environments; the other half keeps stepping
            venv.send(policy(batch.observations), half)

Arrays carry the environment axis first: ``[N, ...]``, or ``[B, ...]`` in a batch of B rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.errors import RequestError
from paceline.vector.faults import Fault
from paceline.vector.statistics import VecStatistics

ObsTree = Any
"""Observations of B environments: an array ``[B, ...]``, or a dict / tuple of such (as the space nests)."""
EnvIds = NDArray[np.int64]
"""Indices of environments, int64 ``[B]``, ascending."""


class StepBatch(NamedTuple):
    """What a vector step returned. Arrays are views; see the module's text for how long they are valid.

    Attributes:
        observations: ``[B, ...]`` per leaf; in ``SAME_STEP`` mode the first observation of the next episode where an
            episode ended, else what the environment returned.
        rewards: float64 ``[B]``; 0 in reset rows.
        terminated: bool ``[B]``; the episode ended in a state whose value is zero by definition.
        truncated: bool ``[B]``; the episode was cut short; its last state has a value.
        reset_rows: bool ``[B]``; rows that are resets, not steps (``NEXT_STEP`` mode: action ignored, reward 0).
        final_observations: ``[B, ...]`` per leaf; true last observation of the episode, meaningful only in rows with
            ``terminated | truncated``.
        infos: Gymnasium vector infos of this step ({} when no environment returned any).
        restarted: bool ``[B]``; rows whose environment broke and was replaced (``on_fault="restart"``): the step did
            not happen, reward 0, ``truncated``; the last observation stands in for the one that never came.
    """

    observations: ObsTree
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    reset_rows: NDArray[np.bool_]
    final_observations: ObsTree
    infos: dict[str, Any]
    restarted: NDArray[np.bool_]


class VecEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """N environments behind one call.

    Attributes:
        num_envs: N.
        batch_size: how many environments ``recv`` waits for; N unless chosen otherwise.
        backend: name of the execution (``serial``, ``shm``, ..).
        backend_reason: one sentence on why this execution was chosen.
        num_env_runners: R, the number of runners (processes or threads; 0 = in this process, one after the other).
        autoreset_mode: what happens in the step at, or after, the end of an episode.
        env_seeds: the seed that each environment was last reset with, or None.
        faults: what went wrong and was mended, in order (``on_fault="restart"``).
    """

    batch_size: int = 0
    backend: str = ""
    backend_reason: str = ""
    num_env_runners: int = 0
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP
    env_seeds: tuple[int | None, ...] = ()
    faults: tuple[Fault, ...] = ()

    @abstractmethod
    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> tuple[ObsTree, dict[str, Any]]:
        """Reset all environments, or those that ``mask`` (bool ``[N]``) chooses."""

    @abstractmethod
    def send(self, actions: Any, env_ids: Any = None) -> None:
        """Start one step of some environments.

        Args:
            actions: one action per environment, ``[B, ...]`` (nested as the action space is), in the order of
                ``env_ids``.
            env_ids: integers ``[B]``, distinct; None: those of the last ``recv``, and all N after ``reset``.
        """

    @abstractmethod
    def recv(self, env_ids: Any = None) -> tuple[StepBatch, EnvIds]:
        """Wait for steps that :meth:`send` started.

        Args:
            env_ids: wait for these very environments; None: for the first ``batch_size`` that are ready (or for all
                that are under way, if these are fewer).

        Returns:
            Views on the batch, and the indices of its environments in ascending order.

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
        """Return the process ids of the runners (empty where there are no processes)."""

    @abstractmethod
    def statistics(self) -> VecStatistics:
        """Return where time went since the first step."""

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]  # as Gymnasium's own subclasses do
        """The seed of each environment's own generator; raises as :meth:`call` does."""
        return self.get_attr("np_random_seed")

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each environment's own generator (a copy, where it is in another process); raises as :meth:`call` does."""
        return self.get_attr("np_random")

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute, and return the results, one of each environment.

        Raises:
            RequestError: no such attribute, steps are under way, or there are no environment objects to reach.
        """
        raise self._unreachable("call")

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment; raises as :meth:`call` does."""
        raise self._unreachable("get_attr")

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value, or a list or tuple of N; raises as :meth:`call` does."""
        raise self._unreachable("set_attr")

    def _unreachable(self, call: str) -> RequestError:
        return RequestError(
            f"expected a backend that holds environment objects, got {call} with backend {self.backend or 'unknown'}, "
            f"which has none; use backend serial, thread, pipe or shm"
        )
