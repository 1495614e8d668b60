"""``report.txt``: the whole report for a terminal, 100 columns, the verdict on the first line."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.analysis.bottleneck import Bottleneck
from paceline.analysis.curves import ScalingModels
from paceline.analysis.findings import WorkloadFindings
from paceline.analysis.recommend import Advice
from paceline.analysis.table import ScalingRow, mean_differs
from paceline.report import formats, view
from paceline.report.model_text import model_sentences
from paceline.report.text_table import Column, heading, paragraph, table
from paceline.report.view import ReportInput

LABEL_WIDTH = 26
MOST_FAILURES = 40
MARKS = (("fastest", "*"), ("recommended", ">"), ("baseline", "b"), ("unsteady", "~"))


def render_text(source: ReportInput) -> str:
    """Return the text report.

    Args:
        source: results and the findings made of them.
    """
    lines = paragraph(view.verdict(source), indent=0)
    single = source.single_run is not None
    for workload in source.findings.workloads:
        if len(source.findings.workloads) > 1:
            lines += heading(f"Workload {workload.table.title or '(no extra settings)'}")
            lines += paragraph(workload.headline)
        lines += _run_section(source, workload) if single else _sweep_sections(source, workload)
        lines += _resource_section(workload, source.findings.gpu)
    if source.findings.hardware:
        lines += heading("What this machine allows")
        lines += [line for sentence in source.findings.hardware for line in paragraph(sentence, bullet="- ")]
    lines += _failure_section(source)
    lines += _notice_section(source)
    lines += _method_section(source)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _sweep_sections(source: ReportInput, workload: WorkloadFindings) -> list[str]:
    lines = _plan_section(workload)
    if workload.advice:
        lines += _scenario_section(workload.advice)
    lines += _loss_section(workload)
    if workload.models:
        lines += _model_section(workload.models)
    baseline = workload.table.baseline
    best = (workload.advice.recommended if workload.advice else None) or view.fastest_row(workload.table.rows)
    lines += _ledger_section([(name, row) for name, row in (("baseline", baseline), ("recommended", best)) if row])
    if best and best.plan:
        lines += heading("The plan (save as plan.yaml)")
        lines += ["  " + line for line in view.plan_yaml(best, source).splitlines()]
        lines += ["", "  then: " + view.train_command(source)]
    return lines


def _plan_section(workload: WorkloadFindings) -> list[str]:
    rows = view.by_speed(workload.table.rows)
    roles = view.roles(workload)
    columns = [
        Column("", "<"),
        Column("plan", "<", wrap=LABEL_WIDTH),
        Column("envs"),
        Column("time/iter"),
        Column("SPS"),
        Column("95%"),
        Column("speedup"),
        Column("eff/env"),
        Column("eff/core"),
        Column("rating", "<"),
    ]
    lines = heading(f"Plans, fastest first ({formats.plural(len(rows), 'plan')})")
    lines += table(columns, [_plan_cells(row, roles[row.label]) for row in rows])
    lines += ["", "  " + "   ".join(f"{sign} {role}" for role, sign in MARKS)]
    lines += ["  plan: env runners x envs per runner (0 runners: in the learner's process)"]
    return lines + (paragraph(sentence) if (sentence := view.baseline_sentence(workload.table)) else [])


def _plan_cells(row: ScalingRow, roles: Sequence[str]) -> list[str]:
    mark = "".join(sign for role, sign in MARKS if role in roles)
    if not row.sps:
        return [mark, row.label, str(row.num_envs), *[formats.MISSING] * 6, row.outcome]
    return [
        mark,
        row.label,
        str(row.num_envs),
        formats.seconds(row.time_per_iter_s.value if row.time_per_iter_s else None),
        formats.integer(row.sps.value),
        spread(row),
        formats.times(row.speedup.value if row.speedup else None),
        formats.percent(row.efficiency_per_env),
        formats.percent(row.efficiency_per_core),
        row.rating or formats.MISSING,
    ]


def spread(row: ScalingRow) -> str:
    """Write the half width of the 95% interval of SPS relative to its value: ``±1.2%``."""
    if not row.sps or not row.sps.interval or not row.sps.value:
        return formats.MISSING
    half = (row.sps.interval.high - row.sps.interval.low) / 2 / row.sps.value
    return f"±{formats.percent(half)}"


def _scenario_section(advice: Advice) -> list[str]:
    lines = heading("Which plan to take")
    for recommendation in advice.recommendations:
        row = recommendation.row
        choice = row.label if row else "none"
        state = "" if recommendation.qualifies else " (nearest; none qualifies)" if row else ""
        lines += paragraph(f"{recommendation.scenario.name}: {choice}{state}", indent=2)
        lines += paragraph(f"wanted: {recommendation.scenario.wish}", indent=6)
        lines += paragraph(recommendation.reason, indent=6)
        for note in (*recommendation.guard_notes, *(view.row_cautions(row) if row else ())):
            lines += paragraph(note, indent=6, bullet="! ")
    lines += ["", *paragraph(advice.efficiency_note)]
    if advice.top:
        lines += heading("Top 3")
        for pick in advice.top:
            lines += paragraph(f"{pick.title}: {pick.row.label}. {pick.reason}", bullet="- ")
    return lines


def _loss_section(workload: WorkloadFindings) -> list[str]:
    """Say what each plan loses to an ideal one; nothing where no plan has more environments than the baseline."""
    rows = [row for row in view.by_speed(workload.table.rows) if row.efficiency_loss is not None]
    if all(row.is_baseline for row in rows):
        return []
    columns = [
        Column("plan", "<", wrap=LABEL_WIDTH),
        Column("envs"),
        Column("speedup"),
        Column("loss"),
        Column("gap to ideal"),
        Column("Karp-Flatt"),
    ]
    cells = [
        [
            row.label,
            str(row.num_envs),
            formats.times(row.speedup.value if row.speedup else None),
            formats.percent(row.efficiency_loss),
            formats.times(row.gap_to_ideal),
            view.karp_flatt_text(row),
        ]
        for row in rows
    ]
    lines = [*heading("What is lost to ideal scaling"), *table(columns, cells), ""]
    return lines + paragraph(
        "loss: 1 - eff/env; gap: ideal speedup - speedup; Karp-Flatt: serial fraction that this plan alone would show "
        "(if it grows with the envs, overhead does)."
    )


def _model_section(models: ScalingModels) -> list[str]:
    choice = models.choice
    lines = heading("How it scales")
    lines += paragraph(choice.reason)
    if choice.candidates:
        rows = [
            [
                "*" if choice.chosen and model.name == choice.chosen.name else "",
                model.name,
                formats.percent(model.held_out_error),
                formats.percent(model.residual_error),
                str(model.num_points),
                model.formula,
            ]
            for model in choice.candidates
        ]
        columns = [
            Column("", "<"),
            Column("model", "<"),
            Column("held-out error"),
            Column("fit error"),
            Column("points"),
            Column("formula (seconds per iteration)", "<", wrap=46),
        ]
        lines += ["", *table(columns, rows)]
    lines += ["", *(line for sentence in model_sentences(models) for line in paragraph(sentence))]
    return lines


def _ledger_section(named: Sequence[tuple[str, ScalingRow]]) -> list[str]:
    lines = heading("Where the time goes (ledger, per iteration)")
    shown: set[str] = set()
    for name, row in named:
        if row.bottleneck is None or row.label in shown:
            continue
        shown.add(row.label)
        lines += ["", *paragraph(f"{row.label} ({name})")]
        lines += _bottleneck_lines(row.bottleneck)
    return lines if shown else [*lines, *paragraph("No ledger was recorded.")]


def _bottleneck_lines(bottleneck: Bottleneck) -> list[str]:
    rows = [
        [
            share.label,
            f"{share.percent:.1f}%",
            formats.seconds(share.seconds),
            f"up to {formats.times(share.speedup_if_removed)}" if share.percent >= 1 else "",
        ]
        for share in bottleneck.shares
    ]
    total_s = sum(share.seconds for share in bottleneck.shares)
    rows.append(["total", f"{sum(share.percent for share in bottleneck.shares):.1f}%", formats.seconds(total_s), ""])
    columns = [Column("phase", "<"), Column("share"), Column("seconds"), Column("gain if it vanished")]
    lines = table(columns, rows, indent=4)
    lines += paragraph(f"{bottleneck.verdict}: {' '.join(bottleneck.sentences)}", indent=4)
    return lines + paragraph(f"Try first: {bottleneck.advice}", indent=4)


def _run_section(source: ReportInput, workload: WorkloadFindings) -> list[str]:
    row = workload.table.rows[0]
    run = source.findings.runs[0]
    facts = [
        ["plan", f"{row.label} (env runners x envs per runner), {row.num_envs} envs"],
        ["outcome", row.outcome],
        *([["replaced", f"{view.replaced_text(source.findings)} (see Warnings)"]] if source.findings.restarts else []),
        ["steps", formats.integer(run.total_env_steps)],
        ["iterations", formats.integer(run.num_iterations)],
    ]
    if run.sps:
        bounds = run.sps.interval
        between = f" (95%: {formats.interval((bounds.low, bounds.high))})" if bounds else ""
        facts.append(["steps per second", f"{formats.integer(run.sps.value)}, median of the iterations{between}"])
    if mean_differs(run.mean_sps, run.sps):
        mean = f"{formats.integer(run.mean_sps)}, mean: all steps / all training time"
        facts.append(["", mean])
    if run.curve:
        facts.append(["training time", formats.seconds(run.curve[-1].training_s)])
    returns = [point.recent_return for point in run.curve if point.recent_return is not None]
    if returns:
        told = f"first {returns[0]:,.1f}, last {returns[-1]:,.1f}, best {max(returns):,.1f}"
        facts.append(["mean return", f"{told} (mean of {view.returns_name(run)})"])
    for name, value in (("start-up", row.setup_s), ("compilation", row.compile_s)):
        if value is not None:
            facts.append([name, f"{formats.seconds(value)} (not part of steps per second)"])
    lines = heading("The run")
    lines += [f"  {name:<18}{value}" for name, value in facts]
    return lines + _ledger_section([("this run", row)])


def _resource_section(workload: WorkloadFindings, gpu: str) -> list[str]:
    measured = [row for row in view.by_speed(workload.table.rows) if row.sps]
    lines = heading("CPU, memory and GPU")
    if not measured:
        return [*lines, *paragraph("Nothing was measured.")]
    columns = [
        Column("plan", "<", wrap=LABEL_WIDTH),
        Column("CPU"),
        Column("cores busy"),
        Column("RAM peak"),
        Column("of limit"),
        Column("GPU use"),
        Column("GPU memory"),
    ]
    rows = []
    for row in measured:
        reading = row.gpus[0] if row.gpus else None
        use = reading.utilization_percent if reading else None
        cores = row.cores if row.cores_basis == "measured" else None
        rows.append(
            [
                row.label,
                formats.percent(row.cpu_utilization, 0),
                formats.significant(cores),
                formats.size_bytes(row.ram_bytes),
                formats.percent(row.ram_fraction, 0),
                formats.percent(use / 100 if use is not None else None, 0),
                formats.size_bytes(reading.memory_used_bytes if reading else None),
            ]
        )
    return [*lines, *table(columns, rows), *paragraph(gpu)]


def _failure_section(source: ReportInput) -> list[str]:
    lines: list[str] = []
    named = (
        ("Failed trials", view.failed_runs(source.findings)),
        ("Unsteady trials, which finished and count", view.unsteady_runs(source.findings)),
    )
    for title, runs in named:
        if not runs:
            continue
        lines += heading(f"{title} ({len(runs)} of {len(source.findings.runs)})")
        for run in runs[:MOST_FAILURES]:
            why = formats.one_line(run.message, 600) or "no message was recorded"
            lines += paragraph(f"{formats.one_line(run.name, 80)}: {run.outcome}: {why}", bullet="- ")
        if len(runs) > MOST_FAILURES:
            lines += paragraph(f"and {len(runs) - MOST_FAILURES} more; results.json has them all")
    return lines


def _notice_section(source: ReportInput) -> list[str]:
    notices = view.notices(source.findings)
    if not notices:
        return []
    lines = heading("Warnings")
    for notice in notices:
        lines += paragraph(f"{notice.severity}: {formats.one_line(notice.text)}", bullet="- ")
    return lines


def _method_section(source: ReportInput) -> list[str]:
    info = source.results.experiment_info
    lines = heading("How it was measured")
    for sentence in source.findings.method:
        lines += paragraph(sentence, bullet="- ")
    facts = [
        ("environment", info.env_id or source.findings.env_id),
        ("algorithm", info.algo or source.findings.algo),
        ("date", formats.when(info.timestamp)),
        ("command", info.command),
        ("paceline", info.paceline_version),
        *view.machine_facts(source.findings.machine, source.findings.gpu),
        ("fingerprint", info.machine_fingerprint),
    ]
    lines.append("")
    for name, value in facts:
        if value:
            lines += paragraph(formats.one_line(value), indent=2, bullet=f"{name:<18}")
    return lines
