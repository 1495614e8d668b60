"""The account of CPU time against a simulated process tree whose true total is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.measure.cpu_account import CpuAccount, ProcessSample

ROOT = 1


@dataclass
class Tree:
    """Processes that burn, fork and die; every second ever burnt is in ``burnt``."""

    own: dict[int, float] = field(default_factory=lambda: {ROOT: 0.0})
    reaped: dict[int, float] = field(default_factory=lambda: {ROOT: 0.0})
    parent: dict[int, int] = field(default_factory=lambda: {ROOT: 0})
    next_pid: int = 2
    burnt: float = 0.0

    def burn(self, pid: int, seconds: float) -> None:
        self.own[pid] += seconds
        self.burnt += seconds

    def fork(self, pid: int) -> int:
        child, self.next_pid = self.next_pid, self.next_pid + 1
        self.own[child] = self.reaped[child] = 0.0
        self.parent[child] = pid
        return child

    def die(self, pid: int) -> None:
        """End ``pid`` and its descendants, youngest first, each reaped by its parent."""
        for child in [child for child, parent in self.parent.items() if parent == pid]:
            self.die(child)
        self.reaped[self.parent[pid]] += self.own.pop(pid) + self.reaped.pop(pid)
        del self.parent[pid]

    def samples(self) -> list[ProcessSample]:
        return [ProcessSample(pid, 0.0, self.parent[pid], self.own[pid], self.reaped[pid], 0) for pid in self.own]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["burn", "fork", "die", "look"]), st.integers(0, 50), st.integers(1, 1000)), max_size=60
)


@settings(max_examples=200, deadline=None)
@given(ACTIONS)
def test_every_second_is_booked_exactly_once_whoever_dies(actions: list[tuple[str, int, int]]) -> None:
    tree, account = Tree(), CpuAccount()
    account.update(tree.samples())
    for action, choice, amount in actions:
        pids = sorted(tree.own)
        pid = pids[choice % len(pids)]
        if action == "burn":
            tree.burn(pid, amount / 100)
        elif action == "fork":
            tree.fork(pid)
        elif action == "die" and pid != ROOT:
            tree.die(pid)
        elif action == "look":
            account.update(tree.samples())
            assert account.total_s == pytest.approx(tree.burnt)
    account.update(tree.samples())
    assert account.total_s == pytest.approx(tree.burnt)


def test_what_was_used_before_the_first_look_is_not_booked() -> None:
    account = CpuAccount()
    account.update([ProcessSample(ROOT, 0.0, 0, 100.0, 50.0, 0)])
    assert account.total_s == 0.0


def test_a_child_that_nobody_reaps_loses_its_last_moments_only() -> None:
    account = CpuAccount()
    root = ProcessSample(ROOT, 0.0, 0, 0.0, 0.0, 0)
    account.update([root])
    account.update([root, ProcessSample(2, 0.0, ROOT, 3.0, 0.0, 0)])
    account.update([root])
    assert account.total_s == 3.0


def test_a_recycled_pid_is_another_process() -> None:
    account = CpuAccount()
    account.update([ProcessSample(ROOT, 0.0, 0, 0.0, 0.0, 0), ProcessSample(2, 1.0, ROOT, 5.0, 0.0, 0)])
    account.update([ProcessSample(ROOT, 0.0, 0, 0.0, 6.0, 0), ProcessSample(2, 2.0, ROOT, 0.5, 0.0, 0)])
    assert account.total_s == pytest.approx(1.5)  # the old one's last second, the new one's half
