"""``report.html`` of a bench: the same style, table and charts as every page of paceline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paceline._version import __version__
from paceline.analysis.bench import BenchFindings, BenchRow
from paceline.analysis.crossover import Crossing
from paceline.analysis.stats import Estimate
from paceline.measure.bench_result import BENCH_PHASES, FREE_RUNNING, LOOP
from paceline.measure.ledger import ENV_STEP
from paceline.report import bench_view as look
from paceline.report import formats, palette, view
from paceline.report.bench_view import BenchInput
from paceline.report.html import render_page
from paceline.report.page_parts import (
    Cell,
    Column,
    Fact,
    Failure,
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


@dataclass(frozen=True)
class BenchPage:
    """Everything that the template prints."""

    version: str
    env_id: str
    date: str
    verdict: str
    verdict_rest: str
    facts: tuple[Fact, ...]
    paste: str
    reason: str
    table: TablePart
    sentences: tuple[str, ...]
    contest_headings: tuple[str, ...]
    contests: tuple[tuple[str, ...], ...]
    charts: tuple[tuple[Chart, tuple[LegendItem, ...]], ...]
    time: StackedBars | None
    growth: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    failures: tuple[Failure, ...]
    advice: tuple[str, ...]
    method: tuple[str, ...]
    machine: tuple[tuple[str, str], ...]


def render_bench_html(source: BenchInput) -> str:
    """Return the HTML report of a bench as text.

    Args:
        source: results and the findings made of them.
    """
    return render_page("bench.html.j2", build_bench_page(source))


def build_bench_page(source: BenchInput) -> BenchPage:
    """Return everything that the template prints."""
    found, info = source.findings, source.results.experiment_info
    machine = [
        ("environment", info.env_id),
        ("command", info.command),
        ("date", formats.when(info.timestamp)),
        ("paceline", info.paceline_version),
        *view.machine_facts(info.machine, ""),
        ("fingerprint", info.machine_fingerprint),
    ]
    drawn = (_speed_chart(found), _ceiling_chart(found), _memory_chart(found))
    return BenchPage(
        version=__version__,
        env_id=info.env_id,
        date=formats.when(info.timestamp),
        verdict=found.headline,
        verdict_rest=found.headline_rest,
        facts=_facts(found),
        paste=found.paste,
        reason=found.reason,
        table=_table(found),
        sentences=tuple(look.crossover_sentences(found)),
        contest_headings=look.CONTEST_HEADINGS,
        contests=tuple(look.contest_cells(found)),
        charts=tuple((chart, _legend(found, chart)) for chart in drawn if chart),
        time=_time(found),
        growth=tuple(look.growth_sentences(found)),
        env=tuple(look.env_facts(found.env)) if found.env else (),
        failures=tuple(Failure(row.case.name, row.case.outcome, row.case.message) for row in found.failed),
        advice=found.advice,
        method=found.method,
        machine=tuple((name, value) for name, value in machine if value),
    )


def _facts(found: BenchFindings) -> tuple[Fact, ...]:
    best = found.recommended
    if best is None or best.sps is None:
        return ()
    bounds = best.sps.interval
    between = f"95%: {formats.interval((bounds.low, bounds.high))}" if bounds else best.sps.reason
    facts = [Fact("steps per second", formats.integer(best.sps.value), between)]
    if best.ceiling_share:
        facts.append(Fact("of the ceiling", look.share_text(best.ceiling_share), "free-running processes: 100%"))
    if best.over_loop:
        facts.append(Fact("over a bare loop", formats.times(best.over_loop.value), "in one process"))
    if found.env:
        step = found.env.step
        facts.append(Fact("one step", formats.seconds(step.median_s), f"p99 {formats.seconds(step.p99_s)}"))
    return tuple(facts)


def _table(found: BenchFindings) -> TablePart:
    columns = (
        Column("case", "execution @ number of environments", numeric=False),
        Column("envs", "number of environments"),
        Column("runners", "processes or threads"),
        Column("steps/s", "median over windows, 95% interval beside it", sorted=False),
        Column("of ceiling", "share of what free-running processes reach"),
        Column("over loop", "speed over a bare loop in one process"),
        Column("environment", "share of an average runner's time in its environments"),
        Column("memory", "of the process tree"),
        Column("per env", "memory less that of the empty process, by environments"),
        Column("per runner", "memory of a runner process"),
        Column("set-up", "make_vec and the first reset"),
    )
    rows = look.all_rows(found)
    return TablePart(
        "Every case, size by size. Free processes and the bare loop are what the others are held against.",
        columns,
        tuple(_table_row(found, row, index) for index, row in enumerate(rows)),
    )


def _table_row(found: BenchFindings, row: BenchRow, index: int) -> PlanRow:
    memory = row.case.memory
    roles = ("recommended",) if row is found.recommended else ("ceiling",) if look.is_ceiling(row) else ()
    sps = Cell(row.case.outcome, numeric=False, outcome=True)
    if row.sps:
        note = look.spread_text(row.sps)
        sps = Cell(look.value_text(row.sps), _key(row.sps.value), "" if note == formats.MISSING else note)
    held = look.memory_cells(row)
    env = row.shares.get(ENV_STEP) if not look.is_ceiling(row) else None
    setup_s = row.case.summary.setup_s if row.case.summary else None
    return PlanRow(
        row.case.name,
        "",
        index,
        roles,
        not row.measured,
        (
            Cell(f"{row.num_envs:,}", str(row.num_envs)),
            Cell(str(row.case.config.num_env_runners), str(row.case.config.num_env_runners)),
            sps,
            Cell(look.share_text(row.ceiling_share), _key(row.ceiling_share.value if row.ceiling_share else None)),
            Cell(
                formats.times(row.over_loop.value if row.over_loop else None),
                _key(row.over_loop.value if row.over_loop else None),
            ),
            Cell(formats.percent(env, 0), _key(env)),
            Cell(held[0], _key(memory.tree_bytes if memory else None)),
            Cell(held[1], _key(memory.bytes_per_env if memory else None)),
            Cell(held[2], _key(memory.bytes_per_runner if memory else None)),
            Cell(formats.seconds(setup_s), _key(setup_s)),
        ),
    )


def _key(value: float | None) -> str:
    return "" if value is None or not formats.known(value) else f"{value:.9g}"


def _speed_chart(found: BenchFindings) -> Chart | None:
    curves = {name: _points(rows) for name, rows in _by_backend(found, ceilings=True).items()}
    return _curves_chart(
        "Steps per second",
        "environment steps per second (log)",
        curves,
        formats.compact,
        log=True,
        crossings=look.marked_crossings(found),
    )


def _ceiling_chart(found: BenchFindings) -> Chart | None:
    curves = {
        name: [(row.num_envs, row.ceiling_share) for row in rows if row.ceiling_share]
        for name, rows in _by_backend(found, ceilings=False).items()
    }
    return _curves_chart("Share of the ceiling reached", "", curves, lambda v: f"{v * 100:.0f}%")


def _memory_chart(found: BenchFindings) -> Chart | None:
    curves = {
        name: [
            (row.num_envs, Estimate(row.case.memory.bytes_per_env / 2**20))
            for row in rows
            if row.case.memory and row.case.memory.bytes_per_env > 0
        ]
        for name, rows in _by_backend(found, ceilings=False).items()
    }
    return _curves_chart("Memory per environment", "MiB per environment (log)", curves, _mebibytes, log=True)


def _mebibytes(value: float) -> str:
    return formats.significant(value, 2 if value < 100 else 3)


def _by_backend(found: BenchFindings, *, ceilings: bool) -> dict[str, list[BenchRow]]:
    rows = (*found.ceilings, *found.rows) if ceilings else found.rows
    grouped: dict[str, list[BenchRow]] = {}
    for row in rows:
        grouped.setdefault(row.backend, []).append(row)
    return grouped


def _points(rows: Sequence[BenchRow]) -> list[tuple[int, Estimate]]:
    return [(row.num_envs, row.sps) for row in rows if row.sps]


def _curves_chart(
    title: str,
    label: str,
    curves: dict[str, list[tuple[int, Estimate]]],
    write: object,
    *,
    log: bool = False,
    crossings: Sequence[Crossing] = (),
) -> Chart | None:
    """Draw one curve an execution over number of environments; None where there is but one point."""
    sizes = sorted({size for points in curves.values() for size, _ in points})
    values = [estimate.value for points in curves.values() for _, estimate in points]
    if len(sizes) < 2 or (log and min(values) <= 0):
        return None
    bounds = [e.interval for points in curves.values() for _, e in points if e.interval]
    low = min([*values, *(b.low for b in bounds if not log or b.low > 0)])
    high = max([*values, *(b.high for b in bounds)])
    top = max(high, low * 2)
    lines, marks = [], []
    for number, crossing in enumerate(crossings):
        # Above the curves and at heights of their own, so that names do not meet; they have a halo over lines.
        place = top * (top / low) ** (0.12 * (number + 1))
        lines.append(Line([(crossing.at, low), (crossing.at, place)], style="line model usl"))
        marks.append(Mark(crossing.at, place, "v", title=crossing.text, label=look.crossing_label(crossing), size=3.5))
    for name, points in curves.items():
        style = palette.execution_style(name)
        drawn = [(float(size), estimate.value) for size, estimate in points]
        lines.append(Line(drawn, label=name, style=_LINE_STYLES.get(name, "line curve"), color=_line_color(name)))
        for size, estimate in points if style.marker else ():
            marks.append(
                Mark(
                    size,
                    estimate.value,
                    style.marker,
                    style.color,
                    title=f"{name}, {size} environments: {write(estimate.value)}",  # type: ignore[operator]
                    low=max(estimate.interval.low, low) if estimate.interval else None,
                    high=estimate.interval.high if estimate.interval else None,
                )
            )
    return draw(
        title,
        f"{len(curves)} executions at {', '.join(map(str, sizes))} environments.",
        Axis("number of environments (log)", sizes[0], sizes[-1], log=True, write=formats.compact),
        Axis(label, low if log else 0.0, max([top, *(mark.y for mark in marks)]), log=log, write=write),  # type: ignore[arg-type]
        lines=lines,
        marks=marks,
    )


_LINE_STYLES = {FREE_RUNNING: "line model", LOOP: "line ideal"}


def _line_color(name: str) -> str:
    return "" if name in _LINE_STYLES else palette.execution_style(name).color


def _legend(found: BenchFindings, chart: Chart) -> tuple[LegendItem, ...]:
    names = {FREE_RUNNING: "free processes (ceiling)", LOOP: "bare loop"}
    items = []
    for line in chart.lines:
        style = palette.execution_style(line.label)
        if not line.label:
            continue
        if line.label in names:
            items.append(LegendItem(names[line.label], style=_LINE_STYLES[line.label], line=True))
        else:
            items.append(LegendItem(line.label, color=style.color, path=marker_path(style.marker, 13, 7, 5)))
    return tuple(items)


_TIME_CAPTION = "Share of wall time, per case; at the right the share in environments"


def _time(found: BenchFindings) -> StackedBars | None:
    rows = [row for row in found.rows if row.shares]
    if not rows:
        return None
    bars = []
    for row in rows:
        shares = look.phase_shares(row)
        bars.append(
            LedgerBar(
                row.case.name,
                on=row is found.recommended,
                parts=tuple(
                    PhasePart(name, round(100 * share, 3), f"{label} {formats.percent(share)}")
                    for name, label, share in shares
                    if share > 0
                ),
                verdict=f"{formats.percent(row.shares[ENV_STEP], 0)} env",
                text=f"{row.case.name}: " + ", ".join(f"{label} {formats.percent(s)}" for _, label, s in shares),
            )
        )
    legend = tuple(
        PhaseLine(name, label, palette.phase_style(name).meaning)
        for name, label, _ in look.phase_shares(rows[0])
        if name in BENCH_PHASES
    )
    width = min(max(len(row.case.name) for row in rows), 26) + 1
    return StackedBars(
        LedgerPart((), legend, tuple(bars), None, _TIME_CAPTION),
        width,
    )
