"""What the scaling models say, one sentence each, with the points they were fitted over and their intervals."""

from __future__ import annotations

from collections.abc import Callable

from paceline.analysis.curves import ScalingModels
from paceline.analysis.models import AmdahlFit, PhaseFit
from paceline.analysis.stats import Interval
from paceline.report import formats

FAMILIES = {"runners": " with runners", "in-process": " in the learner's process"}


def model_sentences(models: ScalingModels) -> list[str]:
    """Return what Amdahl's law, the USL and the phase model say, one sentence each."""
    said: list[str] = []
    if fit := models.amdahl:
        over = f"fitted over all {formats.plural(fit.num_points, 'point')}{FAMILIES.get(models.choice.family, '')}"
        base = f", speedups over {models.base_label}" if models.base_label else ""
        said.append(f"Amdahl, {over}{base}: {_amdahl_text(fit)}.")
    if usl := models.usl:
        peak = f", peak at {formats.integer(usl.peak_num_envs)} envs" if usl.peak_num_envs else ", no peak"
        said.append(f"USL: contention {usl.contention:.3g}, coherency {usl.coherency:.3g}{peak}.")
    if models.phase:
        said.append(f"Phase model T = L + E/r + I/(r e): {_phase_text(models.phase)}.")
    return said


def _amdahl_text(fit: AmdahlFit) -> str:
    serial = formats.percent(fit.serial_fraction) + _between(fit.interval, formats.percent)
    span = _between(fit.limit_interval, formats.times)
    if fit.serial_fraction <= 0:
        return f"serial fraction {serial}, no limit{span}"
    if fit.share_of_limit > 1:
        reached = "which the best plan exceeds: Amdahl's law does not describe these plans"
    else:
        reached = f"of which {formats.percent(fit.share_of_limit, 0)} is reached"
    return f"serial fraction {serial}, limit {formats.times(fit.limit)}{span}, {reached}"


def _phase_text(fit: PhaseFit) -> str:
    terms = (
        ("L", "learner_s", fit.learner_s, "that no runner or env shortens"),
        ("E", "runner_s", fit.runner_s, "that runners divide"),
        ("I", "batched_s", fit.batched_s, "that both divide"),
    )
    return ", ".join(
        f"{letter} {formats.seconds(value)}{_between(fit.intervals.get(name), formats.seconds)} {meaning}"
        for letter, name, value, meaning in terms
    )


def _between(bounds: Interval | None, write: Callable[[float], str]) -> str:
    """Write an interval in brackets, ``" (95%: 1.2 s to 1.4 s)"``; without an upper end ``at least``; "" for none."""
    if bounds is None or not formats.known(bounds.low):
        return ""
    span = (
        f"{write(bounds.low)} to {write(bounds.high)}"
        if formats.known(bounds.high)
        else f"at least {write(bounds.low)}"
    )
    return f" ({formats.percent(bounds.confidence, 0)}: {span})"
