"""The panels of a sweep's dashboard that show plans as points: speedup against envs, speedup against efficiency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paceline.analysis.findings import WorkloadFindings
from paceline.analysis.recommend import DecisionChart
from paceline.report import formats, palette, view
from paceline.report.charts import MOST_NAMES, model_label, model_lines
from paceline.report.geometry import power_of_two_ticks
from paceline.report.panel_text import LABEL_CHARS, PointName, say, write_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scaling_panel(axes: Axes, workload: WorkloadFindings) -> None:
    """Draw speedup against number of envs with the ideal line and the fitted curves, powers of two on both axes."""
    axes.set_title("Speedup against envs")
    rows = [row for row in workload.table.rows if row.speedup and row.speedup.value > 0]
    if len(rows) < 2:
        say(axes, "fewer than two plans were measured")
        return
    styles = palette.runner_styles(row.num_env_runners for row in workload.table.rows)
    speedups = [row.speedup.value for row in rows if row.speedup]
    if workload.models:
        ideal = [(n, s) for n, s in workload.models.ideal if 0 < s <= max(speedups) * 4]
        axes.plot([n for n, _ in ideal], [s for _, s in ideal], ":", color="#59626F", linewidth=2, label="ideal")
        _draw_models(axes, workload, styles)
    for runners, style in styles.items():
        group = sorted((row for row in rows if row.num_env_runners == runners), key=lambda row: row.num_envs)
        values = [row.speedup.value for row in group if row.speedup]
        name = "in process" if runners == 0 else formats.plural(runners, "runner")
        if values:
            axes.plot(
                [row.num_envs for row in group],
                values,
                linestyle="",
                marker=style.marker,
                markersize=11,
                color=style.color,
                markeredgecolor="white",
                label=name,
                zorder=4,
            )
    for row in rows:
        if row.speedup and row.speedup.interval:
            low, high = row.speedup.interval.low, row.speedup.interval.high
            axes.vlines(row.num_envs, low, high, color="#14181F", linewidth=1.3, alpha=0.7, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    _plain_ticks(axes, [row.num_envs for row in rows], speedups)
    axes.grid(True)
    axes.set_xlabel("number of environments")
    axes.set_ylabel("speedup")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncol=2, handlelength=1.8, columnspacing=1.0)


def _draw_models(axes: Axes, workload: WorkloadFindings, styles: dict[int, palette.RunnerStyle]) -> None:
    models = workload.models
    if models is None:
        return
    named: set[str] = set()
    for curve, runners, points in model_lines(models):
        chosen = models.choice.chosen is not None and models.choice.chosen.name == curve.model
        color = (
            styles[int(runners)].color
            if runners is not None and int(runners) in styles
            else "#14181F"
            if chosen
            else "#59626F"
        )
        axes.plot(
            [point.num_envs for point in points],
            [point.speedup for point in points],
            linestyle="-" if chosen else (0, (5, 3)) if curve.model == "usl" else "-.",
            linewidth=2.2 if chosen else 1.6,
            color=color,
            alpha=0.9,
            label="_" if curve.model in named else model_label(models, curve),
            zorder=3 if chosen else 2,
        )
        named.add(curve.model)


def _plain_ticks(axes: Axes, sizes: Sequence[int], speedups: Sequence[float]) -> None:
    x_ticks = power_of_two_ticks(min(sizes), max(sizes), most=7)
    y_low, y_high = axes.get_ylim()
    y_ticks = [tick for tick in power_of_two_ticks(min(speedups), max(y_high, 1.1), most=8) if tick <= y_high * 1.01]
    axes.set_xticks(x_ticks, [f"{tick:g}" for tick in x_ticks])
    axes.set_yticks(y_ticks, [f"{tick:g}x" for tick in y_ticks])
    axes.minorticks_off()
    axes.set_ylim(y_low, y_high)


def decision_panel(axes: Axes, workload: WorkloadFindings) -> DecisionChart | None:
    """Draw speedup against efficiency with the scenarios' regions; returns the chart whose points want labels."""
    from matplotlib.patches import Rectangle

    axes.set_title("Which plan to take")
    chart = workload.advice.chart if workload.advice else None
    if chart is None or not chart.points:
        say(axes, "nothing was measured")
        return None
    x_top = max(1.0, *(point.efficiency for point in chart.points)) * 1.06
    y_top = max(point.speedup for point in chart.points) * 1.15
    for scenario in chart.scenarios:
        if scenario.min_efficiency <= 0 and scenario.min_speedup <= 0:
            continue
        corner = (scenario.min_efficiency, scenario.min_speedup)
        style = palette.scenario_style(scenario.name)
        if corner[1] < y_top:
            box = Rectangle(
                corner, x_top - corner[0], y_top - corner[1], facecolor=style.color, alpha=0.14, linewidth=0
            )
            edge = Rectangle(
                corner,
                x_top - corner[0],
                y_top - corner[1],
                fill=False,
                edgecolor=style.color,
                linestyle=(0, (5, 3)),
                linewidth=1.4,
                label=f"{scenario.name}: {scenario.wish}",
            )
            axes.add_patch(box)
            axes.add_patch(edge)
    rest = [point for point in chart.points if not point.chosen_by]
    if rest:
        axes.plot(
            [p.efficiency for p in rest],
            [p.speedup for p in rest],
            "o",
            markersize=8,
            markerfacecolor="white",
            markeredgecolor="#59626F",
            markeredgewidth=1.6,
            zorder=3,
        )
    names = view.short_labels(workload.table.rows)
    nearest = (
        {r.scenario.name for r in workload.advice.recommendations if not r.qualifies} if workload.advice else set()
    )
    for point in chart.points:
        for index, name in enumerate(point.chosen_by):
            style = palette.scenario_style(name)
            taken = formats.one_line(names.get(point.label, point.label), 24)
            taken += " (nearest)" if name in nearest else ""
            axes.plot(
                point.efficiency,
                point.speedup,
                style.marker,
                markersize=15 - 3 * index,
                color=style.color,
                markeredgecolor="white",
                zorder=4 + index,
                label=f"{name}: {taken}",
            )
    axes.set_xlim(0, x_top)
    axes.set_ylim(0, y_top)
    axes.set_xlabel(f"efficiency per {chart.efficiency_basis}")
    axes.set_ylabel("speedup")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.tick_params(axis="x", pad=8)
    axes.grid(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.17), ncol=1, handlelength=1.6, labelspacing=0.3)
    return chart


def label_points(axes: Axes, chart: DecisionChart, names: Mapping[str, str]) -> None:
    """Write the plans' names beside their points where there is room, the chosen ones first."""
    points = sorted(chart.points, key=lambda point: (not point.chosen_by, -point.speedup))
    if len(points) > MOST_NAMES:
        points = [point for point in points if point.chosen_by]
    write_names(
        axes,
        [
            PointName(
                point.efficiency,
                point.speedup,
                formats.one_line(names.get(point.label, point.label), LABEL_CHARS),
                bold=bool(point.chosen_by),
            )
            for point in points
        ],
    )
