"""Everything a report says, as one frozen object: :func:`analyse` makes it, ``report`` only draws it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Literal

from paceline.analysis.bottleneck import Bottleneck, find_bottleneck
from paceline.analysis.cautions import restart_notices, table_notices, worst_first
from paceline.analysis.curves import ScalingModels, scaling_models
from paceline.analysis.hardware import hardware_advice
from paceline.analysis.learning import WINDOW_EPISODES, learning_curve
from paceline.analysis.recommend import Advice, EfficiencyBasis, recommend
from paceline.analysis.rows import judge_learning, mean_speed, row_label, run_ledger, scaling_tables, throughput_samples
from paceline.analysis.stats import Estimate, estimate_median
from paceline.analysis.table import Learning, Notice, ScalingRow, ScalingTable
from paceline.errors import RequestError
from paceline.measure.result import Outcome, Results, RunResult


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """One iteration of a learning curve.

    Attributes:
        total_env_steps: environment steps since the run began.
        training_s: measured training seconds since the first measured iteration began.
        episode_return_mean: mean return of the episodes that ended in it, None where none ended.
        recent_return: mean return of the run's last episodes, :attr:`RunFinding.return_window` of them; None before
            the first one ended.
        sps: environment steps per second of this iteration.
    """

    total_env_steps: int
    training_s: float
    episode_return_mean: float | None
    sps: float
    recent_return: float | None = None


@dataclass(frozen=True, slots=True)
class RunFinding:
    """One run (one repeat of one grid point): how it ended, how it went.

    Attributes:
        name: the run's name in the file.
        label: ``RxE``.
        outcome: how it ended.
        message: why, where it is not ok.
        sps: median with interval over iterations, None where no iteration finished.
        mean_sps: all environment steps / all seconds of its iterations, likewise.
        num_iterations: measured iterations.
        total_env_steps: environment steps at the end.
        curve: learning and throughput curve, one point per measured iteration.
        learning: whether returns held, as in :class:`~paceline.analysis.table.ScalingRow`.
        bottleneck: from the run's ledger, None without one.
        return_window: episodes of the running mean return, as in the live display; 0 where the file does not count
            episodes, so that it is the mean of one iteration.
    """

    name: str
    label: str
    outcome: Outcome
    message: str
    sps: Estimate | None
    num_iterations: int
    total_env_steps: int
    curve: tuple[LearningPoint, ...]
    learning: Learning
    bottleneck: Bottleneck | None
    return_window: int = WINDOW_EPISODES
    mean_sps: float | None = None


@dataclass(frozen=True, slots=True)
class WorkloadFindings:
    """All about one workload (same environment and algorithm settings, different plans).

    Attributes:
        headline: the verdict sentence of this workload.
        table: rows, baseline, notices.
        models: scaling models; None for a single row.
        advice: recommendations, top three, decision chart; None for a single row.
    """

    headline: str
    table: ScalingTable
    models: ScalingModels | None
    advice: Advice | None

    @property
    def winner(self) -> Bottleneck | None:
        """What holds the recommended row back (the only row, where there is one)."""
        row = self.advice.recommended if self.advice else None
        if row is None and len(self.table.rows) == 1:
            row = self.table.rows[0]
        return row.bottleneck if row else None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a results file says.

    Attributes:
        kind: ``train`` (one run: no scaling, only ledger verdict and learning curve), ``sweep`` or ``tune``.
        headline: the verdict, one or two sentences, to stand first.
        env_id: the environment.
        algo: the algorithm's name.
        workloads: at least one unless the file has no experiments; ``workloads[0]`` is the one with most rows.
        runs: every run of the file, in its order.
        notices: all warnings, of the file and of every table, worst first.
        method: how it was measured, one sentence per item.
        outcome_counts: outcome -> number of runs.
        machine: the machine's description as recorded.
        gpu: what is known of the GPU, one sentence ("No GPU: .." where there is none).
        complete: all planned trials are in the file.
        hardware: what the measurements say about this machine, one sentence each (what it is short of, where to look
            next), for the first workload.
        restarts: of a training run, one sentence for each environment or runner that was replaced on the way.
    """

    kind: Literal["train", "sweep", "tune"]
    headline: str
    env_id: str
    algo: str
    workloads: tuple[WorkloadFindings, ...]
    runs: tuple[RunFinding, ...]
    notices: tuple[Notice, ...]
    method: tuple[str, ...]
    outcome_counts: Mapping[str, int]
    machine: Mapping[str, Any] = field(default_factory=dict)
    gpu: str = ""
    complete: bool = True
    hardware: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()

    @property
    def primary(self) -> WorkloadFindings | None:
        """The first workload, None where the file has no experiments."""
        return self.workloads[0] if self.workloads else None


def analyse(
    results: Results,
    *,
    baseline: str | None = None,
    efficiency: EfficiencyBasis = "env",
    restarts: Sequence[str] = (),
) -> Findings:
    """Work out everything a report needs. Failed, unfinished and missing trials are findings, not errors.

    Args:
        results: a results file's content.
        baseline: label of the row to take as baseline (``1x1``) instead of the rule's.
        efficiency: which efficiency the scenarios use: per ``env`` or per ``core``.
        restarts: of a training run, one sentence for each environment or runner that was replaced on the way (the
            results do not hold them, see :func:`paceline.measure.trained_run.load_restarts`).

    Raises:
        RequestError: ``baseline`` is not the label of a measured row, or the file is a bench's, which has no plans.
    """
    info = results.experiment_info
    if info.kind == "bench":
        raise RequestError(
            "expected the results of training runs or a sweep, got those of a bench; run `paceline report` on it"
        )
    tables = scaling_tables(results, baseline=baseline)
    if restarts:
        tables = tuple(replace(table, notices=table_notices(table, restarts=len(restarts))) for table in tables)
    workloads = tuple(_workload(table, efficiency) for table in tables)
    gpu = _gpu_sentence(results)
    notices = [notice for table in tables for notice in _prefixed(table, several=len(tables) > 1)]
    return Findings(
        kind=info.kind,
        headline=_broken_run_headline(results)
        or (workloads[0].headline if workloads else "No run has been recorded, so there is nothing to say yet."),
        env_id=info.env_id or next((run.env_id for run in results.experiments), ""),
        algo=info.algo or next((str(run.algo.get("name", "")) for run in results.experiments), ""),
        workloads=workloads,
        runs=tuple(_run(run) for run in results.experiments),
        notices=worst_first([*_file_notices(results, gpu), *restart_notices(restarts), *notices]),
        method=_method(results, tables),
        outcome_counts={str(key): count for key, count in Counter(run.outcome for run in results.experiments).items()},
        machine=info.machine,
        gpu=gpu,
        complete=info.complete,
        hardware=hardware_advice(info.machine, workloads[0].table, workloads[0].advice) if workloads else (),
        restarts=tuple(restarts),
    )


def _workload(table: ScalingTable, efficiency: EfficiencyBasis) -> WorkloadFindings:
    several = len(table.rows) > 1
    advice = recommend(table, efficiency=efficiency) if several else None
    models = scaling_models(table) if several else None
    return WorkloadFindings(_headline(table, advice), table, models, advice)


_ENDINGS: dict[Outcome, str] = {
    "crash": "broke",
    "nan": "met NaN or infinity",
    "oom": "ran out of memory",
    "timeout": "ran out of time",
}


def _broken_run_headline(results: Results) -> str:
    """Say how a single training run failed and how far it came, or that it was stopped at once; else ""."""
    if results.experiment_info.kind != "train" or len(results.experiments) != 1:
        return ""
    (run,) = results.experiments
    if run.outcome == "interrupted" and not run.iterations:
        return "The run was stopped before an iteration was finished, so nothing can be said about speed."
    if run.outcome not in _ENDINGS:
        return ""
    done = run.iterations[-1].total_env_steps if run.iterations else 0
    count = len(run.iterations)
    told = f"The run {_ENDINGS[run.outcome]} after {count} iteration{'s' * (count != 1)} ({done:,} steps)"
    return f"{told}: {run.message}" if run.message else f"{told}."


def _headline(table: ScalingTable, advice: Advice | None) -> str:
    if not table.measured_rows:
        outcomes = Counter(row.outcome for row in table.rows)
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        return f"No plan finished an iteration ({told}), so nothing can be said about speed."
    if advice is None:
        row = table.measured_rows[0]
        verdict = f" {row.bottleneck.sentences[0]}" if row.bottleneck else ""
        return f"{row.label} trains at {_one_speed(row)}.{verdict}"
    fastest = advice.recommendations[-1]
    best, base = fastest.row, table.baseline
    if best is None or base is None:
        return "Every plan that was measured ended in NaN, so none can be recommended."
    speedup = best.speedup.value if best.speedup else 1.0
    if best.is_baseline:
        sentence = f"{best.label} is the fastest plan here, at {_sps_text(best)}: no parallel plan beats it."
    else:
        sentence = f"{best.label} is the fastest plan here: {_sps_text(best)}, {speedup:.2f}x the speed of {base.label}"
        named = best.bottleneck is not None and best.bottleneck.verdict not in ("balanced", "unknown")
        sentence += f" ({best.bottleneck.verdict})." if best.bottleneck and named else "."
    if fastest.contenders:
        sentence += f" It cannot be told from {', '.join(fastest.contenders)}."
    recommended = advice.recommended
    if recommended is not None and recommended is not best and recommended.label not in fastest.contenders:
        sentence += f" Recommended is {recommended.label} at {_sps_text(recommended)}."
    return sentence


def _one_speed(row: ScalingRow) -> str:
    """Write the speed of a plan that stands alone: the median, and the mean where it is another figure."""
    told = _sps_text(row)
    if not row.mean_differs or row.sps is None or not row.steps_per_iteration:
        return told
    # Of few iterations the median time is not that of the median speed: what stands beside it must agree with it.
    return (
        f"{told}, {row.steps_per_iteration / row.sps.value:.3g} s an iteration (median); the mean is "
        f"{row.mean_sps:,.0f} steps/s, {row.mean_time_per_iter_s:.3g} s an iteration"
    )


def _sps_text(row: ScalingRow) -> str:
    return f"{row.sps.value:,.0f} steps/s" if row.sps else "an unknown speed"


def _run(run: RunResult) -> RunFinding:
    samples = throughput_samples([run])[0]
    ledger = run_ledger(run)
    seconds = accumulate(_finite(item.wall_s) or 0.0 for item in run.iterations)
    counted = all(item.num_episodes for item in run.iterations if item.episode_return_mean is not None)
    window = WINDOW_EPISODES if counted else 0
    smooth = learning_curve(run.iterations, max(1, window))
    recent = [] if smooth is None else smooth.returns.tolist()
    curve = tuple(
        LearningPoint(item.total_env_steps, elapsed, _finite(item.episode_return_mean), _finite(item.sps) or 0.0, mean)
        for item, elapsed, mean in zip(
            run.iterations, seconds, [*[None] * (len(run.iterations) - len(recent)), *recent], strict=True
        )
    )
    return RunFinding(
        name=run.name,
        label=row_label(run),
        outcome=run.outcome,
        message=run.message,
        sps=estimate_median(samples) if samples else None,
        num_iterations=len(run.iterations),
        total_env_steps=run.iterations[-1].total_env_steps if run.iterations else 0,
        curve=curve,
        learning="nan" if run.outcome == "nan" else judge_learning(run.iterations),
        bottleneck=find_bottleneck(
            ledger,
            run.resources,
            num_env_runners=run.config.num_env_runners,
            iterations=len(run.iterations),
            out_of_memory=run.outcome == "oom",
        )
        if ledger or run.outcome == "oom"
        else None,
        return_window=window,
        mean_sps=mean_speed([run]),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _prefixed(table: ScalingTable, *, several: bool) -> tuple[Notice, ...]:
    """Return the table's notices; with several workloads each says which one it is about."""
    if not several:
        return table.notices
    return tuple(replace(notice, text=f"{table.title}: {notice.text}") for notice in table.notices)


def _file_notices(results: Results, gpu: str) -> list[Notice]:
    notices = [Notice("gpu", gpu, "info")]
    info = results.experiment_info
    if not info.complete:
        missing = info.total_experiments - sum(run.outcome != "interrupted" for run in results.experiments)
        verb = "is" if missing == 1 else "are"
        told = f"{missing} of {info.total_experiments} trials {verb} missing; --resume runs what is missing"
        if info.kind == "train" or missing <= 0:
            told = "it ended early; --resume goes on with it"
        notices.append(Notice("incomplete", f"The run is not complete: {told}.", "caution"))
    cold = [run.name for run in results.experiments if run.summary and run.summary.warmup_iterations == 0]
    if cold and info.kind != "train":
        notices.append(
            Notice(
                "no-warm-up",
                f"{_counted(len(cold), 'run')} had no warm-up: the first iterations are often slower, and count here.",
                "caution",
            )
        )
    if not results.experiments:
        notices.append(Notice("nothing-measured", "The file holds no run.", "problem"))
    return notices


def _gpu_sentence(results: Results) -> str:
    used = [run.resources for run in results.experiments if run.resources]
    samples = [sample for use in used for sample in use.gpus]
    if samples:
        names = ", ".join(sorted({sample.name for sample in samples}))
        known = [sample.utilization_percent for sample in samples if sample.utilization_percent is not None]
        if not known:
            return f"GPU: {names}; its utilisation could not be read."
        return (
            f"GPU: {names}, at most {max(known):.0f} % utilised (the share of time in which any kernel ran, which is "
            f"not how much of the GPU was used)."
        )
    note = next((use.gpu_note for use in used if use.gpu_note), "").removeprefix("no GPU: ").removeprefix("No GPU: ")
    return f"No GPU: {note}" if note else "No GPU was seen by these runs."


def _method(results: Results, tables: Sequence[ScalingTable]) -> tuple[str, ...]:
    summaries = [run.summary for run in results.experiments if run.summary]
    sentences = []
    if summaries:
        steps = _span([round(item.num_env_steps / max(item.num_iterations, 1)) for item in summaries])
        sentences.append(
            f"{_counted(len(results.experiments), 'run')}, {_span([item.num_iterations for item in summaries])} "
            f"measured iterations each after {_span([item.warmup_iterations for item in summaries])} warm-up, {steps} "
            "environment steps an iteration."
        )
        sentences.append(
            "Start-up, compilation and warm-up are timed apart and are no part of SPS; reset rows are not steps."
        )
    sentences += [
        f"Speedups are over {table.baseline.label}: {table.baseline_rule}."
        for table in tables
        if table.baseline and len(table.rows) > 1
    ]
    if any(len(table.rows) > 1 for table in tables):
        sentences.append(
            "Efficiency per env is speedup / environments; efficiency per core is speedup / cores kept busy (CPU time "
            "of the process tree / wall time), both relative to the baseline."
        )
        sentences.append(
            "Models are fitted by relative least squares to median times and judged by predicting each plan from the "
            "others; plans with runners and plans in the learner's process (R = 0) are never fitted together."
        )
    sentences.append(
        "Figures are medians; intervals are expanded percentile bootstraps (runs, then iterations), 95% unless there "
        "are fewer than six samples."
    )
    return tuple(dict.fromkeys(sentences))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _span(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"
