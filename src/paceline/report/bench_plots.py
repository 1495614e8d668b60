"""``dashboard.png`` of a bench: speed, share of the ceiling, where the time goes, memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from paceline.analysis.bench import PHASE_LABELS, BenchFindings, BenchRow
from paceline.analysis.crossover import Crossing
from paceline.analysis.stats import Estimate
from paceline.measure.bench_result import BENCH_PHASES, FREE_RUNNING, LOOP
from paceline.report import bench_view as look
from paceline.report import formats, palette
from paceline.report.bench_view import BenchInput
from paceline.report.panel_text import say
from paceline.report.plots import caption_text, headed_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 20
"""Cases drawn as bars of time shares; the report's tables hold all."""

_ASIDE = {"serial": -2.0, "pipe": -1.0, "shm": 0.0, "thread": 1.0, "native": 2.0, "auto": 3.0}

Pick = Callable[[BenchRow], Estimate | None]


def draw_bench_dashboard(source: BenchInput) -> bytes:
    """Draw the dashboard of a bench and return the PNG file's content.

    Args:
        source: results and the findings made of them.
    """
    return to_png(lambda: bench_dashboard(source))


def bench_dashboard(source: BenchInput) -> Figure:
    """Lay out the dashboard: header, then two rows of two panels."""
    found, info = source.findings, source.results.experiment_info
    bars = shown_bars(found)
    caption = caption_text(info.env_id, "bench of environments alone", info.machine, info.timestamp)
    figure, panels = headed_figure(found.verdict, caption, [6.4, max(5.8, 1.9 + 0.37 * len(bars))])
    speed_panel(panels[0], found)
    ceiling_panel(panels[1], found)
    time_panel(panels[2], bars, len([row for row in found.rows if row.shares]))
    memory_panel(panels[3], found)
    return figure


def shown_bars(found: BenchFindings) -> list[BenchRow]:
    """Return the cases whose time shares are drawn: of all sizes, or of the largest where there are too many."""
    rows = [row for row in found.rows if row.shares]
    sizes = sorted({row.num_envs for row in rows}, reverse=True)
    while len(rows) > MOST_BARS and len(sizes) > 1:
        smallest = sizes.pop()
        rows = [row for row in rows if row.num_envs != smallest]
    return rows[-MOST_BARS:]


def speed_panel(axes: Axes, found: BenchFindings) -> None:
    """Draw steps per second against number of environments, a line an execution, and the ceilings."""
    axes.set_title("Steps per second")
    if not any(row.measured for row in found.rows):
        say(axes, "nothing was measured")
        return
    for kind, label in ((FREE_RUNNING, "free processes (ceiling)"), (LOOP, "bare loop, in process")):
        _curve(axes, [row for row in found.ceilings if row.backend == kind], lambda row: row.sps, label)
    for backend in found.backends:
        _curve(axes, [row for row in found.rows if row.backend == backend], lambda row: row.sps, backend)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _mark_crossings(axes, found)
    _name_sizes(axes, found.sizes)
    _write_y(axes, formats.compact)
    axes.grid(True, which="major")
    if found.recommended and found.recommended.sps:
        best = found.recommended
        assert best.sps is not None
        aside = 2 ** (0.07 * _ASIDE.get(best.backend, 0.0))
        axes.plot([best.num_envs * aside], [best.sps.value], "o", ms=24, mfc="none", mec="#14181F", mew=2, zorder=1)
    # Below: between curves, crossings and their names there is no room.
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.14), ncols=3, columnspacing=1.0, handlelength=1.6)


def ceiling_panel(axes: Axes, found: BenchFindings) -> None:
    """Draw the share of the ceiling that each execution reaches."""
    axes.set_title("Share of the ceiling reached")
    rows = [row for row in found.rows if row.ceiling_share]
    if not rows:
        say(axes, "no ceiling was measured")
        return
    for backend in found.backends:
        _curve(axes, [row for row in rows if row.backend == backend], lambda row: row.ceiling_share, backend)
    axes.axhline(1.0, color=palette.BLACK, ls="--", lw=1.5)
    axes.set_xscale("log", base=2)
    _name_sizes(axes, found.sizes)
    axes.set_ylim(bottom=0)
    _write_y(axes, lambda value: formats.percent(value, 0))
    axes.grid(True)
    axes.legend(loc="best", ncols=2)


def time_panel(axes: Axes, rows: Sequence[BenchRow], num_all: int) -> None:
    """Draw where an average runner's time goes, a stacked bar a case."""
    hidden = "" if len(rows) == num_all else f" (largest sizes; {num_all - len(rows)} in the report)"
    axes.set_title(f"Where the time goes{hidden}")
    if not rows:
        say(axes, "nothing was measured")
        return
    places = list(range(len(rows)))
    left = [0.0] * len(rows)
    for name in BENCH_PHASES:
        style = palette.phase_style(name)
        widths = [100 * row.shares.get(name, 0.0) for row in rows]
        axes.barh(
            places, widths, left=left, height=0.78, color=style.color, hatch=style.hatch, edgecolor="#3D4550",
            linewidth=0.6, label=PHASE_LABELS[name],
        )  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(places, [row.case.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of wall time")
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.12), ncols=3, columnspacing=1.0, handlelength=1.6)


def memory_panel(axes: Axes, found: BenchFindings) -> None:
    """Draw memory per environment against number of environments."""
    axes.set_title("Memory per environment")
    rows = [row for row in found.rows if row.case.memory and row.case.memory.bytes_per_env > 0]
    if not rows:
        say(axes, "no memory was measured")
        return
    for backend in found.backends:
        _curve(axes, [row for row in rows if row.backend == backend], _mebibytes, backend)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _name_sizes(axes, found.sizes)
    _write_y(axes, lambda value: f"{value:g} MiB")
    axes.grid(True, which="major")
    axes.legend(loc="best", ncols=2)


def _mebibytes(row: BenchRow) -> Estimate | None:
    return Estimate(row.case.memory.bytes_per_env / 2**20) if row.case.memory else None


def _curve(axes: Axes, rows: Sequence[BenchRow], pick: Pick, label: str) -> None:
    """Draw one execution over its sizes, with whiskers where there are intervals."""
    points = [(row.num_envs, estimate) for row in rows if (estimate := pick(row)) is not None]
    if not points:
        return
    style = palette.execution_style(rows[0].backend)
    # A little to the side, each to its own, so that markers and whiskers of equals do not hide each other.
    aside = 2 ** (0.07 * _ASIDE.get(rows[0].backend, 0.0))
    sizes, values = [size * aside for size, _ in points], [estimate.value for _, estimate in points]
    axes.plot(
        sizes, values, color=style.color, ls=style.dash, marker=style.marker or None, ms=9, lw=2.2, label=label,
        markeredgecolor="white", zorder=3,
    )  # fmt: skip
    for size, (_, estimate) in zip(sizes, points, strict=True):
        if estimate.interval is not None and style.marker:
            ends = (estimate.interval.low, estimate.interval.high)
            axes.plot([size, size], ends, color=style.color, lw=1.6, marker="_", ms=9, zorder=2)


def _mark_crossings(axes: Axes, found: BenchFindings) -> None:
    """Draw a dashed line where one execution overtakes another, its name above the curves, each on a line of its own.

    Black and grey alone, and in words: nothing here is told by colour.
    """
    low, high = axes.get_ylim()
    left, right = (math.log(bound) for bound in axes.get_xlim())

    def leans_left(item: Crossing) -> bool:
        return (math.log(item.at) - left) / (right - left) > 0.5

    # Names lean inwards; the outer ones stand higher, so that they do not run into the lines of the inner ones.
    marked = sorted(look.marked_crossings(found), key=lambda item: -item.at if leans_left(item) else item.at)
    if not marked:
        return
    heights = [high * (high / low) ** (0.09 * (len(marked) - number) - 0.02) for number in range(len(marked))]
    axes.set_ylim(low, heights[0] * (high / low) ** 0.06)
    for item, height in zip(marked, heights, strict=True):
        axes.plot([item.at, item.at], [low, height], color="#3D4550", ls=(0, (2, 2)), lw=1.3, zorder=1)
        axes.annotate(
            look.crossing_label(item), (item.at, height), xytext=(-6 if leans_left(item) else 6, 0),
            textcoords="offset points", ha="right" if leans_left(item) else "left", va="center", fontsize="small",
            color="#14181F", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _name_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("number of environments")
    if len(sizes) == 1:
        axes.set_xlim(sizes[0] / 2, sizes[0] * 2)


def _write_y(axes: Axes, write: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
