"""The line and scatter charts of the page, as data: scaling, decision, and curves of a single run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from paceline.analysis.curves import ScalingModels
from paceline.analysis.findings import LearningPoint, RunFinding, WorkloadFindings
from paceline.analysis.models import CurvePoint, FittedCurve
from paceline.measure.result import RunResult
from paceline.report import formats, palette, view
from paceline.report.svg import Axis, Chart, Line, Mark, Region, draw

MOST_POINTS = 400
"""Curves longer than this are averaged into so many bins: a screen has no more pixels."""

MOST_NAMES = 20
"""With more points than this, only the recommended ones are named in a chart."""


def model_lines(models: ScalingModels) -> list[tuple[FittedCurve, float | None, list[CurvePoint]]]:
    """Split fitted curves into drawable lines: (curve, runners or None, points ordered by num_envs).

    The phase model tells runners from envs per runner, so it is one line for each number of runners; the others depend
    on num_envs only. The chosen model comes first.
    """
    chosen = models.choice.chosen.name if models.choice.chosen else None
    found: list[tuple[FittedCurve, float | None, list[CurvePoint]]] = []
    for curve in sorted(models.curves, key=lambda item: item.model != chosen):
        groups: list[float | None] = [None]
        if curve.model == "phase":
            groups = list(dict.fromkeys(point.num_env_runners for point in curve.points))
        for runners in groups:
            points = [p for p in curve.points if runners is None or p.num_env_runners == runners]
            points = sorted((p for p in points if p.speedup > 0), key=lambda point: point.num_envs)
            if len(points) > 1:
                found.append((curve, runners, smooth(points)))
    return found


def smooth(points: Sequence[CurvePoint], between: int = 8) -> list[CurvePoint]:
    """Add points between a curve's own, so that a smooth law is not drawn with corners.

    Time is interpolated linearly in 1/N, which is exact for Amdahl's law and, at a fixed number of runners, for the
    phase model; for the USL it is close.
    """
    if len(points) >= 2 * between:
        return list(points)
    dense: list[CurvePoint] = []
    for left, right in itertools.pairwise(points):
        for step in range(between):
            weight = step / between
            size = math.exp((1 - weight) * math.log(left.num_envs) + weight * math.log(right.num_envs))
            span = 1 / right.num_envs - 1 / left.num_envs
            share = (1 / size - 1 / left.num_envs) / span if span else 0.0
            time_s = left.time_s + share * (right.time_s - left.time_s)
            base_s = left.speedup * left.time_s
            dense.append(replace(left, num_envs=size, time_s=time_s, speedup=base_s / time_s))
    return [*dense, *points[-1:]]


_MODEL_NAMES = {"phase": "phase model", "amdahl": "Amdahl's law", "usl": "USL"}


def model_label(models: ScalingModels, curve: FittedCurve) -> str:
    """Name a model with its held-out error, short enough for a legend: ``phase model (error 0.7%)``."""
    name = _MODEL_NAMES.get(curve.model, formats.one_line(curve.label, 24))
    error = next((c.held_out_error for c in models.choice.candidates if c.name == curve.model), None)
    return name if error is None else f"{name} (error {formats.percent(error)})"


def scaling_chart(workload: WorkloadFindings) -> Chart | None:
    """Draw speedup against number of envs, both in powers of two, with the ideal line and the fitted curves."""
    rows = [row for row in workload.table.rows if row.speedup and row.speedup.value > 0]
    if len(rows) < 2 or workload.models is None:
        return None
    styles = palette.runner_styles(row.num_env_runners for row in workload.table.rows)
    speedups = [row.speedup.value for row in rows if row.speedup]
    sizes = [row.num_envs for row in rows]
    lines: list[Line] = []
    chosen = workload.models.choice.chosen
    drawn: set[str] = set()
    for curve, runners, points in model_lines(workload.models):
        is_chosen = chosen is not None and curve.model == chosen.name
        label = model_label(workload.models, curve) if curve.model not in drawn else ""
        drawn.add(curve.model)
        lines.append(
            Line(
                [(p.num_envs, p.speedup) for p in points],
                label=label,
                style=f"line model {curve.model}" + (" chosen" if is_chosen else ""),
                color=styles[int(runners)].color if runners is not None and int(runners) in styles else "",
            )
        )
    ideal = [(n, s) for n, s in workload.models.ideal if s > 0]
    highs = [row.speedup.interval.high for row in rows if row.speedup and row.speedup.interval]
    top = max([*speedups, *highs, *(y for line in lines for _, y in line.points)])
    ideal_shown = [(n, s) for n, s in ideal if s <= top * 4]
    lines.append(Line(ideal_shown, label="ideal", style="line ideal"))
    lows = [row.speedup.interval.low for row in rows if row.speedup and row.speedup.interval]
    bottom = min([*speedups, *(low for low in lows if low > 0), *(s for _, s in ideal_shown)])
    marks = [
        Mark(
            row.num_envs,
            row.speedup.value,
            styles[row.num_env_runners].marker,
            styles[row.num_env_runners].color,
            title=f"{row.label}: {formats.times(row.speedup.value)} with {row.num_envs} envs",
            low=row.speedup.interval.low if row.speedup.interval else None,
            high=row.speedup.interval.high if row.speedup.interval else None,
        )
        for row in rows
        if row.speedup
    ]
    best = max(rows, key=lambda row: row.speedup.value if row.speedup else 0.0)
    return draw(
        "Speedup against number of environments",
        f"{len(rows)} plans; best {best.label} with {formats.times(best.speedup.value if best.speedup else None)}.",
        Axis("number of environments (log)", min(sizes), max(sizes), log=True, write=formats.compact),
        Axis("speedup (log)", bottom, max(top, *(s for _, s in ideal_shown), bottom * 2), log=True, write=_times_tick),
        lines=lines,
        marks=marks,
    )


def _times_tick(value: float) -> str:
    return f"{value:g}x"


def decision_chart(workload: WorkloadFindings) -> Chart | None:
    """Draw speedup against efficiency, the scenarios as regions, the recommended plans as their markers."""
    advice = workload.advice
    if advice is None or len(advice.chart.points) < 2:
        return None
    points = sorted(advice.chart.points, key=lambda point: (not point.chosen_by, -point.speedup))
    x_top = max(1.02, *(point.efficiency for point in points))
    y_top = max(point.speedup for point in points) * 1.08
    x_axis = Axis(f"efficiency per {advice.chart.efficiency_basis}", 0, x_top, write=_percent_tick)
    y_axis = Axis("speedup", 0, y_top, write=_times_tick)
    x_end, y_end = x_axis.ticks()[-1], y_axis.ticks()[-1]
    regions = [
        Region(s.min_efficiency, s.min_speedup, x_end, y_end, f"{s.name}: {s.wish}", _color(s.name))
        for s in advice.chart.scenarios
        if (s.min_efficiency > 0 or s.min_speedup > 0) and s.min_speedup < y_end and s.min_efficiency < x_end
    ]
    names = view.short_labels(workload.table.rows)
    crowded = len(points) > MOST_NAMES
    marks = []
    for point in points:
        name = formats.one_line(names.get(point.label, point.label), 18)
        style = palette.scenario_style(point.chosen_by[0]) if point.chosen_by else palette.ScenarioStyle("", "o", "○")
        chosen = f", {' and '.join(point.chosen_by)}" if point.chosen_by else ""
        guard = "" if point.passes_guards else ", breaks a guard"
        figures = f"{formats.times(point.speedup)}, {formats.percent(point.efficiency)}"
        marks.append(
            Mark(
                point.efficiency,
                point.speedup,
                style.marker,
                style.color,
                title=f"{point.label}: {figures}{chosen}{guard}",
                label="" if crowded and not point.chosen_by else name,
                size=6.5 if point.chosen_by else 4.0,
            )
        )
    taken = [f"{r.scenario.name} takes {r.row.label}" for r in advice.recommendations if r.row is not None]
    return draw(
        "Decision chart: speedup against efficiency",
        "; ".join(taken) or "Plans by speedup and efficiency.",
        x_axis,
        y_axis,
        marks=marks,
        regions=regions,
    )


def _color(scenario: str) -> str:
    return palette.scenario_style(scenario).color


def _percent_tick(value: float) -> str:
    return f"{value * 100:.0f}%"


def return_charts(run: RunFinding) -> list[Chart]:
    """Draw the running mean return against steps and against training time; empty without two returns."""
    points = [(point, point.recent_return) for point in run.curve if point.recent_return is not None]
    if len(points) < 2:
        return []
    by_steps = [(float(point.total_env_steps), value) for point, value in points]
    by_time = [(point.training_s, value) for point, value in points]
    name = f"Mean return of {view.returns_name(run)} against"
    final = f"From {by_steps[0][1]:,.0f} to {by_steps[-1][1]:,.0f}."
    unit, divisor = time_unit(by_time[-1][0])
    return [
        _curve(f"{name} environment steps", final, by_steps, "environment steps", formats.compact),
        _curve(
            f"{name} training time",
            final,
            [(t / divisor, y) for t, y in by_time],
            f"training time ({unit})",
            "{:g}".format,
        ),
    ]


def throughput_chart(curve: Sequence[LearningPoint]) -> Chart | None:
    """Draw steps per second of every iteration, from zero."""
    points = [(float(index), point.sps) for index, point in enumerate(curve, 1) if math.isfinite(point.sps)]
    if len(points) < 2:
        return None
    low, high = min(y for _, y in points), max(y for _, y in points)
    text = f"Between {formats.integer(low)} and {formats.integer(high)} steps per second."
    return _curve("Steps per second of each iteration", text, points, "iteration", formats.compact, from_zero=True)


def resource_charts(run: RunResult) -> list[Chart]:
    """Draw CPU use and memory over the iterations of a run; a chart whose figures were not measured is left out."""
    used = [(float(i), record.resources) for i, record in enumerate(run.iterations, 1) if record.resources]
    cpu = [(i, use.cpu_utilization) for i, use in used]
    ram = memory_points(run)
    charts = []
    if len(cpu) > 1:
        charts.append(
            _curve(
                "CPU use",
                "Share of the usable cores that was busy.",
                cpu,
                "iteration",
                "{:g}".format,
                write_y=_percent_tick,
                y_top=1.0,
                from_zero=True,
            )
        )
    gpu = gpu_points(run)
    if len(gpu) > 1:
        text = "As NVML tells it: the share of time in which any kernel ran."
        chart = _curve(
            "GPU utilisation", text, gpu, "iteration", "{:g}".format, write_y=_percent_tick, y_top=1.0, from_zero=True
        )
        charts.append(chart)
    if len(ram) > 1:
        text = f"At most {formats.significant(max(y for _, y in ram))} GiB."
        number = "{:g}".format
        charts.append(_curve("Memory (GiB)", text, ram, "iteration", number, write_y=number, from_zero=True))
    return charts


def memory_points(run: RunResult) -> list[tuple[float, float]]:
    """Return (iteration, GiB): PSS where it was read at least twice (it is read only every few seconds), else RSS."""
    used = [(float(i), record.resources) for i, record in enumerate(run.iterations, 1) if record.resources]
    shared = [(i, use.pss_bytes / 2**30) for i, use in used if use.pss_bytes is not None]
    return shared if len(shared) > 1 else [(i, use.rss_bytes / 2**30) for i, use in used]


def gpu_points(run: RunResult) -> list[tuple[float, float]]:
    """Return (iteration, utilisation of the first GPU as a fraction) where NVML answered."""
    used = [(float(i), record.resources) for i, record in enumerate(run.iterations, 1) if record.resources]
    readings = [(i, use.gpus[0].utilization_percent) for i, use in used if use.gpus]
    return [(i, percent / 100) for i, percent in readings if percent is not None]


def _curve(
    title: str,
    description: str,
    points: Sequence[tuple[float, float]],
    x_label: str,
    write_x: Callable[[float], str],
    *,
    write_y: Callable[[float], str] = formats.compact,
    y_top: float | None = None,
    from_zero: bool = False,
) -> Chart:
    drawn = binned(points)
    ys = [y for _, y in points]
    low = 0.0 if from_zero else min(ys)
    return draw(
        title,
        description,
        Axis(x_label, 0.0 if drawn[0][0] > 1 else drawn[0][0], drawn[-1][0], write=write_x, target=4),
        Axis("", low, max(max(ys), y_top or -math.inf, low + 1e-9), write=write_y),
        lines=[Line(drawn, style="line curve")],
    )


def binned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Average neighbouring points so that at most ``most`` remain; the ends keep their place."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    return [_mean(points[start : start + size]) for start in range(0, len(points), size)]


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def time_unit(longest_s: float) -> tuple[str, float]:
    """Return the unit in which a time axis up to ``longest_s`` reads well, and its length in seconds."""
    if longest_s >= 3 * 3600:
        return "hours", 3600.0
    return ("minutes", 60.0) if longest_s >= 180 else ("seconds", 1.0)
