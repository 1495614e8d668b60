"""The ledger of wall time: every second belongs to a named phase or to ``unattributed``.

Phases are disjoint intervals of the *learner process's* wall clock, so they add up to wall time by construction; what
no phase claimed is shown as ``unattributed``, never hidden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.measure.trace import Tracer

ENV_STEP = "env_step"
"""Environments step (in-process), or the mean busy time of the runners while the learner's process waits."""
RUNNER_WAIT = "runner_wait"
"""Waiting for runners beyond their mean busy time: wake-ups, stragglers, scheduling."""
INFERENCE = "inference"
"""The policy turns observations into actions."""
TRANSFER = "transfer"
"""Copies between environments, storage and device."""
RUNNER_GRADIENT = "runner_gradient"
"""Runners take gradients of their own rollouts (A3C), while the learner's process waits for them."""
LEARNER_UPDATE = "learner_update"
"""Gradient steps (including the value pass and the advantages)."""
LOGGING = "logging"
"""Progress lines, results, TensorBoard, monitoring."""
CHECKPOINT = "checkpoint"
"""Writing checkpoints."""
OTHER = "other"
"""Named work that is none of the above (bookkeeping of a rollout, episode statistics)."""
UNATTRIBUTED = "unattributed"
"""Wall time that no phase claimed."""

PHASES: tuple[str, ...] = (
    ENV_STEP, RUNNER_WAIT, INFERENCE, RUNNER_GRADIENT, TRANSFER, LEARNER_UPDATE, LOGGING, CHECKPOINT, OTHER,
)  # fmt: skip


class Ledger:
    """Accumulates seconds per phase between :meth:`start` and :meth:`snapshot`.

    Hot loops read the clock themselves and call :meth:`add_ns` once per phase; everything else uses :meth:`phase`.

    Args:
        clock_ns: a monotonic nanosecond clock; tests pass a fake one.

    Attributes:
        tracer: sees what happens, while one is on; None otherwise, and then nothing is kept.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.clock_ns = clock_ns
        self.tracer: Tracer | None = None
        self._phase_ns: dict[str, int] = dict.fromkeys(PHASES, 0)
        self._start_ns = clock_ns()

    @property
    def start_ns(self) -> int:
        """When the interval that is under way began, on :attr:`clock_ns`."""
        return self._start_ns

    def start(self) -> None:
        """Forget everything and start the wall clock now."""
        self._phase_ns = dict.fromkeys(PHASES, 0)
        self._start_ns = self.clock_ns()

    def add_ns(self, phase: str, duration_ns: int) -> None:
        """Add ``duration_ns`` nanoseconds to ``phase``.

        Raises:
            KeyError: ``phase`` is not one of :data:`PHASES`.
        """
        self._phase_ns[phase] += duration_ns

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` block as ``name``; blocks must not nest."""
        begin_ns = self.clock_ns()
        try:
            yield
        finally:
            end_ns = self.clock_ns()
            self._phase_ns[name] += end_ns - begin_ns
            if self.tracer is not None:
                self.tracer.phase(name, begin_ns, end_ns)

    @contextmanager
    def traced(self, tracer: Tracer) -> Iterator[None]:
        """Let ``tracer`` see every reading of the clock, and every phase, of the body of a ``with`` block."""
        plain = self.clock_ns
        self.tracer, self.clock_ns = tracer, tracer.watching(plain)
        try:
            yield
        finally:
            self.tracer, self.clock_ns = None, plain

    def exclude_ns(self, duration_ns: int) -> None:
        """Take the last ``duration_ns`` nanoseconds off the interval: a compilation is no part of any iteration."""
        self._start_ns += duration_ns

    def snapshot(self) -> LedgerEntry:
        """Return wall time and phases since :meth:`start`, ``unattributed`` included."""
        return self._entry(self.clock_ns())

    def cut(self) -> LedgerEntry:
        """Return :meth:`snapshot` and start the next interval at exactly the same instant."""
        now_ns = self.clock_ns()
        entry = self._entry(now_ns)
        self._phase_ns = dict.fromkeys(PHASES, 0)
        self._start_ns = now_ns
        return entry

    def _entry(self, now_ns: int) -> LedgerEntry:
        wall_ns = now_ns - self._start_ns
        phases = {name: value * 1e-9 for name, value in self._phase_ns.items()}
        phases[UNATTRIBUTED] = max(0, wall_ns - sum(self._phase_ns.values())) * 1e-9
        return LedgerEntry(wall_ns * 1e-9, phases)


class LedgerEntry:
    """Wall time of one interval and its phases, in seconds.

    Args:
        wall_s: length of the interval.
        phases: seconds per phase, :data:`UNATTRIBUTED` included; they add up to ``wall_s``.
    """

    __slots__ = ("phases", "wall_s")

    def __init__(self, wall_s: float, phases: Mapping[str, float]) -> None:
        self.wall_s = wall_s
        self.phases = dict(phases)

    def __add__(self, other: LedgerEntry) -> LedgerEntry:
        """Concatenate two intervals."""
        names = {**self.phases, **other.phases}
        return LedgerEntry(
            self.wall_s + other.wall_s,
            {name: self.phases.get(name, 0.0) + other.phases.get(name, 0.0) for name in names},
        )

    def as_dict(self) -> dict[str, object]:
        """Return the contract's shape: ``{"wall_s": .., "phases": {..}}``."""
        return {"wall_s": self.wall_s, "phases": dict(self.phases)}
