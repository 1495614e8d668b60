"""The six panels of a sweep's dashboard, for matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paceline.analysis.findings import WorkloadFindings
from paceline.analysis.recommend import DecisionChart
from paceline.analysis.table import ScalingRow
from paceline.report import formats, palette, view
from paceline.report.charts import MOST_NAMES, model_label, model_lines
from paceline.report.geometry import Anchor, Box, place_labels, power_of_two_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 16
"""Plans shown as bars; the tables hold all."""
LABEL_CHARS = 18
FAILED_FILL = "#F1F2F4"
FAILED_EDGE = "#8A8F98"
BAR = palette.BLUE
BAR_REST = "#9DBDD3"


def row_heights_in(workload: WorkloadFindings | None) -> list[float]:
    """Return the heights of the three rows of panels, in inches: taller where more plans are listed."""
    bars = min(len(workload.table.rows), MOST_BARS) if workload else 4
    listed = 1.9 + 0.37 * max(bars, 6)
    return [max(listed, 5.8), max(listed + 0.7, 5.6), max(listed + 0.05 * bars, 5.6)]


def draw_panels(panels: Sequence[Axes], workload: WorkloadFindings) -> None:
    """Draw the panels: speed, scaling, efficiency, ledger, resources, decision."""
    rows = view.by_speed(workload.table.rows)
    shown = view.bars_shown(rows, workload.table.baseline, MOST_BARS)
    names = view.short_labels(rows)
    speed_panel(panels[0], workload, shown, len(rows) - len(shown))
    _list_plans(panels[0], shown, names)
    scaling_panel(panels[1], workload)
    efficiency_panel(panels[2], workload)
    ledger_panel(panels[3], shown)
    resource_panel(panels[4], shown)
    for panel in (panels[3], panels[4]):
        if panel.axison:
            _list_plans(panel, shown, names)
    # The label placer works in pixels, so everything else must lie where it will be.
    figure = panels[5].get_figure(root=True)
    chart = decision_panel(panels[5], workload)
    if chart and figure is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        _label_points(panels[5], chart, names)


def _list_plans(axes: Axes, rows: Sequence[ScalingRow], names: Mapping[str, str]) -> None:
    axes.set_yticks(range(len(rows)), [formats.one_line(names[row.label], LABEL_CHARS) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _mark_failed(axes: Axes, place: float, row: ScalingRow, width: float) -> None:
    axes.barh(place, width, height=0.72, color=FAILED_FILL, edgecolor=FAILED_EDGE, hatch="////", linewidth=0)
    axes.text(
        width * 0.02, place, row.outcome, va="center", fontsize=13, fontweight="bold", color="#8A3100",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def speed_panel(axes: Axes, workload: WorkloadFindings, rows: Sequence[ScalingRow], hidden: int) -> None:
    """Draw steps per second with 95% intervals; the time per iteration is written at the bar."""
    axes.set_title("Steps per second, and time per iteration")
    best = (workload.advice.recommended if workload.advice else None) or view.fastest_row(rows)
    tops = [row.sps.interval.high if row.sps.interval else row.sps.value for row in rows if row.sps]
    longest = max(tops, default=1.0) or 1.0
    for place, row in enumerate(rows):
        if row.sps is None:
            _mark_failed(axes, place, row, longest)
            continue
        on = best is not None and row.label == best.label
        error = None
        if row.sps.interval:
            below, above = row.sps.value - row.sps.interval.low, row.sps.interval.high - row.sps.value
            error = [[max(below, 0.0)], [max(above, 0.0)]]
        axes.barh(
            place, row.sps.value, height=0.72, color=BAR if on else BAR_REST, xerr=error,
            error_kw={"ecolor": "#14181F", "capsize": 4, "elinewidth": 1.5},
        )  # fmt: skip
        time_s = formats.seconds(row.time_per_iter_s.value if row.time_per_iter_s else None)
        end = row.sps.interval.high if row.sps.interval else row.sps.value
        axes.text(
            end + longest * 0.015, place, f"{formats.compact(row.sps.value)} · {time_s}", va="center", fontsize=13,
            fontweight="bold" if on else "normal",
        )  # fmt: skip
    axes.set_xlim(0, longest * 1.34)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    behind = view.variant_names(rows)
    notes = [f"named: runners x envs {formats.one_line(behind, 40)}" if behind else "",
             f"and {formats.plural(hidden, 'plan')} more in report.txt" if hidden > 0 else ""]  # fmt: skip
    if any(notes):
        axes.annotate(
            "\n".join(note for note in notes if note), (0, 0), (0, -8), xycoords="axes fraction",
            textcoords="offset points", va="top", fontsize=13, color="#59626F",
        )  # fmt: skip


def scaling_panel(axes: Axes, workload: WorkloadFindings) -> None:
    """Draw speedup against number of envs with the ideal line and the fitted curves, powers of two on both axes."""
    axes.set_title("Speedup against number of envs")
    rows = [row for row in workload.table.rows if row.speedup and row.speedup.value > 0]
    if len(rows) < 2:
        _nothing(axes, "fewer than two plans were measured")
        return
    styles = palette.runner_styles(row.num_env_runners for row in workload.table.rows)
    speedups = [row.speedup.value for row in rows if row.speedup]
    if workload.models:
        ideal = [(n, s) for n, s in workload.models.ideal if 0 < s <= max(speedups) * 4]
        axes.plot(*zip(*ideal, strict=True), ":", color="#59626F", linewidth=2, label="ideal") if len(ideal) > 1 else None
        _draw_models(axes, workload, styles)
    for runners, style in styles.items():
        group = sorted((row for row in rows if row.num_env_runners == runners), key=lambda row: row.num_envs)
        values = [row.speedup.value for row in group if row.speedup]
        name = "in process" if runners == 0 else formats.plural(runners, "runner")
        if values:
            axes.plot(
                [row.num_envs for row in group], values, linestyle="", marker=style.marker, markersize=11,
                color=style.color, markeredgecolor="white", label=name, zorder=4,
            )  # fmt: skip
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
        color = styles[runners].color if runners in styles else "#14181F" if chosen else "#59626F"
        axes.plot(
            [point.num_envs for point in points], [point.speedup for point in points],
            linestyle="-" if chosen else (0, (5, 3)) if curve.model == "usl" else "-.",
            linewidth=2.2 if chosen else 1.6, color=color, alpha=0.9,
            label="_" if curve.model in named else model_label(models, curve), zorder=3 if chosen else 2,
        )  # fmt: skip
        named.add(curve.model)


def _plain_ticks(axes: Axes, sizes: Sequence[int], speedups: Sequence[float]) -> None:
    x_ticks = power_of_two_ticks(min(sizes), max(sizes), most=7)
    y_low, y_high = axes.get_ylim()
    y_ticks = [tick for tick in power_of_two_ticks(min(speedups), max(y_high, 1.1), most=8) if tick <= y_high * 1.01]
    axes.set_xticks(x_ticks, [f"{tick:g}" for tick in x_ticks])
    axes.set_yticks(y_ticks, [f"{tick:g}x" for tick in y_ticks])
    axes.minorticks_off()
    axes.set_ylim(y_low, y_high)


def efficiency_panel(axes: Axes, workload: WorkloadFindings) -> None:
    """Draw efficiency over runners (down) x envs per runner (across): figure and rating in each cell."""
    laid, basis = view.grid(workload), view.efficiency_basis(workload)
    axes.set_title(f"Efficiency per {basis}")
    if laid is None:
        _nothing(axes, "no plan was measured")
        return
    small = len(laid.envs) > 5
    for y, runners in enumerate(laid.runners):
        for x, envs in enumerate(laid.envs):
            _efficiency_cell(axes, x, y, laid.cells.get((runners, envs)), basis, small=small)
    axes.set_xlim(-0.5, len(laid.envs) - 0.5)
    axes.set_ylim(len(laid.runners) - 0.5, -0.5)
    axes.set_xticks(range(len(laid.envs)), [str(envs) for envs in laid.envs])
    axes.set_yticks(range(len(laid.runners)), [str(runners) for runners in laid.runners])
    axes.set_xlabel("envs per runner" + (f"  ({formats.one_line(laid.title, 34)})" if laid.title else ""))
    axes.set_ylabel("env runners")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _efficiency_cell(axes: Axes, x: int, y: int, row: ScalingRow | None, basis: str, *, small: bool) -> None:
    from matplotlib.patches import Rectangle

    value = view.efficiency(row, basis) if row else None
    rating = (view.rating(row, basis) if row else None) or ""
    failed = row is not None and row.sps is None
    fill = FAILED_FILL if failed else palette.RATING_FILLS.get(rating, "#FFFFFF")
    edge = FAILED_EDGE if failed else "#C9CFD6"
    hatch = "////" if failed else None
    axes.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=0.8))
    if row is None:
        axes.text(x, y, formats.MISSING, ha="center", va="center", color="#8A8F98")
    elif failed or value is None:
        text = row.outcome if failed else formats.MISSING
        axes.text(x, y, text, ha="center", va="center", fontsize=13, fontweight="bold", color="#8A3100",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    else:
        text = formats.percent(value, 0) if small else f"{formats.percent(value, 0)}\n{rating}"
        axes.text(x, y, text, ha="center", va="center", fontsize=12 if small else 14, color=palette.ink_on(fill))


def ledger_panel(axes: Axes, rows: Sequence[ScalingRow]) -> None:
    """Draw each plan's ledger as one stacked bar of 100 %."""
    axes.set_title("Where the time goes (% of wall time)")
    phases = view.drawn_phases(rows)
    if not phases:
        _nothing(axes, "no ledger was recorded")
        return
    starts = [0.0] * len(rows)
    for phase in phases:
        widths = [
            next((s.percent for s in row.bottleneck.shares if s.phase == phase.phase), 0.0) if row.bottleneck else 0.0
            for row in rows
        ]
        style = palette.phase_style(phase.phase)
        axes.barh(
            range(len(rows)), widths, left=starts, height=0.72, color=style.color, hatch=style.hatch or None,
            edgecolor="#14181F" if palette.ink_on(style.color) != "#FFFFFF" else "white", linewidth=0, label=phase.label,
        )  # fmt: skip
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for place, row in enumerate(rows):
        if row.sps is None:
            _mark_failed(axes, place, row, 100)
    axes.set_xlim(0, 100)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.07), ncol=2, handlelength=1.6, columnspacing=1.2)


def resource_panel(axes: Axes, rows: Sequence[ScalingRow]) -> None:
    """Draw CPU use and memory of each plan as a share of the machine's limit, with the 80 % guard."""
    axes.set_title("CPU and memory (% of the limit)")
    if not any(row.cpu_utilization is not None or row.ram_fraction is not None for row in rows):
        _nothing(axes, "CPU and memory were not measured")
        return
    places = range(len(rows))
    cpu = [(row.cpu_utilization or 0.0) * 100 for row in rows]
    ram = [(row.ram_fraction or 0.0) * 100 for row in rows]
    axes.barh([p - 0.19 for p in places], cpu, height=0.36, color=palette.BLUE, label="CPU")
    axes.barh([p + 0.19 for p in places], ram, height=0.36, color=palette.ORANGE, hatch="//", edgecolor="white",
              linewidth=0, label="memory")  # fmt: skip
    top = max(100.0, *cpu, *ram)
    for place, row in enumerate(rows):
        if row.sps is None:
            _mark_failed(axes, place, row, top)
            continue
        for offset, value in ((-0.19, row.cpu_utilization), (0.19, row.ram_fraction)):
            end = (value or 0.0) * 100
            axes.text(end + 1, place + offset, formats.percent(value, 0), va="center", fontsize=11.5)
    axes.axvline(80, color="#14181F", linewidth=1.4, linestyle=(0, (5, 3)), label="80% guard")
    axes.set_xlim(0, top * 1.12)
    axes.set_xticks([0, 20, 40, 60, 80, 100])
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.07), ncol=3, handlelength=1.6, columnspacing=1.2)


def decision_panel(axes: Axes, workload: WorkloadFindings) -> DecisionChart | None:
    """Draw speedup against efficiency with the scenarios' regions; returns the chart whose points want labels."""
    from matplotlib.patches import Rectangle

    axes.set_title("Which plan to take")
    chart = workload.advice.chart if workload.advice else None
    if chart is None or not chart.points:
        _nothing(axes, "nothing was measured")
        return None
    x_top = max(1.0, *(point.efficiency for point in chart.points)) * 1.06
    y_top = max(point.speedup for point in chart.points) * 1.15
    for scenario in chart.scenarios:
        if scenario.min_efficiency <= 0 and scenario.min_speedup <= 0:
            continue
        corner = (scenario.min_efficiency, scenario.min_speedup)
        style = palette.scenario_style(scenario.name)
        if corner[1] < y_top:
            box = Rectangle(corner, x_top - corner[0], y_top - corner[1], facecolor=style.color, alpha=0.14, linewidth=0)
            edge = Rectangle(corner, x_top - corner[0], y_top - corner[1], fill=False, edgecolor=style.color,
                             linestyle=(0, (5, 3)), linewidth=1.4, label=f"{scenario.name}: {scenario.wish}")  # fmt: skip
            axes.add_patch(box)
            axes.add_patch(edge)
    rest = [point for point in chart.points if not point.chosen_by]
    if rest:
        axes.plot([p.efficiency for p in rest], [p.speedup for p in rest], "o", markersize=8, markerfacecolor="white",
                  markeredgecolor="#59626F", markeredgewidth=1.6, zorder=3)  # fmt: skip
    for point in chart.points:
        for index, name in enumerate(point.chosen_by):
            style = palette.scenario_style(name)
            axes.plot(point.efficiency, point.speedup, style.marker, markersize=15 - 3 * index, color=style.color,
                      markeredgecolor="white", zorder=4 + index, label=f"{name}: {formats.one_line(point.label, 24)}")  # fmt: skip
    axes.set_xlim(0, x_top)
    axes.set_ylim(0, y_top)
    axes.set_xlabel(f"efficiency per {chart.efficiency_basis}")
    axes.set_ylabel("speedup")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.tick_params(axis="x", pad=8)
    axes.grid(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.15), ncol=1, handlelength=1.6, labelspacing=0.3)
    return chart


def _label_points(axes: Axes, chart: DecisionChart, names: Mapping[str, str]) -> None:
    """Write the plans' names beside their points where there is room, the chosen ones first."""
    points = sorted(chart.points, key=lambda point: (not point.chosen_by, -point.speedup))
    size = 13.0
    figure = axes.get_figure(root=True)
    scale = (figure.dpi if figure else 100) / 72
    if len(points) > MOST_NAMES:
        points = [point for point in points if point.chosen_by]
    named = [(point, formats.one_line(names.get(point.label, point.label), LABEL_CHARS)) for point in points]
    anchors = []
    for point, name in named:
        x, y = axes.transData.transform((point.efficiency, point.speedup))
        anchors.append(Anchor(float(x), float(y), len(name) * size * 0.6 * scale, size * 1.25 * scale))
    window = axes.get_window_extent()
    frame = Box(window.x0, window.y0, window.x1, window.y1)
    for (point, name), box in zip(named, place_labels(anchors, frame, gap=9 * scale), strict=True):
        if box is None:
            continue
        x, y = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
        weight = "bold" if point.chosen_by else "normal"
        axes.text(x, y, name, ha="center", va="center", fontsize=size, fontweight=weight, zorder=6)


def _nothing(axes: Axes, text: str) -> None:
    from paceline.report.plots import say

    say(axes, text, axes.get_title(loc="left"))
