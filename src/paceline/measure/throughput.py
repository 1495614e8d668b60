"""From measured iterations to the figures of a run: SPS with its interval, time per iteration, and steadiness.

SPS is a ratio of sums, ``sum(steps) / sum(time)``: the mean of per-iteration SPS would weigh quick iterations double.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.measure.ledger import LedgerEntry
from paceline.measure.result import IterationRecord, LedgerRecord, Summary

MIN_ITERATIONS_FOR_INTERVAL = 3
"""Fewer iterations than this have no confidence interval: resampling two values says nothing."""

MAX_VARIATION = 0.15
"""A run whose time per iteration has a larger coefficient of variation is unsteady."""

MAX_DRIFT = 0.20
"""A run whose time per iteration changes by a larger share from its first to its last iteration is unsteady."""

_RESAMPLES = 10_000
_DRIFT_Z = 1.96  # a trend counts only beyond 95 % confidence


@dataclass(frozen=True)
class Steadiness:
    """Whether the iterations of a run were alike enough for their mean to describe it.

    Attributes:
        variation: coefficient of variation of the time per step (sample standard deviation / mean); 0 for one
            iteration.
        drift: change of the time per step along the run by the Theil-Sen line, as a share of the median: 0.2 is 20 %
            slower at the end than at the start, negative is faster. 0 for fewer than three iterations.
        unsteady: one of the two is beyond its threshold.
        reason: one sentence on what is wrong and what to do; empty if steady.
    """

    variation: float
    drift: float
    unsteady: bool
    reason: str


def sps(num_env_steps: int, wall_s: float) -> float:
    """Return environment steps per second of wall time.

    Args:
        num_env_steps: real steps; reset rows not counted.
        wall_s: seconds that they took, everything included.

    Raises:
        ValueError: ``wall_s`` is not positive.
    """
    if wall_s <= 0:
        raise ValueError(f"expected a positive time, got {wall_s} s")
    return num_env_steps / wall_s


def sps_interval(
    num_env_steps: Sequence[int], wall_s: Sequence[float], *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return a bootstrap confidence interval of SPS over the iterations of one run.

    Percentile bootstrap (Efron 1979) of the ratio ``sum(steps) / sum(time)``; whole iterations are drawn with
    replacement, independently. It covers the run's own noise only: what differs from run to run needs repeats.

    Args:
        num_env_steps: steps of each iteration, ``[K]``.
        wall_s: seconds of each iteration, ``[K]``.
        confidence: coverage, between 0 and 1.
        seed: of the resampling; the same data give the same interval.

    Returns:
        Low and high end in steps per second; ``None`` for fewer than :data:`MIN_ITERATIONS_FOR_INTERVAL` iterations.
    """
    steps, seconds = _columns(num_env_steps, wall_s)
    count = len(steps)
    if count < MIN_ITERATIONS_FOR_INTERVAL:
        return None
    generator = np.random.default_rng(seed)
    resamples = max(200, min(_RESAMPLES, 20_000_000 // count))
    # How often each iteration was drawn is multinomial, so no [resamples, K] array of gathered values is needed.
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    ratios = (weights @ steps) / (weights @ seconds)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def check_steadiness(
    num_env_steps: Sequence[int],
    wall_s: Sequence[float],
    *,
    max_variation: float = MAX_VARIATION,
    max_drift: float = MAX_DRIFT,
) -> Steadiness:
    """Look for noise and drift in the time per step of a run's iterations.

    Drift is the slope of the Theil-Sen line, which a single stalled iteration does not tilt. It counts only where
    Mann-Kendall's test finds the trend at 95 %: among few noisy iterations some slope is always seen (and among fewer
    than five none can be told from chance).

    Args:
        num_env_steps: steps of each iteration, ``[K]``.
        wall_s: seconds of each iteration, ``[K]``.
        max_variation: largest coefficient of variation that passes.
        max_drift: largest drift that passes, either way.
    """
    steps, seconds = _columns(num_env_steps, wall_s)
    cost = seconds / np.maximum(steps, 1)
    if len(cost) < 2:
        return Steadiness(0.0, 0.0, False, "")
    variation = float(np.std(cost, ddof=1) / np.mean(cost))
    drift, significant = _drift(cost)
    reasons = []
    if significant and abs(drift) > max_drift:
        way = "slower" if drift > 0 else "faster"
        reasons.append(f"iterations got {abs(drift):.0%} {way} from first to last (at most {max_drift:.0%} is steady)")
    if variation > max_variation:
        reasons.append(f"time per iteration varies by {variation:.0%} (at most {max_variation:.0%} is steady)")
    advice = "; measure more iterations on a quiet machine, or allow more warm-up"
    return Steadiness(variation, drift, bool(reasons), " and ".join(reasons) + advice if reasons else "")


def summarize(
    iterations: Sequence[IterationRecord],
    *,
    batch_size: int,
    num_envs: int,
    warmup_iterations: int = 0,
    setup_s: float = 0.0,
    compile_s: float = 0.0,
    warmup_s: float = 0.0,
    seed: int = 0,
) -> Summary | None:
    """Return the figures over the measured iterations of one run.

    Args:
        iterations: the measured iterations; warm-up is already split off.
        batch_size: steps per update.
        num_envs: number of environments.
        warmup_iterations: how many iterations went before and are not counted.
        setup_s: seconds to build environments, runners and networks.
        compile_s: seconds to compile.
        warmup_s: seconds that the warm-up iterations took.
        seed: of the interval's resampling.

    Returns:
        ``None`` if no iteration was measured.
    """
    if not iterations:
        return None
    steps = [record.num_env_steps for record in iterations]
    seconds = [record.wall_s for record in iterations]
    total_s = math.fsum(seconds)
    episodes = [
        (record.episode_return_mean, record.num_episodes)
        for record in iterations
        if record.episode_return_mean is not None and record.num_episodes
    ]
    num_episodes = sum(count for _, count in episodes)
    return Summary(
        avg_time_per_iter_s=total_s / len(iterations),
        avg_sps=sps(sum(steps), total_s),
        sps_ci95=sps_interval(steps, seconds, seed=seed),
        total_training_time_s=total_s,
        num_iterations=len(iterations),
        num_env_steps=sum(steps),
        batch_size=batch_size,
        num_envs=num_envs,
        warmup_iterations=warmup_iterations,
        setup_s=setup_s,
        compile_s=compile_s,
        warmup_s=warmup_s,
        episode_return_mean=math.fsum(mean * count for mean, count in episodes) / num_episodes
        if num_episodes
        else None,
        num_episodes=num_episodes,
    )


def total_ledger(iterations: Sequence[IterationRecord]) -> LedgerRecord | None:
    """Return the ledger over all ``iterations``, ``None`` if there are none."""
    if not iterations:
        return None
    total = LedgerEntry(0.0, {})
    for record in iterations:
        total = total + LedgerEntry(record.ledger.wall_s, record.ledger.phases)
    return LedgerRecord(wall_s=total.wall_s, phases=total.phases)


def _columns(num_env_steps: Sequence[int], wall_s: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps, seconds = np.asarray(num_env_steps, np.float64), np.asarray(wall_s, np.float64)
    if steps.shape != seconds.shape or steps.ndim != 1:
        raise ValueError(f"expected as many step counts as times, got {steps.shape} and {seconds.shape}")
    if (seconds <= 0).any():
        raise ValueError(f"expected positive times, got {float(seconds.min())} s")
    return steps, seconds


def _drift(cost: NDArray[np.float64]) -> tuple[float, bool]:
    """Return the drift of ``cost`` along its index as a share of its median, and whether it is more than chance.

    Mann-Kendall: ``S = sum sign(c_j - c_i), i < j``, ``Var S = K (K-1) (2K+5) / 18``, ``z = (|S| - 1) / sqrt(Var S)``.
    """
    count = len(cost)
    if count < MIN_ITERATIONS_FOR_INTERVAL:
        return 0.0, False
    if count > 400:  # all pairs of a long run would be too many: compare means of blocks
        edges = np.linspace(0, count, 401).astype(int)
        cost = np.add.reduceat(cost, edges[:-1]) / np.diff(edges)
        count = 400
    first, second = np.triu_indices(count, k=1)
    differences = cost[second] - cost[first]
    slope = float(np.median(differences / (second - first)))
    drift = slope * (count - 1) / float(np.median(cost))
    trend = abs(float(np.sign(differences).sum()))
    z = (trend - 1) / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return drift, z > _DRIFT_Z
