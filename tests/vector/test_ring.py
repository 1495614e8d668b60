"""Two ends of a ring over the same cells: what is put comes out, in order, whatever the counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.vector.ring import Ring

SIZE = 16


@settings(max_examples=80, deadline=None)
@given(puts=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=SIZE), max_size=12), as_array=st.booleans())
def test_what_is_put_is_taken_in_order(puts: list[list[int]], as_array: bool) -> None:
    cells = np.zeros(SIZE, np.int32)
    writer, reader = Ring(cells), Ring(cells)
    for ids in puts:
        given_ids: Any = np.array(ids, np.int64) if as_array else ids
        writer.put(given_ids)
        cut = len(ids) // 2  # signals may be read one by one, or added up
        assert (reader.take(cut) if cut else []) + reader.take(len(ids) - cut) == ids


@pytest.mark.parametrize("before", [0, 5])
def test_after_a_rewind_both_sides_begin_anew(before: int) -> None:
    cells = np.zeros(SIZE, np.int32)
    writer, reader = Ring(cells), Ring(cells)
    for _ in range(before):
        writer.put([1])
    writer.rewind()
    writer.put([7, 8])
    assert reader.take(2) == [7, 8]
