from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.report import formats

FINITE = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0 s"),
        (3.4e-4, "340 us"),
        (0.0125, "12.5 ms"),
        (2.891, "2.89 s"),
        (59.99, "60.0 s"),
        (200.0, "3 min 20 s"),
        (3900.0, "1 h 05 min"),
        (3599.6, "1 h 00 min"),
        (None, formats.MISSING),
        (math.nan, formats.MISSING),
    ],
)
def test_seconds_take_their_natural_unit(value: float | None, written: str) -> None:
    assert formats.seconds(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(950, "950"), (999.6, "1k"), (7455, "7.5k"), (16384, "16.4k"), (1e6, "1M"), (2.5e9, "2.5G")]
)
def test_compact_numbers(value: float, written: str) -> None:
    assert formats.compact(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(512, "512 B"), (2048, "2.00 KiB"), (int(2.4 * 2**30), "2.40 GiB"), (None, formats.MISSING)]
)
def test_bytes_are_binary(value: float | None, written: str) -> None:
    assert formats.size_bytes(value) == written


def test_percent_and_times() -> None:
    assert formats.percent(0.338) == "33.8%"
    assert formats.percent(math.inf) == formats.MISSING
    assert formats.times(5.409) == "5.41x"


@given(FINITE.filter(lambda value: abs(value) >= 1e-6))
def test_significant_digits_keep_the_value_to_one_part_in_two_hundred(value: float) -> None:
    assert float(formats.significant(value).replace(",", "")) == pytest.approx(value, rel=5.01e-3)


@given(st.text(max_size=200), st.integers(min_value=1, max_value=50))
def test_one_line_has_no_control_characters_and_keeps_to_its_limit(text: str, limit: int) -> None:
    line = formats.one_line(text, limit)
    assert len(line) <= limit
    assert not any(ord(char) < 32 or ord(char) == 127 for char in line)


def test_first_sentence_does_not_break_numbers() -> None:
    assert formats.first_sentence("8x2 is 5.41x as fast. It is learner-bound.") == (
        "8x2 is 5.41x as fast.",
        "It is learner-bound.",
    )
    assert formats.first_sentence("no end") == ("no end", "")


def test_timestamps_are_told_with_their_zone_and_others_left_alone() -> None:
    assert formats.when("2026-11-20T10:40:00+00:00") == "2026-11-20 10:40 UTC"
    assert formats.when("yesterday") == "yesterday"
