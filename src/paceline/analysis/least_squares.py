"""Relative least squares with non-negative coefficients, held-out errors and residual bootstraps.

The noise of a wall time is multiplicative (a neighbour on the machine costs so many per cent), so every fit minimises
*relative* errors of time: a 2 s point weighs as much as a 12 s point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.analysis.stats import Interval

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


def solve_relative(design: Array, times: Array) -> Array:
    """Return the coefficients x >= 0 that minimise sum(((design @ x - times) / times)^2).

    Args:
        design: ``[points, terms]``.
        times: ``[points]``, positive.
    """
    return non_negative(design / times[:, None], np.ones_like(times))


def non_negative(design: Array, target: Array) -> Array:
    """Return the x >= 0 that minimises |design @ x - target| (Lawson and Hanson 1974, NNLS)."""
    from scipy.optimize import nnls  # here: slow to import, and only a report of several plans fits anything

    # Columns differ by orders of magnitude (1/(r e) against 1); equal norms keep NNLS's own tolerance meaningful.
    norms = np.linalg.norm(design, axis=0)
    norms[norms == 0.0] = 1.0
    solution, _ = nnls(design / norms, target)
    return np.asarray(solution / norms, dtype=np.float64)


def design_held_out_error(design: Array, times: Array) -> float | None:
    """Return the leave-one-out error, None where a fold could not determine every coefficient with a point to spare."""
    count, terms = design.shape
    if count < terms + 2:
        return None
    for left_out in range(count):
        if np.linalg.matrix_rank(np.delete(design, left_out, axis=0)) < terms:
            return None

    def predict_one(keep: Indices, left_out: int) -> float:
        return float(design[left_out] @ solve_relative(design[keep], times[keep]))

    return held_out_error(times, predict_one)


def held_out_error(truth: Array, predict_one: Callable[[Indices, int], float]) -> float:
    """Return the root mean square relative error of each point predicted from all others.

    Args:
        truth: ``[points]``, positive.
        predict_one: given the indices to fit and the index left out, returns the prediction for the latter.
    """
    everything = np.arange(truth.size)
    errors = [predict_one(np.delete(everything, index), index) / truth[index] - 1.0 for index in range(truth.size)]
    return root_mean_square(np.array(errors))


def root_mean_square(errors: Array) -> float:
    """Return sqrt(mean(errors^2))."""
    return float(np.sqrt(np.mean(np.square(errors))))


def residual_resamples(truth: Array, predicted: Array, free: int, seed: int, count: int = 1000) -> Array:
    """Return ``[count, points]`` pseudo-measurements: predictions times resampled relative residuals.

    Residuals, not points, are resampled: a resample of a small grid often lacks a whole axis. They are inflated by
    sqrt(n / (n - free)) for the freedom that the fit has used up.
    """
    residuals = (truth / predicted - 1.0) * math.sqrt(truth.size / max(truth.size - free, 1))
    picks = np.random.default_rng(seed).integers(0, truth.size, (count, truth.size))
    return np.asarray(predicted * np.maximum(1.0 + residuals[picks], 1e-3), dtype=np.float64)


def interval_of_draws(draws: Sequence[float] | Array, value: float) -> Interval:
    """Return the 2.5 and 97.5 percentiles of ``draws``, widened to hold ``value``."""
    low, high = (float(end) for end in np.percentile(draws, [2.5, 97.5]))
    return Interval(min(low, value), max(high, value), 0.95, "residual bootstrap")
