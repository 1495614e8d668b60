"""The scaling models of a table, and their curves in the table's own units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from paceline.analysis.choice import choose_model, model_label
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
)
from paceline.analysis.table import ScalingRow, ScalingTable
from paceline.errors import RequestError

CURVE_STEPS = 24
Fit = TypeVar("Fit")


@dataclass(frozen=True, slots=True)
class ScalingModels:
    """The models of one table.

    The fits of Amdahl's law and the USL hold S(1) = 1, as the laws are written, over ``base_label``; the candidates of
    ``choice`` and the curves also fit T(1), so that no model is handed a point. Where the base has several
    environments, n of these two fits counts multiples of them.

    Attributes:
        choice: held-out comparison of the three and the chosen one.
        amdahl: Amdahl's law over N, None where it cannot be fitted.
        usl: universal scalability law over N, None with fewer than two different N above the smallest.
        phase: phase model over (R, E), None where the plans do not vary both (R >= 1).
        base_label: the row that the speedups of ``amdahl`` and ``usl`` are over: the fitted family's smallest N. It may
            differ from the table's baseline, which can be of the other family (``0x1``).
        curves: every candidate drawn over the measured range, in speedup over the table's baseline.
        ideal: ideal speedup per number of environments in the table: ``(N, N / N_base)``, ordered by N.
    """

    choice: ModelChoice
    amdahl: AmdahlFit | None = None
    usl: UslFit | None = None
    phase: PhaseFit | None = None
    base_label: str = ""
    curves: tuple[FittedCurve, ...] = ()
    ideal: tuple[tuple[int, float], ...] = ()


def scaling_models(table: ScalingTable) -> ScalingModels:
    """Fit every model that the table's rows allow; what they do not allow is None, with the reason in ``choice``.

    Rows of one variant are fitted (the one with most measured rows), by median time per iteration; where batch sizes
    differ, times are scaled to the baseline's steps.
    """
    rows = _main_variant(table.measured_rows)
    points = [TimePoint(row.num_env_runners, row.num_envs_per_env_runner, _time(row, table)) for row in rows]
    choice = choose_model(points)
    ideal: tuple[tuple[int, float], ...] = ()
    if table.baseline is not None:
        base_envs = table.baseline.num_envs
        ideal = tuple((n, n / base_envs) for n in sorted({row.num_envs for row in table.measured_rows}))
    if choice.family == "none":
        return ScalingModels(choice, ideal=ideal)
    fitted = choice.points
    base = min(fitted, key=lambda point: (point.num_envs, point.time_s))
    workers = [point.num_envs / base.num_envs for point in fitted]
    speedups = [base.time_s / point.time_s for point in fitted]
    return ScalingModels(
        choice=choice,
        amdahl=_or_none(lambda: amdahl_fit(workers, speedups)),
        usl=_or_none(lambda: usl_fit(workers, speedups)),
        phase=_or_none(lambda: phase_fit(fitted)),
        base_label=f"{base.num_env_runners}x{base.num_envs_per_env_runner}",
        curves=tuple(_curve(model, fitted, table) for model in choice.candidates),
        ideal=ideal,
    )


def _or_none(fit: Callable[[], Fit]) -> Fit | None:
    try:
        return fit()
    except RequestError:
        return None


def _main_variant(rows: Sequence[ScalingRow]) -> list[ScalingRow]:
    variants: dict[str, list[ScalingRow]] = {}
    for row in rows:
        variants.setdefault(repr(sorted(_items(row.variant))), []).append(row)
    return max(variants.values(), key=len, default=[])


def _items(variant: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, repr(value)) for name, value in variant.items()]


def _time(row: ScalingRow, table: ScalingTable) -> float:
    """Return seconds for as many steps as the baseline takes per iteration."""
    assert row.time_per_iter_s is not None and table.baseline is not None and row.sps is not None
    steps = table.baseline.steps_per_iteration
    if row.speedup_basis == "time" or steps is None:
        return row.time_per_iter_s.value
    return steps / row.sps.value


def _curve(model: TimeModel, points: Sequence[TimePoint], table: ScalingTable) -> FittedCurve:
    """Draw a model: over N for Amdahl and the USL, at the measured (R, E) for the phase model (no function of N)."""
    assert table.baseline is not None and table.baseline.time_per_iter_s is not None
    base_s = table.baseline.time_per_iter_s.value
    if model.name == "phase":
        pairs = sorted({(float(point.num_env_runners), float(point.num_envs_per_env_runner)) for point in points})
    else:
        low, high = min(point.num_envs for point in points), max(point.num_envs for point in points)
        step = (high / low) ** (1.0 / CURVE_STEPS)
        pairs = [(1.0, low * step**index) for index in range(CURVE_STEPS + 1)]
    drawn = []
    for runners, envs in pairs:
        time_s = model.predict(runners, envs)
        if time_s > 0.0:
            drawn.append(CurvePoint(runners, envs, runners * envs, time_s, base_s / time_s))
    name = model_label(model.name)
    error = "" if model.held_out_error is None else f" (held-out error {model.held_out_error:.0%})"
    return FittedCurve(
        model.name, f"{name[0].upper()}{name[1:]}{error}", tuple(sorted(drawn, key=lambda point: point.num_envs))
    )
