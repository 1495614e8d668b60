"""Runners keep to cores of their own while the machine is quiet, and roam while others crowd it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import thread_time

from paceline.vector.runners.placement import (
    CHECK_EVERY_S,
    CorePlacement,
    read_run_and_wait,
    spread_cores,
    usable_cores,
)

MS = 1_000_000


class FakeKernel:
    """A clock, the times of two processes, and where they were put."""

    def __init__(self) -> None:
        self.now = 0.0
        self.times = {1: (0, 0), 2: (0, 0)}
        self.places: list[tuple[int, list[int]]] = []

    def place(self, pid: int, cores: Iterable[int]) -> None:
        self.places.append((pid, list(cores)))

    def placement(self) -> CorePlacement:
        return CorePlacement(
            [1, 2], [[0], [1]], [0, 1], clock=lambda: self.now, read_times=lambda pid: self.times[pid], place=self.place
        )

    def go_on(self, placement: CorePlacement, *, ran: int, waited: int) -> list[tuple[int, list[int]]]:
        """Let time pass until the next check, in which each process ran and waited so long; return the moves."""
        self.now = placement.next_check_s
        self.times = {pid: (a + ran, b + waited) for pid, (a, b) in self.times.items()}
        self.places = []
        placement.check()
        return self.places


def test_a_quiet_machine_is_left_alone() -> None:
    kernel = FakeKernel()
    placement = kernel.placement()
    for _ in range(20):
        assert kernel.go_on(placement, ran=100 * MS, waited=10 * MS) == []
    assert abs(kernel.now - 20 * CHECK_EVERY_S) < 1e-9


def test_runners_roam_while_crowded_and_come_back() -> None:
    kernel = FakeKernel()
    placement = kernel.placement()
    pauses = []
    for _ in range(8):
        assert kernel.go_on(placement, ran=60 * MS, waited=60 * MS) == [(1, [0, 1]), (2, [0, 1])]
        pauses.append(placement.next_check_s - kernel.now)
        assert kernel.go_on(placement, ran=60 * MS, waited=60 * MS) == [(1, [0]), (2, [1])]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert kernel.go_on(placement, ran=60 * MS, waited=0) == []
    kernel.go_on(placement, ran=60 * MS, waited=60 * MS)
    assert placement.next_check_s - kernel.now == 1


def test_idle_runners_prove_nothing() -> None:
    kernel = FakeKernel()
    placement = kernel.placement()
    for _ in range(4):
        assert kernel.go_on(placement, ran=MS, waited=MS) == []
    assert kernel.go_on(placement, ran=MS, waited=MS) != [], "evidence adds up until it suffices"


def test_a_kernel_that_tells_nothing_is_not_asked_again() -> None:
    placement = CorePlacement([1], [[0]], [0, 1], read_times=lambda pid: None)
    assert placement.next_check_s == float("inf")


def test_the_kernel_tells_of_this_process() -> None:
    first = read_run_and_wait(os.getpid())
    end = thread_time() + 0.03  # the kernel counts when a time slice or a tick ends
    while thread_time() < end:
        pass
    second = read_run_and_wait(os.getpid())
    if first is not None and second is not None:
        assert second[0] > first[0] and second[1] >= first[1]
    assert read_run_and_wait(2**22 + 1) is None


def test_cores_are_divided_without_overlap() -> None:
    cores = usable_cores()
    for runners in range(1, len(cores) + 1):
        shares = spread_cores(runners)
        assert sorted(core for share in shares for core in share) == cores
        assert all(shares)
    assert spread_cores(len(cores) + 1) == [[]] * (len(cores) + 1)
    assert all(len(share) == 1 for share in spread_cores(3 * len(cores), one_each=True))
