"""How busy other programs keep the cores: what the kernel counted as busy, less what a process tree of ours used."""

from __future__ import annotations

import os
import time
from pathlib import Path

from paceline.measure.cpu_account import CpuAccount
from paceline.measure.monitor import descendants, read_process

STAT = Path("/proc/stat")

_LEAST_S = 0.2
"""The kernel counts in ticks of 10 ms; over less than this they would be most of the answer."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
"""Of a core's line: user, nice, system, irq, softirq, and steal, which programs of other machines on this one take."""


class OthersMeter:
    """Measures what programs outside a process tree compute on the cores that this process may run on.

    A look takes a few milliseconds.

    Args:
        root_pid: root of the tree that is not "others"; this process by default.
        stat: where the kernel counts.
    """

    def __init__(self, root_pid: int | None = None, *, stat: Path = STAT) -> None:
        self._root_pid = root_pid or os.getpid()
        self._stat = stat
        self._account = CpuAccount()
        self._last = self._look()

    def read(self) -> float | None:
        """Return the cores that others kept busy since the last answer, on average.

        Returns:
            None where the kernel does not tell, or for less than a fifth of a second since then.
        """
        if time.monotonic() - self._last[0] < _LEAST_S:
            return None
        last, self._last = self._last, self._look()
        seconds, busy_s, own_s = (now - then for now, then in zip(self._last, last, strict=True))
        return max(0.0, busy_s - own_s) / seconds if self._last[1] else None

    def _look(self) -> tuple[float, float, float]:
        """Return the time, the busy seconds of all cores together (0: unknown) and those of the tree."""
        samples = [read_process(pid) for pid in descendants([self._root_pid])]
        self._account.update([sample for sample in samples if sample is not None])
        return time.monotonic(), busy_core_s(self._stat), self._account.total_s


def busy_core_s(stat: Path = STAT) -> float:
    """Return the seconds for which the cores that this process may run on were busy; 0 where the kernel is silent."""
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0.0
    mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for line in lines:
        name, *fields = line.split() or [""]
        if name in mine:
            ticks += sum(int(fields[field]) for field in _BUSY_FIELDS if field < len(fields))
    return ticks / _TICKS_PER_S
