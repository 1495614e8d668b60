"""What follows from the indices of a batch, against NumPy's own way to say it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.vector.selection import _MOST_KEPT, Selection, Selections

N = 12
SUBSETS = st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True)


@settings(max_examples=60, deadline=None)
@given(ids=SUBSETS)
def test_rows_and_order_bring_a_callers_rows_to_their_environments(ids: list[int]) -> None:
    chosen = Selection(np.array(ids, np.int64))
    assert chosen.ids.tolist() == sorted(ids) and len(chosen) == len(ids)
    target = np.full(N, -1)
    source = np.array(ids)  # each environment's own index
    target[chosen.rows] = source if chosen.order is None else source[chosen.order]
    assert [int(target[i]) for i in ids] == ids
    assert np.count_nonzero(target >= 0) == len(ids)


@settings(max_examples=60, deadline=None)
@given(ids=SUBSETS, cuts=st.sets(st.integers(1, N - 1)))
def test_parts_are_the_runners_that_hold_them(ids: list[int], cuts: set[int]) -> None:
    starts = np.array([0, *sorted(cuts)])
    parts = Selection(np.array(ids, np.int64)).parts(starts)
    stops = [*starts[1:].tolist(), N]
    expected = [
        (slot, sorted(i for i in ids if start <= i < stop))
        for slot, (start, stop) in enumerate(zip(starts.tolist(), stops, strict=True))
    ]
    assert [(part.slot, part.ids.tolist()) for part in parts] == [item for item in expected if item[1]]
    assert all(part.members == set(part.ids.tolist()) for part in parts)


@pytest.mark.parametrize(("ids", "is_slice"), [([3], True), ([3, 4, 5], True), ([5, 3, 4], True), ([3, 5], False)])
def test_neighbours_are_a_slice(ids: list[int], is_slice: bool) -> None:
    assert isinstance(Selection(np.array(ids, np.int64)).rows, slice) == is_slice


def test_a_selection_keeps_its_indices_whatever_becomes_of_the_callers() -> None:
    given_ids = np.array([1, 2], np.int64)
    chosen = Selections().keep(given_ids)
    given_ids[:] = 7
    assert chosen.ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        chosen.ids[0] = 3


def test_what_was_worked_out_comes_back_and_orders_differ() -> None:
    known = Selections()
    there, back = np.array([1, 2], np.int64), np.array([2, 1], np.int64)
    assert known.find(there) is None
    first = known.keep(there)
    assert known.find(there.copy()) is first and known.keep(there) is first
    assert known.find(back) is None
    assert known.keep(back) is not first


def test_no_more_are_kept_than_there_is_room_for() -> None:
    known = Selections()
    for index in range(_MOST_KEPT + 5):
        known.keep(np.array([index], np.int64))
    assert len(known._known) <= _MOST_KEPT
    assert known.find(np.array([_MOST_KEPT + 4], np.int64)) is not None
