"""Lays out the HTML page: what stands where, in which words; the template only marks it up."""

from __future__ import annotations

from collections.abc import Sequence

from paceline._version import __version__
from paceline.analysis.findings import RunFinding, WorkloadFindings
from paceline.analysis.recommend import Advice, Recommendation
from paceline.analysis.table import ScalingRow
from paceline.report import charts, formats, palette, view
from paceline.report.page_evidence import (
    decision_legend,
    heat_map,
    ledger_part,
    model_part,
    plan_columns,
    plan_rows,
    resource_rows,
    scaling_legend,
    speed_bars,
)
from paceline.report.page_parts import Card, Fact, Failure, Kind, Page, WorkloadPart
from paceline.report.svg import Chart
from paceline.report.view import ReportInput

LOUD_NOTICES = 2
"""Problems shown above the recommendations; all notices stand near the end."""

MOST_BARS = 24
"""Plans drawn as bars; the table holds all."""


def build_page(source: ReportInput) -> Page:
    """Return everything that the template prints.

    Args:
        source: results and the findings made of them.
    """
    findings, info = source.findings, source.results.experiment_info
    env_id = info.env_id or findings.env_id
    machine = [
        ("environment", env_id),
        ("algorithm", info.algo or findings.algo),
        ("command", info.command),
        ("date", formats.when(info.timestamp)),
        ("paceline", info.paceline_version),
        *view.machine_facts(findings.machine, findings.gpu),
        ("fingerprint", info.machine_fingerprint),
    ]
    notices = view.notices(findings)
    loud = [notice for notice in notices if notice.severity == "problem"][:LOUD_NOTICES]
    return Page(
        version=__version__,
        env_id=env_id,
        algo=info.algo or findings.algo,
        date=formats.when(info.timestamp),
        verdict=view.verdict_parts(source)[0],
        verdict_rest=view.verdict_parts(source)[1],
        facts=_facts(source),
        loud_notices=tuple(loud),
        notices=tuple(notice for notice in notices if notice not in loud),
        workloads=tuple(_workload(source, workload) for workload in findings.workloads),
        failures=_failures(view.failed_runs(findings)),
        unsteady=_failures(view.unsteady_runs(findings)),
        hardware=findings.hardware,
        method=findings.method,
        machine=tuple((name, value) for name, value in machine if value),
        gpu=findings.gpu,
        settings=view.settings_yaml(source),
        several=source.single_run is None,
        train_command=view.train_command(source),
    )


def _facts(source: ReportInput) -> tuple[Fact, ...]:
    findings = source.findings
    workload = findings.primary
    if workload is None:
        return ()
    row = (workload.advice.recommended if workload.advice else None) or view.fastest_row(workload.table.rows)
    facts: list[Fact] = []
    if row and row.sps:
        bounds = row.sps.interval
        between = f"95%: {formats.interval((bounds.low, bounds.high))}" if bounds else row.sps.reason
        median = f"median of iterations, mean {formats.integer(row.mean_sps)}; " if row.mean_differs else ""
        facts.append(Fact("steps per second", formats.integer(row.sps.value), median + between))
    if row and row.speedup and workload.table.baseline and not row.is_baseline:
        over = f"over {workload.table.baseline.label}"
        facts.append(Fact("speedup", formats.times(row.speedup.value), over))
    if row and row.bottleneck:
        held = f"at most {formats.times(row.bottleneck.speedup_if_removed)} without it"
        facts.append(Fact("what holds it back", row.bottleneck.verdict, held))
    if source.single_run is not None:
        return (*facts, *_run_facts(source))
    done = sum(findings.outcome_counts.get(outcome, 0) for outcome in view.FINISHED)
    total = max(source.results.experiment_info.total_experiments, len(findings.runs))
    unsteady = findings.outcome_counts.get("unsteady", 0)
    note = f"{unsteady} of them unsteady" if unsteady else "" if done == total else "see below for the rest"
    return (*facts, Fact("trials finished", f"{done} of {total}", note))


def _failures(runs: Sequence[RunFinding]) -> tuple[Failure, ...]:
    return tuple(
        Failure(formats.one_line(run.name, 120), run.outcome, run.message or "no message was recorded") for run in runs
    )


def _run_facts(source: ReportInput) -> list[Fact]:
    run = source.findings.runs[0]
    iterations = formats.plural(run.num_iterations, "iteration")
    facts = [Fact("environment steps", formats.compact(run.total_env_steps), iterations)]
    if source.findings.restarts:
        facts.append(Fact("replaced on the way", f"{len(source.findings.restarts):,}", "environments or runners"))
    returns = [point.recent_return for point in run.curve if point.recent_return is not None]
    if returns:
        note = f"best {max(returns):,.0f}; mean of {view.returns_name(run)}"
        facts.append(Fact("last mean return", f"{returns[-1]:,.0f}", note))
    return facts


def _workload(source: ReportInput, workload: WorkloadFindings) -> WorkloadPart:
    single = source.single_run
    rows = view.by_speed(workload.table.rows)
    shown = view.bars_shown(rows, workload.table.baseline, MOST_BARS)
    bars = speed_bars(workload, shown)
    scaling = None if single else charts.scaling_chart(workload)
    decision = None if single else charts.decision_chart(workload)
    caption = f"{formats.plural(len(rows), 'plan')}, fastest first. A plan is env runners x envs per runner"
    caption += " (0 runners: in the learner's process)."
    caption += f" {view.baseline_sentence(workload.table)}"
    return WorkloadPart(
        title=workload.table.title,
        headline=workload.headline,
        cards=() if single or workload.advice is None else _cards(source, workload.advice),
        efficiency_note=workload.advice.efficiency_note if workload.advice else "",
        caption=caption,
        columns=plan_columns(),
        rows=plan_rows(workload, rows),
        bars=bars,
        any_whisker=any(bar.whisker for bar in bars),
        name_width=min(max((len(bar.label) for bar in bars), default=4), 26) + 1,
        value_width=max((len(bar.sps) + len(bar.time) for bar in bars), default=9),
        hidden=_hidden(len(rows) - len(shown)),
        variant_names=view.variant_names(rows),
        scaling=scaling,
        scaling_legend=scaling_legend(workload, scaling) if scaling else (),
        heat=None if single else heat_map(workload),
        decision=decision,
        decision_legend=decision_legend(workload, decision) if decision else (),
        models=None if single or workload.models is None else model_part(workload.models),
        curves=_curves(source),
        ledger=ledger_part(workload, shown),
        resources=resource_rows(workload, shown),
    )


def _hidden(count: int) -> str:
    return f"{formats.plural(count, 'more plan')} in the table above." if count > 0 else ""


def _curves(source: ReportInput) -> tuple[Chart, ...]:
    run = source.single_run
    if run is None:
        return ()
    finding = source.findings.runs[0]
    throughput = charts.throughput_chart(finding.curve)
    found = [*charts.return_charts(finding), *([throughput] if throughput else []), *charts.resource_charts(run)]
    return tuple(found)


def _cards(source: ReportInput, advice: Advice) -> tuple[Card, ...]:
    """Make one card per recommended plan, the recommended one first; an answer without a plan has its own."""
    groups: dict[tuple[str, bool], list[Recommendation]] = {}
    for item in advice.recommendations:
        key = (item.row.label, item.qualifies) if item.row else ("", False)
        groups.setdefault(key, []).append(item)
    best = advice.recommended
    cards = [_card(source, advice, items, best) for items in groups.values()]
    if best and not any(card.recommended for card in cards):
        cards.append(_card_of_row(source, advice, best))
    return tuple(sorted(cards, key=lambda card: not card.recommended))


def _card(source: ReportInput, advice: Advice, items: list[Recommendation], best: ScalingRow | None) -> Card:
    row = items[0].row
    recommended = bool(row and best and row.label == best.label and items[0].qualifies)
    kinds = tuple(
        Kind(item.scenario.name, palette.scenario_style(item.scenario.name).color, _glyph(item)) for item in items
    )
    notes = list(dict.fromkeys(note for item in items for note in item.guard_notes))
    notes += view.row_cautions(row) if row else ()
    return Card(
        kinds=(*kinds, *([_RECOMMENDED] if recommended else [])),
        label=view.short_label(row).split()[0] if row else "",
        variant=view.variant_text(row) if row else "",
        state="" if row is None or items[0].qualifies else "nearest; none qualifies",
        words=view.group_words(row.num_env_runners, row.num_envs_per_env_runner) if row else "",
        recommended=recommended,
        figures=_figures(row, advice) if row else (),
        reasons=tuple(dict.fromkeys(item.reason for item in items)),
        notes=tuple(notes),
        yaml=view.plan_yaml(row, source) if row and row.plan else "",
    )


_RECOMMENDED = Kind("recommended", "var(--accent)", "★")


def _glyph(item: Recommendation) -> str:
    return palette.scenario_style(item.scenario.name).glyph


def _card_of_row(source: ReportInput, advice: Advice, row: ScalingRow) -> Card:
    reason = next((pick.reason for pick in advice.top if pick.title == "recommended"), "")
    return Card(
        kinds=(_RECOMMENDED,),
        label=view.short_label(row).split()[0],
        variant=view.variant_text(row),
        state="",
        words=view.group_words(row.num_env_runners, row.num_envs_per_env_runner),
        recommended=True,
        figures=_figures(row, advice),
        reasons=(reason,) if reason else (),
        notes=view.row_cautions(row),
        yaml=view.plan_yaml(row, source) if row.plan else "",
    )


def _figures(row: ScalingRow, advice: Advice) -> tuple[Fact, ...]:
    basis = advice.chart.efficiency_basis
    return (
        Fact("steps/s", formats.integer(row.sps.value if row.sps else None)),
        Fact("speedup", formats.times(row.speedup.value if row.speedup else None)),
        Fact(f"efficiency per {basis}", formats.percent(view.efficiency(row, basis), 0)),
    )
