"""Folders of tunings, sweeps and training runs as the programs write them, without their having run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline.measure.ledger import UNATTRIBUTED
from paceline.measure.result import (
    ExperimentConfig,
    ExperimentInfo,
    IterationRecord,
    LedgerRecord,
    Outcome,
    Results,
    RunResult,
)
from paceline.measure.store import RunFolder
from paceline.measure.throughput import summarize
from paceline.measure.tune_result import PlanStanding, TuneDecision, TuneRecord, TuneResults
from paceline.spec import RunSpec, SweepSpec, build_spec, merge_fields
from paceline.training.resolve import resolve_spec
from paceline.tuner.spec import TuneSpec

MACHINE = {"cpu_model": "A processor", "usable_cores": 8.0, "gpus": [{"name": "A GPU"}]}


def run_spec(env: str = "CartPole-v1", name: str = "ppo", **fields: Any) -> RunSpec:
    """Return a run of the algorithm ``name`` with nothing left open; of PPO a small one."""
    small = {"batch_size": 64, "minibatch_size": 32, "num_epochs": 1} if name == "ppo" else {}
    data = {"env": {"id": env}, "algo": {"name": name, **small}, "plan": {"num_envs_per_env_runner": 2}}
    return resolve_spec(build_spec(RunSpec, merge_fields(data, fields)))


def trial(spec: RunSpec, sps: float | None, *, name: str = "", axes: dict[str, Any] | None = None) -> RunResult:
    """Return what a run of ``spec`` at ``sps`` leaves; at None it broke."""
    plan, size = spec.plan, spec.algo.steps_per_iteration
    seconds = size / (sps or 1.0)
    records = [
        IterationRecord(
            iteration=number, wall_s=seconds, num_env_steps=size, sps=size / seconds, total_env_steps=size * number,
            ledger=LedgerRecord(wall_s=seconds, phases={UNATTRIBUTED: seconds}),
        )
        for number in range(1, 6)
    ] if sps else []  # fmt: skip
    outcome: Outcome = "ok" if sps else "crash"
    return RunResult(
        name=name or plan.label,
        config=ExperimentConfig(
            num_env_runners=plan.num_env_runners, num_envs_per_env_runner=plan.num_envs_per_env_runner,
            total_envs=plan.num_envs, axes=axes or {},
        ),
        outcome=outcome,
        env_id=spec.env.id,
        plan=plan.model_dump(mode="json"),
        algo=spec.algo.model_dump(mode="json"),
        summary=summarize(records, batch_size=size, num_envs=plan.num_envs) if records else None,
        iterations=tuple(records),
    )  # fmt: skip


def trained_folder(path: Path, spec: RunSpec, sps: float | None = 5_000.0) -> Path:
    """Return the folder of a training run."""
    with RunFolder(path) as folder:
        folder.write_spec(spec)
        folder.write_results(Results(experiment_info=_info("train", spec), experiments=(trial(spec, sps),)))
    return path


def swept_folder(path: Path, base: RunSpec, speeds: Sequence[tuple[dict[str, Any], float | None]]) -> Path:
    """Return the folder of a sweep; ``speeds`` are the axes' values (dotted field -> value) and steps per second."""
    trials = []
    for values, sps in speeds:
        data = base.model_dump(mode="json")
        for name, value in values.items():
            group, field = name.split(".")
            data[group][field] = value
        trials.append(trial(build_spec(RunSpec, data), sps, axes=values))
    with RunFolder(path) as folder:
        folder.write_spec(SweepSpec(base=base, axes={name: (value,) for name, value in speeds[0][0].items()}))
        folder.write_results(Results(experiment_info=_info("sweep", base), experiments=tuple(trials)))
    return path


def tuned_folder(path: Path, base: RunSpec, runs: Sequence[tuple[RunSpec, float]], winner: int | None = 0) -> Path:
    """Return the folder of a tuning of ``base``; ``runs`` are the measured ones and their steps per second."""
    names = [f"{spec.plan.resolved_backend} {spec.plan.label}" for spec, _ in runs]
    standings = tuple(
        PlanStanding(
            name=name, state="measured", plan=spec.plan.model_dump(mode="json"), batch_size=spec.algo.batch_size,
            sps=sps, sps_ci95=(0.9 * sps, 1.1 * sps),
        )
        for name, (spec, sps) in zip(names, runs, strict=True)
    )  # fmt: skip
    decision = TuneDecision(winner=None if winner is None else names[winner], p_best=0.9, tells=True)
    results = TuneResults(
        experiment_info=_info("tune", base),
        experiments=tuple(trial(spec, sps, name=name) for name, (spec, sps) in zip(names, runs, strict=True)),
        tune=TuneRecord(objective="fastest", budget_s=300.0, wall_s=200.0, plans=standings, decision=decision),
    )
    with RunFolder(path) as folder:
        folder.write_spec(TuneSpec(base=base))
        folder.write_results(results)
        folder.write_text("plan.yaml", "plan: {}\n")
    return path


def _info(kind: Any, spec: RunSpec) -> ExperimentInfo:
    return ExperimentInfo(
        total_experiments=1, timestamp="2026-01-02T03:04:05+00:00", kind=kind, env_id=spec.env.id, algo=spec.algo.name,
        machine=MACHINE, machine_fingerprint="abcdef123456",
    )  # fmt: skip
