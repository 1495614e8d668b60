"""``compare.html``: a comparison of training runs in the style, tables and charts of every page of paceline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline._version import __version__
from paceline.analysis.duel import return_text
from paceline.analysis.standings import Band, Standing, Standings
from paceline.analysis.stats import FULL_SAMPLES, Estimate
from paceline.analysis.table import Notice
from paceline.report import compare_view as look
from paceline.report import formats, palette
from paceline.report.charts import time_unit
from paceline.report.html import render_page
from paceline.report.page_parts import (
    Cell,
    Column,
    Fact,
    LedgerBar,
    LedgerPart,
    LegendItem,
    PhaseLine,
    PhasePart,
    PlanRow,
    StackedBars,
    TablePart,
)
from paceline.report.svg import Axis, Chart, Line, Mark, draw, marker_path

LOUD_NOTICES = 2
MARKS_PER_CURVE = 6
NAME_CHARS = 60
"""A longer name is a letter all over the page, and stands whole on top."""

Styles = dict[str, palette.ExecutionStyle]


@dataclass(frozen=True)
class ComparePage:
    """Everything that the template prints."""

    version: str
    env_id: str
    count: str
    verdict: str
    verdict_rest: str
    facts: tuple[Fact, ...]
    letters: tuple[tuple[str, str], ...]
    loud_notices: tuple[Notice, ...]
    notices: tuple[Notice, ...]
    charts: tuple[Chart, ...]
    legend: tuple[LegendItem, ...]
    band_note: str
    table: TablePart
    speeds: TablePart
    threshold: str
    reference: str
    sentences: tuple[str, ...]
    duels: tuple[tuple[str, ...], ...]
    time: StackedBars | None
    difference_headings: tuple[str, ...]
    differences: tuple[tuple[str, ...], ...]
    method: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]


def render_compare_html(found: Standings) -> str:
    """Return the page of a comparison as text.

    Args:
        found: what was found.
    """
    return render_page("compare.html.j2", build_compare_page(found))


def build_compare_page(found: Standings) -> ComparePage:
    """Return everything that the template prints."""
    found, letters = look.lettered(found, lambda name: len(name) <= NAME_CHARS)
    styles = palette.contender_styles(standing.name for standing in found.standings)
    names = [look.contender_name(standing) for standing in found.standings]
    loud = [notice for notice in found.notices if notice.severity == "problem"][:LOUD_NOTICES]
    verdict, verdict_rest = look.verdict_parts(found)
    charts = [_curves(found, styles, by_time=False), _curves(found, styles, by_time=True)]
    return ComparePage(
        version=__version__,
        env_id=formats.one_line(found.env_id),
        count=formats.plural(len(names), "contender"),
        verdict=verdict,
        verdict_rest=verdict_rest,
        facts=_facts(found),
        letters=tuple(letters),
        loud_notices=tuple(loud),
        notices=tuple(notice for notice in found.notices if notice not in loud),
        charts=tuple(chart for chart in charts if chart),
        legend=_legend(found, styles),
        band_note=_band_note(found),
        table=_learning_table(found),
        speeds=_speed_table(found),
        threshold=look.threshold_sentence(found),
        reference=names[0],
        sentences=tuple(formats.one_line(sentence) for sentence in found.sentences),
        duels=tuple(
            (
                formats.one_line(item.challenger),
                look.ratio_text(item.sps_ratio),
                look.ratio_text(item.seconds_ratio),
                look.chance_text(item),
            )
            for item in found.duels
        ),
        time=_time(found),
        difference_headings=("setting", *names),
        differences=tuple((item.field, *item.values) for item in found.differences),
        method=found.method,
        runs=tuple(look.run_lines(found)),
        machine=tuple(look.machine_facts(found)),
    )


def _facts(found: Standings) -> tuple[Fact, ...]:
    """Return the highest final return and the highest speed, with their intervals: figures, not a ranking."""
    facts = []
    learnt = [standing for standing in found.standings if standing.final_return]
    if learnt:
        best = max(learnt, key=lambda standing: standing.final_return.value if standing.final_return else 0.0)
        assert best.final_return is not None
        facts.append(_fact("highest final return", return_text(best.final_return.value), best, best.final_return))
    fast = [standing for standing in found.standings if standing.sps]
    if fast:
        best = max(fast, key=lambda standing: standing.sps.value if standing.sps else 0.0)
        assert best.sps is not None
        facts.append(_fact("most steps per second", formats.integer(best.sps.value), best, best.sps))
    return tuple(facts)


def _fact(name: str, value: str, standing: Standing, estimate: Estimate) -> Fact:
    between = f"interval {look.bounds_text(estimate)}" if estimate.interval else estimate.reason
    return Fact(name, value, f"{look.contender_name(standing)}; {between}")


def _learning_table(found: Standings) -> TablePart:
    goal = f"a return of {return_text(found.threshold)}" if found.threshold is not None else "the common return"
    columns = (
        Column("contender", "algorithm, runners x envs per runner, mode", numeric=False),
        Column("seeds", "number of runs"),
        Column("steps", "environment steps at the end, median over runs"),
        Column("final return", "interquartile mean over seeds, 95% interval beside it"),
        Column("steps to it", f"environment steps to {goal}"),
        Column("time to it", f"wall time to {goal}"),
    )
    rows = []
    for index, standing in enumerate(found.standings):
        final, mark, seeds = standing.final_return, standing.mark, len(standing.contender.runs)
        which = look.which_seeds(standing.contender)
        steps, seconds = look.mark_cells(mark)
        cells = (
            Cell(str(seeds), str(seeds), f"({which})" if which else ""),
            Cell(formats.compact(standing.total_env_steps), _key(standing.total_env_steps)),
            Cell(
                look.return_cell(final.value if final else None),
                _key(final.value if final else None),
                look.bounds_text(final) if final and final.interval else "no interval" if final else "",
            ),
            Cell(steps, _key(mark.steps_median.value if mark and mark.steps_median else None)),
            Cell(seconds, _key(mark.seconds_median.value if mark and mark.seconds_median else None)),
        )
        rows.append(PlanRow(look.contender_name(standing), "", index, (), False, cells))
    return TablePart(look.threshold_sentence(found), columns, tuple(rows))


def _speed_table(found: Standings) -> TablePart:
    columns = (
        Column("contender", "algorithm, runners x envs per runner, mode", numeric=False),
        Column("steps/s", "median over iterations of all runs, 95% interval beside it"),
        Column("policy lag", "updates between acting and learning: mean (lowest to highest)"),
        Column("cores busy", "CPU seconds per second of the process tree, share of the usable cores"),
        Column("peak memory", "of the process tree, the largest of any run"),
        Column("restarts", "environments and runners that were replaced"),
    )
    rows = []
    for index, standing in enumerate(found.standings):
        sps, lag = standing.sps, standing.lag
        cells = (
            Cell(
                formats.integer(sps.value if sps else None),
                _key(sps.value if sps else None),
                look.spread_text(sps) if sps and sps.interval else "",
            ),
            Cell(look.lag_text(lag), _key(lag.mean if lag else None)),
            Cell(look.cpu_text(standing), _key(standing.cores_used)),
            Cell(formats.size_bytes(standing.peak_memory_bytes), _key(standing.peak_memory_bytes)),
            Cell(str(standing.restarts), str(standing.restarts)),
        )
        rows.append(PlanRow(look.contender_name(standing), "", index, (), False, cells))
    caption = "Speed, CPU and memory are those of the whole process tree; each heading tells what its figure is of."
    return TablePart(caption, columns, tuple(rows))


def _key(value: float | None) -> str:
    return "" if value is None or not formats.known(value) else f"{value:.9g}"


def _curves(found: Standings, styles: Styles, *, by_time: bool) -> Chart | None:
    """Draw the learning curves, each with its band, line, markers; None where no episode ended."""
    bands: list[tuple[Standing, Band]] = []
    for standing in found.standings:
        band = standing.by_seconds if by_time else standing.by_steps
        if band is not None:
            bands.append((standing, band))
    if not bands:
        return None
    unit, divisor = time_unit(max(band.xs[-1] for _, band in bands)) if by_time else ("", 1.0)
    lines, marks = [], []
    for standing, band in bands:
        style = styles[standing.name]
        xs = [x / divisor for x in band.xs]
        if band.low:
            outline = [*zip(xs, band.high, strict=True), *zip(reversed(xs), reversed(band.low), strict=True)]
            lines.append(Line(outline, style="band", color=style.color))
    for standing, band in bands:
        style, name = styles[standing.name], look.contender_name(standing)
        points = [(x / divisor, y) for x, y in zip(band.xs, band.centre, strict=True)]
        lines.append(Line(points, label=name, style=_line_style(style), color=style.color))
        every = max(1, len(points) // MARKS_PER_CURVE)
        for x, y in points[::every]:
            at = f"{x:.3g} {unit}" if by_time else f"{formats.compact(x)} steps"
            marks.append(Mark(x, y, style.marker, style.color, title=f"{name}, {at}: {return_text(y)}", size=4.5))
    end = max(band.xs[-1] / divisor for _, band in bands)
    values = [y for _, band in bands for y in (*band.centre, *band.low, *band.high)]
    if found.threshold is not None:
        lines.append(Line([(0.0, found.threshold), (end, found.threshold)], style="line ideal"))
    return draw(
        "Return against wall time" if by_time else "Return against environment steps",
        "; ".join(f"{look.contender_name(s)} ends at {return_text(band.centre[-1])}" for s, band in bands) + ".",
        Axis(f"wall time ({unit})" if by_time else "environment steps", 0.0, end, write=_write(by_time), target=4),
        Axis("", min(values), max(values), write=formats.compact),
        lines=lines,
        marks=marks,
    )


def _write(by_time: bool) -> Callable[[float], str]:
    return "{:g}".format if by_time else formats.compact


def _line_style(style: palette.ExecutionStyle) -> str:
    dash = {"--": " dash1", "-.": " dash2", ":": " dash3"}.get(style.dash, "")
    return f"line curve{dash}"


def _legend(found: Standings, styles: Styles) -> tuple[LegendItem, ...]:
    items = [
        LegendItem(
            look.contender_name(standing),
            style=_line_style(styles[standing.name]),
            color=styles[standing.name].color,
            path=marker_path(styles[standing.name].marker, 13, 7, 5),
            line=True,
        )
        for standing in found.standings
        if standing.by_steps
    ]
    if items and found.threshold is not None:
        items.append(LegendItem(f"a return of {return_text(found.threshold)}", style="line ideal", line=True))
    return tuple(items)


def _band_note(found: Standings) -> str:
    banded = [standing for standing in found.standings if standing.by_steps and standing.by_steps.low]
    curve = "Lines are interquartile means over seeds of the running mean return"
    if not banded:
        return f"{curve}; too few seeds for bands."
    missing = len([standing for standing in found.standings if standing.by_steps]) - len(banded)
    return (
        f"{curve}; bands{' (where there are seeds enough)' if missing else ''} are pointwise intervals: 95% from "
        f"{FULL_SAMPLES} seeds on, about the range of fewer."
    )


def _time(found: Standings) -> StackedBars | None:
    shown: Sequence[Standing] = [standing for standing in found.standings if standing.shares]
    if not shown:
        return None
    phases = look.drawn_phases(found)
    bars = []
    for standing in shown:
        parts = [(phase, label, look.percent_of(standing, phase)) for phase, label in phases]
        bars.append(
            LedgerBar(
                look.contender_name(standing),
                on=False,
                parts=tuple(
                    PhasePart(palette.phase_class(phase), round(percent, 3), f"{label} {percent:.1f}%")
                    for phase, label, percent in parts
                    if percent > 0
                ),
                verdict=standing.bottleneck.verdict if standing.bottleneck else "",
                text=f"{look.contender_name(standing)}: "
                + ", ".join(f"{label} {percent:.1f}%" for _, label, percent in parts),
            )
        )
    legend = tuple(
        PhaseLine(palette.phase_class(phase), label, palette.phase_style(phase).meaning) for phase, label in phases
    )
    width = min(max(len(bar.label) for bar in bars), 26) + 1
    caption = "Share of wall time over all runs of a contender, and what holds it back"
    return StackedBars(LedgerPart((), legend, tuple(bars), None, caption), width)
