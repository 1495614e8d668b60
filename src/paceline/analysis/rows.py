"""Results become scaling tables: one table per workload, one row per plan, all repeats of a plan in its row.

Baseline rule, named in every table: *the fastest plan with one environment* (``0x1`` or ``1x1``), so that a speedup is
never flattered by a slow way to run one environment; where no plan has one environment, the plan with the fewest.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from paceline.analysis import scaling
from paceline.analysis.bottleneck import Bottleneck, find_bottleneck, memory_fraction, peak_memory_bytes
from paceline.analysis.cautions import table_notices
from paceline.analysis.stats import Estimate, coefficient_of_variation, estimate_median, estimate_ratio, median
from paceline.analysis.table import Learning, ScalingRow, ScalingTable
from paceline.errors import RequestError
from paceline.measure.result import (
    IterationRecord,
    LedgerRecord,
    Outcome,
    ResourceUse,
    Results,
    RunResult,
    Summary,
)

GRID_AXES = frozenset(
    {"plan.num_env_runners", "plan.num_envs_per_env_runner", "num_env_runners", "num_envs_per_env_runner"}
)
"""Axes that the row's R and E already say."""
BATCH_AXIS = "algo.batch_size"
"""Not part of a plan, but the same training at another pace: compared by SPS, with a warning."""

SINGLE_ENV_RULE = "the fastest plan with one environment"
FEWEST_ENVS_RULE = "the plan with the fewest environments (no plan with one environment was measured)"
NOTHING_RULE = "none (no plan was measured)"

USABLE_OUTCOMES: tuple[Outcome, ...] = ("ok", "unsteady", "interrupted")
"""Outcomes whose measured iterations count: the first of these that a row has is what its figures come from."""


def scaling_tables(results: Results, *, baseline: str | None = None) -> tuple[ScalingTable, ...]:
    """Return one table per workload, the one with most rows first.

    A workload is what is trained: environment and algorithm settings. Its rows are the plans that train it: R, E, and
    any other plan axis of the sweep (backend, threads ..), which is told in the row's ``variant``.

    Args:
        results: a results file's content; failed and unfinished runs are welcome.
        baseline: label of the row to take as baseline instead of the rule's, in every table that has it.

    Raises:
        RequestError: no table has a measured row of the label ``baseline``.
    """
    tables = [_table(workload, runs, baseline) for workload, runs in workload_runs(results)]
    if baseline is not None and not any(table.baseline and table.baseline.label == baseline for table in tables):
        measured = ", ".join(row.label for table in tables for row in table.measured_rows) or "none"
        raise RequestError(f"expected the baseline to be a measured plan, got {baseline!r}; choose from: {measured}")
    return tuple(sorted(tables, key=lambda table: -len(table.rows)))


def workload_runs(results: Results) -> list[tuple[dict[str, Any], list[RunResult]]]:
    """Return the runs of each workload, with the axes that make it different from the file's others (often none)."""
    workloads: dict[tuple[tuple[str, Any], ...], list[RunResult]] = {}
    several_envs = len({run.env_id for run in results.experiments}) > 1
    for run in results.experiments:
        key = {name: value for name, value in run.config.axes.items() if not _is_plan_axis(name)}
        if several_envs:
            key["env"] = run.env_id
        workloads.setdefault(tuple(sorted((name, _hashable(value)) for name, value in key.items())), []).append(run)
    return [(dict(key), runs) for key, runs in workloads.items()]


def row_label(run: RunResult) -> str:
    """Return ``RxE``, with the variant behind it where there is one."""
    grid = f"{run.config.num_env_runners}x{run.config.num_envs_per_env_runner}"
    variant = _variant(run)
    return " ".join([grid, *(f"{name}={value}" for name, value in variant.items())])


def usable_runs(runs: Sequence[RunResult]) -> tuple[Outcome | None, list[RunResult]]:
    """Return the runs of one plan whose figures count, and their outcome.

    Finished runs where there are any, else unsteady ones, else what interrupted ones measured; (None, []) where none
    has an iteration.
    """
    for outcome in USABLE_OUTCOMES:
        counted = [run for run in runs if run.outcome == outcome and _times(run)]
        if counted:
            return outcome, counted
    return None, []


def throughput_samples(runs: Sequence[RunResult]) -> list[list[float]]:
    """Return the SPS of every measured iteration of each of ``runs``."""
    return [_sps(run) for run in runs]


def mean_speed(runs: Sequence[RunResult]) -> float | None:
    """Return all steps / all seconds of the measured iterations of ``runs``, None where there are none."""
    times = [value for run in runs for value in _times(run)]
    speeds = [value for run in runs for value in _sps(run)]
    return math.fsum(map(operator.mul, speeds, times)) / math.fsum(times) if times else None


def judge_learning(iterations: Sequence[IterationRecord]) -> Learning:
    """Say whether returns rise or hold (``stable``), fell and stayed down (``collapsing``), or cannot be judged.

    The returns are cut into four quarters. A collapse is a last quarter whose median lies below the best quarter's by
    more than half of the whole range of returns, and by more than three times the spread within quarters. Fewer than
    eight iterations with returns say nothing.
    """
    returns = [item.episode_return_mean for item in iterations if item.episode_return_mean is not None]
    if any(not math.isfinite(value) for value in returns):
        return "nan"
    if len(returns) < 8:
        return "unknown"
    quarters = np.array_split(np.asarray(returns, dtype=np.float64), 4)
    centres = [float(np.median(quarter)) for quarter in quarters]
    spread = float(np.median(np.concatenate([abs(quarter - np.median(quarter)) for quarter in quarters])))
    fall = max(centres) - centres[-1]
    return "collapsing" if fall > 0.5 * (max(returns) - min(returns)) and fall > 3.0 * spread else "stable"


def _table(workload: Mapping[str, Any], runs: Sequence[RunResult], baseline: str | None) -> ScalingTable:
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(row_label(run), []).append(run)
    drafts = [_Draft(label, members) for label, members in groups.items()]
    drafts.sort(
        key=lambda draft: (str(sorted(draft.row.variant.items())), draft.row.num_env_runners, draft.row.num_envs)
    )
    base, rule = _choose_baseline(drafts, baseline)
    rows = tuple(draft.over(base) if base and draft.samples_s else draft.row for draft in drafts)
    table = ScalingTable(
        workload=workload,
        rows=rows,
        baseline=next((row for row in rows if row.is_baseline), None),
        baseline_rule=rule,
    )
    return dataclasses.replace(table, notices=table_notices(table))


def _choose_baseline(drafts: Sequence[_Draft], wanted: str | None) -> tuple[_Draft | None, str]:
    measured = [draft for draft in drafts if draft.samples_s]
    if not measured:
        return None, NOTHING_RULE
    for draft in measured:
        if draft.row.label == wanted:
            return draft, "the plan that was asked for"
    fewest = min(draft.row.num_envs for draft in measured)
    pool = [draft for draft in measured if draft.row.num_envs == fewest]
    base = max(pool, key=lambda draft: draft.sps_value)
    return base, SINGLE_ENV_RULE if fewest == 1 else FEWEST_ENVS_RULE


class _Draft:
    """One row before it is compared: its own figures, and the samples that the comparison needs."""

    def __init__(self, label: str, runs: Sequence[RunResult]) -> None:
        counts = Counter(run.outcome for run in runs)
        usable, counted = usable_runs(runs)
        self.samples_s = [_times(run) for run in counted]
        self.samples_sps = throughput_samples(counted)
        self.sps_value = median([value for run in self.samples_sps for value in run]) if counted else 0.0
        first = counted[0] if counted else runs[0]
        outcome = usable or counts.most_common(1)[0][0]
        self.row = ScalingRow(
            label=label,
            num_env_runners=first.config.num_env_runners,
            num_envs_per_env_runner=first.config.num_envs_per_env_runner,
            num_envs=max(first.config.num_env_runners, 1) * first.config.num_envs_per_env_runner,
            variant=_variant(first),
            plan=first.plan,
            outcome=outcome,
            outcome_counts={str(outcome): count for outcome, count in counts.items()},
            message=next((run.message for run in runs if run.outcome == outcome and run.message), ""),
            num_repeats=len(runs),
            num_iterations=sum(len(run) for run in self.samples_s),
            learning=_worst_learning(runs),
            bottleneck=_bottleneck(counted or runs, first.config.num_env_runners, outcome),
        )
        if counted:
            self.row = dataclasses.replace(self.row, **self._figures(counted))

    def _figures(self, runs: Sequence[RunResult]) -> dict[str, Any]:
        used = [run.resources for run in runs if run.resources]
        returns = [value for run in runs if (value := _last_return(run)) is not None]
        times = [value for run in self.samples_s for value in run]
        speeds = [value for run in self.samples_sps for value in run]
        return {
            "steps_per_iteration": _steps(runs),
            "time_per_iter_s": estimate_median(*self.samples_s),
            "sps": estimate_median(*self.samples_sps),
            "mean_time_per_iter_s": math.fsum(times) / len(times),
            "mean_sps": mean_speed(runs),
            "cv": coefficient_of_variation(speeds),
            "cores": _middle(used, lambda use: use.cores_used if use.cores_used > 0 else None),
            "cores_basis": "measured" if any(use.cores_used > 0 for use in used) else "planned",
            "cpu_utilization": _middle(used, lambda use: use.cpu_utilization),
            "ram_bytes": max((peak_memory_bytes(use) for use in used), default=0) or None,
            "ram_fraction": max((share for use in used if (share := memory_fraction(use))), default=None),
            "gpus": next((use.gpus for use in used if use.gpus), ()),
            "episode_return_mean": sum(returns) / len(returns) if returns else None,
            "setup_s": _middle(runs, lambda run: run.summary.setup_s if run.summary else None),
            "compile_s": _middle(runs, lambda run: run.summary.compile_s if run.summary else None),
        }

    @property
    def planned_cores(self) -> float:
        """Processes that the plan asks for: the runners and the learner."""
        return self.row.num_env_runners + 1.0

    def over(self, base: _Draft) -> ScalingRow:
        """Return the row with its figures relative to ``base``."""
        row, ideal = self.row, self.row.num_envs / base.row.num_envs
        same_steps = row.steps_per_iteration is not None and row.steps_per_iteration == base.row.steps_per_iteration
        basis: Literal["time", "sps"] = "time" if same_steps else "sps"
        if self is base:
            speedup = Estimate(1.0, None, "the baseline itself", row.num_iterations)
        elif same_steps:
            speedup = estimate_ratio(base.samples_s, self.samples_s)
        else:
            speedup = estimate_ratio(self.samples_sps, base.samples_sps)
        cores, base_cores = row.cores, base.row.cores
        cores_basis: Literal["measured", "planned"] = "measured"
        if cores is None or base_cores is None:
            cores, base_cores, cores_basis = self.planned_cores, base.planned_cores, "planned"
        per_env = scaling.efficiency(speedup.value, ideal)
        per_core = scaling.efficiency(speedup.value, cores / base_cores)
        return dataclasses.replace(
            row,
            is_baseline=self is base,
            speedup=speedup,
            speedup_basis=basis,
            efficiency_per_env=per_env,
            efficiency_per_core=per_core,
            cores=cores,
            cores_basis=cores_basis,
            efficiency_loss=scaling.efficiency_loss(speedup.value, ideal),
            gap_to_ideal=scaling.gap_to_ideal(speedup.value, ideal),
            karp_flatt=scaling.karp_flatt(speedup.value, ideal) if ideal > 1 else None,
            rating=scaling.rate(per_env),
            rating_per_core=scaling.rate(per_core),
        )


def _is_plan_axis(name: str) -> bool:
    return name.startswith("plan.") or name in GRID_AXES or name == BATCH_AXIS


def _variant(run: RunResult) -> dict[str, Any]:
    axes = {name: value for name, value in run.config.axes.items() if _is_plan_axis(name) and name not in GRID_AXES}
    return {name.rpartition(".")[2]: axes[name] for name in sorted(axes)}


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _times(run: RunResult) -> list[float]:
    """Return seconds of each measured iteration; the summary's average stands in where iterations were not kept."""
    measured = [item.wall_s for item in run.iterations if _counts(item)]
    if measured or run.summary is None:
        return measured
    usable = _is_plausible(run.summary.avg_time_per_iter_s) and _is_plausible(_summary_sps(run.summary))
    return [run.summary.avg_time_per_iter_s] if usable else []


def _sps(run: RunResult) -> list[float]:
    measured = [item.num_env_steps / item.wall_s for item in run.iterations if _counts(item)]
    if measured or not _times(run) or run.summary is None:
        return measured
    return [_summary_sps(run.summary)]


def _summary_sps(summary: Summary) -> float:
    """Return SPS by its definition, steps / time: some programs write an average of 0 beside them."""
    steps = summary.num_env_steps / max(summary.num_iterations, 1) or summary.batch_size
    return steps / summary.avg_time_per_iter_s if steps > 0 else summary.avg_sps


def _counts(item: IterationRecord) -> bool:
    return _is_plausible(item.wall_s) and item.num_env_steps > 0


def _is_plausible(value: float) -> bool:
    """Return whether a figure can be a time in seconds or a rate of steps: finite, positive, and not absurd."""
    return math.isfinite(value) and 1e-9 <= value <= 1e12


def _steps(runs: Sequence[RunResult]) -> int | None:
    steps = [item.num_env_steps for run in runs for item in run.iterations if _counts(item)]
    if not steps:
        steps = [
            run.summary.num_env_steps // max(run.summary.num_iterations, 1) or run.summary.batch_size
            for run in runs
            if run.summary
        ]
    return round(median(steps)) if steps else None


def _middle(items: Sequence[Any], figure: Callable[[Any], float | None]) -> float | None:
    values = [value for item in items if (value := figure(item)) is not None and math.isfinite(value)]
    return median(values) if values else None


def _last_return(run: RunResult) -> float | None:
    for item in reversed(run.iterations):
        if item.episode_return_mean is not None and math.isfinite(item.episode_return_mean):
            return item.episode_return_mean
    return run.summary.episode_return_mean if run.summary else None


def _worst_learning(runs: Sequence[RunResult]) -> Learning:
    verdicts = {"nan" if run.outcome == "nan" else judge_learning(run.iterations) for run in runs}
    order: tuple[Learning, ...] = ("nan", "collapsing", "stable", "unknown")
    return next((verdict for verdict in order if verdict in verdicts), "unknown")


def _bottleneck(runs: Sequence[RunResult], num_env_runners: int, outcome: Outcome) -> Bottleneck | None:
    ledgers = [ledger for run in runs if (ledger := run_ledger(run)) is not None]
    if not ledgers and outcome != "oom":
        return None
    used: list[ResourceUse] = [run.resources for run in runs if run.resources]
    return find_bottleneck(
        add_ledgers(ledgers) if ledgers else None,
        max(used, key=peak_memory_bytes, default=None),
        num_env_runners=num_env_runners,
        iterations=sum(max(len(run.iterations), 1) for run in runs if run_ledger(run) is not None),
        out_of_memory=outcome == "oom",
    )


def run_ledger(run: RunResult) -> LedgerRecord | None:
    """Return the run's ledger, else the sum of its iterations', else None."""
    if run.ledger is not None:
        return run.ledger
    return add_ledgers([item.ledger for item in run.iterations]) if run.iterations else None


def add_ledgers(ledgers: Sequence[LedgerRecord]) -> LedgerRecord:
    """Return the sum of ``ledgers``: wall times add up, and so does every phase."""
    phases: dict[str, float] = {}
    for ledger in ledgers:
        for name, seconds in ledger.phases.items():
            if math.isfinite(seconds):
                phases[name] = phases.get(name, 0.0) + seconds
    walls = [ledger.wall_s for ledger in ledgers if math.isfinite(ledger.wall_s)]
    return LedgerRecord(wall_s=math.fsum(walls), phases=phases)
