"""What every form of the report agrees on: order of plans, their roles and names, the grid, the plan as YAML."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from paceline.analysis.bottleneck import PhaseShare
from paceline.analysis.findings import Findings, RunFinding, WorkloadFindings
from paceline.analysis.scaling import Rating
from paceline.analysis.table import Notice, ScalingRow, ScalingTable
from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import Results, RunResult
from paceline.report import formats


@dataclass(frozen=True)
class ReportInput:
    """A results file and what was found in it: all that a report is drawn from."""

    results: Results
    findings: Findings

    @property
    def single_run(self) -> RunResult | None:
        """The run, where the file holds one run only (a training run): it is drawn over time, not against others."""
        runs = self.results.experiments
        return runs[0] if len(runs) == 1 else None


def verdict(source: ReportInput) -> str:
    """Return what stands first, on one line; it says so where trials are missing."""
    return " ".join(part for part in verdict_parts(source) if part)


def verdict_parts(source: ReportInput) -> tuple[str, str]:
    """Return the verdict's first sentence (after a word on missing trials) and the rest of it."""
    headline = formats.one_line(source.findings.headline)
    first, rest = formats.first_sentence(headline)
    if source.findings.complete or any(word in headline.lower() for word in ("partial", "incomplete", "not complete")):
        return first, rest
    info = source.results.experiment_info
    done = sum(run.outcome != "interrupted" for run in source.results.experiments)
    if info.kind == "train":
        stopped = any(run.outcome == "interrupted" and run.iterations for run in source.results.experiments)
        # The headline of a run that broke, or was stopped at once, says so itself.
        return (f"Partial: the run was stopped early. {first}" if stopped else first), rest
    planned = f"{done} of {info.total_experiments}" if info.total_experiments > done else f"{done}"
    return f"Partial: {planned} trials so far. {first}", rest


def short_label(row: ScalingRow) -> str:
    """Return the row's label for a chart: ``8x16``, or ``8x16 shm·2`` where the sweep has more axes."""
    grid_point = f"{row.num_env_runners}x{row.num_envs_per_env_runner}"
    return " ".join([grid_point, *(["·".join(map(str, row.variant.values()))] if row.variant else [])])


def short_labels(rows: Iterable[ScalingRow]) -> dict[str, str]:
    """Return label -> short label; rows whose short labels coincide keep the long one."""
    rows = list(rows)
    counts = Counter(short_label(row) for row in rows)
    return {row.label: short_label(row) if counts[short_label(row)] == 1 else row.label for row in rows}


def variant_names(rows: Iterable[ScalingRow]) -> str:
    """Return what the words behind ``RxE`` in a short label stand for: ``backend·runner_threads``, or ""."""
    return next(("·".join(row.variant) for row in rows if row.variant), "")


def variant_text(row: ScalingRow) -> str:
    """Return the row's further settings: ``backend=shm, runner_threads=2``, or ""."""
    return ", ".join(f"{name}={value}" for name, value in row.variant.items())


def bars_shown(rows: Sequence[ScalingRow], baseline: ScalingRow | None, most: int) -> list[ScalingRow]:
    """Choose the rows that get a bar: the fastest, the baseline, and some that failed; in the given order."""
    if len(rows) <= most:
        return list(rows)
    failed = [row for row in rows if row.sps is None][: max(2, most // 4)]
    kept = [row for row in rows if row.sps is not None][: most - len(failed)]
    if baseline and baseline.sps and all(row.label != baseline.label for row in kept):
        kept[-1] = baseline
    return kept + failed


def by_speed(rows: Iterable[ScalingRow]) -> list[ScalingRow]:
    """Return the rows fastest first; rows without figures last, in their own order."""
    return sorted(rows, key=lambda row: -row.sps.value if row.sps else 0.0)


def fastest_row(rows: Iterable[ScalingRow]) -> ScalingRow | None:
    """Return the measured row of most steps per second."""
    ordered = by_speed(row for row in rows if row.sps)
    return ordered[0] if ordered else None


def roles(workload: WorkloadFindings) -> dict[str, tuple[str, ...]]:
    """Return label -> what the row is: ``recommended``, ``fastest``, a scenario, ``baseline``, ``unsteady``."""
    found: dict[str, list[str]] = {row.label: [] for row in workload.table.rows}
    advice = workload.advice
    if advice and advice.recommended:
        found[advice.recommended.label].append("recommended")
    fastest = fastest_row(workload.table.rows)
    if fastest and len(workload.table.rows) > 1:
        found[fastest.label].append("fastest")
    for recommendation in advice.recommendations if advice else ():
        name = recommendation.scenario.name
        if recommendation.row and recommendation.qualifies and name not in found[recommendation.row.label]:
            found[recommendation.row.label].append(name)
    if workload.table.baseline and len(workload.table.rows) > 1:
        found[workload.table.baseline.label].append("baseline")
    for row in workload.table.rows:
        if row.outcome_counts.get("unsteady"):
            found[row.label].append("unsteady")
    return {label: tuple(names) for label, names in found.items()}


def plan_yaml(row: ScalingRow, source: ReportInput) -> str:
    """Return the text of the row's ``plan.yaml``: ``plan: {..}`` and, as comments, what it was measured on."""
    info = source.results.experiment_info
    speed = f"{formats.integer(row.sps.value)} steps/s" if row.sps else "no figures"
    measured_on = f"{info.env_id or source.findings.env_id}, {info.algo or source.findings.algo}"
    lines = [f"# {row.label}: {speed}", f"# {measured_on}"]
    if info.batch_size or row.steps_per_iteration:
        size = f"batch size {info.batch_size}" if info.batch_size else f"{row.steps_per_iteration} steps an iteration"
        lines += [f"# {size}"]
    lines += [f"# machine {info.machine_fingerprint or 'unknown'}", f"# {formats.when(info.timestamp)}"]
    comments = "\n".join(formats.one_line(line) for line in lines)
    text: str = yaml.safe_dump({"plan": dict(row.plan)}, sort_keys=False, allow_unicode=True)
    return f"{comments}\n{text}"


def group_words(num_env_runners: int, num_envs_per_env_runner: int, kind: str = "process") -> str:
    """Say who steps how many environments: ``2 runner processes with 8 envs each, 16 in all``."""
    each = formats.plural(num_envs_per_env_runner, "env")
    if num_env_runners == 0:
        return f"{each} in the learner's process"
    if num_env_runners == 1:
        return f"1 runner {kind} with {each}"
    in_all = num_env_runners * num_envs_per_env_runner
    return f"{num_env_runners} runner {kind}{'es' if kind.endswith('s') else 's'} with {each} each, {in_all} in all"


def settings_yaml(source: ReportInput) -> str:
    """Return the settings that all runs share, as YAML: the algorithm's, and of a single run the plan's."""
    runs = source.results.experiments
    if not runs:
        return ""
    shared = {key: value for key, value in runs[0].algo.items() if all(run.algo.get(key) == value for run in runs)}
    settings: dict[str, Any] = {"algo": shared}
    if source.single_run is not None:
        settings["plan"] = dict(source.single_run.plan)
    text: str = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return text


def train_command(source: ReportInput) -> str:
    """Return the command that trains with a plan saved as ``plan.yaml``."""
    return f"paceline train {shlex.quote(source.findings.env_id)} --plan plan.yaml"


def efficiency_basis(workload: WorkloadFindings) -> str:
    """Return ``env`` or ``core``: the efficiency that the scenarios, and so the charts, use."""
    return workload.advice.chart.efficiency_basis if workload.advice else "env"


def efficiency(row: ScalingRow, basis: str) -> float | None:
    """Return the row's efficiency per env or per core, a fraction."""
    return row.efficiency_per_core if basis == "core" else row.efficiency_per_env


def rating(row: ScalingRow, basis: str) -> Rating | None:
    """Return the rating that goes with :func:`efficiency`."""
    return row.rating_per_core if basis == "core" else row.rating


@dataclass(frozen=True)
class Grid:
    """The rows of one variant laid out as num_env_runners (down) x num_envs_per_env_runner (across)."""

    runners: tuple[int, ...]
    envs: tuple[int, ...]
    cells: Mapping[tuple[int, int], ScalingRow]
    title: str


def grid(workload: WorkloadFindings) -> Grid | None:
    """Lay out the rows; with several variants, those of the recommended one. None without rows."""
    rows = workload.table.rows
    if not rows:
        return None
    best = (workload.advice.recommended if workload.advice else None) or fastest_row(rows) or rows[0]
    chosen = [row for row in rows if row.variant == best.variant]
    return Grid(
        runners=tuple(sorted({row.num_env_runners for row in chosen})),
        envs=tuple(sorted({row.num_envs_per_env_runner for row in chosen})),
        cells={(row.num_env_runners, row.num_envs_per_env_runner): row for row in chosen},
        title=variant_text(best),
    )


def ledger_order(shares: Sequence[PhaseShare]) -> list[PhaseShare]:
    """Return shares in the ledger's own order, so that stacked bars of many plans line up; unattributed last."""
    order = {name: index for index, name in enumerate((*PHASES, UNATTRIBUTED))}
    return sorted(shares, key=lambda share: order.get(share.phase, len(PHASES) - 0.5))


def drawn_phases(rows: Iterable[ScalingRow], least_percent: float = 0.05) -> list[PhaseShare]:
    """Return one share for each phase that is visible in any row, in ledger order (for legends)."""
    seen: dict[str, PhaseShare] = {}
    for row in rows:
        for share in row.bottleneck.shares if row.bottleneck else ():
            if share.percent >= least_percent:
                seen.setdefault(share.phase, share)
    return ledger_order(list(seen.values()))


def notices(findings: Findings) -> tuple[Notice, ...]:
    """Return the warnings, without the sentence on the GPU: it stands with the resources."""
    return tuple(notice for notice in findings.notices if notice.text != findings.gpu)


def baseline_sentence(table: ScalingTable) -> str:
    """Say what speedups are over and why; "" where nothing was measured."""
    if table.baseline is None:
        return ""
    return f"Speedups are over {table.baseline.label}: {table.baseline_rule.rstrip('.')}."


def karp_flatt_text(row: ScalingRow) -> str:
    """Write a row's experimentally determined serial fraction, to three decimals."""
    return formats.MISSING if row.karp_flatt is None else f"{row.karp_flatt:.3f}"


def returns_name(run: RunFinding) -> str:
    """Say what the returns of a training run are means of."""
    return f"the last {run.return_window} episodes" if run.return_window else "each iteration"


def replaced_text(findings: Findings) -> str:
    """Say how many environments and runners a training run replaced: ``2 environments or runners``."""
    count = len(findings.restarts)
    return "1 environment or runner" if count == 1 else f"{count:,} environments or runners"


FINISHED = ("ok", "unsteady")
"""Outcomes that leave figures to compare; an unsteady trial finished, but its iterations vary."""


def failed_runs(findings: Findings) -> list[RunFinding]:
    """Return the runs that did not finish."""
    return [run for run in findings.runs if run.outcome not in FINISHED]


def unsteady_runs(findings: Findings) -> list[RunFinding]:
    """Return the runs that finished but varied too much for their figures to be trusted."""
    return [run for run in findings.runs if run.outcome == "unsteady"]


def row_cautions(row: ScalingRow) -> tuple[str, ...]:
    """Return what to know about a row's figures before relying on them."""
    unsteady = row.outcome_counts.get("unsteady", 0)
    if not unsteady:
        return ()
    of_all = f"{unsteady} of {row.num_repeats} repeats were" if row.num_repeats > 1 else "its run was"
    return (
        f"{of_all[0].upper()}{of_all[1:]} unsteady: measure again on a quiet machine before you rely on this plan.",
    )


def machine_facts(machine: Mapping[str, Any], gpu: str) -> list[tuple[str, str]]:
    """Return what is known of the machine as (name, value) pairs; what was not recorded is left out."""
    facts: list[tuple[str, str]] = []

    def add(name: str, value: Any) -> None:
        if value not in (None, "", 0, {}, []):
            facts.append((name, formats.one_line(str(value))))

    add("CPU", machine.get("cpu_model"))
    cores = [
        f"{formats.significant(float(machine[key]))} {word}"
        for key, word in (("usable_cores", "usable"), ("physical_cores", "physical"), ("logical_cores", "logical"))
        if isinstance(machine.get(key), int | float)
    ]
    add("cores", ", ".join(cores))
    for key, name in (("memory_limit_bytes", "memory limit"), ("memory_total_bytes", "memory installed")):
        if isinstance(machine.get(key), int | float):
            add(name, formats.size_bytes(float(machine[key])))
    add("GPU", gpu.removeprefix("GPU: "))
    add("system", " ".join(str(machine[key]) for key in ("os_name", "kernel", "architecture") if machine.get(key)))
    add("container", "yes" if machine.get("in_container") is True else None)
    add("Python", machine.get("python"))
    versions = machine.get("versions")
    if isinstance(versions, Mapping):
        add("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version))
    return facts
