"""Statistics that admit what they do not know: bootstrap intervals, robust centres, and "cannot tell".

All figures are plain floats; every random choice is seeded, so the same results give the same report.

Intervals are *expanded percentile* bootstrap intervals of the median (Hesterberg 2015, "What Teachers Should Know About
the Bootstrap", section 3.4): the percentiles are pushed outwards to what Student's t asks of n samples, which for fewer
than six samples ends at their range. The range of n samples covers the true median with probability 1 - 2^(1-n), and an
interval never claims more confidence than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paceline.errors import RequestError

MIN_SAMPLES = 3
"""Below this there is no interval: the range of two samples covers the median half of the time, as a coin does."""
FULL_SAMPLES = 6
"""From so many samples on an interval can claim 95 %: 1 - 2^(1-n)."""
RESAMPLES = 2000
CONFIDENCE = 0.95
SAME_WITHIN = 0.03
"""Ratios whose whole interval lies within this of 1 are called the same; less than this nobody chooses a plan by."""

Samples = Sequence[float]
Ordering = Literal["higher", "lower", "same", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval ``[low, high]``.

    Attributes:
        low: lower end.
        high: upper end.
        confidence: coverage it claims, e.g. 0.95; less where there are too few samples for that.
        method: how it was made (``bootstrap`` ..).
    """

    low: float
    high: float
    confidence: float = CONFIDENCE
    method: str = "expanded percentile bootstrap of the median"

    def contains(self, value: float) -> bool:
        """Return whether ``value`` lies in the interval, ends included."""
        return self.low <= value <= self.high

    def overlaps(self, other: Interval) -> bool:
        """Return whether the two intervals share a point."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A central value, its interval, and the reason where no interval can be given.

    Attributes:
        value: the central value (which one is said by whoever makes it; a median unless said otherwise).
        interval: confidence interval, or None.
        reason: why ``interval`` is None, or why it claims less than 95 % ("" where neither).
        count: number of samples behind it.
    """

    value: float
    interval: Interval | None = None
    reason: str = ""
    count: int = 1


def median(values: Samples) -> float:
    """Return the median of ``values``.

    Raises:
        RequestError: no values, or one is not finite.
    """
    return float(np.median(_checked(values)))


def quartiles(values: Samples) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile (linear interpolation).

    Raises:
        RequestError: no values, or one is not finite.
    """
    first, middle, third = np.percentile(_checked(values), [25, 50, 75])
    return float(first), float(middle), float(third)


def interquartile_mean(values: Samples) -> float:
    """Return the mean of the middle half of ``values``, the outermost quarters left out.

    Samples at the edge of the middle half count with the part of them that lies inside, so that the figure is defined
    for every n (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice").

    Raises:
        RequestError: no values, or one is not finite.
    """
    ordered = np.sort(_checked(values))
    return float(ordered @ interquartile_weights(ordered.size))


def interquartile_weights(count: int) -> NDArray[np.float64]:
    """Return the weights of ``count`` ordered samples in their interquartile mean, ``[count]``; they add up to 1."""
    edges = np.arange(count + 1) / count
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return np.asarray(weights / weights.sum())


def coefficient_of_variation(values: Samples) -> float | None:
    """Return standard deviation (n - 1) / mean as a fraction, None for fewer than two values or a mean of zero.

    Raises:
        RequestError: no values, or one is not finite.
    """
    array = _checked(values)
    mean = float(array.mean())
    if array.size < 2 or mean == 0.0:
        return None
    return float(array.std(ddof=1)) / abs(mean)


def estimate_median(*runs: Samples, seed: int = 0) -> Estimate:
    """Return the median over all samples with a bootstrap interval.

    With several runs the bootstrap has two levels, runs and then samples of a run, because samples of one run resemble
    each other more than those of another (one process, one placement of threads, one neighbour on the machine).

    Args:
        *runs: samples of each run; one run is a plain bootstrap.
        seed: seed of the resampling.

    Raises:
        RequestError: no samples, or one is not finite.
    """
    groups = [np.asarray(run, dtype=np.float64) for run in runs if len(run)]
    pooled = _checked(np.concatenate(groups) if groups else ())
    value = float(np.median(pooled))
    if pooled.size < MIN_SAMPLES:
        return Estimate(value, None, _too_few(pooled.size), int(pooled.size))
    medians = _bootstrap_medians(groups, np.random.default_rng(seed))
    return _from_resamples(value, medians, int(pooled.size))


def estimate_mean(values: Samples, *, seed: int = 0) -> Estimate:
    """Return the mean with a bootstrap interval.

    Args:
        values: independent samples (returns of episodes, one figure per seed).
        seed: seed of the resampling.

    Raises:
        RequestError: no values, or one is not finite.
    """
    array = _checked(values)
    value = float(array.mean())
    if array.size < MIN_SAMPLES:
        return Estimate(value, None, _too_few(array.size), int(array.size))
    picks = np.random.default_rng(seed).integers(0, array.size, (RESAMPLES, array.size))
    estimate = _from_resamples(value, array[picks].mean(axis=1), int(array.size))
    assert estimate.interval is not None
    interval = replace(estimate.interval, confidence=CONFIDENCE, method="expanded percentile bootstrap of the mean")
    return Estimate(value, interval, "", int(array.size))


def estimate_ratio(numerator: Sequence[Samples], denominator: Sequence[Samples], *, seed: int = 0) -> Estimate:
    """Return median(numerator) / median(denominator) with a bootstrap interval; both sides are resampled.

    Args:
        numerator: samples of each run, all positive.
        denominator: samples of each run, all positive.
        seed: seed of the resampling.

    Raises:
        RequestError: a side has no samples, or one is not finite or not positive.
    """
    sides = [[np.asarray(run, dtype=np.float64) for run in side if len(run)] for side in (numerator, denominator)]
    top, bottom = (_checked(np.concatenate(side) if side else ()) for side in sides)
    if min(top.min(), bottom.min()) <= 0.0:
        raise RequestError(
            "expected positive samples on both sides of a ratio, got one <= 0; leave out empty measurements"
        )
    value = float(np.median(top) / np.median(bottom))
    count = int(min(top.size, bottom.size))
    if count < MIN_SAMPLES:
        return Estimate(value, None, _too_few(count), count)
    rng = np.random.default_rng(seed)
    ratios = _bootstrap_medians(sides[0], rng) / _bootstrap_medians(sides[1], rng)
    return _from_resamples(value, ratios, count)


def at_full_confidence(estimate: Estimate, reason: str) -> Estimate:
    """Return ``estimate``; where its interval claims less than 95 %, without it and with ``reason`` instead."""
    if estimate.interval is not None and estimate.interval.confidence >= CONFIDENCE:
        return estimate
    return replace(estimate, interval=None, reason=reason)


def order(ratio: Estimate, *, same_within: float = SAME_WITHIN) -> Ordering:
    """Say whether a ratio is above 1, below 1, the same, or cannot be told.

    ``same`` needs evidence as ``higher`` does: the whole interval within ``same_within`` of 1. An interval that holds 1
    and is wider than that is ``cannot tell``; so is a ratio without an interval.
    """
    if ratio.interval is None:
        return "cannot tell"
    low, high = ratio.interval.low, ratio.interval.high
    if low >= 1.0 - same_within and high <= 1.0 + same_within:
        return "same"
    if low > 1.0:
        return "higher"
    if high < 1.0:
        return "lower"
    return "cannot tell"


def distinguishable(first: Estimate, second: Estimate) -> bool | None:
    """Return whether two estimates differ beyond their intervals; None where one has no interval.

    Intervals that do not overlap are a stricter test than a test of the difference at the same confidence.
    """
    if first.interval is None or second.interval is None:
        return None
    return not first.interval.overlaps(second.interval)


def expanded_tail(count: int) -> float:
    """Return the share of resamples beyond each end of an expanded percentile interval of ``count`` samples.

    Hesterberg 2015: tail = Phi(-sqrt(n/(n-1)) t_{0.975, n-1}), which goes to 0.025 as n grows.
    """
    from scipy import special  # here: a fifth of a second that a report without samples need not pay

    reach = math.sqrt(count / (count - 1)) * float(special.stdtrit(count - 1, 0.5 + CONFIDENCE / 2))
    return float(special.ndtr(-reach))


def _checked(values: Samples | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size:
        raise RequestError("expected at least one sample, got none; leave out what was not measured")
    if not np.isfinite(array).all():
        raise RequestError("expected finite samples, got NaN or infinity; leave out failed measurements")
    return array


def _too_few(count: int) -> str:
    return f"{count} sample{'s' * (count != 1)}, an interval needs {MIN_SAMPLES}"


def _bootstrap_medians(groups: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``[RESAMPLES]`` medians of two-level resamples of ``groups``."""
    if len(groups) == 1:
        group = groups[0]
        return np.asarray(np.median(group[rng.integers(0, group.size, (RESAMPLES, group.size))], axis=1))
    lengths = np.array([group.size for group in groups])
    padded = np.full((len(groups), int(lengths.max())), np.nan)
    for row, group in zip(padded, groups, strict=True):
        row[: group.size] = group
    picks = rng.integers(0, len(groups), (RESAMPLES, len(groups)))
    drawn_lengths = lengths[picks][..., None]
    places = (rng.random((*picks.shape, padded.shape[1])) * drawn_lengths).astype(np.intp)
    drawn = padded[picks[..., None], places]
    if lengths.min() < lengths.max():
        drawn[np.arange(padded.shape[1]) >= drawn_lengths] = np.nan
        return np.asarray(np.nanmedian(drawn.reshape(RESAMPLES, -1), axis=1))
    return np.asarray(np.median(drawn.reshape(RESAMPLES, -1), axis=1))


def _from_resamples(value: float, resamples: NDArray[np.float64], count: int) -> Estimate:
    """Make the expanded percentile interval (Hesterberg 2015)."""
    tail = expanded_tail(count)
    low, high = np.quantile(resamples, [tail, 1.0 - tail])
    range_coverage = 1.0 - 2.0 ** (1 - count)
    confidence = min(CONFIDENCE, range_coverage)
    reason = "" if confidence == CONFIDENCE else (
        f"{count} samples: the interval is about their range, which covers the median with {range_coverage:.0%}"
    )  # fmt: skip
    # The median of a resample can miss the sample median by rounding only; keep the value inside its own interval.
    return Estimate(value, Interval(min(float(low), value), max(float(high), value), confidence), reason, count)
