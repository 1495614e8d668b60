"""Statistics over seeds, against SciPy, brute force and known distributions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from paceline.analysis.over_seeds import (
    MOST_EXCHANGES,
    estimate_iqm,
    exchange_probability,
    iqm_band,
    midranks,
    probability_of_improvement,
)
from paceline.errors import RequestError

scores = st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0, 10.0]) | st.floats(-100, 100), min_size=1, max_size=12)


@settings(deadline=None)  # the first example imports a part of SciPy
@given(values=scores)
def test_the_interquartile_mean_is_scipys_trimmed_mean_with_whole_quarters(values: list[float]) -> None:
    # Repeating every sample four times makes quarters whole, and changes nothing of the distribution.
    expected = scipy_stats.trim_mean(np.repeat(values, 4), 0.25)
    assert estimate_iqm(values).value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    if len(values) % 4 == 0:
        assert estimate_iqm(values).value == pytest.approx(scipy_stats.trim_mean(values, 0.25), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("count", "said"), [(1, "1 seed"), (2, "2 seeds"), (3, "3 seeds"), (5, "5 seeds")])
def test_too_few_seeds_for_95_per_cent_have_no_interval(count: int, said: str) -> None:
    estimate = estimate_iqm([450.0] * count)
    reason = f"{said}, a 95% interval needs 6"
    assert (estimate.value, estimate.interval, estimate.reason, estimate.count) == (450.0, None, reason, count)


@pytest.mark.parametrize("count", [6, 30])
def test_six_seeds_have_one_and_its_confidence_is_95(count: int) -> None:
    estimate = estimate_iqm(list(range(count)))
    assert estimate.interval is not None and estimate.interval.confidence == 0.95 and estimate.reason == ""


def test_the_band_of_few_seeds_is_their_range_and_the_interval_of_many_the_bootstraps() -> None:
    few = iqm_band(np.array([[400.0], [420.0], [500.0]]), resamples=2000)
    assert (few[0, 0], few[2, 0]) == pytest.approx((400.0, 500.0))
    values = np.random.default_rng(0).normal(100, 15, 200)
    bounds = estimate_iqm(values.tolist()).interval
    oracle = scipy_stats.bootstrap(
        (values,), lambda drawn, axis: scipy_stats.trim_mean(drawn, 0.25, axis=axis), method="percentile",
        n_resamples=4000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert bounds is not None
    assert (bounds.low, bounds.high) == pytest.approx((oracle.low, oracle.high), abs=0.5)


def test_a_band_is_the_interval_of_every_point() -> None:
    curves = np.random.default_rng(0).normal(0, 1, (7, 5)) + np.arange(5)
    low, centre, high = iqm_band(curves, resamples=2000)
    for point in range(5):
        estimate = estimate_iqm(curves[:, point].tolist())
        assert centre[point] == pytest.approx(estimate.value)
        assert estimate.interval is not None
        assert (low[point], high[point]) == pytest.approx((estimate.interval.low, estimate.interval.high))
    assert np.isnan(iqm_band(curves[:2])[[0, 2]]).all()


def brute_force(ours: list[float], theirs: list[float]) -> float:
    return sum((x > y) + 0.5 * (x == y) for x in ours for y in theirs) / (len(ours) * len(theirs))


@settings(deadline=None)
@given(ours=scores, theirs=scores)
def test_the_probability_of_improvement_by_brute_force_and_by_mann_whitney(
    ours: list[float], theirs: list[float]
) -> None:
    estimate = probability_of_improvement(ours, theirs)
    assert estimate.value == pytest.approx(brute_force(ours, theirs))
    statistic = scipy_stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic
    assert estimate.value == pytest.approx(statistic / (len(ours) * len(theirs)))
    if estimate.interval:
        assert 0.0 <= estimate.interval.low <= estimate.value <= estimate.interval.high <= 1.0


def test_each_side_is_resampled_within_itself() -> None:
    """With one stratum for both, scores of one side would cross over, and the interval leave [1, 1]."""
    far = probability_of_improvement([10.0, 11, 12, 13, 14], [1.0, 2, 3, 4, 5]).interval
    assert far is not None and (far.low, far.high) == (1.0, 1.0)
    ours, theirs = [1.0, 2.0, 3.0, 1.2], [1.5, 2.5, 0.5, 0.7]
    draws = itertools.product(itertools.product(ours, repeat=4), itertools.product(theirs, repeat=4))
    exact = np.array([brute_force(list(x), list(y)) for x, y in draws])
    bounds = probability_of_improvement(ours, theirs).interval
    assert bounds is not None
    assert (bounds.low, bounds.high) == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])), abs=0.06)


def test_no_more_is_claimed_than_so_few_seeds_can_say() -> None:
    cases = [
        ([1.0], [2.0], "1 seed each, a 95% interval needs 4"),
        ([4.0, 5, 6], [1.0, 2, 3], "3 seeds each, a 95% interval needs 4"),
        ([4.0, 5, 6], [1.0, 2, 3, 3.5], "3 and 4 seeds, a 95% interval needs 4 each"),
        ([4.0, 5], [float(x) for x in range(20)], "2 and 20 seeds, a 95% interval needs 4 each"),
    ]
    for ours, theirs, reason in cases:
        few = probability_of_improvement(ours, theirs)
        assert (few.interval, few.reason) == (None, reason)
    assert probability_of_improvement([4.0, 5, 6], [1.0, 2, 3, 3.5, 3.6]).interval is not None, "96% by themselves"
    four = probability_of_improvement([5.0, 6, 7, 8], [1.0, 2, 3, 4])
    assert four.interval is not None and four.interval.confidence == 0.95 and four.reason == ""


@settings(deadline=None)
@given(
    ours=st.lists(st.integers(0, 6), min_size=1, max_size=5), theirs=st.lists(st.integers(0, 6), min_size=1, max_size=5)
)
def test_the_exchange_probability_by_brute_force(ours: list[int], theirs: list[int]) -> None:
    pooled, n = [float(value) for value in (*ours, *theirs)], len(ours)
    seen = abs(brute_force(pooled[:n], pooled[n:]) - 0.5)
    ways = [
        abs(brute_force([pooled[i] for i in taken], [pooled[i] for i in range(len(pooled)) if i not in taken]) - 0.5)
        for taken in itertools.combinations(range(len(pooled)), n)
    ]
    expected = sum(way >= seen - 1e-12 for way in ways) / len(ways)
    assert exchange_probability(pooled[:n], pooled[n:]) == pytest.approx(expected)


def test_many_seeds_are_exchanged_at_random() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.5, 1, 20), rng.normal(0, 1, 20)
    assert math.comb(40, 20) > MOST_EXCHANGES
    exact = scipy_stats.mannwhitneyu(ours, theirs, method="exact").pvalue
    assert exchange_probability(ours.tolist(), theirs.tolist()) == pytest.approx(exact, abs=0.02)
    assert exchange_probability([9.0] * 20, [1.0] * 20) == pytest.approx(1 / MOST_EXCHANGES)
    assert exchange_probability([500.0] * 5, [500.0] * 5) == 1.0


@given(values=scores)
def test_midranks_are_scipys(values: list[float]) -> None:
    assert midranks(np.array(values)).tolist() == scipy_stats.rankdata(values).tolist()


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_no_figure_is_made_of_nothing(values: list[float]) -> None:
    for call in (
        estimate_iqm,
        lambda v: probability_of_improvement(v, [1.0]),
        lambda v: exchange_probability([1.0], v),
    ):
        with pytest.raises(RequestError, match="expected one finite figure per seed"):
            call(values)
