"""The six panels of a single run's dashboard: learning, throughput, ledger, CPU and memory over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paceline.analysis.bottleneck import Bottleneck
from paceline.analysis.findings import Findings
from paceline.measure.result import RunResult
from paceline.report import formats, palette, view
from paceline.report.charts import binned, gpu_points, memory_points, time_unit
from paceline.report.panel_text import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_HEIGHTS_IN = [5.2, 5.2, 5.0]
Points = Sequence[tuple[float, float]]


def draw_panels(panels: Sequence[Axes], findings: Findings, run: RunResult) -> None:
    """Draw return against steps and against time, steps per second, ledger, CPU, memory."""
    curve = findings.runs[0].curve if findings.runs else ()
    learned = [(point, point.recent_return) for point in curve if point.recent_return is not None]
    unit, length = time_unit(curve[-1].training_s if curve else 0.0)
    _curve(
        panels[0],
        "Mean return against steps",
        [(float(p.total_env_steps), y) for p, y in learned],
        "environment steps",
        palette.BLUE,
        "no episode ended",
    )
    if learned:
        for panel in panels[:2]:
            panel.set_ylabel(f"mean of {view.returns_name(findings.runs[0])}")
    panels[0].xaxis.set_major_formatter(lambda value, _: formats.compact(value))
    _curve(
        panels[1],
        "Mean return against time",
        [(p.training_s / length, y) for p, y in learned],
        f"training time ({unit})",
        palette.BLUE,
        "no episode ended",
    )
    speeds = [(float(i), p.sps) for i, p in enumerate(curve, 1) if math.isfinite(p.sps)]
    _curve(panels[2], "Steps per second", speeds, "iteration", palette.GREEN, "nothing was measured", from_zero=True)
    panels[2].yaxis.set_major_formatter(lambda value, _: formats.compact(value))
    ledger_panel(panels[3], findings.runs[0].bottleneck if findings.runs else None)
    used = [(float(i), record.resources) for i, record in enumerate(run.iterations, 1) if record.resources]
    cpu = [(i, use.cpu_utilization * 100) for i, use in used]
    _curve(
        panels[4], "CPU use (% of usable cores)", cpu, "iteration", palette.VERMILION, "not measured", from_zero=True
    )
    _curve(panels[5], "Memory (GiB)", memory_points(run), "iteration", palette.PURPLE, "not measured", from_zero=True)
    if cpu:
        panels[4].axhline(80, color="#14181F", linewidth=1.4, linestyle=(0, (5, 3)), label="80% guard")
        panels[4].get_lines()[0].set_label("CPU")
        if gpu := gpu_points(run):
            panels[4].set_title("CPU and GPU use (%)")
            panels[4].plot(
                [i for i, _ in gpu], [100 * y for _, y in gpu], "-.", color=palette.BLUE, linewidth=2.4, label="GPU"
            )
        panels[4].legend(loc="upper center", bbox_to_anchor=(0.45, -0.17), ncol=3)
        panels[4].set_ylim(0, max(100.0, *(y for _, y in cpu)) * 1.05)


def _curve(
    axes: Axes, title: str, points: Points, x_label: str, color: str, missing: str, *, from_zero: bool = False
) -> None:
    axes.set_title(title)
    if not points:
        say(axes, missing)
        return
    drawn = binned(points)
    axes.plot(
        [x for x, _ in drawn],
        [y for _, y in drawn],
        color=color,
        linewidth=2.4,
        marker="o" if len(drawn) <= 12 else "",
        markersize=7,
    )
    axes.set_xlabel(x_label)
    axes.grid(True)
    if from_zero:
        axes.set_ylim(0, max(max(y for _, y in points) * 1.12, 1e-9))


def ledger_panel(axes: Axes, bottleneck: Bottleneck | None) -> None:
    """Draw one bar per phase, largest first, with its share and seconds per iteration."""
    axes.set_title("Where the time goes (%)")
    shares = [share for share in bottleneck.shares if share.percent >= 0.05] if bottleneck else []
    if not shares:
        say(axes, "no ledger was recorded")
        return
    for place, share in enumerate(shares):
        style = palette.phase_style(share.phase)
        light = palette.ink_on(style.color) != "#FFFFFF"
        axes.barh(
            place,
            share.percent,
            height=0.7,
            color=style.color,
            hatch=style.hatch or None,
            edgecolor="#14181F" if light else "white",
            linewidth=0.6 if light else 0,
        )
        text = f"{share.percent:.1f}% · {formats.seconds(share.seconds)}"
        axes.text(share.percent + 1, place, text, va="center", fontsize=13)
    axes.set_yticks(range(len(shares)), [share.label for share in shares])
    axes.set_ylim(max(len(shares), 4) - 0.4, -0.6)
    axes.set_xlim(0, max(share.percent for share in shares) * 1.5)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
