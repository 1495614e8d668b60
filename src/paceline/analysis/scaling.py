"""The arithmetic of scaling: speedup, efficiency, loss, Karp-Flatt, ratings; and the fitted models.

Public as ``paceline.scaling``. N is the number of environments unless said otherwise, times are seconds, efficiencies
are fractions (1.0 = 100 %). r = 0 (environments in the learner's process) is not r = 1 (one runner process): see
:func:`choose_model`.
"""

from __future__ import annotations

import math
from typing import Literal

from paceline.analysis.choice import choose_model
from paceline.analysis.fits import amdahl_fit, phase_fit, usl_fit
from paceline.analysis.models import (
    AmdahlFit,
    CurvePoint,
    FittedCurve,
    ModelChoice,
    PhaseFit,
    TimeModel,
    TimePoint,
    UslFit,
    amdahl_speedup,
)
from paceline.errors import RequestError

__all__ = [
    "RATING_BANDS",
    "AmdahlFit",
    "CurvePoint",
    "FittedCurve",
    "ModelChoice",
    "PhaseFit",
    "Rating",
    "TimeModel",
    "TimePoint",
    "UslFit",
    "amdahl_fit",
    "amdahl_speedup",
    "choose_model",
    "efficiency",
    "efficiency_loss",
    "gap_to_ideal",
    "karp_flatt",
    "phase_fit",
    "rate",
    "speedup",
    "speedup_by_sps",
    "usl_fit",
]

Rating = Literal["excellent", "good", "fair", "inefficient"]

RATING_BANDS: tuple[tuple[float, Rating], ...] = (
    (0.8, "excellent"),
    (0.6, "good"),
    (0.4, "fair"),
    (0.0, "inefficient"),
)
"""Least efficiency (fraction) of each rating, best first."""


def speedup(base_time_s: float, time_s: float, *, base_steps: float | None = None, steps: float | None = None) -> float:
    """Return S = T_base / T.

    Times may be compared only for the same number of steps; give both step counts to have that checked.

    Args:
        base_time_s: seconds of the baseline, > 0.
        time_s: seconds of the other, > 0.
        base_steps: environment steps that the baseline took in that time.
        steps: environment steps that the other took.

    Raises:
        RequestError: a time is not positive, only one step count is given, or they differ.
    """
    _positive(base_time_s, "base_time_s")
    _positive(time_s, "time_s")
    if (base_steps is None) != (steps is None):
        raise RequestError(
            "expected both base_steps and steps or neither, got one; give both, so that they can be compared"
        )
    if base_steps != steps:
        raise RequestError(
            f"expected the same number of environment steps on both sides of a speedup by time, got {base_steps:g} and "
            f"{steps:g}; compare SPS instead (speedup_by_sps), or run both with the same batch size"
        )
    return base_time_s / time_s


def speedup_by_sps(base_sps: float, sps: float) -> float:
    """Return S = SPS / SPS_base; also right where the step counts differ.

    Raises:
        RequestError: a figure is not positive.
    """
    return _positive(sps, "sps") / _positive(base_sps, "base_sps")


def efficiency(speedup: float, n: float) -> float:
    """Return E = S / n as a fraction; n is whatever was added (environments, or cores relative to the baseline).

    Raises:
        RequestError: an argument is not positive.
    """
    return _positive(speedup, "speedup") / _positive(n, "n")


def efficiency_loss(speedup: float, n: float) -> float:
    """Return 1 - S/n as a fraction (negative where the speedup is more than ideal).

    Raises:
        RequestError: an argument is not positive.
    """
    return 1.0 - efficiency(speedup, n)


def gap_to_ideal(speedup: float, n: float) -> float:
    """Return n - S, what is missing to the ideal speedup.

    Raises:
        RequestError: an argument is not positive.
    """
    return _positive(n, "n") - _positive(speedup, "speedup")


def karp_flatt(speedup: float, n: float) -> float:
    """Return the experimentally determined serial fraction e = (1/S - 1/n) / (1 - 1/n).

    Karp and Flatt 1990, "Measuring Parallel Processor Performance". If e grows with n, overhead grows with n, and no
    single serial fraction describes the data. Negative where S > n.

    Raises:
        RequestError: ``n`` is not above 1 (there is nothing to determine), or ``speedup`` is not positive.
    """
    _positive(speedup, "speedup")
    if not (math.isfinite(n) and n > 1):
        raise RequestError(f"expected n > 1 for the Karp-Flatt metric, got {n:g}; leave the baseline out")
    return (1.0 / speedup - 1.0 / n) / (1.0 - 1.0 / n)


def rate(efficiency: float) -> Rating:
    """Return the rating of an efficiency (fraction), by :data:`RATING_BANDS`.

    Raises:
        RequestError: ``efficiency`` is negative or not finite.
    """
    if not math.isfinite(efficiency) or efficiency < 0:
        raise RequestError(
            f"expected an efficiency of 0 or more as a fraction, got {efficiency:g}; divide percent by 100"
        )
    return next(rating for least, rating in RATING_BANDS if efficiency >= least)


def _positive(value: float, name: str) -> float:
    if not math.isfinite(value) or value <= 0:
        raise RequestError(f"expected {name} to be a positive number, got {value:g}; leave out what was not measured")
    return float(value)
