"""Builders of realistic results for the report's tests: no clock, no process, seeded noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from paceline.analysis.findings import analyse
from paceline.measure.result import (
    ExperimentConfig,
    ExperimentInfo,
    GpuSample,
    IterationRecord,
    LedgerRecord,
    Outcome,
    ResourceUse,
    Results,
    RunResult,
    Summary,
)
from paceline.report.view import ReportInput

GIB = 2**30
BATCH_SIZE = 16384
MACHINE: dict[str, Any] = {
    "cpu_model": "12th Gen Intel(R) Core(TM) i7-12700",
    "logical_cores": 20,
    "physical_cores": 12,
    "usable_cores": 12.0,
    "memory_total_bytes": 32 * GIB,
    "memory_limit_bytes": int(15.54 * GIB),
    "memory_available_bytes": 14 * GIB,
    "os_name": "Debian GNU/Linux 12",
    "architecture": "x86_64",
    "kernel": "6.1.0",
    "python": "3.11.9",
    "versions": {"jax": "0.10.2", "numpy": "2.3.1", "gymnasium": "1.4.0", "mujoco": "4.0.0"},
    "gpus": [],
    "gpu_note": "no GPU: the NVML library was not found",
    "in_container": True,
}
GPU = GpuSample(
    index=0,
    name="NVIDIA GeForce RTX 3070",
    utilization_percent=31.0,
    memory_used_bytes=int(2.4 * GIB),
    memory_total_bytes=8 * GIB,
    temperature_c=54.0,
    power_w=88.0,
)

SweepBuilder = Callable[..., Results]
TrainBuilder = Callable[..., Results]


def resources_of(
    wall_s: float, runners: int, envs: int, *, gpu: bool = False, usable_cores: float = 12.0
) -> ResourceUse:
    """Return what ``runners`` processes would use."""
    cores = min(0.55 + 0.85 * max(runners, 0.4), usable_cores * 0.98)
    rss = int((0.9 + 0.28 * runners + 0.012 * envs * max(runners, 1)) * GIB)
    return ResourceUse(
        wall_s=wall_s,
        cpu_s=cores * wall_s,
        cores_used=cores,
        usable_cores=usable_cores,
        cpu_utilization=cores / usable_cores,
        num_processes=1 + runners,
        rss_bytes=rss,
        pss_bytes=int(rss * 0.8),
        peak_rss_bytes=int(rss * 1.05),
        peak_pss_bytes=int(rss * 0.85),
        memory_limit_bytes=int(15.54 * GIB),
        gpus=(GPU,) if gpu else (),
        gpu_note="" if gpu else "no GPU: the NVML library was not found",
    )


def ledger_of(wall_s: float, runners: int, envs: int) -> LedgerRecord:
    """Split ``wall_s`` as the phase model T = L + E/r + I/(r*e) would."""
    learner, step, inference = 1.5, 2.14 / max(runners, 1), 8.87 / (max(runners, 1) * envs)
    total = learner + step + inference
    shares = {
        "env_step": step * 0.9 + inference * 0.55,
        "runner_wait": step * 0.1 if runners else 0.0,
        "inference": inference * 0.4,
        "transfer": inference * 0.03,
        "learner_update": learner * 0.96,
        "logging": learner * 0.01,
        "checkpoint": 0.0,
        "other": learner * 0.01,
    }
    phases = {name: share / total * wall_s for name, share in shares.items()}
    phases["unattributed"] = wall_s - sum(phases.values())
    return LedgerRecord(wall_s=wall_s, phases=phases)


def plan_of(runners: int, envs: int) -> dict[str, Any]:
    """Return the plan's plain data."""
    return {
        "backend": "shm" if runners else "serial",
        "num_env_runners": runners,
        "num_envs_per_env_runner": envs,
        "inference": "learner",
        "schedule": "sync",
        "learner_threads": None,
        "runner_threads": 1,
        "pin_cores": False,
        "device": "auto",
        "engine": "local",
    }


def run_of(
    runners: int,
    envs: int,
    *,
    iterations: int = 5,
    noise: float = 0.01,
    repeat: int = 0,
    outcome: Outcome = "ok",
    message: str = "",
    env_id: str = "HalfCheetah-v5",
    axes: Mapping[str, Any] | None = None,
    gpu: bool = False,
    time_s: float | None = None,
    batch_size: int = BATCH_SIZE,
    rng: np.random.Generator,
) -> RunResult:
    """Return one run as the engine would write it; failed runs keep no iterations."""
    rank = max(runners, 1)
    base_s = time_s or (1.5 + (2.14 / rank if runners else 1.2) + 8.87 / (rank * envs))
    failed = outcome not in ("ok", "unsteady")
    num = 0 if failed else iterations
    times = base_s * (1 + noise * rng.standard_normal(num))
    records = tuple(
        IterationRecord(
            iteration=i,
            wall_s=float(t),
            num_env_steps=batch_size,
            sps=batch_size / float(t),
            total_env_steps=batch_size * (i + 2),
            ledger=ledger_of(float(t), runners, envs),
            resources=resources_of(float(t), runners, envs, gpu=gpu),
            episode_return_mean=None if i == 0 else -300.0 + 45.0 * i + float(rng.normal(0, 8)),
            episode_length_mean=1000.0,
            num_episodes=16,
        )
        for i, t in enumerate(times)
    )
    wall = float(times.sum())
    avg = wall / num if num else 0.0
    spread = 1.96 * noise * avg / max(num, 1) ** 0.5 if num >= 3 else 0.0
    summary = None
    if num:
        summary = Summary(
            avg_time_per_iter_s=avg,
            avg_sps=batch_size * num / wall,
            sps_ci95=(batch_size / (avg + spread), batch_size / (avg - spread)) if num >= 3 else None,
            total_training_time_s=wall,
            num_iterations=num,
            num_env_steps=batch_size * num,
            batch_size=batch_size,
            num_envs=rank * envs,
            warmup_iterations=1,
            setup_s=1.2,
            compile_s=3.1,
            warmup_s=avg,
            episode_return_mean=-140.0,
            num_episodes=16 * num,
        )
    return RunResult(
        name=f"{runners}x{envs}" + (f" r{repeat}" if repeat else ""),
        config=ExperimentConfig(
            num_env_runners=runners, num_envs_per_env_runner=envs, total_envs=rank * envs, axes=dict(axes or {})
        ),
        outcome=outcome,
        message=message,
        repeat=repeat,
        env_id=env_id,
        plan=plan_of(runners, envs),
        algo={"name": "ppo", "batch_size": batch_size, "minibatch_size": 512, "num_epochs": 10},
        summary=summary,
        iterations=records,
        ledger=ledger_of(wall, runners, envs) if num else None,
        resources=resources_of(wall, runners, envs, gpu=gpu) if num else None,
        threads={"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="session")
def make_sweep() -> SweepBuilder:
    """Build a sweep over runners x envs; ``failures`` maps (runners, envs) to (outcome, message)."""

    def build(
        runners: Sequence[int] = (1, 2, 4, 8),
        envs: Sequence[int] = (1, 4, 16),
        *,
        failures: Mapping[tuple[int, int], tuple[Outcome, str]] | None = None,
        repeats: int = 1,
        iterations: int = 5,
        noise: float = 0.01,
        env_id: str = "HalfCheetah-v5",
        complete: bool = True,
        total: int | None = None,
        axes: Mapping[str, Sequence[Any]] | None = None,
        gpu: bool = False,
        command: str = "",
    ) -> Results:
        rng = np.random.default_rng(7)
        variants: list[dict[str, Any]] = [{}]
        for name, values in (axes or {}).items():
            variants = [{**variant, name: value} for variant in variants for value in values]
        experiments = []
        for repeat in range(repeats):
            for variant in variants:
                for r in runners:
                    for e in envs:
                        outcome, message = (failures or {}).get((r, e), ("ok", ""))
                        run = run_of(
                            r,
                            e,
                            iterations=iterations,
                            noise=noise,
                            repeat=repeat,
                            outcome=outcome,
                            message=message,
                            env_id=env_id,
                            axes=variant,
                            gpu=gpu,
                            rng=rng,
                        )
                        experiments.append(run)
        return Results(
            experiment_info=ExperimentInfo(
                total_experiments=total or len(experiments),
                timestamp="2026-11-20T10:40:00+00:00",
                kind="sweep",
                paceline_version="0.1.0",
                command=command
                or f"paceline sweep {env_id} --num-env-runners 1,2,4,8 --num-envs-per-env-runner 1,4,16",
                env_id=env_id,
                algo="ppo",
                batch_size=BATCH_SIZE,
                machine=MACHINE,
                machine_fingerprint="a1b2c3d4e5f6",
                complete=complete,
            ),
            experiments=tuple(experiments),
        )

    return build


@pytest.fixture(scope="session")
def make_train() -> TrainBuilder:
    """Build the result of one training run."""

    def build(
        iterations: int = 60, *, gpu: bool = False, outcome: Outcome = "ok", with_returns: bool = True
    ) -> Results:
        rng = np.random.default_rng(3)
        run = run_of(2, 8, iterations=iterations, noise=0.03, rng=rng, gpu=gpu)
        curve = 1500 * (1 - np.exp(-np.arange(iterations) / 25)) - 300 + rng.normal(0, 40, iterations)
        records = tuple(
            record.model_copy(update={"episode_return_mean": float(value) if with_returns and i else None})
            for i, (record, value) in enumerate(zip(run.iterations, curve, strict=True))
        )
        run = run.model_copy(update={"iterations": records, "outcome": outcome})
        return Results(
            experiment_info=ExperimentInfo(
                total_experiments=1,
                timestamp="2026-11-20T10:40:00+00:00",
                kind="train",
                paceline_version="0.1.0",
                command="paceline train HalfCheetah-v5 --total-steps 1000000",
                env_id="HalfCheetah-v5",
                algo="ppo",
                batch_size=BATCH_SIZE,
                machine=MACHINE,
                machine_fingerprint="a1b2c3d4e5f6",
                complete=outcome == "ok",
            ),
            experiments=(run,),
        )

    return build


FAILURES: dict[tuple[int, int], tuple[Outcome, str]] = {
    (8, 1): ("oom", "the process tree held 12.5 GiB, more than the 12.4 GiB limit"),
    (4, 16): ("timeout", "did not finish within 900 s"),
}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def sweep(make_sweep: SweepBuilder) -> ReportInput:
    """A sweep of twelve plans, two of which failed."""
    results = make_sweep(failures=FAILURES)
    return ReportInput(results, analyse(results))


@pytest.fixture(scope="session")
def train(make_train: TrainBuilder) -> ReportInput:
    """One training run."""
    results = make_train()
    return ReportInput(results, analyse(results))


@pytest.fixture(scope="session")
def wide(make_sweep: SweepBuilder) -> ReportInput:
    """An interrupted sweep over four axes with long names, a GPU, and markup and dollars in every text of a user."""
    results = make_sweep(
        (0, 1, 2, 4),
        (1, 4, 16),
        axes={"plan.backend": ("auto", "a_backend_with_a_long_name"), "plan.runner_threads": (1, 2)},
        gpu=True,
        env_id=f"a_long_package.module:Env$x$_{HOSTILE}-v0",
        failures={(4, 16): ("crash", f"ValueError: {HOSTILE}\x1b[31m red\nsecond line")},
        complete=False,
        total=100,
    )
    return ReportInput(results, analyse(results))


@pytest.fixture(scope="session")
def nothing(make_sweep: SweepBuilder) -> ReportInput:
    """A sweep in which no trial finished."""
    results = make_sweep((1, 2), (1,), failures={(1, 1): ("crash", "boom"), (2, 1): ("nan", "the loss became NaN")})
    return ReportInput(results, analyse(results))


@pytest.fixture(scope="session")
def empty(make_sweep: SweepBuilder) -> ReportInput:
    """A sweep that was stopped before its first trial ended."""
    results = make_sweep((), (), complete=False, total=12)
    return ReportInput(results, analyse(results))
