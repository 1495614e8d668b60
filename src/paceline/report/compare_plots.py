"""``compare.png``: learning curves, final returns, speed, where the time goes, and who improves on whom."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paceline.analysis.duel import return_text
from paceline.analysis.standings import Band, Standing, Standings
from paceline.analysis.stats import Estimate
from paceline.report import compare_view as look
from paceline.report import formats, palette
from paceline.report.charts import time_unit
from paceline.report.panel_text import LABEL_CHARS, say
from paceline.report.plots import caption_text, headed_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS_PER_CURVE = 6
"""Markers on a curve: enough to follow it in grey, few enough to see the line."""
NAME_LINES = 2
"""A name that takes more lines beside a panel is a letter there, and stands whole above the panels."""

Styles = dict[str, palette.ExecutionStyle]


def draw_comparison(found: Standings) -> bytes:
    """Draw a comparison and return the PNG file's content.

    Args:
        found: what was found.
    """
    return to_png(lambda: comparison_figure(found))


def comparison_figure(found: Standings) -> Figure:
    """Lay out the picture: header, then three rows of two panels."""
    found, letters = look.lettered(found, lambda name: len(_wrapped(name)) <= NAME_LINES)
    rows = len(found.standings)
    rows_in = [6.0, max(3.6, 1.9 + 0.55 * rows), _time_row_in(rows)]
    first = found.standings[0].contender.runs[0].info
    runs = sum(len(standing.contender.runs) for standing in found.standings)
    what = f"{formats.plural(rows, 'contender')}, {formats.plural(runs, 'run')}"
    caption = caption_text(found.env_id, what, first.machine, first.timestamp)
    below = "\n".join([*(f"{letter} = {name}" for letter, name in letters), caption])
    verdict, rest = look.verdict_parts(found)
    figure, panels = headed_figure(verdict, below, rows_in, rest=rest, most_lines=9)
    styles = palette.contender_styles(standing.name for standing in found.standings)
    curves_panel(panels[0], found, styles, "by_steps")
    curves_panel(panels[1], found, styles, "by_seconds")
    returns_panel(panels[2], found, styles)
    speed_panel(panels[3], found, styles)
    time_panel(panels[4], found)
    improvement_panel(panels[5], found, styles)
    return figure


def _time_row_in(rows: int) -> float:
    """Return the height of the row with the bars of time, and the legend below them, in inches."""
    return max(4.4, 2.6 + 0.55 * rows)


def curves_panel(axes: Axes, found: Standings, styles: Styles, which: str) -> None:
    """Draw the learning curve of every contender, with its band: against steps, or against wall time."""
    by_time = which == "by_seconds"
    axes.set_title("Return against wall time" if by_time else "Return against environment steps")
    bands = [(standing, band) for standing in found.standings if (band := _band(standing, which)) is not None]
    if not bands:
        say(axes, "no episode ended")
        return
    unit, divisor = time_unit(max(band.xs[-1] for _, band in bands)) if by_time else ("", 1.0)
    for standing, band in bands:
        style, xs = styles[standing.name], [x / divisor for x in band.xs]
        if band.low:
            axes.fill_between(xs, band.low, band.high, color=style.color, alpha=0.18, linewidth=0, zorder=1)
        every = max(1, len(xs) // MARKS_PER_CURVE)
        axes.plot(
            xs, band.centre, color=style.color, ls=style.dash, lw=2.6, marker=style.marker, ms=9, markevery=every,
            markeredgecolor="white", label=look.contender_name(standing), zorder=3,
        )  # fmt: skip
    if found.threshold is not None:
        label = f"a return of {return_text(found.threshold)}"
        axes.axhline(found.threshold, color="#3D4550", ls=(0, (2, 3)), lw=1.4, zorder=2, label=label)
    axes.set_xlabel(f"wall time ({unit})" if by_time else "environment steps")
    axes.set_xlim(left=0)
    if not by_time:
        axes.xaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.yaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True)
    columns = 2 if max(len(look.contender_name(s)) for s, _ in bands) < 22 else 1
    # Markers at both ends of a handle leave its dashes to be seen between them.
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.45, -0.15), ncols=columns, columnspacing=1.2, handlelength=4.0,
        numpoints=2,
    )  # fmt: skip


def returns_panel(axes: Axes, found: Standings, styles: Styles) -> None:
    """Draw the final return of every seed, and their interquartile mean with its interval."""
    axes.set_title("Final return")
    shown = [standing for standing in found.standings if standing.final_return]
    if not shown:
        say(axes, "no episode ended")
        return
    for place, standing in enumerate(shown):
        style = styles[standing.name]
        axes.plot(
            standing.finals, [place + 0.22] * len(standing.finals), "|", color=style.color, ms=13, mew=2, alpha=0.75
        )
        _whisker(axes, place, standing.final_return, style)
    _name_rows(axes, [look.contender_name(standing) for standing in shown])
    axes.xaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.margins(x=0.12)
    axes.set_xlabel("mean over seeds (interquartile); | each seed")


def speed_panel(axes: Axes, found: Standings, styles: Styles) -> None:
    """Draw steps per second of every contender, a bar each, with whiskers."""
    axes.set_title("Steps per second")
    shown = [standing for standing in found.standings if standing.sps]
    if not shown:
        say(axes, "nothing was measured")
        return
    longest = 0.0
    for place, standing in enumerate(shown):
        assert standing.sps is not None
        bounds, style = standing.sps.interval, styles[standing.name]
        axes.barh(place, standing.sps.value, height=0.6, color=style.color)
        end = max(standing.sps.value, bounds.high if bounds else 0.0)
        if bounds:
            axes.plot([bounds.low, bounds.high], [place, place], color="#14181F", lw=2, marker="|", ms=9)
        longest = max(longest, end)
        axes.annotate(
            formats.integer(standing.sps.value), (end, place), xytext=(8, 0), textcoords="offset points", va="center",
            fontsize=13.5,
        )  # fmt: skip
    _name_rows(axes, [look.contender_name(standing) for standing in shown])
    axes.set_xlim(0, longest * 1.22)
    axes.xaxis.set_major_formatter(lambda value, _: formats.compact(value))


def time_panel(axes: Axes, found: Standings) -> None:
    """Draw where the wall time goes, a stacked bar a contender."""
    axes.set_title("Where the time goes")
    shown = [standing for standing in found.standings if standing.shares]
    if not shown:
        say(axes, "no ledger was recorded")
        return
    left = [0.0] * len(shown)
    for phase, label in look.drawn_phases(found):
        style = palette.phase_style(phase)
        widths = [look.percent_of(standing, phase) for standing in shown]
        axes.barh(
            range(len(shown)), widths, left=left, height=0.62, color=style.color, hatch=style.hatch,
            edgecolor="#3D4550", linewidth=0.6, label=label,
        )  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    _name_rows(axes, [look.contender_name(standing) for standing in shown])
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of wall time")
    below = -0.75 / (_time_row_in(len(found.standings)) - 2.1)  # three quarters of an inch, however tall the panel is
    axes.legend(loc="upper center", bbox_to_anchor=(0.36, below), ncols=3, columnspacing=1.0, handlelength=1.4)


def improvement_panel(axes: Axes, found: Standings, styles: Styles) -> None:
    """Draw the probability that each contender improves on the first."""
    axes.set_title("Probability of improvement")
    shown = [item for item in found.duels if item.improvement]
    if not shown:
        say(axes, "no episode ended" if found.duels else "one contender: there is nothing to compare it with")
        return
    axes.axvline(0.5, color="#3D4550", ls=(0, (4, 3)), lw=1.4, zorder=1)
    for place, item in enumerate(shown):
        if item.improvement is not None and item.improvement.interval is not None:
            _whisker(axes, place, item.improvement, styles[item.challenger])
            continue
        axes.text(
            0.5, place, look.chance_text(item), ha="center", va="center", fontsize=13, color="#59626F",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2.5},
        )  # fmt: skip
    _name_rows(axes, [formats.one_line(item.challenger) for item in shown])
    axes.set_xlim(-0.04, 1.04)
    reference = look.contender_name(found.standings[0])
    axes.set_xlabel("\n".join(textwrap.wrap(f"over {reference} (0.5: neither)", 44)))
    axes.grid(True, axis="x")


def _band(standing: Standing, which: str) -> Band | None:
    return standing.by_seconds if which == "by_seconds" else standing.by_steps


def _whisker(axes: Axes, place: int, estimate: Estimate | None, style: palette.ExecutionStyle) -> None:
    assert estimate is not None
    if estimate.interval:
        ends = (estimate.interval.low, estimate.interval.high)
        axes.plot(ends, [place, place], color=style.color, lw=3, marker="|", ms=12, mew=2.4, zorder=2)
    axes.plot([estimate.value], [place], style.marker, color=style.color, ms=12, markeredgecolor="white", zorder=3)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), ["\n".join(_wrapped(name)) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _wrapped(name: str) -> list[str]:
    return textwrap.wrap(name, LABEL_CHARS)
