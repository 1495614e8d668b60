"""Builders of results: a run is a plan, a time per iteration, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from paceline.measure.result import (
    ExperimentConfig,
    ExperimentInfo,
    GpuSample,
    IterationRecord,
    LedgerRecord,
    ResourceUse,
    Results,
    RunResult,
    Summary,
)

GIB = 2**30


def make_run(
    runners: int,
    envs: int,
    times: Sequence[float],
    *,
    steps: int = 16384,
    outcome: str = "ok",
    repeat: int = 0,
    axes: Mapping[str, Any] | None = None,
    phases: Mapping[str, float] | None = None,
    cores: float | None = None,
    cpu: float = 0.5,
    ram: float = 0.1,
    returns: Sequence[float | None] = (),
    gpus: tuple[GpuSample, ...] = (),
    keep_iterations: bool = True,
    env_id: str = "HalfCheetah-v5",
    message: str = "",
) -> RunResult:
    """Return a run whose iterations took ``times`` seconds; ``phases`` are fractions of wall time."""
    split = dict(phases or {})
    wall_s = sum(times)
    iterations = tuple(
        IterationRecord(
            iteration=index,
            wall_s=time,
            num_env_steps=steps,
            sps=steps / time,
            total_env_steps=steps * (index + 1),
            ledger=LedgerRecord(wall_s=time, phases={name: share * time for name, share in split.items()}),
            episode_return_mean=returns[index] if index < len(returns) else None,
        )
        for index, time in enumerate(times)
    )
    summary = None
    if times:
        summary = Summary(
            avg_time_per_iter_s=wall_s / len(times),
            avg_sps=steps * len(times) / wall_s,
            sps_ci95=None,
            total_training_time_s=wall_s,
            num_iterations=len(times),
            num_env_steps=steps * len(times),
            batch_size=steps,
            num_envs=max(runners, 1) * envs,
            warmup_iterations=1,
            setup_s=1.0,
            compile_s=2.0,
            warmup_s=1.0,
        )
    resources = None
    if cores is not None:
        resources = ResourceUse(
            wall_s=wall_s,
            cpu_s=cores * wall_s,
            cores_used=cores,
            usable_cores=2.0,
            cpu_utilization=cpu,
            num_processes=runners + 1,
            rss_bytes=int(ram * 8 * GIB),
            peak_rss_bytes=int(ram * 8 * GIB),
            memory_limit_bytes=8 * GIB,
            gpus=gpus,
            gpu_note="" if gpus else "no NVIDIA driver answers",
        )
    return RunResult(
        name=f"{runners}x{envs}-{repeat}",
        config=ExperimentConfig(
            num_env_runners=runners,
            num_envs_per_env_runner=envs,
            total_envs=max(runners, 1) * envs,
            axes=dict(axes or {}),
        ),
        outcome=outcome,
        message=message,
        repeat=repeat,
        env_id=env_id,
        plan={"num_env_runners": runners, "num_envs_per_env_runner": envs},
        algo={"name": "ppo"},
        summary=summary,
        iterations=iterations if keep_iterations else (),
        ledger=LedgerRecord(wall_s=wall_s, phases={name: share * wall_s for name, share in split.items()})
        if times and split
        else None,
        resources=resources,
    )


def make_results(*runs: RunResult, kind: str = "sweep", fingerprint: str = "machine-a", **info: Any) -> Results:
    """Return a results file's content."""
    return Results(
        experiment_info=ExperimentInfo(
            total_experiments=info.pop("total", len(runs)),
            timestamp="2026-01-01T00:00:00Z",
            kind=kind,
            env_id=runs[0].env_id if runs else "",
            algo="ppo",
            machine_fingerprint=fingerprint,
            **info,
        ),
        experiments=runs,
    )


@pytest.fixture(scope="session")
def run() -> Callable[..., RunResult]:
    return make_run


@pytest.fixture(scope="session")
def results() -> Callable[..., Results]:
    return make_results


@pytest.fixture(scope="session")
def published() -> dict[str, Any]:
    """The published RLlib PPO sweep: rows of (r, e, seconds per iteration, speedup, efficiency %)."""
    path = Path(__file__).parents[1] / "data" / "published_rllib_ppo_halfcheetah.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def published_results(published: dict[str, Any]) -> Results:
    """The published table as a results file: one average per plan, no resources, no ledger."""
    return make_results(
        *(
            make_run(r, e, [time], steps=published["num_env_steps"], keep_iterations=False)
            for r, e, time, *_ in published["rows"]
        )
    )
