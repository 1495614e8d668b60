"""The fits of Amdahl's law, the universal scalability law and the phase model. Public through ``paceline.scaling``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from paceline.analysis.least_squares import (
    Array,
    Indices,
    design_held_out_error,
    held_out_error,
    interval_of_draws,
    non_negative,
    residual_resamples,
    root_mean_square,
    solve_relative,
)
from paceline.analysis.models import (
    AmdahlFit,
    PhaseFit,
    TimePoint,
    UslFit,
    amdahl_design,
    as_time_points,
    phase_design,
    time_columns,
)
from paceline.analysis.stats import Interval
from paceline.errors import RequestError


def amdahl_fit(
    n: Sequence[float] | Array, speedup: Sequence[float] | Array, *, anchored: bool = True, seed: int = 0
) -> AmdahlFit:
    """Fit the serial fraction of Amdahl's law over all points.

    With y = 1/S (time relative to N = 1) the law is y = 1/n + s (1 - 1/n), linear in s; s minimises the sum of squared
    *relative* errors of y and is kept in [0, 1].

    Args:
        n: number of environments (or workers) of each point, >= 1.
        speedup: measured speedup of each point, > 0.
        anchored: S(1) = 1 exactly, as the law says. False fits the time at N = 1 too: for speedups whose baseline is
            not N = 1, or is itself a noisy measurement (needs two different n).
        seed: seed of the bootstrap.

    Raises:
        RequestError: lengths differ, a figure is out of range, or no point can determine s (every n is 1).
    """
    workers, relative_time = _speedup_points(n, speedup)
    if anchored and not (workers > 1).any():
        raise RequestError(
            "expected at least one point with n > 1 to fit a serial fraction, got none; measure more plans"
        )
    if not anchored and np.unique(workers).size < 2:
        raise RequestError("expected two different n to fit serial fraction and base time, got one; measure more plans")
    solve = _serial_fraction if anchored else _serial_fraction_free
    serial, scale = solve(workers, relative_time)
    predicted = scale * (serial + (1.0 - serial) / workers)
    best = float(1.0 / (relative_time / scale).min())

    def predict_one(keep: Indices, left_out: int) -> float:
        fold_serial, fold_scale = solve(workers[keep], relative_time[keep])
        return float(fold_scale * (fold_serial + (1.0 - fold_serial) / workers[left_out]))

    limit = 1.0 / serial if serial else math.inf
    informative = int((workers > 1).sum()) if anchored else workers.size
    free = 1 if anchored else 2
    interval, reason = None, f"{informative} point{'s' * (informative != 1)}, an interval needs {free + 3}"
    if informative >= free + 3:
        draws = residual_resamples(relative_time, predicted, free, seed)
        interval = interval_of_draws([solve(workers, draw)[0] for draw in draws], serial)
        reason = ""
    return AmdahlFit(
        serial_fraction=serial,
        interval=interval,
        reason=reason,
        limit=limit,
        share_of_limit=best / limit if math.isfinite(limit) else 0.0,
        residual_error=root_mean_square(predicted / relative_time - 1.0),
        held_out_error=held_out_error(relative_time, predict_one) if informative >= free + 2 else None,
        num_points=int(workers.size),
    )


def usl_fit(n: Sequence[float] | Array, speedup: Sequence[float] | Array) -> UslFit:
    """Fit Gunther's universal scalability law S(n) = n / (1 + sigma (n-1) + kappa n (n-1)), sigma, kappa >= 0.

    Gunther 2007, "Guerrilla Capacity Planning". In relative time, y = 1/S = 1/n + sigma (n-1)/n + kappa (n-1), linear
    in both; relative errors of y are minimised. kappa = 0 is Amdahl's law with s = sigma.

    Raises:
        RequestError: lengths differ, a figure is out of range, or fewer than two different n above 1.
    """
    workers, relative_time = _speedup_points(n, speedup)
    if np.unique(workers[workers > 1]).size < 2:
        raise RequestError(
            "expected at least two different n above 1 to fit contention and coherency; measure more plans"
        )

    def solve(keep: Indices) -> Array:
        design = np.column_stack([(workers[keep] - 1.0) / workers[keep], workers[keep] - 1.0])
        known = 1.0 / workers[keep]
        weights = 1.0 / relative_time[keep]
        return non_negative(design * weights[:, None], (relative_time[keep] - known) * weights)

    def relative(sigma: float, kappa: float, at: Array) -> Array:
        return 1.0 / at + sigma * (at - 1.0) / at + kappa * (at - 1.0)

    sigma, kappa = (float(value) for value in solve(np.arange(workers.size)))
    peak = None
    if sigma >= 1.0:
        peak = 1.0
    elif kappa > 0.0:
        peak = max(1.0, math.sqrt((1.0 - sigma) / kappa))
    informative = int((workers > 1).sum())

    def predict_one(keep: Indices, left_out: int) -> float:
        fold_sigma, fold_kappa = solve(keep)
        return float(relative(fold_sigma, fold_kappa, workers[left_out : left_out + 1])[0])

    return UslFit(
        contention=sigma,
        coherency=kappa,
        peak_num_envs=peak,
        peak_speedup=None if peak is None else 1.0 / float(relative(sigma, kappa, np.array([peak]))[0]),
        residual_error=root_mean_square(relative(sigma, kappa, workers) / relative_time - 1.0),
        held_out_error=held_out_error(relative_time, predict_one) if informative >= 4 else None,
        num_points=int(workers.size),
    )


def phase_fit(points: Iterable[TimePoint | tuple[float, float, float]], *, seed: int = 0) -> PhaseFit:
    """Fit T(r, e) = L + E/r + I/(r e) with L, E, I >= 0 by relative least squares.

    Runners and envs per runner are different axes: runners step truly in parallel and divide E and I, envs of one
    runner step one after the other and only share what is paid once per vector step (an inference call, a wake-up),
    which is I.

    Args:
        points: ``(r, e, seconds per iteration)`` each. Points with r = 0 are left out and counted in ``num_excluded``:
            they pay neither IPC nor the runner's process, so they are not a value of r on this curve.
        seed: seed of the residual bootstrap for the intervals (given from 6 points).

    Raises:
        RequestError: a figure is out of range, or the points cannot tell the three terms apart (they need two values of
            r, two of e and at least three points with r >= 1).
    """
    given = as_time_points(points)
    kept = [point for point in given if point.num_env_runners > 0]
    runners, envs, times = time_columns(kept)
    design = phase_design(runners, envs)
    if len(kept) < 3 or np.linalg.matrix_rank(design) < 3:
        raise RequestError(
            f"expected at least three points with runners that vary both runners and envs per runner, got {len(kept)} "
            f"that do not tell the terms of the phase model apart; measure a grid of at least 2 x 2"
        )
    coefficients = solve_relative(design, times)
    predicted = design @ coefficients
    intervals: dict[str, Interval] = {}
    if len(kept) >= 6:
        draws = np.array([solve_relative(design, draw) for draw in residual_resamples(times, predicted, 3, seed, 500)])
        for column, name in enumerate(("learner_s", "runner_s", "batched_s")):
            intervals[name] = interval_of_draws(draws[:, column], float(coefficients[column]))
    return PhaseFit(
        learner_s=float(coefficients[0]),
        runner_s=float(coefficients[1]),
        batched_s=float(coefficients[2]),
        residual_error=root_mean_square(predicted / times - 1.0),
        held_out_error=design_held_out_error(design, times),
        num_points=len(kept),
        intervals=intervals,
        num_excluded=len(given) - len(kept),
    )


def _speedup_points(n: Sequence[float] | Array, speedup: Sequence[float] | Array) -> tuple[Array, Array]:
    """Return n and relative times 1/S as arrays, checked."""
    workers, speedups = np.asarray(n, dtype=np.float64), np.asarray(speedup, dtype=np.float64)
    if workers.ndim != 1 or workers.shape != speedups.shape or not workers.size:
        raise RequestError(
            f"expected one speedup per n, got {workers.size} n and {speedups.size} speedups; give two lists of equal "
            "length"
        )
    if not (np.isfinite(workers).all() and (workers >= 1.0).all()):
        raise RequestError(
            f"expected every n to be at least 1, got {workers.min():g}; n counts environments or workers"
        )
    if not (np.isfinite(speedups).all() and (speedups > 0.0).all()):
        raise RequestError(f"expected positive speedups, got {speedups.min():g}; leave out failed runs")
    return workers, 1.0 / speedups


def _serial_fraction(workers: Array, relative_time: Array) -> tuple[float, float]:
    """Return (s, 1.0): weighted least squares of y - 1/n = s (1 - 1/n), weights 1/y."""
    slope = (1.0 - 1.0 / workers) / relative_time
    target = (relative_time - 1.0 / workers) / relative_time
    norm = float(slope @ slope)
    return (min(1.0, max(0.0, float(slope @ target) / norm)) if norm else 0.0), 1.0


def _serial_fraction_free(workers: Array, relative_time: Array) -> tuple[float, float]:
    """Return s and the relative time at n = 1, both fitted: y = a + b/n, s = a/(a+b)."""
    serial, parallel = solve_relative(amdahl_design(workers, np.ones_like(workers)), relative_time)
    total = float(serial + parallel)
    return float(serial) / total, total
