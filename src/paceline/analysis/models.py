"""Three models of how time falls with parallelism, and the choice between them by held-out error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paceline.analysis.stats import Interval

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

    num_env_runners: int
    num_envs_per_env_runner: int
    num_envs: int
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
    """

    learner_s: float
    runner_s: float
    batched_s: float
    residual_error: float
    held_out_error: float | None
    num_points: int
    intervals: dict[str, Interval]
