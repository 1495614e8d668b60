from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.report.geometry import Anchor, Box, Scale, nice_ticks, place_labels, power_of_two_ticks

FRAME = Box(0, 0, 400, 300)
COORDINATE = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


@given(COORDINATE, st.floats(min_value=1e-6, max_value=1e9))
def test_nice_ticks_cover_the_range_in_equal_steps(low: float, span: float) -> None:
    high = low + span
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1.0)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert 1 <= len(steps) <= 13
    assert max(steps) == pytest.approx(min(steps), rel=1e-3, abs=slack)


def test_nice_ticks_of_a_single_value_make_a_range() -> None:
    ticks = nice_ticks(3.0, 3.0)
    assert ticks[0] <= 3.0 < ticks[-1]


@given(st.integers(min_value=1, max_value=10_000), st.integers(min_value=0, max_value=10_000))
def test_powers_of_two_cover_the_range(low: int, more: int) -> None:
    ticks = power_of_two_ticks(low, low + more)
    assert ticks[0] <= low
    assert ticks[-1] >= low + more
    assert 2 <= len(ticks) <= 9


def test_a_log_scale_gives_each_doubling_the_same_room() -> None:
    scale = Scale(1, 16, 0.0, 100.0, log=True)
    assert [scale(value) for value in (1, 2, 4, 8, 16)] == pytest.approx([0, 25, 50, 75, 100])


@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(5, 120), st.floats(8, 20)), min_size=1, max_size=30
    )
)
def test_placed_labels_overlap_nothing_and_stay_in_the_frame(points: list[tuple[float, float, float, float]]) -> None:
    anchors = [Anchor(*point) for point in points]
    boxes = [box for box in place_labels(anchors, FRAME) if box is not None]
    assert all(box.inside(FRAME) for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for box in boxes:
        assert not any(box.x0 < a.x < box.x1 and box.y0 < a.y < box.y1 for a in anchors)


def test_a_lone_label_is_always_placed() -> None:
    corners = [(0, 0), (400, 0), (0, 300), (400, 300), (200, 150)]
    assert all(place_labels([Anchor(x, y, 60, 12)], FRAME)[0] is not None for x, y in corners)
