"""Watching the memory of runners, so that one that leaks is named before the kernel ends something."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paceline.errors import RunnerMemoryError
from paceline.machine import Cgroup, Paths

_SHARE = 0.8
_SHARE_OF_AVAILABLE = 0.9


class MemoryWatch:
    """Compares what runners use with what they may use.

    Args:
        pids: the runners.
        limit_bytes: for all of them together; None: see :func:`default_limit_bytes`.
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
        self._read = read_private_bytes or private_bytes
        self._first = self._all()
        self.limit_bytes = limit_bytes or default_limit_bytes(sum(self._first))
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

    def error(self, slot: int, envs: range, **last_known: Any) -> RunnerMemoryError:
        """Return the error that names the runner ``slot`` and its environments.

        Args:
            slot: which runner.
            envs: indices of its environments; which of several it is that grows, nobody knows.
            **last_known: of an only environment: ``seed``, ``step`` and ``action``.
        """
        whose = f"envs {envs.start} to {envs.stop - 1}" if len(envs) > 1 else f"env {envs.start}"
        return RunnerMemoryError(
            f"expected the runners to use at most {(self.limit_bytes or 0) / 2**20:,.0f} MiB together, got "
            f"{sum(self._last) / 2**20:,.0f} MiB; runner {slot} ({whose}) has grown most, from "
            f"{self._first[slot] / 2**20:,.0f} to {self._last[slot] / 2**20:,.0f} MiB: look for a leak there, or use "
            f"fewer environments",
            **({"env_index": envs.start, **last_known} if len(envs) == 1 else {}),
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


def default_limit_bytes(held_bytes: int = 0, paths: Paths | None = None) -> int | None:
    """Return what runners may use together; None where the system tells nothing.

    At most 80 % of the machine's memory, or of the container's limit. Others use memory, too, this process among them:
    nor more than 90 % of what is available now beyond what the runners hold already.

    Args:
        held_bytes: what the runners hold now.
        paths: where to read from.
    """
    cgroup = Cgroup(paths or Paths())
    contained, left = cgroup.memory_limit_bytes(), cgroup.memory_left_bytes()
    total, available = _memory_of_machine(paths or Paths())
    if left is not None:
        available = left if available is None else min(available, left)
    limits = [int(_SHARE * size) for size in (contained, total) if size]
    if available is not None:
        limits.append(held_bytes + int(_SHARE_OF_AVAILABLE * available))
    return min(limits, default=None)


def _memory_of_machine(paths: Paths) -> tuple[int | None, int | None]:
    """Return the machine's memory and how much of it is available, in bytes; None for what it does not tell."""
    found = {}
    try:
        for line in (paths.proc / "meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        found = {}
    return found.get("MemTotal"), found.get("MemAvailable")
