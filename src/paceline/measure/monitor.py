"""What a process tree uses: CPU seconds, resident memory and GPUs, measured at next to no cost of its own.

CPU time is the growth of user + system time of every process of the tree, never a sampled percentage. A child that is
reaped hands its time to its parent (``cutime`` in ``proc(5)``), so the sum over the living of *own + reaped* time is
conserved; :class:`CpuAccount` books the differences so that no second counts twice and none is lost with a child.

Everything that costs is throttled by what it was measured to cost: looking for new processes, proportional set size
(PSS walks every page table) and NVML each take at most a fixed share of one core.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

PROC = Path("/proc")

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

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


def read_process(pid: int) -> ProcessSample | None:
    """Read one process; ``None`` if there is none of that pid (any more)."""
    return _read_process_linux(pid) if sys.platform == "linux" else _read_process_psutil(pid)


def descendants(roots: Iterable[int]) -> set[int]:
    """Return the pids of ``roots`` and of all their living descendants."""
    children: dict[int, list[int]] = {}
    for pid, parent_pid in _parents().items():
        children.setdefault(parent_pid, []).append(pid)
    found: set[int] = set()
    stack = list(roots)
    while stack:
        pid = stack.pop()
        if pid not in found:
            found.add(pid)
            stack.extend(children.get(pid, ()))
    return found


def tree_rss_bytes(pid: int) -> int:
    """Return the resident set size of ``pid`` and all its descendants, in bytes; 0 if there is no such process.

    Pages shared by several processes count once in each; :func:`tree_pss_bytes` divides them.
    """
    samples = (read_process(member) for member in descendants([pid]))
    return sum(sample.rss_bytes for sample in samples if sample)


def tree_pss_bytes(pid: int) -> int | None:
    """Return the proportional set size of ``pid`` and all its descendants, in bytes.

    Each shared page counts 1/n in each of the n processes that map it, so the sum is what the tree really holds. Walks
    every page table (milliseconds for a big process). ``None`` where the kernel does not tell (not Linux, or a process
    of another user).
    """
    return sum_pss_bytes(descendants([pid]))


def sum_pss_bytes(pids: Iterable[int]) -> int | None:
    """Return the summed proportional set size of ``pids``, in bytes; ``None`` if one of the living is unreadable."""
    total = 0
    seen = 0
    for pid in pids:
        try:
            with (PROC / str(pid) / "smaps_rollup").open("rb") as file:
                text = file.read()
        except (FileNotFoundError, ProcessLookupError):
            if sys.platform == "linux" and not (PROC / str(pid)).exists():
                continue  # ended meanwhile
            return None  # no such file: an old kernel, or not Linux
        except OSError:
            return None
        seen += 1
        for line in text.splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
                break
    return total if seen else None


def _read_process_linux(pid: int) -> ProcessSample | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (a Path costs more than the read)
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name may hold blanks and brackets
    own_ticks = int(fields[11]) + int(fields[12])
    reaped_ticks = int(fields[13]) + int(fields[14])
    return ProcessSample(
        pid=pid,
        started=float(fields[19]),
        parent_pid=int(fields[1]),
        cpu_s=_process_clock_s(pid, own_ticks / _TICKS_PER_S),
        reaped_cpu_s=reaped_ticks / _TICKS_PER_S,
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def _process_clock_s(pid: int, otherwise: float) -> float:
    """Return the CPU time of ``pid`` in seconds from its POSIX CPU-time clock, ``otherwise`` where that fails.

    ``/proc`` counts in ticks of 10 ms, too coarse for an iteration of 50 ms; the clock counts nanoseconds. Its id is
    the one that ``clock_getcpuclockid(3)`` returns: ``~pid << 3 | CPUCLOCK_SCHED``.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        return otherwise


def _read_process_psutil(pid: int) -> ProcessSample | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return ProcessSample(
                pid=pid,
                started=process.create_time(),
                parent_pid=process.ppid(),
                cpu_s=times.user + times.system,
                reaped_cpu_s=getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0),
                rss_bytes=process.memory_info().rss,
            )
    except psutil.Error:
        return None


def _parents() -> dict[int, int]:
    """Return the parent of every process that can be seen, pid -> parent pid."""
    if sys.platform != "linux":
        return {process.pid: process.info["ppid"] or 0 for process in psutil.process_iter(["ppid"])}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    text = file.read()
            except OSError:
                continue
            parents[int(name)] = int(text[text.rindex(b")") + 2 :].split(None, 2)[1])
    return parents
