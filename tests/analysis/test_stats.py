"""Intervals cover, tiny samples are told apart from large ones, and "cannot tell" is an answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from paceline.analysis.stats import (
    Estimate,
    Interval,
    coefficient_of_variation,
    distinguishable,
    estimate_median,
    estimate_ratio,
    interquartile_mean,
    median,
    order,
    quartiles,
)
from paceline.errors import RequestError

samples = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30)


@given(values=samples)
def test_centres_agree_with_scipy_and_numpy(values: list[float]) -> None:
    assert median(values) == pytest.approx(np.median(values))
    assert quartiles(values)[1] == pytest.approx(np.median(values))
    assert quartiles(values)[2] - quartiles(values)[0] == pytest.approx(scipy_stats.iqr(values), rel=1e-6, abs=1e-6)
    assert min(values) * (1 - 1e-9) <= interquartile_mean(values) <= max(values) * (1 + 1e-9)


def test_interquartile_mean_is_the_trimmed_mean_where_quarters_are_whole() -> None:
    values = np.random.default_rng(0).lognormal(size=40)
    assert interquartile_mean(list(values)) == pytest.approx(scipy_stats.trim_mean(values, 0.25))


def test_interquartile_mean_counts_edge_samples_in_part() -> None:
    # n = 5: the middle half is 2.5 samples wide: three quarters of the 2nd and 4th, all of the 3rd.
    assert interquartile_mean([100, 1, 2, 4, -50]) == pytest.approx((0.75 * 1 + 2 + 0.75 * 4) / 2.5)


def test_coefficient_of_variation() -> None:
    assert coefficient_of_variation([9.0, 11.0]) == pytest.approx(math.sqrt(2) / 10)
    assert coefficient_of_variation([9.0]) is None
    assert coefficient_of_variation([-1.0, 1.0]) is None


@pytest.mark.parametrize("count", [1, 2])
def test_no_interval_below_three_samples(count: int) -> None:
    estimate = estimate_median([1.0] * count)
    assert estimate.interval is None
    assert estimate.reason == f"{count} sample{'s' * (count > 1)}, an interval needs 3"


@pytest.mark.parametrize(("count", "confidence"), [(3, 0.75), (4, 0.875), (5, 0.9375), (6, 0.95), (50, 0.95)])
def test_few_samples_claim_no_more_than_their_range_covers(count: int, confidence: float) -> None:
    values = list(np.linspace(1, 2, count))
    estimate = estimate_median(values)
    assert estimate.interval is not None
    assert estimate.interval.confidence == confidence
    assert bool(estimate.reason) == (count < 6)
    if count < 6:
        assert (estimate.interval.low, estimate.interval.high) == pytest.approx((1.0, 2.0), abs=0.02)


@pytest.mark.parametrize("count", [3, 5, 8, 20])
def test_intervals_cover_the_true_median_as_often_as_they_claim(count: int) -> None:
    rng = np.random.default_rng(count)
    intervals = [estimate_median(list(rng.lognormal(sigma=0.3, size=count))).interval for _ in range(200)]
    covered = np.mean([interval.contains(1.0) for interval in intervals])
    claimed = intervals[0].confidence
    assert covered >= claimed - 3 * math.sqrt(claimed * (1 - claimed) / 200)


def test_the_same_samples_give_the_same_interval() -> None:
    values = list(np.random.default_rng(1).normal(100, 5, 12))
    assert estimate_median(values) == estimate_median(values)


def test_runs_that_differ_widen_the_interval() -> None:
    """Two steady runs at different speeds are not ten samples of one speed."""
    first, second = [100.0, 101, 99, 100, 102], [120.0, 121, 119, 120, 122]
    two_levels = estimate_median(first, second).interval
    assert two_levels is not None
    assert two_levels.low <= 101 and two_levels.high >= 119


def test_two_levels_agree_with_a_plain_loop() -> None:
    groups = [[1.0, 2.0, 3.0], [4.0, 5.0], [2.0, 2.5, 6.0, 7.0]]
    rng = np.random.default_rng(5)
    medians = []
    for _ in range(4000):
        drawn = [rng.choice(groups[pick], len(groups[pick])) for pick in rng.integers(0, 3, 3)]
        medians.append(np.median(np.concatenate(drawn)))
    tail = scipy_stats.norm.cdf(-math.sqrt(9 / 8) * scipy_stats.t.ppf(0.975, 8))
    interval = estimate_median(*groups).interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(medians, [tail, 1 - tail])), abs=0.5)


@given(values=st.lists(st.floats(0.5, 100), min_size=1, max_size=12), scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_estimates_hold_their_value_and_scale_with_the_data(values: list[float], scale: float) -> None:
    estimate, scaled = estimate_median(values), estimate_median([scale * value for value in values])
    assert scaled.value == pytest.approx(scale * estimate.value)
    if estimate.interval and scaled.interval:
        assert estimate.interval.contains(estimate.value)
        assert min(values) <= estimate.interval.low <= estimate.interval.high <= max(values)
        assert scaled.interval.low == pytest.approx(scale * estimate.interval.low)


def test_ratio_of_a_faster_run() -> None:
    rng = np.random.default_rng(0)
    slow, fast = list(rng.normal(100, 2, 10)), list(rng.normal(200, 4, 10))
    ratio = estimate_ratio([fast], [slow])
    assert ratio.value == pytest.approx(2.0, rel=0.03)
    assert ratio.interval is not None and ratio.interval.contains(2.0)
    assert order(ratio) == "higher"
    assert order(estimate_ratio([slow], [fast])) == "lower"


def test_ratio_needs_enough_on_both_sides() -> None:
    assert estimate_ratio([[1.0, 1.1, 1.2]], [[1.0]]).interval is None


def test_ratio_refuses_empty_measurements() -> None:
    with pytest.raises(RequestError, match="positive"):
        estimate_ratio([[1.0, 0.0]], [[1.0]])


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [(1.1, 1.3, "higher"), (0.7, 0.9, "lower"), (0.98, 1.02, "same"), (1.005, 1.02, "same"), (0.9, 1.2, "cannot tell"),
     (0.95, 1.01, "cannot tell")],
)  # fmt: skip
def test_order(low: float, high: float, answer: str) -> None:
    assert order(Estimate((low + high) / 2, Interval(low, high))) == answer


def test_order_without_interval_cannot_tell() -> None:
    assert order(Estimate(5.0)) == "cannot tell"


def test_distinguishable() -> None:
    low, high = Estimate(1, Interval(0.9, 1.1)), Estimate(2, Interval(1.9, 2.1))
    assert distinguishable(low, high) is True
    assert distinguishable(low, Estimate(1.05, Interval(1.0, 1.2))) is False
    assert distinguishable(low, Estimate(5)) is None


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_no_figure_is_made_of_nothing(values: list[float]) -> None:
    for figure in (median, quartiles, interquartile_mean, coefficient_of_variation, estimate_median):
        with pytest.raises(RequestError, match="expected"):
            figure(values)
