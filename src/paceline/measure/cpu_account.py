"""The CPU time of a process tree, kept so that no second counts twice and none is lost with a child.

A child that is reaped hands its time to its parent (``cutime`` in ``proc(5)``), so the sum over the living of *own +
reaped* time is conserved whoever dies; what it grows by between two looks is what the tree has used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ProcessKey = tuple[int, float]
"""Identity of a process: pid and start time (a pid alone is recycled)."""


class ProcessSample(NamedTuple):
    """One reading of one process.

    Attributes:
        pid: process id.
        started: start time, in whatever unit the platform gives; with ``pid`` it identifies the process.
        parent_pid: who would reap it.
        cpu_s: its own user + system time, all threads, the ended ones included.
        reaped_cpu_s: user + system time of the children that it has waited for, theirs included.
        rss_bytes: resident set size; 0 for a zombie.
    """

    pid: int
    started: float
    parent_pid: int
    cpu_s: float
    reaped_cpu_s: float
    rss_bytes: int

    @property
    def key(self) -> ProcessKey:
        """Identity of the process."""
        return self.pid, self.started


class CpuAccount:
    """Books the CPU seconds of a changing set of processes, each second once.

    Between two updates a process grows by its own time and by the time of the children that it reaped. Of the latter,
    what a child had when it was last seen is booked already and is taken off; the rest (its last moments, or a whole
    short life) is new. Where a child is never reaped (``SIGCHLD`` ignored) its last moments are lost, and nothing else.

    Attributes:
        total_s: seconds booked since the first update.
    """

    def __init__(self) -> None:
        self.total_s = 0.0
        self._last: dict[int, ProcessSample] | None = None

    def update(self, samples: Iterable[ProcessSample]) -> None:
        """Book what has been used since the last update; the first one only sets the base.

        Args:
            samples: all living processes of the tree, at one time.
        """
        now = {sample.pid: sample for sample in samples}
        if self._last is not None:
            self.total_s += self._growth(self._last, now)
        self._last = now

    def _growth(self, last: dict[int, ProcessSample], now: dict[int, ProcessSample]) -> float:
        booked: dict[int, float] = {}  # surviving ancestor -> what its lost descendants had when last seen
        for process in last.values():
            if process.pid not in now or now[process.pid].key != process.key:
                heir = process.parent_pid
                while heir not in now and heir in last:
                    heir = last[heir].parent_pid
                booked[heir] = booked.get(heir, 0.0) + process.cpu_s + process.reaped_cpu_s
        growth = 0.0
        for process in now.values():
            before = last.get(process.pid)
            if before is None or before.key != process.key:
                growth += process.cpu_s + process.reaped_cpu_s
                continue
            reaped = process.reaped_cpu_s - before.reaped_cpu_s
            growth += max(0.0, process.cpu_s - before.cpu_s) + max(0.0, reaped - booked.get(process.pid, 0.0))
        return growth
