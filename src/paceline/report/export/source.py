"""What is exported: the run that a folder's results speak for, with nothing left open, and how fast it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.analysis.findings import analyse
from paceline.analysis.rows import row_label, usable_runs, workload_runs
from paceline.errors import RequestError, ResultsError
from paceline.measure.result import ExperimentInfo, Results, RunResult
from paceline.measure.store import SPEC_FILE, load_results
from paceline.measure.tune_result import TuneResults
from paceline.report import formats, view
from paceline.report.tune_text import tune_headline
from paceline.spec import RunSpec, build_spec, load_yaml, set_field

_MACHINE = ("CPU", "cores", "GPU")
"""What is told of the machine."""


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A run to be exported, and what was measured of it.

    Attributes:
        run: environment, algorithm, plan, budget and seed.
        facts: what it was measured on and how fast it was, a line each, without control characters.
    """

    run: RunSpec
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The trial that a file of results speaks for.

    Attributes:
        result: its settings as they were measured.
        name: of its plan.
        sps: steps per second; None where no iteration finished.
        interval: where they lie with 95 %.
        remark: a sentence on how sure the choice is.
    """

    result: RunResult
    name: str
    sps: float | None
    interval: tuple[float, float] | None
    remark: str = ""


def load_source(folder: Path) -> ExportSource:
    """Return the run that ``folder`` recommends: a tuning's winner, a sweep's recommended plan, a run's own.

    Args:
        folder: the ``--out`` folder of ``tune``, ``sweep`` or ``train``; a file in it (``plan.yaml``) stands for it.

    Raises:
        ResultsError: there are no results, or they are damaged.
        SpecError: ``spec.yaml`` is missing or damaged.
        RequestError: a folder of another kind, or one without a plan to recommend.
    """
    folder = folder.parent if folder.is_file() else folder
    results: Results = load_results(folder)
    kind = results.experiment_info.kind
    if kind == "bench":
        raise RequestError(
            f"expected a folder of `paceline tune`, `sweep` or `train`, got the bench {folder}, which has no plan of a "
            f"training run; `paceline report {folder}` gives the call that makes its environments"
        )
    if kind == "tune":
        chosen = _winner(folder, load_results(folder, TuneResults))
    elif kind == "sweep":
        chosen = _recommended(folder, results)
    else:
        chosen = _only(folder, results)
    return ExportSource(_run(folder, chosen.result), tuple(_facts(chosen, results.experiment_info)))


def _winner(folder: Path, results: TuneResults) -> _Chosen:
    winner = results.tune.decision.winner
    if winner is None:
        raise RequestError(
            f"expected a tuning that found a plan, got {folder}, where none could be measured; its report.txt says "
            f"why, tune again"
        )
    standing = next((one for one in results.tune.plans if one.name == winner), None)
    run = next((one for one in results.experiments if one.name == winner), None)
    if standing is None or run is None:
        raise ResultsError(f"{folder}: expected the winner {winner} among the measured plans; the file is damaged")
    return _Chosen(run, winner, standing.sps, standing.sps_ci95, tune_headline(results))


def _recommended(folder: Path, results: Results) -> _Chosen:
    workload = analyse(results).primary
    measured = workload.table.measured_rows if workload is not None else ()
    row = workload.advice.recommended if workload is not None and workload.advice is not None else None
    if row is None and len(measured) == 1:  # nothing to compare it with: no advice, and no doubt either
        row = measured[0]
    if workload is None or row is None:
        raise RequestError(
            f"expected a sweep that recommends a plan, got {folder}, where none was measured; `paceline report "
            f"{folder}` says why, go on with it with `paceline sweep --resume {folder}`"
        )
    runs = next(runs for axes, runs in workload_runs(results) if axes == dict(workload.table.workload))
    run = usable_runs([run for run in runs if row_label(run) == row.label])[1][0]
    estimate = row.sps
    interval = None if estimate is None or estimate.interval is None else estimate.interval
    return _Chosen(
        run,
        row.label,
        None if estimate is None else estimate.value,
        None if interval is None else (interval.low, interval.high),
    )


def _only(folder: Path, results: Results) -> _Chosen:
    if len(results.experiments) != 1:
        raise ResultsError(
            f"{folder}: expected one training run in results.json, got {len(results.experiments)}; the file is damaged"
        )
    (run,) = results.experiments
    summary = run.summary
    return _Chosen(
        run,
        row_label(run),
        None if summary is None else summary.avg_sps,
        None if summary is None else summary.sps_ci95,
    )


def _run(folder: Path, result: RunResult) -> RunSpec:
    """Return the spec of one trial: the folder's, under the trial's axes, under what the trial was measured with."""
    file = folder / SPEC_FILE
    data: Mapping[str, Any] = load_yaml(file)
    base = data.get("base", data)
    if not isinstance(base, Mapping):
        raise ResultsError(f"{file}: expected the fields of a run under base; the file is damaged")
    run = dict(base)
    for name, value in result.config.axes.items():
        run = set_field(run, name, value)
    spec = build_spec(RunSpec, {**run, "algo": result.algo, "plan": result.plan}, source=str(file))
    if spec.env.id.startswith("__main__:"):
        raise RequestError(
            f"expected an environment that another program can import, got {spec.env.id}, which a script defined for "
            f"itself; move it into a module of its own, and tune or train with module:name"
        )
    return spec


def _facts(chosen: _Chosen, info: ExperimentInfo) -> list[str]:
    run = chosen.result
    speed = "not measured: no iteration finished"
    if chosen.sps is not None:
        speed = f"{formats.integer(chosen.sps)} steps/s with paceline"
        if chosen.interval is not None:
            low, high = (formats.integer(bound) for bound in chosen.interval)
            speed += f" (95 % interval {low} to {high})"
    gpus = ", ".join(str(gpu.get("name", "")) for gpu in info.machine.get("gpus", ()))
    machine = "; ".join(text for name, text in view.machine_facts(info.machine, gpus) if name in _MACHINE)
    lines = [
        f"{run.env_id}, {run.algo.get('name', '')}, plan {chosen.name}",
        f"measured: {speed}",
        f"machine: {', '.join(part for part in (machine, info.machine_fingerprint) if part) or 'unknown'}",
        f"date: {formats.when(info.timestamp)}",
    ]
    if chosen.remark:
        lines.append(f"verdict: {chosen.remark}")
    return [formats.one_line(line) for line in lines]
