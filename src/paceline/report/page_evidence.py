"""The evidence on the HTML page: table of plans, bars, efficiency map, legends, ledger, resources, models."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.analysis.bottleneck import PhaseShare
from paceline.analysis.curves import ScalingModels
from paceline.analysis.findings import WorkloadFindings
from paceline.analysis.table import ScalingRow
from paceline.report import formats, palette, view
from paceline.report.model_text import model_sentences
from paceline.report.page_parts import (
    Cell,
    Column,
    Heat,
    HeatCell,
    HeatRow,
    LedgerBar,
    LedgerDetail,
    LedgerPart,
    LegendItem,
    Meter,
    ModelPart,
    ModelRow,
    PhaseLine,
    PhasePart,
    PlanRow,
    ResourceRow,
    SpeedBar,
)
from paceline.report.svg import Chart, marker_path
from paceline.report.text import spread

GUARD = 0.8
"""Share of CPU and memory above which a meter is marked, as in the recommendations' guards."""


def plan_columns() -> tuple[Column, ...]:
    """Return the columns of the table of plans."""
    return (
        Column("plan", "env runners x envs per runner", numeric=False),
        Column("envs", "number of environments, N"),
        Column("steps/s", "environment steps per second of wall time, 95% interval beside it", sorted=True),
        Column("time/iteration", "median seconds per iteration"),
        Column("speedup", "over the baseline"),
        Column("eff./env", "efficiency per environment: speedup / N"),
        Column("eff./core", "efficiency per busy core"),
        Column("rating", "excellent from 80%, good from 60%, fair from 40%, of efficiency per env", numeric=False),
        Column("CPU", "busy cores / usable cores"),
        Column("memory", "peak of the process tree / limit"),
        Column("held back by", "from the ledger", numeric=False),
        Column("loss", "efficiency lost: 1 - efficiency per environment"),
        Column("gap", "gap to ideal: ideal speedup - speedup"),
        Column("Karp-Flatt", "serial fraction that this plan alone would show; if it grows with N, overhead does"),
    )


def plan_rows(workload: WorkloadFindings, rows: Sequence[ScalingRow]) -> tuple[PlanRow, ...]:
    """Return the table's rows in the given order."""
    roles = view.roles(workload)
    place = {row.label: index for index, row in enumerate(workload.table.rows)}
    return tuple(
        PlanRow(
            view.short_label(row).split()[0],
            view.variant_text(row),
            place[row.label],
            roles[row.label],
            row.sps is None,
            _plan_cells(row),
        )
        for row in rows
    )


def _plan_cells(row: ScalingRow) -> tuple[Cell, ...]:
    rating = row.rating or ""
    fill = palette.RATING_FILLS.get(rating, "")
    order = {"inefficient": 1, "fair": 2, "good": 3, "excellent": 4}.get(rating)
    if row.sps is None:
        rated = Cell(row.outcome, numeric=False, outcome=True)
    else:
        rated = Cell(rating or formats.MISSING, _key(order), "", False, fill, palette.ink_on(fill) if fill else "")
    sps = row.sps.value if row.sps else None
    speedup = row.speedup.value if row.speedup else None
    time_s = row.time_per_iter_s.value if row.time_per_iter_s else None
    note = spread(row)
    return (
        Cell(str(row.num_envs), str(row.num_envs)),
        Cell(formats.integer(sps), _key(sps), "" if note == formats.MISSING else note),
        Cell(formats.seconds(time_s), _key(time_s)),
        Cell(formats.times(speedup), _key(speedup)),
        Cell(formats.percent(row.efficiency_per_env), _key(row.efficiency_per_env)),
        Cell(formats.percent(row.efficiency_per_core), _key(row.efficiency_per_core)),
        rated,
        Cell(formats.percent(row.cpu_utilization, 0), _key(row.cpu_utilization)),
        Cell(formats.percent(row.ram_fraction, 0), _key(row.ram_fraction)),
        Cell(
            row.bottleneck.verdict if row.bottleneck else formats.MISSING,
            numeric=False,
            sort=row.bottleneck.verdict if row.bottleneck else "",
        ),
        Cell(formats.percent(row.efficiency_loss), _key(row.efficiency_loss)),
        Cell(formats.times(row.gap_to_ideal), _key(row.gap_to_ideal)),
        Cell(view.karp_flatt_text(row), _key(row.karp_flatt)),
    )


def _key(value: float | None) -> str:
    return "" if value is None or not formats.known(value) else f"{value:.9g}"


def speed_bars(workload: WorkloadFindings, rows: Sequence[ScalingRow]) -> tuple[SpeedBar, ...]:
    """Return one bar per row, as long as its steps per second; the longest whisker ends at 100 %."""
    tops = [row.sps.interval.high if row.sps.interval else row.sps.value for row in rows if row.sps]
    longest = max(tops, default=0.0) or 1.0
    best = (workload.advice.recommended if workload.advice else None) or view.fastest_row(rows)
    names = view.short_labels(workload.table.rows)
    bars = []
    for row in rows:
        on = best is not None and row.label == best.label
        if row.sps is None:
            bars.append(SpeedBar(names[row.label], on, outcome=row.outcome))
            continue
        low = whisker = 0.0
        if row.sps.interval:
            low = _share(row.sps.interval.low, longest)
            whisker = max(_share(row.sps.interval.high, longest) - low, 0.4)
        time_s = row.time_per_iter_s.value if row.time_per_iter_s else None
        bars.append(
            SpeedBar(
                names[row.label],
                on,
                width=_share(row.sps.value, longest),
                low=low,
                whisker=round(whisker, 2),
                sps=formats.integer(row.sps.value),
                time=formats.seconds(time_s),
            )
        )
    return tuple(bars)


def _share(value: float, whole: float) -> float:
    return round(max(0.0, min(value / whole, 1.0)) * 100, 2)


def heat_map(workload: WorkloadFindings) -> Heat | None:
    """Return the efficiency map over runners x envs; None where it would be a single cell."""
    laid = view.grid(workload)
    if laid is None or len(laid.cells) < 2:
        return None
    basis = view.efficiency_basis(workload)
    title = f"Efficiency per {basis}, runners x envs per runner" + (f" ({laid.title})" if laid.title else "")
    rows = tuple(
        HeatRow(runners, tuple(_heat_cell(laid.cells.get((runners, envs)), basis) for envs in laid.envs))
        for runners in laid.runners
    )
    return Heat(title, laid.envs, rows)


def _heat_cell(row: ScalingRow | None, basis: str) -> HeatCell:
    if row is None:
        return HeatCell()
    value = view.efficiency(row, basis)
    if row.sps is None or value is None:
        return HeatCell(outcome=row.outcome if row.sps is None else formats.MISSING)
    rating = view.rating(row, basis) or ""
    fill = palette.RATING_FILLS.get(rating, "#DDDDDD")
    return HeatCell(formats.percent(value, 0), rating, fill, palette.ink_on(fill))


def scaling_legend(workload: WorkloadFindings, chart: Chart) -> tuple[LegendItem, ...]:
    """Return the legend of the scaling chart: a marker per number of runners, a line per model."""
    counts = [row.num_env_runners for row in workload.table.rows]
    measured = {row.num_env_runners for row in workload.table.rows if row.speedup}
    items = [
        LegendItem(_runners_text(runners), color=style.color, path=marker_path(style.marker, 13, 7, 5))
        for runners, style in palette.runner_styles(counts).items()
        if runners in measured
    ]
    return (*items, *(LegendItem(line.label, style=line.style, line=True) for line in chart.lines if line.label))


def _runners_text(runners: int) -> str:
    return "in process" if runners == 0 else formats.plural(runners, "runner")


def decision_legend(workload: WorkloadFindings, chart: Chart) -> tuple[LegendItem, ...]:
    """Return the legend of the decision chart: a marker per scenario that chose a plan, a box per region."""
    advice = workload.advice
    if advice is None:
        return ()
    chosen = dict.fromkeys(name for point in advice.chart.points for name in point.chosen_by)
    styles = {name: palette.scenario_style(name) for name in chosen}
    marks = [
        LegendItem(name, color=style.color, path=marker_path(style.marker, 13, 7, 5)) for name, style in styles.items()
    ]
    others = LegendItem("other plans", path=marker_path("o", 13, 7, 4))
    regions = [LegendItem(region.label, color=region.color, region=True) for region in chart.regions]
    return (*marks, others, *regions)


def ledger_part(workload: WorkloadFindings, rows: Sequence[ScalingRow]) -> LedgerPart:
    """Return the ledger section: the verdict on the winner, a stacked bar per plan, the winner's table."""
    best = (workload.advice.recommended if workload.advice else None) or view.fastest_row(rows)
    shown = [row for row in rows if row.bottleneck and row.bottleneck.shares]
    phases = view.drawn_phases(shown)
    names = view.short_labels(workload.table.rows)
    bars = tuple(
        LedgerBar(
            names[row.label],
            on=best is not None and row.label == best.label and len(rows) > 1,
            parts=tuple(
                PhasePart(palette.phase_class(share.phase), round(share.percent, 3), _share_text(share))
                for share in view.ledger_order(row.bottleneck.shares)
                if share.percent > 0
            ),
            verdict=row.bottleneck.verdict,
            text=f"{row.label}: " + ", ".join(_share_text(s) for s in row.bottleneck.shares if s.percent >= 0.1),
        )
        for row in shown
        if row.bottleneck
    )
    winner = best.bottleneck if best else None
    sentences: tuple[str, ...] = ()
    if best and winner:
        sentences = (f"{best.label} is {winner.verdict}. {' '.join(winner.sentences)}", winner.advice)
    return LedgerPart(
        sentences=tuple(sentence for sentence in sentences if sentence),
        legend=tuple(PhaseLine(palette.phase_class(share.phase), share.label, _meaning(share)) for share in phases),
        bars=bars,
        detail=_ledger_detail(best) if best else None,
    )


def _ledger_detail(row: ScalingRow) -> LedgerDetail | None:
    if row.bottleneck is None or not row.bottleneck.shares:
        return None
    shares = row.bottleneck.shares
    lines = tuple(
        PhaseLine(
            palette.phase_class(share.phase),
            share.label,
            _meaning(share),
            f"{share.percent:.1f}%",
            formats.seconds(share.seconds),
            f"up to {formats.times(share.speedup_if_removed)}" if share.percent >= 1 else "",
        )
        for share in shares
    )
    total = sum(share.percent for share in shares)
    return LedgerDetail(row.label, lines, f"{total:.1f}%", formats.seconds(sum(share.seconds for share in shares)))


def _share_text(share: PhaseShare) -> str:
    return f"{share.label} {share.percent:.1f}%"


def _meaning(share: PhaseShare) -> str:
    return palette.phase_style(share.phase).meaning


def resource_rows(workload: WorkloadFindings, rows: Sequence[ScalingRow]) -> tuple[ResourceRow, ...]:
    """Return CPU, memory and, where there was one, GPU of every measured row."""
    best = (workload.advice.recommended if workload.advice else None) or view.fastest_row(rows)
    names = view.short_labels(workload.table.rows)
    any_gpu = any(row.gpus for row in rows)
    return tuple(
        ResourceRow(
            names[row.label],
            best is not None and row.label == best.label and len(rows) > 1,
            _cpu(row),
            _ram(row),
            _gpu(row) if any_gpu else None,
        )
        for row in rows
        if row.sps
    )


def _meter(fraction: float | None, text: str) -> Meter:
    if fraction is None or not formats.known(fraction):
        return Meter(text or formats.MISSING)
    return Meter(text, _share(fraction, 1.0), fraction >= GUARD)


def _cpu(row: ScalingRow) -> Meter:
    cores = f", {formats.significant(row.cores)} cores" if row.cores_basis == "measured" else ""
    return _meter(row.cpu_utilization, formats.percent(row.cpu_utilization, 0) + cores)


def _ram(row: ScalingRow) -> Meter:
    share = "" if row.ram_fraction is None else f"{formats.percent(row.ram_fraction, 0)}, "
    return _meter(row.ram_fraction, share + formats.size_bytes(row.ram_bytes))


def _gpu(row: ScalingRow) -> Meter:
    if not row.gpus:
        return Meter("no reading")
    reading = row.gpus[0]
    use = None if reading.utilization_percent is None else reading.utilization_percent / 100
    parts = [formats.percent(use, 0), formats.size_bytes(reading.memory_used_bytes)]
    parts += [f"{reading.temperature_c:.0f} °C"] if reading.temperature_c is not None else []
    parts += [f"{reading.power_w:.0f} W"] if reading.power_w is not None else []
    return _meter(use, ", ".join(part for part in parts if part != formats.MISSING))


def model_part(models: ScalingModels) -> ModelPart:
    """Return what is said of the scaling models."""
    chosen = models.choice.chosen.name if models.choice.chosen else None
    rows = tuple(
        ModelRow(
            model.name,
            model.name == chosen,
            formats.percent(model.held_out_error),
            formats.percent(model.residual_error),
            model.num_points,
            model.formula,
        )
        for model in models.choice.candidates
    )
    return ModelPart(models.choice.reason, rows, tuple(model_sentences(models)))
