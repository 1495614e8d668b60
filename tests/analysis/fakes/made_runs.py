"""Training runs that were never trained, with known speeds and learning curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paceline.measure.result import (
    ExperimentConfig,
    ExperimentInfo,
    IterationRecord,
    LedgerRecord,
    Outcome,
    ResourceUse,
    Results,
    RunResult,
)
from paceline.measure.trained_run import TrainedRun

GIB = 2**30
PPO: dict[str, Any] = {"name": "ppo", "batch_size": 1000, "learning_rate": 3e-4, "network": {"hidden_sizes": [64, 64]}}
IMPALA: dict[str, Any] = {**PPO, "name": "impala", "rho_bar": 1.0}
SERIAL: dict[str, Any] = {
    "backend": "auto", "num_env_runners": 0, "num_envs_per_env_runner": 16, "inference": "learner", "schedule": "sync",
    "learner_threads": None, "pin_cores": False,
}  # fmt: skip
RUNNERS: dict[str, Any] = {**SERIAL, "num_env_runners": 2, "num_envs_per_env_runner": 8, "inference": "runner"}
ASYNC: dict[str, Any] = {**RUNNERS, "schedule": "async"}
SHARES: Mapping[str, float] = {"env_step": 0.5, "inference": 0.15, "learner_update": 0.3, "unattributed": 0.05}


def made_run(
    *,
    seed: int = 0,
    algo: Mapping[str, Any] = PPO,
    plan: Mapping[str, Any] = SERIAL,
    returns: Sequence[float | None] | None = None,
    final: float = 500.0,
    iterations: int = 40,
    sps: float = 5000.0,
    episodes: int = 10,
    folder: str = "",
    outcome: Outcome = "ok",
    env_id: str = "CartPole-v1",
    env_kwargs: Mapping[str, Any] | None = None,
    fingerprint: str = "machine-a",
    budget: Mapping[str, Any] | None = None,
    restarts: Sequence[str] = (),
    lag: float | None = None,
    shares: Mapping[str, float] = SHARES,
    memory: float = 0.5,
    steps: int = 1000,
    version: str = "0.1.0",
) -> TrainedRun:
    """Return a run of ``iterations`` of ``steps`` steps at ``sps``, whose returns rise to ``final`` (or are given)."""
    count = iterations if returns is None else len(returns)
    rng = np.random.default_rng([seed, int(final), int(sps)])
    if returns is None:
        returns = [final * (1 - 0.96 * 2.0 ** (-8 * i / max(count - 1, 1))) for i in range(count)]
    walls = steps / (sps * (1 + 0.02 * rng.standard_normal(count)))
    records = tuple(
        IterationRecord(
            iteration=i,
            wall_s=float(wall),
            num_env_steps=steps,
            sps=steps / float(wall),
            total_env_steps=steps * (i + 1),
            ledger=LedgerRecord(wall_s=float(wall), phases={name: s * float(wall) for name, s in shares.items()}),
            episode_return_mean=value,
            num_episodes=0 if value is None else episodes,
            metrics={} if lag is None else {"lag_min": lag / 2, "lag_mean": lag, "lag_max": 2 * lag},
        )
        for i, (wall, value) in enumerate(zip(walls, returns, strict=True))
    )
    wall_s = float(walls.sum())
    runners, envs = plan["num_env_runners"], plan["num_envs_per_env_runner"]
    used = ResourceUse(
        wall_s=wall_s, cpu_s=1.5 * wall_s, cores_used=1.5, usable_cores=2.0, cpu_utilization=0.75,
        num_processes=1 + runners, rss_bytes=int(memory * GIB), peak_rss_bytes=int(memory * GIB),
        memory_limit_bytes=8 * GIB,
    )  # fmt: skip
    result = RunResult(
        name=f"{runners}x{envs}",
        config=ExperimentConfig(
            num_env_runners=runners, num_envs_per_env_runner=envs, total_envs=max(runners, 1) * envs
        ),
        outcome=outcome,
        seed=seed,
        env_id=env_id,
        plan=dict(plan),
        algo=dict(algo),
        iterations=records,
        ledger=LedgerRecord(wall_s=wall_s, phases={name: s * wall_s for name, s in shares.items()}) if count else None,
        resources=used if count else None,
    )
    info = ExperimentInfo(
        total_experiments=1, timestamp="2026-11-25T10:40:00+00:00", kind="train", paceline_version=version,
        command=f"paceline train {env_id} --seed {seed}", env_id=env_id, algo=str(algo["name"]),
        machine={"cpu_model": "AMD EPYC", "usable_cores": 2.0}, machine_fingerprint=fingerprint,
        complete=outcome == "ok",
    )  # fmt: skip
    return TrainedRun(
        Path(folder or f"runs/{algo['name']}-{runners}x{envs}/seed{seed}"),
        info,
        result,
        env_kwargs={} if env_kwargs is None else env_kwargs,
        budget={"total_steps": steps * count} if budget is None else budget,
        restarts=tuple(restarts),
    )


def made_group(finals: Sequence[float], **fields: Any) -> list[TrainedRun]:
    """Return one run per final return, with seeds 0, 1, .."""
    return [made_run(seed=seed, final=final, **fields) for seed, final in enumerate(finals)]


def three_contenders() -> list[TrainedRun]:
    """Return five seeds of PPO in process, five of PPO in runners, and five of IMPALA, which is fastest."""
    return [
        *made_group([450, 470, 480, 490, 500]),
        *made_group([440, 465, 485, 492, 497], plan=RUNNERS, sps=7000.0, shares={**SHARES, "env_step": 0.4,
                    "runner_wait": 0.1}),
        *made_group([380, 430, 470, 490, 500], algo=IMPALA, plan=ASYNC, sps=9500.0, lag=1.5, memory=0.8,
                    restarts=("env 3 was replaced",)),
    ]  # fmt: skip


def write_run(folder: Path, run: TrainedRun) -> Path:
    """Write ``run`` as ``paceline train`` would, checkpoints aside, and return its folder."""
    folder.mkdir(parents=True)
    results = Results(experiment_info=run.info, experiments=(run.result,))
    (folder / "results.json").write_text(results.to_json())
    spec = {
        "env": {"id": run.result.env_id, "kwargs": dict(run.env_kwargs or {})}, "algo": run.result.algo,
        "plan": run.result.plan, "budget": {"minutes": None, **run.budget}, "seed": run.result.seed,
    }  # fmt: skip
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    lines = [{"kind": "iteration", "iteration": 0}, *({"kind": "event", "message": text} for text in run.restarts)]
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
