"""Three models of how time falls with parallelism: their equations, and the records that a fit returns.

In time all three are linear in non-negative coefficients, so one solver serves them:

    amdahl  T(N)    = a + b/N                             Amdahl 1967
    usl     T(N)    = c0/N + c1 (N-1)/N + c2 (N-1)        Gunther 1993, universal scalability law
    phase   T(r, e) = L + E/r + I/(r e)                   runners and envs per runner as different axes

Held-out error predicts each point from all others and takes the root mean square of the relative errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from paceline.analysis.least_squares import Array
from paceline.analysis.stats import Interval
from paceline.errors import RequestError

ModelName = Literal["amdahl", "usl", "phase"]


@dataclass(frozen=True, slots=True)
class TimePoint:
    """One measured point: R runners of E environments each took ``time_s`` seconds per iteration.

    ``num_env_runners`` 0 means: in the learner's process (no IPC).
    """

    num_env_runners: int
    num_envs_per_env_runner: int
    time_s: float

    @property
    def num_envs(self) -> int:
        """N = max(R, 1) * E."""
        return max(self.num_env_runners, 1) * self.num_envs_per_env_runner


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a fitted curve, in the table's own units (speedup over the table's baseline)."""

    num_env_runners: float
    num_envs_per_env_runner: float
    num_envs: float
    time_s: float
    speedup: float


@dataclass(frozen=True, slots=True)
class FittedCurve:
    """A model drawn over the measured range.

    Attributes:
        model: which model.
        label: what to write beside the curve.
        points: ordered by ``num_envs``.
    """

    model: ModelName
    label: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class TimeModel:
    """A model of time per iteration, fitted by relative least squares with non-negative coefficients.

    Attributes:
        name: ``amdahl``: T = a + b/N; ``usl``: T = c0/N + c1 (N-1)/N + c2 (N-1); ``phase``: T = L + E/r + I/(r e).
        coefficients: seconds per term, by name.
        residual_error: root mean square relative error on the points it was fitted to (fraction).
        held_out_error: root mean square relative error of each point predicted from all others; None where too few.
        num_points: points fitted.
        formula: the equation with its numbers, for people.
    """

    name: ModelName
    coefficients: dict[str, float]
    residual_error: float
    held_out_error: float | None
    num_points: int
    formula: str

    def predict(self, num_env_runners: float, num_envs_per_env_runner: float) -> float:
        """Return the predicted seconds per iteration; 0 runners count as one (in-process family)."""
        row = DESIGNS[self.name](*_axes([num_env_runners], [num_envs_per_env_runner]))[0]
        return float(row @ np.fromiter(self.coefficients.values(), np.float64))


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The three models beside each other, and which one to believe.

    Attributes:
        chosen: the model of least held-out error, or None ("too few points").
        candidates: every model that could be fitted, best held-out error first.
        reason: one sentence on why (or why none).
        family: which points were fitted: ``runners`` (R >= 1), ``in-process`` (R = 0) or ``none``.
        points: the points that were fitted.
        excluded: labels of measured points that were not fitted (another family), e.g. ``0x4``.
    """

    chosen: TimeModel | None
    candidates: tuple[TimeModel, ...]
    reason: str
    family: Literal["runners", "in-process", "none"]
    points: tuple[TimePoint, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AmdahlFit:
    """Amdahl's law S(N) = 1/(s + (1-s)/N) fitted over all points.

    Attributes:
        serial_fraction: s in [0, 1].
        interval: bootstrap interval of s, or None.
        reason: why there is no interval.
        limit: 1/s, the speedup for N -> infinity (``inf`` when s = 0).
        share_of_limit: largest measured speedup / limit (0 when the limit is infinite).
        residual_error: root mean square relative error of the times 1/S (fraction).
        held_out_error: the same, each point predicted from all others; None where too few.
        num_points: points fitted.
    """

    serial_fraction: float
    interval: Interval | None
    reason: str
    limit: float
    share_of_limit: float
    residual_error: float
    held_out_error: float | None
    num_points: int

    @property
    def limit_interval(self) -> Interval | None:
        """Interval of the limit 1/s, from the interval of s (the high end is ``inf`` where s may be 0)."""
        if self.interval is None:
            return None
        low, high = self.interval.low, self.interval.high
        return Interval(
            1.0 / high if high else math.inf,
            1.0 / low if low else math.inf,
            self.interval.confidence,
            self.interval.method,
        )

    def predict(self, n: float) -> float:
        """Return S(n) = 1/(s + (1-s)/n)."""
        return amdahl_speedup(self.serial_fraction, n)


@dataclass(frozen=True, slots=True)
class UslFit:
    """Gunther's universal scalability law S(N) = N / (1 + sigma (N-1) + kappa N (N-1)).

    Attributes:
        contention: sigma >= 0, waiting for what is shared.
        coherency: kappa >= 0, cost of keeping everyone in step.
        peak_num_envs: N of largest predicted speedup, sqrt((1-sigma)/kappa); None where speedup never falls.
        peak_speedup: speedup there; None likewise.
        residual_error: as in :class:`AmdahlFit`.
        held_out_error: as in :class:`AmdahlFit`.
        num_points: points fitted.
    """

    contention: float
    coherency: float
    peak_num_envs: float | None
    peak_speedup: float | None
    residual_error: float
    held_out_error: float | None
    num_points: int

    def predict(self, n: float) -> float:
        """Return S(n) = n / (1 + sigma (n-1) + kappa n (n-1)).

        Raises:
            RequestError: ``n`` is below 1.
        """
        require_at_least_one(n)
        return n / (1.0 + self.contention * (n - 1.0) + self.coherency * n * (n - 1.0))


@dataclass(frozen=True, slots=True)
class PhaseFit:
    """Phase model T(r, e) = L + E/r + I/(r e), in seconds per iteration.

    Attributes:
        learner_s: L, what no runner or env shortens (learner, transfer).
        runner_s: E, what more runners divide but more envs per runner do not (true parallel work, env physics).
        batched_s: I, what both divide (per-step overhead: inference calls, wake-ups).
        residual_error: as in :class:`AmdahlFit`.
        held_out_error: as in :class:`AmdahlFit`.
        num_points: points fitted (R >= 1 only).
        intervals: bootstrap interval per coefficient (``learner_s``, ``runner_s``, ``batched_s``), empty where none.
        num_excluded: points left out because r = 0: without a runner process there is no E/r to speak of.
    """

    learner_s: float
    runner_s: float
    batched_s: float
    residual_error: float
    held_out_error: float | None
    num_points: int
    intervals: dict[str, Interval] = field(default_factory=dict)
    num_excluded: int = 0

    def predict(self, num_env_runners: float, num_envs_per_env_runner: float) -> float:
        """Return T(r, e) = L + E/r + I/(r e) in seconds.

        Raises:
            RequestError: an argument is below 1 (r = 0 has no runner; it is not what this model describes).
        """
        require_at_least_one(num_env_runners)
        require_at_least_one(num_envs_per_env_runner)
        shared = num_env_runners * num_envs_per_env_runner
        return self.learner_s + self.runner_s / num_env_runners + self.batched_s / shared


def amdahl_design(runners: Array, envs: Array) -> Array:
    """Return the terms of T = a + b/N, ``[points, 2]``."""
    return np.column_stack([np.ones_like(runners), 1.0 / (runners * envs)])


def usl_design(runners: Array, envs: Array) -> Array:
    """Return the terms of T = c0/N + c1 (N-1)/N + c2 (N-1), ``[points, 3]``."""
    n = runners * envs
    return np.column_stack([1.0 / n, (n - 1.0) / n, n - 1.0])


def phase_design(runners: Array, envs: Array) -> Array:
    """Return the terms of T = L + E/r + I/(r e), ``[points, 3]``."""
    return np.column_stack([np.ones_like(runners), 1.0 / runners, 1.0 / (runners * envs)])


DESIGNS: dict[ModelName, Callable[[Array, Array], Array]] = {
    "amdahl": amdahl_design, "usl": usl_design, "phase": phase_design,
}  # fmt: skip
TERMS: dict[ModelName, tuple[str, ...]] = {"amdahl": ("a", "b"), "usl": ("c0", "c1", "c2"), "phase": ("L", "E", "I")}
FORMULAS: dict[ModelName, str] = {
    "amdahl": "T = {a} s + {b} s / N",
    "usl": "T = {c0} s / N + {c1} s (N-1)/N + {c2} s (N-1)",
    "phase": "T = {L} s + {E} s / r + {I} s / (r e)",
}


def _axes(runners: Sequence[float], envs: Sequence[float]) -> tuple[Array, Array]:
    return np.maximum(np.asarray(runners, dtype=np.float64), 1.0), np.asarray(envs, dtype=np.float64)


def require_at_least_one(value: float) -> None:
    """Check a count of runners, envs or workers.

    Raises:
        RequestError: ``value`` is below 1 or NaN.
    """
    if not value >= 1.0:
        raise RequestError(f"expected at least 1, got {value:g}; runners, envs and workers are counted from 1")


def amdahl_speedup(serial_fraction: float, n: float) -> float:
    """Return S(n) = 1/(s + (1-s)/n) (Amdahl 1967, "Validity of the single processor approach").

    Args:
        serial_fraction: s in [0, 1].
        n: number of workers, at least 1; ``math.inf`` gives the limit 1/s.

    Raises:
        RequestError: an argument is out of range.
    """
    if not 0.0 <= serial_fraction <= 1.0:
        raise RequestError(
            f"expected a serial fraction from 0 to 1, got {serial_fraction:g}; it is a share of the time"
        )
    require_at_least_one(n)
    time = serial_fraction + (1.0 - serial_fraction) / n
    return 1.0 / time if time else math.inf


def as_time_points(points: Iterable[TimePoint | tuple[float, float, float]]) -> list[TimePoint]:
    """Return ``(r, e, seconds)`` triples as :class:`TimePoint`, checked.

    Raises:
        RequestError: a figure is out of range.
    """
    checked = [
        point if isinstance(point, TimePoint) else TimePoint(int(point[0]), int(point[1]), float(point[2]))
        for point in points
    ]
    for point in checked:
        if point.num_env_runners < 0 or point.num_envs_per_env_runner < 1:
            raise RequestError(
                f"expected r >= 0 runners and e >= 1 envs per runner, got r = {point.num_env_runners}, "
                f"e = {point.num_envs_per_env_runner}; give (r, e, seconds) in this order"
            )
        if not math.isfinite(point.time_s) or point.time_s <= 0.0:
            raise RequestError(f"expected a positive time in seconds, got {point.time_s:g}; leave out failed runs")
    return checked


def time_columns(points: Sequence[TimePoint]) -> tuple[Array, Array, Array]:
    """Return r (at least 1), e and seconds as columns of float64 ``[points]``."""
    runners, envs = _axes(
        [point.num_env_runners for point in points], [point.num_envs_per_env_runner for point in points]
    )
    return runners, envs, np.array([point.time_s for point in points], dtype=np.float64)
