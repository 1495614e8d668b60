"""What a run needs of a driver: whoever samples, whoever waits for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from paceline.measure.ledger import LedgerEntry
from paceline.rollout.episodes import Episodes
from paceline.spec import RunSpec
from paceline.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Iteration:
    """What one iteration (one update, or a few of them) did."""

    num_env_steps: int
    episodes: Episodes
    metrics: dict[str, float]
    events: tuple[str, ...] = field(default=())
    """What happened that a person should hear of: a runner that was replaced."""


class Driver(Protocol):
    """Samples experience and learns from it, in iterations.

    Attributes:
        spec: the run, with everything filled in.
        steps_per_iteration: environment steps of one iteration, about.
    """

    spec: RunSpec
    steps_per_iteration: int

    @property
    def total_env_steps(self) -> int:
        """Real steps of all environments so far."""

    @property
    def num_updates(self) -> int:
        """How many updates there were."""

    @property
    def num_iterations(self) -> int:
        """How many iterations there were."""

    @property
    def late_compile_s(self) -> float:
        """Seconds of compilation that came after :meth:`compile`."""

    @property
    def runner_threads(self) -> list[dict[str, Any]]:
        """Thread settings of each process with a copy of the policy, see :func:`paceline.machine.record_threads`."""

    def reset(self) -> None:
        """Reset the environments; their seeds follow from the run's seed and the number of updates so far."""

    def compile(self) -> float:
        """Compile everything for the run's shapes; return the seconds it took."""

    def iterate(
        self, progress: float, *, interruptible: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Iteration:
        """Sample and learn.

        Args:
            progress: share of the budget that is spent, 0..1; anneals the learning rate.
            interruptible: wraps the sampling. An exception that it raises leaves the driver as the last update left
                it, but for the environments.

        Raises:
            EnvError: an environment broke.
            NonFiniteLossError: an update met NaN or infinity; the state is still the last good one.
        """

    def take_finished_part(self) -> tuple[Iteration, LedgerEntry] | None:
        """Return the updates that an iteration finished before it broke, with their time; None if there were none.

        They count as an iteration, since parameters and steps hold them already. What was under way is in no figure.
        """

    def take_events(self) -> tuple[str, ...]:
        """Return what happened since the last iteration that ended, and that a person should hear of."""

    def checkpoint_state(self) -> dict[str, Any]:
        """Return all arrays that a resumed run needs."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``; environments start new episodes, and there may be another number of them.

        Raises:
            ResultsError: it is of another network or algorithm.
        """


def join_episodes(parts: Sequence[Episodes]) -> Episodes:
    """Return the episodes of several rollouts together."""
    if len(parts) == 1:
        return parts[0]
    return Episodes(np.concatenate([part.returns for part in parts]), np.concatenate([part.lengths for part in parts]))


def join_metrics(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return each metric over the updates of an iteration: its mean, or its extreme or sum where its name says so."""
    joined = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name.startswith("num_"):
            joined[name] = sum(values)
        elif name.endswith("_min"):
            joined[name] = min(values)
        elif name.endswith("_max"):
            joined[name] = max(values)
        else:
            joined[name] = sum(values) / len(values)
    return joined
