"""The account of steps between ``send`` and ``recv``, against a model in plain lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paceline.errors import RequestError
from paceline.vector.flight import Flight

N = 5
SUBSETS = st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True)


class FlightMachine(RuleBasedStateMachine):
    """Any order of calls: ``under_way`` and ``ready`` are what the account should hold, the latter in order."""

    def __init__(self) -> None:
        super().__init__()
        self.flight = Flight(N)
        self.under_way: list[int] = []
        self.ready: list[int] = []

    @rule(ids=SUBSETS)
    def send(self, ids: list[int]) -> None:
        checked = self.flight.select(ids)
        if set(ids) & {*self.under_way, *self.ready}:
            with pytest.raises(RequestError, match="expected recv after send"):
                self.flight.check_sendable(checked)
            return
        self.flight.check_sendable(checked)
        started = self.flight.start(checked, together=False)
        assert started is not None and started.ids.tolist() == sorted(ids)
        self.under_way += ids

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def arrive(self, data: Any) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.under_way), min_size=1, unique=True))
        self.flight.arrive(ids)
        self.ready += ids
        self.under_way = [i for i in self.under_way if i not in ids]

    @precondition(lambda self: self.under_way or self.ready)
    @rule(batch_size=st.integers(1, N))
    def take_the_first(self, batch_size: int) -> None:
        complete = len(self.ready) >= min(batch_size, len(self.ready) + len(self.under_way))
        assert self.flight.has(None, batch_size) == complete
        if complete:
            assert self.flight.take(None, batch_size).ids.tolist() == sorted(self.ready[:batch_size])
            self.ready = self.ready[batch_size:]

    @rule(ids=SUBSETS)
    def take_these(self, ids: list[int]) -> None:
        if not set(ids) <= {*self.under_way, *self.ready}:
            with pytest.raises(RequestError, match="expected send before recv"):
                self.flight.select(ids, under_way=True)
            return
        wanted = self.flight.select(ids, under_way=True)
        assert self.flight.has(wanted, 1) == (set(ids) <= set(self.ready))
        if self.flight.has(wanted, 1):
            assert self.flight.take(wanted, 1).ids.tolist() == sorted(ids)
            self.ready = [i for i in self.ready if i not in ids]

    @rule()
    def clear(self) -> None:
        self.flight.clear()
        self.under_way, self.ready = [], []

    @invariant()
    def agrees(self) -> None:
        assert self.flight.num_out == len(self.under_way) + len(self.ready)
        assert self.flight.under_way(range(1, 4)).tolist() == sorted(i for i in self.under_way if 1 <= i < 4)
        assert [self.flight.steps_out(i) for i in range(N)] == [i in {*self.under_way, *self.ready} for i in range(N)]
        assert [self.flight.steps_out(i, ready=True) for i in range(N)] == [i in self.ready for i in range(N)]


TestFlight = FlightMachine.TestCase
TestFlight.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_all_together_are_one_step() -> None:
    flight = Flight(3)
    assert flight.start(None, together=True) is None and flight.num_out == 3
    for refused in (lambda: flight.check_sendable(None), lambda: flight.check_idle(None, "reset")):
        with pytest.raises(RequestError, match="under way"):
            refused()
    assert flight.under_way(range(1, 3)).tolist() == [1, 2]
    assert (flight.steps_out(0), flight.steps_out(0, ready=True)) == (1, 0)
    flight.finish_together()
    assert flight.num_out == 0 and flight.last is None
    flight.check_sendable(None)


def test_a_rest_of_neighbours_may_be_reset_meanwhile() -> None:
    flight = Flight(3)
    flight.start(flight.select([1]), together=False)
    flight.check_idle(np.array([True, False, True]), "reset")
    with pytest.raises(RequestError, match="got reset while steps are under way"):
        flight.check_idle(np.array([False, True, False]), "reset")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "list of integers"),
        ([[0]], "list of integers"),
        ([0.0], "list of integers"),
        ([True], "list of integers"),
        (0, "list of integers"),
        ([3], "from 0 to 2"),
        ([-1], "from 0 to 2"),
        ([1, 1], "distinct"),
        (np.array([2**63], np.uint64), "from 0 to 2"),
        (list(range(10_000)), r"got \[0, 1, .*\.\.\.;"),
    ],
)
def test_indices_that_name_no_environments_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Flight(3).select(ids)
