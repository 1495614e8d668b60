"""The panels of a sweep's dashboard that list plans: speed, efficiency, ledger, resources; and all six in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paceline.analysis.findings import WorkloadFindings
from paceline.analysis.table import ScalingRow
from paceline.report import formats, palette, view
from paceline.report.panel_text import LABEL_CHARS, say
from paceline.report.panels_plane import decision_panel, label_points, scaling_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 16
"""Plans shown as bars; the tables hold all."""
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
        label_points(panels[5], chart, names)


def _list_plans(axes: Axes, rows: Sequence[ScalingRow], names: Mapping[str, str]) -> None:
    axes.set_yticks(range(len(rows)), [formats.one_line(names[row.label], LABEL_CHARS) for row in rows])
    axes.set_ylim(max(len(rows), 6) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _mark_failed(axes: Axes, place: float, row: ScalingRow, width: float) -> None:
    axes.barh(place, width, height=0.72, color=FAILED_FILL, edgecolor=FAILED_EDGE, hatch="////", linewidth=0)
    axes.text(
        width * 0.02,
        place,
        row.outcome,
        va="center",
        fontsize=13,
        fontweight="bold",
        color="#8A3100",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )


def speed_panel(axes: Axes, workload: WorkloadFindings, rows: Sequence[ScalingRow], hidden: int) -> None:
    """Draw steps per second with 95% intervals; the time per iteration is written at the bar."""
    axes.set_title("Steps per second (time per iteration)")
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
            place,
            row.sps.value,
            height=0.72,
            color=BAR if on else BAR_REST,
            xerr=error,
            error_kw={"ecolor": "#14181F", "capsize": 4, "elinewidth": 1.5},
        )
        time_s = formats.seconds(row.time_per_iter_s.value if row.time_per_iter_s else None)
        unsteady = ", unsteady" if row.outcome_counts.get("unsteady") else ""
        end = row.sps.interval.high if row.sps.interval else row.sps.value
        axes.text(
            end + longest * 0.015,
            place,
            f"{formats.compact(row.sps.value)} · {time_s}{unsteady}",
            va="center",
            fontsize=13,
            fontweight="bold" if on else "normal",
        )
    axes.set_xlim(0, longest * (1.62 if any(row.outcome_counts.get("unsteady") for row in rows) else 1.34))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    behind = view.variant_names(rows)
    notes = [
        f"named: runners x envs {formats.one_line(behind, 40)}" if behind else "",
        f"and {formats.plural(hidden, 'plan')} more in report.txt" if hidden > 0 else "",
    ]
    if any(notes):
        axes.annotate(
            "\n".join(note for note in notes if note),
            (0, 0),
            (0, -8),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=13,
            color="#59626F",
        )


def efficiency_panel(axes: Axes, workload: WorkloadFindings) -> None:
    """Draw efficiency over runners (down) x envs per runner (across): figure and rating in each cell."""
    laid, basis = view.grid(workload), view.efficiency_basis(workload)
    axes.set_title(f"Efficiency per {basis}")
    if laid is None:
        say(axes, "no plan was measured")
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
    axes.add_patch(
        Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=0.8)
    )
    if row is None:
        axes.text(x, y, formats.MISSING, ha="center", va="center", color="#8A8F98")
    elif failed or value is None:
        text = row.outcome if failed else formats.MISSING
        axes.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            fontsize=13,
            fontweight="bold",
            color="#8A3100",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
    else:
        text = formats.percent(value, 0) if small else f"{formats.percent(value, 0)}\n{rating}"
        axes.text(x, y, text, ha="center", va="center", fontsize=12 if small else 14, color=palette.ink_on(fill))


def ledger_panel(axes: Axes, rows: Sequence[ScalingRow]) -> None:
    """Draw each plan's ledger as one stacked bar of 100 %."""
    axes.set_title("Where the time goes (%)")
    phases = view.drawn_phases(rows)
    if not phases:
        say(axes, "no ledger was recorded")
        return
    starts = [0.0] * len(rows)
    for phase in phases:
        widths = [
            next((s.percent for s in row.bottleneck.shares if s.phase == phase.phase), 0.0) if row.bottleneck else 0.0
            for row in rows
        ]
        style = palette.phase_style(phase.phase)
        axes.barh(
            range(len(rows)),
            widths,
            left=starts,
            height=0.72,
            color=style.color,
            hatch=style.hatch or None,
            edgecolor="#14181F" if palette.ink_on(style.color) != "#FFFFFF" else "white",
            linewidth=0,
            label=phase.label,
        )
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for place, row in enumerate(rows):
        if row.sps is None:
            _mark_failed(axes, place, row, 100)
    axes.set_xlim(0, 100)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.07), ncol=2, handlelength=1.6, columnspacing=1.2)


def resource_panel(axes: Axes, rows: Sequence[ScalingRow]) -> None:
    """Draw CPU use and memory of each plan as a share of the machine's limit, with the 80 % guard."""
    axes.set_title("CPU and memory (% of limit)")
    if not any(row.cpu_utilization is not None or row.ram_fraction is not None for row in rows):
        say(axes, "CPU and memory were not measured")
        return
    places = range(len(rows))
    cpu = [(row.cpu_utilization or 0.0) * 100 for row in rows]
    ram = [(row.ram_fraction or 0.0) * 100 for row in rows]
    axes.barh([p - 0.19 for p in places], cpu, height=0.36, color=palette.BLUE, label="CPU")
    axes.barh(
        [p + 0.19 for p in places],
        ram,
        height=0.36,
        color=palette.ORANGE,
        hatch="//",
        edgecolor="white",
        linewidth=0,
        label="memory",
    )
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
