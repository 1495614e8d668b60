"""Watching the memory of runners, so that one that leaks is named before the kernel ends something."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from paceline.errors import RunnerMemoryError
from paceline.machine import Cgroup, Paths

_SHARE = 0.8


class MemoryWatch:
    """Compares what runners use with what they may use.

    Args:
        pids: the runners.
        limit_bytes: for all of them together; None: 80 % of the machine's memory, or of the container's limit.
        read_private_bytes: returns what a process holds for itself alone, or None where the system does not say.
    """

    def __init__(
        self,
        pids: Sequence[int],
        limit_bytes: int | None,
        *,
        read_private_bytes: Callable[[int], int | None] | None = None,
    ) -> None:
        self._pids = list(pids)
        self.limit_bytes = limit_bytes or default_limit_bytes()
        self._read = read_private_bytes or private_bytes
        self._first = self._all()
        self._last = self._first

    def replace(self, slot: int, pid: int) -> None:
        """Watch another process in the place of runner ``slot``; the others keep what they began with."""
        self._pids[slot] = pid
        self._first[slot] = self._read(pid) or 0

    def check(self) -> int | None:
        """Return the runner that has grown most if all together use more than they may, else None."""
        self._last = self._all()
        if self.limit_bytes is None or sum(self._last) <= self.limit_bytes:
            return None
        growth = [now - then for now, then in zip(self._last, self._first, strict=True)]
        return growth.index(max(growth))

    def error(self, slot: int, envs: range) -> RunnerMemoryError:
        """Return the error that names the runner ``slot`` and its environments."""
        whose = f"envs {envs.start} to {envs.stop - 1}" if len(envs) > 1 else f"env {envs.start}"
        return RunnerMemoryError(
            f"expected the runners to use at most {(self.limit_bytes or 0) / 2**20:,.0f} MiB together, got "
            f"{sum(self._last) / 2**20:,.0f} MiB; runner {slot} ({whose}) has grown most, from "
            f"{self._first[slot] / 2**20:,.0f} to {self._last[slot] / 2**20:,.0f} MiB: look for a leak there, or use "
            f"fewer environments",
            env_index=envs.start,
        )

    def _all(self) -> list[int]:
        return [self._read(pid) or 0 for pid in self._pids]


def private_bytes(pid: int) -> int | None:
    """Return the resident memory of a process less what it shares; None where ``/proc`` does not tell."""
    try:
        _, resident, shared = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def default_limit_bytes() -> int | None:
    """Return 80 % of the machine's memory, or of the container's limit; None where neither is known."""
    limits = [Cgroup(Paths()).memory_limit_bytes()]
    if "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    known = [limit for limit in limits if limit]
    return int(_SHARE * min(known)) if known else None
