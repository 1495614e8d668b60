"""Whatever a results file holds, the analysis answers: damaged figures are left out, never a traceback."""

from __future__ import annotations

import math
import random
from typing import Any, get_args

import pytest

from paceline.analysis.findings import analyse
from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import (
    ExperimentConfig,
    ExperimentInfo,
    IterationRecord,
    LedgerRecord,
    Outcome,
    ResourceUse,
    Results,
    RunResult,
    Summary,
)

PHASE_NAMES = (*PHASES, UNATTRIBUTED, "phase_of_a_newer_version")


class Damaged:
    """Draws results whose figures are often zero, negative, NaN, infinite or absurd."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.damage = self.draw.choice([0.0, 0.02, 0.3])

    def figure(self) -> float:
        if self.draw.random() < self.damage:
            return self.draw.choice([0.0, -1.0, math.nan, math.inf, -math.inf, 1e-300, 1e300])
        return self.draw.lognormvariate(0.0, 1.0)

    def count(self) -> int:
        return 0 if self.draw.random() < self.damage else self.draw.choice([1, 2, 1024, 10**9])

    def ledger(self) -> LedgerRecord:
        names = self.draw.sample(PHASE_NAMES, self.draw.randint(0, 4))
        return LedgerRecord(wall_s=self.figure(), phases={name: self.figure() for name in names})

    def iteration(self, index: int) -> IterationRecord:
        return IterationRecord(
            iteration=index, wall_s=self.figure(), num_env_steps=self.count(), sps=self.figure(), ledger=self.ledger(),
            total_env_steps=self.count(), episode_return_mean=self.draw.choice([None, self.figure()]),
        )  # fmt: skip

    def summary(self) -> Summary:
        return Summary(
            avg_time_per_iter_s=self.figure(),
            avg_sps=self.figure(),
            sps_ci95=None,
            total_training_time_s=self.figure(),
            num_iterations=self.count(),
            num_env_steps=self.count(),
            batch_size=self.count(),
            num_envs=self.count(),
            warmup_iterations=self.count(),
            setup_s=self.figure(),
            compile_s=self.figure(),
            warmup_s=self.figure(),
        )

    def resources(self) -> ResourceUse:
        return ResourceUse(
            wall_s=self.figure(), cpu_s=self.figure(), cores_used=self.figure(), usable_cores=self.figure(),
            cpu_utilization=self.figure(), num_processes=self.count(), rss_bytes=self.count(),
            peak_rss_bytes=self.count(), memory_limit_bytes=self.count(),
        )  # fmt: skip

    def run(self) -> RunResult:
        axes: dict[str, Any] = {"plan.backend": "shm", "algo.num_epochs": [4], "algo.batch_size": self.count()}
        names = self.draw.sample(sorted(axes), self.draw.choice([0, 0, 1, 3]))
        return RunResult(
            name="run",
            config=ExperimentConfig(
                num_env_runners=self.draw.randint(0, 3),
                num_envs_per_env_runner=self.draw.choice([1, 2, 8]),
                total_envs=self.count(),
                axes={name: axes[name] for name in names},
            ),
            outcome=self.draw.choice(["ok", "ok", "ok", *get_args(Outcome)]),
            env_id="CartPole-v1",
            plan={},
            algo={"name": "ppo"},
            summary=self.draw.choice([None, self.summary()]),
            iterations=tuple(self.iteration(index) for index in range(self.draw.randint(0, 9))),
            ledger=self.draw.choice([None, self.ledger()]),
            resources=self.draw.choice([None, self.resources()]),
        )


@pytest.mark.parametrize("first_seed", range(0, 200, 20))
def test_analyse_answers_on_any_file(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 20):
        damaged = Damaged(seed)
        experiments = tuple(damaged.run() for _ in range(damaged.draw.randint(0, 12)))
        info = ExperimentInfo(
            total_experiments=len(experiments), timestamp="", machine={"usable_cores": damaged.figure()}
        )
        findings = analyse(Results(experiment_info=info, experiments=experiments))
        assert findings.headline and len(findings.runs) == len(experiments)
        rows = [row for workload in findings.workloads for row in workload.table.rows]
        assert sum(row.num_repeats for row in rows) == len(experiments)
        for row in rows:
            assert row.measured == (row.speedup is not None)
            assert row.speedup is None or (math.isfinite(row.speedup.value) and row.rating is not None)
            if row.bottleneck is not None and row.bottleneck.shares:
                assert math.fsum(share.percent for share in row.bottleneck.shares) == pytest.approx(100)
