from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.analysis.crossover import (
    Crossing,
    Leaders,
    all_crossings,
    compare,
    contests,
    crossings,
    joined,
    leader_sentences,
    leaders,
    paired_ratio,
    sizes_text,
)

QUIET = (1.0, 1.002, 0.998, 1.001, 0.999, 1.0)
STORMY = (1.0, 0.3, 0.5, 0.8, 0.2, 0.6)
"""What the machine's other programs leave, round by round."""


def rounds(speed: float, noise: tuple[float, ...] = QUIET) -> dict[int, float]:
    return {number: speed * factor for number, factor in enumerate(noise)}


def curve(*points: tuple[int, float]) -> dict[int, dict[int, float]]:
    return {size: rounds(speed) for size, speed in points}


def test_two_power_laws_cross_where_they_are_equal() -> None:
    sizes = (1, 10, 100, 1000)
    flat = curve(*((n, 1000.0) for n in sizes))
    rising = curve(*((n, 200.0 * math.sqrt(n)) for n in sizes))  # 200 sqrt(25) = 1000
    (found,) = crossings("flat", flat, "rising", rising)
    assert (found.winner, found.loser, found.low, found.high) == ("rising", "flat", 10, 100)
    assert found.at == pytest.approx(25.0)
    assert found.text == "rising overtakes flat at about 25 environments (measured: between 10 and 100)"


@given(
    st.lists(st.floats(0.05, 3) | st.floats(-3, -0.05), min_size=2, max_size=6),
    st.floats(0.1, 1e5),
)
def test_crossings_do_not_depend_on_who_is_named_first_or_on_the_unit(logs: list[float], unit: float) -> None:
    one = curve(*((4**k, 100.0 * math.exp(value)) for k, value in enumerate(logs)))
    other = curve(*((4**k, 100.0) for k in range(len(logs))))
    scaled = curve(*((4**k, unit) for k in range(len(logs))))
    scaled_one = curve(*((4**k, unit * math.exp(value)) for k, value in enumerate(logs)))
    found = crossings("one", one, "other", other)
    named_last = crossings("other", other, "one", one)
    assert [(item.winner, item.low) for item in found] == [(item.winner, item.low) for item in named_last]
    assert len(found) == sum((a < 0) != (b < 0) for a, b in itertools.pairwise(logs))
    for crossing, again in zip(found, crossings("one", scaled_one, "other", scaled), strict=True):
        assert crossing.low < crossing.at < crossing.high
        assert again.at == pytest.approx(crossing.at, rel=1e-6)


def test_what_hits_both_in_a_round_does_not_blur_their_ratio() -> None:
    slow, quick = rounds(100.0, STORMY), rounds(110.0, STORMY)
    assert compare(quick, slow) == "higher"
    ratio = paired_ratio(quick, slow)
    assert ratio is not None and ratio.value == pytest.approx(1.1)
    shuffled = dict(enumerate(reversed(list(quick.values()))))
    assert compare(shuffled, slow) == "cannot tell"


def test_rounds_that_only_one_has_do_not_count() -> None:
    assert paired_ratio({0: 5.0, 1: 9.0}, {1: 3.0, 2: 1.0}).value == 3.0  # type: ignore[union-attr]
    assert paired_ratio({0: 5.0}, {1: 3.0}) is None
    assert compare({0: 5.0}, {1: 3.0}) == "cannot tell"


def test_sizes_at_which_it_cannot_be_told_lie_inside_the_crossing() -> None:
    flat = {**curve((1, 100.0), (64, 100.0)), 8: rounds(100.0, STORMY)}
    rising = {**curve((1, 20.0), (64, 300.0)), 8: rounds(99.0, tuple(reversed(STORMY)))}
    (found,) = crossings("flat", flat, "rising", rising)
    assert (found.low, found.high, found.undecided) == (1, 64, (8,))
    assert 1 < found.at < 64
    assert "cannot be told at 8" in found.text


def test_neighbouring_sizes_leave_nothing_to_estimate() -> None:
    assert Crossing("b", "a", 3, 4, 3.5).text == "b overtakes a at 4 environments"


@pytest.mark.parametrize(("at", "said"), [(1.0, 2), (1.2, 2), (5.01, 5), (19.9, 20)])
def test_the_estimate_is_told_as_a_number_of_environments_inside_the_bounds(at: float, said: int) -> None:
    assert f"at about {said} environments" in Crossing("b", "a", 1, 20, at).text


def test_never_crossing_is_no_crossing() -> None:
    one, other = curve((1, 10.0), (8, 20.0)), curve((1, 5.0), (8, 6.0))
    assert all_crossings({"one": one, "other": other}) == []
    assert leader_sentences(leaders({"one": one, "other": other})) == ["one is fastest at every size measured"]


def test_every_two_executions_are_compared_once_or_once_a_crossing() -> None:
    curves = {
        "a": curve((1, 100.0), (4, 100.0), (16, 100.0)),
        "b": curve((1, 50.0), (4, 200.0), (16, 80.0)),
        "c": curve((1, 10.0), (4, 20.0), (16, 25.0)),
        "d": {size: rounds(speed, STORMY[::-1]) for size, speed in ((1, 100.0), (4, 100.0), (16, 100.0))},
    }
    curves["a"][4] = rounds(100.0, STORMY)
    found = {(item.faster, item.slower, item.size): item for item in contests(curves)}
    assert {key for key, item in found.items() if item.crossing} >= {("a", "b", 16)}
    again = found["a", "b", 16]
    assert again.crossing is not None and again.ratio.value == pytest.approx(100 / 80)
    ahead = found["a", "c", 16]
    assert ahead.crossing is None and ahead.decided and ahead.ratio.value == pytest.approx(4.0)
    untold = next(item for item in found.values() if {item.faster, item.slower} == {"a", "d"})
    assert not untold.decided and untold.undecided == (1, 4, 16)
    assert contests({"a": curves["a"]}) == [] == contests({"a": curve((1, 1.0)), "b": curve((2, 1.0))})


def test_leaders_are_those_that_cannot_be_told_from_the_fastest() -> None:
    curves = {
        "quick": curve((1, 100.0), (8, 100.0)),
        "alike": curve((1, 99.9), (8, 50.0)),
        "slow": curve((1, 10.0), (8, 10.0), (64, 10.0)),
    }
    found = leaders(curves)
    assert found == [Leaders(1, ("quick", "alike")), Leaders(8, ("quick",)), Leaders(64, ("slow",))]
    assert leader_sentences(found) == [
        "cannot tell quick and alike apart at 1 environment",
        "quick is fastest at 8 environments",
        "slow is fastest at 64 environments",
    ]


def test_crossings_come_in_order_of_size() -> None:
    curves = {
        "a": curve((1, 100.0), (4, 100.0), (16, 100.0)),
        "b": curve((1, 50.0), (4, 80.0), (16, 400.0)),
        "c": curve((1, 90.0), (4, 200.0), (16, 300.0)),
    }
    found = all_crossings(curves)
    assert [(item.winner, item.loser) for item in found] == [("c", "a"), ("b", "a"), ("b", "c")]
    assert [item.at for item in found] == sorted(item.at for item in found)


def test_words() -> None:
    assert [joined(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert [sizes_text(sizes) for sizes in ([1], [8], [8, 2000])] == [
        "1 environment", "8 environments", "8 to 2,000 environments",
    ]  # fmt: skip
