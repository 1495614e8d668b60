"""Which of the scaling models to believe: the one that predicts best what it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from paceline.analysis.least_squares import design_held_out_error, root_mean_square, solve_relative
from paceline.analysis.models import (
    DESIGNS,
    FORMULAS,
    TERMS,
    ModelChoice,
    ModelName,
    TimeModel,
    TimePoint,
    as_time_points,
    time_columns,
)

MIN_CHOICE_POINTS = 4
PARSIMONY = 0.9
"""A model with more coefficients is preferred only with a held-out error below this times that of a simpler one."""
POOR_FIT = 0.15
"""Above this held-out error a model says little about plans that were not measured."""

_LABELS: dict[ModelName, str] = {"amdahl": "Amdahl's law", "usl": "the USL", "phase": "the phase model"}


def choose_model(points: Iterable[TimePoint | tuple[float, float, float]]) -> ModelChoice:
    """Fit the three models to times and choose by leave-one-out error.

    All three get the same freedom here, their base time included: T(1) is a measurement like any other, and a model
    that is handed it exactly would have one point for free. (:func:`amdahl_fit` and :func:`usl_fit` hold S(1) = 1, as
    the laws are written.)

    r = 0 is not r = 1: in the learner's process there is no IPC and no second process. The two are never fitted
    together; the family with runners is taken where it has at least four points, else the in-process one (N = e).

    A model with more coefficients must beat a simpler one by a tenth of its error: an extra term always fits a little
    more.

    Args:
        points: ``(r, e, seconds per iteration)`` each.

    Raises:
        RequestError: a figure is out of range.
    """
    given = as_time_points(points)
    with_runners = [point for point in given if point.num_env_runners > 0]
    in_process = [point for point in given if point.num_env_runners == 0]
    family: Literal["runners", "in-process"] = "runners"
    kept, others = with_runners, in_process
    if len(with_runners) < MIN_CHOICE_POINTS <= len(in_process):
        family, kept, others = "in-process", in_process, with_runners
    excluded = tuple(f"{point.num_env_runners}x{point.num_envs_per_env_runner}" for point in others)
    if len(kept) < MIN_CHOICE_POINTS:
        reason = (
            f"Too few points: {len(with_runners)} with runners and {len(in_process)} in the learner's process, and a "
            f"model needs at least {MIN_CHOICE_POINTS} of one kind to be tested on what it has not seen."
        )
        return ModelChoice(None, (), reason, "none", tuple(kept), excluded)
    candidates = _candidates(kept)
    tested = [model for model in candidates if model.held_out_error is not None]
    if not tested:
        reason = (
            "Too few points: no model could be tested on a point that it had not seen; measure more runners or envs."
        )
        return ModelChoice(None, tuple(candidates), reason, family, tuple(kept), excluded)
    chosen = tested[0]
    for rival in tested[1:]:
        if len(rival.coefficients) < len(chosen.coefficients) and _error(rival) <= _error(chosen) / PARSIMONY + 1e-9:
            chosen = rival
    reason = _reason(chosen, tested)
    if excluded:
        other = "in the learner's process" if family == "runners" else "with runners"
        reason += f" Plans {other} ({', '.join(excluded)}) are another kind and not fitted."
    return ModelChoice(chosen, tuple(candidates), reason, family, tuple(kept), excluded)


def model_label(name: ModelName) -> str:
    """Return the model's name as it stands in a sentence."""
    return _LABELS[name]


def _candidates(points: Sequence[TimePoint]) -> list[TimeModel]:
    runners, envs, times = time_columns(points)
    models: list[TimeModel] = []
    for name, design_of in DESIGNS.items():
        design = design_of(runners, envs)
        if np.linalg.matrix_rank(design) < design.shape[1]:
            continue
        values = solve_relative(design, times)
        coefficients = dict(zip(TERMS[name], (float(value) for value in values), strict=True))
        models.append(
            TimeModel(
                name=name,
                coefficients=coefficients,
                residual_error=root_mean_square(design @ values / times - 1.0),
                held_out_error=design_held_out_error(design, times),
                num_points=len(points),
                formula=FORMULAS[name].format(**{key: f"{value:.3g}" for key, value in coefficients.items()}),
            )
        )
    return sorted(models, key=lambda model: (_error(model), len(model.coefficients)))


def _reason(chosen: TimeModel, tested: Sequence[TimeModel]) -> str:
    errors = ", ".join(f"{model_label(model.name)} {_error(model):.1%}" for model in tested if model is not chosen)
    name = model_label(chosen.name)
    sentence = (
        f"{name[0].upper()}{name[1:]} predicts a plan that it has not seen to {_error(chosen):.1%} (typical error)"
    )
    if errors:
        sentence += f"; the others: {errors}"
    sentence += "."
    lower = [model_label(model.name) for model in tested if _error(model) < _error(chosen) - 1e-9]
    if lower:
        sentence += f" Not clearly better, and with more terms: {' and '.join(lower)}."
    if _error(chosen) > POOR_FIT:
        sentence += " That is poor: trust the measured rows, not the curve."
    return sentence


def _error(model: TimeModel) -> float:
    return math.inf if model.held_out_error is None else model.held_out_error
