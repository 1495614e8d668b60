"""Statistics over training runs that differ in their seeds alone: few samples, wide distributions.

Interquartile mean, stratified bootstrap and probability of improvement are those of Agarwal et al. 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv:2108.13264). Strata are the contenders: the
seeds of each are resampled among themselves. Because a handful of seeds is the rule here, three things are more careful
than there: percentiles of the interquartile mean are expanded as everywhere in paceline
(:mod:`paceline.analysis.stats`), there is no interval where so few seeds cannot give one of 95 %, and a permutation
test stands beside the probability of improvement, whose bootstrap is too sure of itself below six seeds (measured:
under no difference at all, its 95 % interval leaves 0.5 out for 20, 7 and 9 % of draws of 3, 4 and 5 seeds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.analysis.stats import (
    CONFIDENCE,
    FULL_SAMPLES,
    MIN_SAMPLES,
    RESAMPLES,
    Estimate,
    Interval,
    expanded_tail,
    interquartile_weights,
)
from paceline.errors import RequestError

IQM_METHOD = "expanded percentile bootstrap of the interquartile mean over seeds"
IMPROVEMENT_METHOD = "percentile bootstrap, stratified by contender"
MIN_DUEL_SEEDS = 4
"""From so many seeds on each side on the probability of improvement can have an interval of 95 %."""
MOST_EXCHANGES = 10_000
"""All ways to exchange seeds are gone through up to so many; of more, so many are drawn."""


def estimate_iqm(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return the interquartile mean over seeds with a bootstrap interval.

    Args:
        values: one figure per seed.
        seed: seed of the resampling.

    Returns:
        The estimate; below :data:`~paceline.analysis.stats.FULL_SAMPLES` seeds it has no interval but a reason: n
        seeds claim at most 1 - 2^(1-n), the chance that their range holds the middle of the distribution.

    Raises:
        RequestError: no values, or one is not finite.
    """
    array = _checked(values)[:, None]
    value = float(_iqm(array)[0])
    count = len(array)
    if count < FULL_SAMPLES:
        return Estimate(value, None, too_few_seeds(count, FULL_SAMPLES), count)
    low, high = _iqm_bounds(array, RESAMPLES, seed)
    interval = Interval(min(float(low[0]), value), max(float(high[0]), value), CONFIDENCE, IQM_METHOD)
    return Estimate(value, interval, "", count)


def iqm_band(curves: NDArray[np.float64], *, resamples: int = 500, seed: int = 0) -> NDArray[np.float64]:
    """Return the interquartile mean over seeds at every point of a curve, with its pointwise interval.

    Args:
        curves: ``[seeds, points]``, all finite.
        resamples: of whole curves, so that the band is as smooth as they are.
        seed: seed of the resampling.

    Returns:
        ``[3, points]``: low, centre, high; low and high are NaN below
        :data:`~paceline.analysis.stats.MIN_SAMPLES` seeds, and about the range of the seeds where they are too few for
        95 %: a band is looked at, nothing is asserted by it.
    """
    centre = _iqm(curves)
    if len(curves) < MIN_SAMPLES:
        nothing = np.full_like(centre, np.nan)
        return np.stack([nothing, centre, nothing])
    low, high = _iqm_bounds(curves, resamples, seed)
    return np.stack([np.minimum(low, centre), centre, np.maximum(high, centre)])


def probability_of_improvement(challenger: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return P(X > Y) + P(X = Y) / 2 for a seed X of the challenger and a seed Y of the reference, with interval.

    This is the Mann-Whitney statistic / (n m), equation 2 of Agarwal et al. 2021 for one task. Both sides are
    resampled, each within itself. Where all seeds of one side lie above all of the other's, every resample says 1 and
    the bootstrap sees no doubt; what n and m seeds can at most say is the exact test's word: no ordering of them has a
    two-sided p-value below 2 / C(n + m, n), so where 1 minus that is less than 95 % (3 against 3: 90 %) there is none.

    Args:
        challenger: one score per seed, n of them; more is better.
        reference: likewise, m of them.
        seed: seed of the resampling.

    Returns:
        The estimate; without interval where the seeds are too few for one of 95 %, or a side has fewer than
        :data:`~paceline.analysis.stats.MIN_SAMPLES`.

    Raises:
        RequestError: a side is empty, or a score is not finite.
    """
    ours, theirs = _checked(challenger), _checked(reference)
    value = float(_improvement(ours[None], theirs[None])[0])
    fewest = min(len(ours), len(theirs))
    if fewest < MIN_SAMPLES or 1.0 - 2.0 / math.comb(len(ours) + len(theirs), len(ours)) < CONFIDENCE:
        return Estimate(value, None, too_few_on_a_side(len(ours), len(theirs), MIN_DUEL_SEEDS), fewest)
    rng = np.random.default_rng(seed)
    drawn = [side[rng.integers(0, len(side), (RESAMPLES, len(side)))] for side in (ours, theirs)]
    low, high = np.quantile(_improvement(drawn[0], drawn[1]), [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    interval = Interval(min(float(low), value), max(float(high), value), CONFIDENCE, IMPROVEMENT_METHOD)
    return Estimate(value, interval, "", fewest)


def exchange_probability(challenger: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> float:
    """Return how likely chance alone sets two contenders as far apart: the p-value of a permutation test.

    It is the share of all ways to hand the n + m scores to the two sides, n and m each, whose probability of
    improvement is at least as far from 0.5 (Fisher 1935; with the Mann-Whitney statistic, ties counting half, so that
    it holds where all seeds reach the same best return).

    Args:
        challenger: one score per seed, n of them.
        reference: likewise, m of them.
        seed: of the draws, where there are more than :data:`MOST_EXCHANGES` ways.

    Raises:
        RequestError: a side is empty, or a score is not finite.
    """
    ours, theirs = _checked(challenger), _checked(reference)
    n, total = len(ours), len(ours) + len(theirs)
    # P(X > Y) + P(X = Y) / 2 follows from the sum of X's midranks: n (n + 1) / 2 less, divided by n m.
    ranks = midranks(np.concatenate([ours, theirs]))
    if math.comb(total, n) <= MOST_EXCHANGES:
        sums = np.array([ranks[list(places)].sum() for places in itertools.combinations(range(total), n)])
    else:
        rng = np.random.default_rng(seed)
        drawn = np.array([rng.permutation(ranks)[:n].sum() for _ in range(MOST_EXCHANGES - 1)])
        sums = np.concatenate([drawn, [ranks[:n].sum()]])  # what happened is one of the ways
    middle = n * (total + 1) / 2
    return float(np.mean(np.abs(sums - middle) >= abs(ranks[:n].sum() - middle) - 1e-9))


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of every value, 1 for the lowest; equal ones share the mean of their ranks."""
    ordered = np.sort(values)
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((left + right + 1) / 2.0)


def too_few_seeds(count: int, needed: int) -> str:
    """Say why there is no interval over ``count`` seeds."""
    return f"{count} seed{'s' * (count != 1)}, a 95% interval needs {needed}"


def too_few_on_a_side(ours: int, theirs: int, needed: int) -> str:
    """Say why there is no interval over ``ours`` seeds against ``theirs``."""
    return f"{seeds_of_both(ours, theirs)}, a 95% interval needs {needed}{' each' * (ours != theirs)}"


def seeds_of_both(ours: int, theirs: int) -> str:
    """Write ``1 seed each``, ``1 and 3 seeds``."""
    return f"{ours} seed{'s' * (ours != 1)} each" if ours == theirs else f"{ours} and {theirs} seeds"


def _improvement(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``[B]`` probabilities of improvement of ``[B, n]`` over ``[B, m]``."""
    above = np.zeros(len(ours))
    for column in theirs.T:  # one at a time: [B, n, m] of two hundred seeds would not fit into a cache, or a laptop
        above += (ours > column[:, None]).sum(axis=1) + 0.5 * (ours == column[:, None]).sum(axis=1)
    return np.asarray(above / (ours.shape[1] * theirs.shape[1]))


def _iqm(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the interquartile mean over the first axis."""
    weights = interquartile_weights(len(samples))
    return np.asarray(np.tensordot(weights, np.sort(samples, axis=0), axes=1))


def _iqm_bounds(
    samples: NDArray[np.float64], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = len(samples)
    picks = np.random.default_rng(seed).integers(0, count, (resamples, count))
    # In parts: five hundred curves of two hundred seeds at once would take a hundred megabytes.
    part = max(1, 2_000_000 // samples.size)
    means = np.concatenate([_iqm(samples[picks[i : i + part]].swapaxes(0, 1)) for i in range(0, resamples, part)])
    tail = expanded_tail(count)
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return low, high


def _checked(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not array.size or not np.isfinite(array).all():
        raise RequestError("expected one finite figure per seed; leave out runs that have none")
    return array
