"""What all drivers share that have a learner in this process: its counters, checkpoints, and iterations of updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.measure.ledger import Ledger, LedgerEntry
from paceline.rollout.episodes import Episodes
from paceline.spec import RunSpec
from paceline.training.checkpoint import Checkpoint
from paceline.training.driver import Iteration, join_episodes, join_metrics
from paceline.training.learner import Learner

_ENV_STEPS = "env_steps"


class LearnerDriver(ABC):
    """A :class:`~paceline.training.driver.Driver` but for where its experience comes from.

    Args:
        spec: the run, with everything filled in.
        observation_space: of one environment.
        action_space: of one environment.
        ledger: where time goes.

    Attributes:
        learner: agent, algorithm and parameters.

    Raises:
        UnsupportedSpaceError: a space that the agent cannot handle.
    """

    def __init__(
        self,
        spec: RunSpec,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        ledger: Ledger,
    ) -> None:
        self.spec = spec
        self.steps_per_iteration = spec.algo.steps_per_iteration
        self.learner = Learner(spec, observation_space, action_space, spec.plan.num_envs, ledger)
        self._ledger = ledger
        self._finished: list[tuple[int, Episodes, dict[str, float]]] = []
        self._finished_after: LedgerEntry | None = None

    @property
    @abstractmethod
    def env_steps(self) -> NDArray[np.int64]:
        """Real steps of each environment that were learnt from, int64 ``[N]``."""

    @env_steps.setter
    @abstractmethod
    def env_steps(self, env_steps: NDArray[np.int64]) -> None: ...

    @property
    def total_env_steps(self) -> int:
        """Real steps of all environments so far."""
        return int(self.env_steps.sum())

    @property
    def num_updates(self) -> int:
        """How many updates there were."""
        return self.learner.num_updates

    @property
    def num_iterations(self) -> int:
        """How many iterations there were."""
        return self.learner.num_iterations

    @property
    def late_compile_s(self) -> float:
        """Seconds of compilation that came after :meth:`compile`."""
        return self.learner.late_compile_s

    @property
    def runner_threads(self) -> list[dict[str, Any]]:
        """Thread settings of each process that has a copy of the policy, as they tell of them; none, by default."""
        return []

    def reset_seed(self) -> int:
        """Return the seed of the next reset: it follows from the run's and from how many updates there were."""
        return int(np.random.SeedSequence([self.spec.seed, self.num_updates]).generate_state(1)[0]) >> 1

    def iterate(
        self, progress: float, *, interruptible: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Iteration:
        """Sample and learn, as often as an iteration has updates; see :class:`~paceline.training.driver.Driver`."""
        for _ in range(self.spec.algo.updates_per_iteration or 1):
            self._finished.append(self._update(progress, interruptible))
            self._finished_after = self._ledger.snapshot()
        return replace(self._end_iteration(), events=self.take_events())

    def take_finished_part(self) -> tuple[Iteration, LedgerEntry] | None:
        """Return what an iteration that broke had finished; see :class:`~paceline.training.driver.Driver`."""
        if not self._finished or self._finished_after is None:
            return None
        return self._end_iteration(), self._finished_after

    def _end_iteration(self) -> Iteration:
        num_env_steps, episodes, metrics = zip(*self._finished, strict=True)
        self._finished = []
        self.learner.num_iterations += 1
        return Iteration(sum(num_env_steps), join_episodes(episodes), join_metrics(metrics))

    @abstractmethod
    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        """Get experience and learn from it; return real steps, episodes and metrics."""

    @abstractmethod
    def take_events(self) -> tuple[str, ...]:
        """Return what happened since the last call that a person should hear of."""

    def checkpoint_state(self) -> dict[str, Any]:
        """Return all arrays that a resumed run needs."""
        return {**self.learner.checkpoint_state(), _ENV_STEPS: self.env_steps}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``; environments start new episodes, and there may be another number of them.

        Raises:
            ResultsError: it is of another network or algorithm.
        """
        arrays = dict(checkpoint.arrays)
        env_steps = arrays.pop(_ENV_STEPS, np.zeros(0, np.int64))
        self.learner.restore(checkpoint, arrays)
        self.env_steps = share_out(env_steps, len(self.env_steps))


def share_out(env_steps: NDArray[np.int64], num_envs: int) -> NDArray[np.int64]:
    """Return steps per environment, int64 ``[num_envs]``, that add up to those of however many there were before."""
    if len(env_steps) == num_envs:
        return np.asarray(env_steps, np.int64)
    each, rest = divmod(int(env_steps.sum()), num_envs)
    return np.full(num_envs, each, np.int64) + (np.arange(num_envs) < rest)
