"""What every form of the report agrees on: order of plans, their roles, the grid, the plan as YAML, the verdict line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from paceline.analysis.bottleneck import PhaseShare
from paceline.analysis.findings import Findings, WorkloadFindings
from paceline.analysis.scaling import Rating
from paceline.analysis.table import ScalingRow
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
    """Return the sentence that stands first; it says so where trials are missing."""
    headline = formats.one_line(source.findings.headline)
    if source.findings.complete or any(word in headline.lower() for word in ("partial", "incomplete", "not complete")):
        return headline
    info, done = source.results.experiment_info, len(source.results.experiments)
    if info.kind == "train":
        return f"Partial: the run was stopped early. {headline}"
    planned = f"{done} of {info.total_experiments}" if info.total_experiments > done else f"{done}"
    return f"Partial: {planned} trials so far. {headline}"


def by_speed(rows: Iterable[ScalingRow]) -> list[ScalingRow]:
    """Return the rows fastest first; rows without figures last, in their own order."""
    return sorted(rows, key=lambda row: -row.sps.value if row.sps else 0.0)


def fastest_row(rows: Iterable[ScalingRow]) -> ScalingRow | None:
    """Return the measured row of most steps per second."""
    ordered = by_speed(row for row in rows if row.sps)
    return ordered[0] if ordered else None


def roles(workload: WorkloadFindings) -> dict[str, tuple[str, ...]]:
    """Return label -> what the row is: ``recommended``, ``fastest``, ``balanced``, ``frugal``, ``baseline``."""
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
    return {label: tuple(names) for label, names in found.items()}


def plan_yaml(row: ScalingRow, source: ReportInput) -> str:
    """Return the row's plan as the text of a ``plan.yaml``: ``plan: {..}`` and, as comments, what it was measured on."""
    info = source.results.experiment_info
    speed = f"{formats.integer(row.sps.value)} steps/s" if row.sps else "no figures"
    measured_on = f"{info.env_id or source.findings.env_id}, {info.algo or source.findings.algo}"
    lines = [f"# {row.label}: {speed} on {measured_on}, batch size {row.steps_per_iteration or info.batch_size}"]
    lines += [f"# machine {info.machine_fingerprint or 'unknown'}, {formats.when(info.timestamp)}"]
    comments = "\n".join(formats.one_line(line) for line in lines)
    return comments + "\n" + yaml.safe_dump({"plan": _plain(row.plan)}, sort_keys=False, allow_unicode=True)


def _plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in plan.items()}


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
    title = ", ".join(f"{name}={value}" for name, value in best.variant.items())
    return Grid(
        runners=tuple(sorted({row.num_env_runners for row in chosen})),
        envs=tuple(sorted({row.num_envs_per_env_runner for row in chosen})),
        cells={(row.num_env_runners, row.num_envs_per_env_runner): row for row in chosen},
        title=title,
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


def failed_rows(workload: WorkloadFindings) -> list[ScalingRow]:
    """Return rows without figures, or of which some repeats failed."""
    return [row for row in workload.table.rows if not row.sps or set(row.outcome_counts) - {"ok"}]


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
    add("GPU", gpu)
    add("system", " ".join(str(machine[key]) for key in ("os_name", "kernel", "architecture") if machine.get(key)))
    add("container", "yes" if machine.get("in_container") is True else None)
    add("Python", machine.get("python"))
    versions = machine.get("versions")
    if isinstance(versions, Mapping):
        add("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version))
    return facts
