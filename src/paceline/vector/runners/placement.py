"""Which cores runners may use: a set of its own for each while the machine is quiet, all of them while it is not.

Two effects pull in opposite directions, both measured on two cores with 2 runners of 8 HalfCheetah environments. Left
to the scheduler, both runners stay on one core and take turns (0.80 ms a step) while the other core idles; on a core
each, they take 0.45 ms. But when other programs keep the cores busy, a runner that may not move waits until they have
used up their time slices (2 to 4 ms), and the free ones are twice as fast. The kernel tells which case it is: the time
that a runner spent ready to run, but waiting for a core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from paceline.machine import Cgroup, Paths

CHECK_EVERY_S = 0.25
CROWDED_SHARE = 0.2
"""Share of its time that a runner waits for a core, above which the cores count as taken by others."""
_LEAST_EVIDENCE_NS = 20_000_000
_FIRST_FREE_S = 1.0
_LONGEST_FREE_S = 30.0

RunAndWait = tuple[int, int]
"""Nanoseconds that a process ran, and that it waited for a core."""


class CorePlacement:
    """Holds runners to disjoint sets of cores, and lets them roam for a while whenever others crowd these cores.

    Args:
        pids: the runners.
        shares: the cores of each.
        everywhere: all usable cores.
        clock: monotonic seconds.
        read_times: returns what the kernel says of a process, or None where it says nothing.
        place: restricts a process to cores.
    """

    def __init__(
        self,
        pids: Sequence[int],
        shares: Sequence[Sequence[int]],
        everywhere: Sequence[int],
        *,
        clock: Callable[[], float] = monotonic,
        read_times: Callable[[int], RunAndWait | None] | None = None,
        place: Callable[[int, Iterable[int]], None] | None = None,
    ) -> None:
        self._pids = pids
        self._shares = shares
        self._everywhere = everywhere
        self._clock = clock
        self._read_times = read_times or read_run_and_wait
        self._place = place or os.sched_setaffinity
        self._free_s = _FIRST_FREE_S
        self._roaming = False
        self._times = self._total()
        self.next_check_s = clock() + CHECK_EVERY_S if self._times is not None else float("inf")

    def check(self) -> None:
        """Look at the waiting times once :attr:`next_check_s` (on ``clock``) has come, and re-place the runners."""
        now, before, after = self._clock(), self._times, self._total()
        self.next_check_s = now + CHECK_EVERY_S
        if before is None or after is None:
            return
        ran, waited = after[0] - before[0], after[1] - before[1]
        if self._roaming:
            self._move(roam=False)
        elif ran + waited < _LEAST_EVIDENCE_NS:
            return
        elif waited > CROWDED_SHARE * (ran + waited):
            self._move(roam=True)
            self.next_check_s = now + self._free_s
            self._free_s = min(2 * self._free_s, _LONGEST_FREE_S)
        else:
            self._free_s = _FIRST_FREE_S
        self._times = after

    def _move(self, *, roam: bool) -> None:
        self._roaming = roam
        for pid, share in zip(self._pids, self._shares, strict=True):
            try:
                self._place(pid, self._everywhere if roam else share)
            except OSError:  # it has just died, which the next step will tell
                continue

    def _total(self) -> RunAndWait | None:
        times = [self._read_times(pid) for pid in self._pids]
        known = [item for item in times if item is not None]
        return (sum(ran for ran, _ in known), sum(waited for _, waited in known)) if known else None


def usable_cores() -> list[int]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def usable_core_time() -> float:
    """Return how many cores' worth of time this process may use: its cores, or less where a container has a quota."""
    quota = Cgroup(Paths()).cpu_quota()
    cores = len(usable_cores())
    return cores if quota is None else min(cores, quota)


def spread_cores(num_env_runners: int, *, one_each: bool = False, spare_one: bool = False) -> list[list[int]]:
    """Divide the usable cores among the runners so that no two share one.

    Args:
        num_env_runners: R.
        one_each: pin each runner to a single core, shared in turn if there are more runners than cores.
        spare_one: leave a core to a caller who works while the runners do, where there are more cores than runners.

    Returns:
        The cores of each runner; empty lists (any core) where runners outnumber cores.
    """
    cores = usable_cores()
    if one_each:
        return [[cores[slot % len(cores)]] for slot in range(num_env_runners)]
    if spare_one and num_env_runners < len(cores):
        cores = cores[:-1]
    if num_env_runners > len(cores):
        return [[] for _ in range(num_env_runners)]
    return [cores[slot::num_env_runners] for slot in range(num_env_runners)]


def read_run_and_wait(pid: int) -> RunAndWait | None:
    """Return how long process ``pid`` ran and waited for a core, in nanoseconds; None if the kernel does not tell."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
        return int(ran), int(waited)
    except (OSError, ValueError):
        return None
