"""A tuning that was never run."""

from __future__ import annotations

from typing import Any

from paceline.measure.race_log import RaceLog, RaceSlice
from paceline.measure.result import ExperimentConfig, ExperimentInfo, IterationRecord, LedgerRecord, RunResult
from paceline.measure.tune_result import NoiseFloor, PlanStanding, TuneDecision, TuneRecord, TuneResults

WINNING_PLAN = {"backend": "shm", "num_env_runners": 2, "num_envs_per_env_runner": 16, "inference": "runner",
                "schedule": "sync"}  # fmt: skip
WINNER = PlanStanding(
    name="shm 2x16", state="measured", plan=WINNING_PLAN, batch_size=2048, predicted_sps=11_000, sps=10_000,
    sps_ci95=(9_600, 10_400), speedup=(2.0, 1.9, 2.1), p_best=0.9, p_tied=0.97, cores=2.0, memory_bytes=2**29,
    num_slices=9, num_processes=3,
)  # fmt: skip
BASELINE = WINNER.model_copy(
    update={"name": "serial 0x16", "sps": 5_000, "sps_ci95": (4_800, 5_200), "speedup": (1.0, 1.0, 1.0), "p_tied": 0.0}
)
OTHERS = (
    PlanStanding(name="shm 2x8", state="not measured", reason="it would have had to be much faster than expected"),
    PlanStanding(name="shm 2x4", state="not measured", reason="it would have had to be much faster than expected"),
    PlanStanding(name="native 2x8", state="failed", reason="it died"),
    PlanStanding(name="shm 8x64", state="impossible", reason="its processes would hold about 40 GiB"),
)
DECISION = TuneDecision(
    winner="shm 2x16", runner_up="serial 0x16", fastest="shm 2x16", tied=("shm 2x16",), beaten=("serial 0x16",),
    p_best=0.97, tells=True, certain=True, baseline="serial 0x16", stopped="sure",
)  # fmt: skip


def tuned(**changes: Any) -> TuneResults:
    decision = DECISION.model_copy(update=changes.pop("decision", {}))
    record = {
        "objective": "fastest", "budget_s": 300.0, "wall_s": 200.0, "plans": (WINNER, BASELINE, *OTHERS),
        "noise": NoiseFloor(slice_sd=0.02, process_sd=0.01, drift_sd=0.05, aa_difference=0.013),
        "verdict": ("The winner is env-bound.",), "decision": decision,
        "parts": {"env": {"mean_us": 100.0, "cpu_us": 90.0, "reset_us": 10.0}, "acting_us": [[8, 20.0]],
                  "update_s": 0.02},
    }  # fmt: skip
    info = ExperimentInfo(total_experiments=2, timestamp="2026-01-01T00:00:00+00:00", kind="tune", env_id="X-v0")
    return TuneResults(experiment_info=info, experiments=(), tune=TuneRecord(**{**record, **changes}))


def step_run(name: str, total_envs: int, **microseconds: float) -> RunResult:
    """Return a run of a thousand steps whose steps took so many microseconds in each phase."""
    wall_s = 1e-3 * sum(microseconds.values())
    ledger = LedgerRecord(wall_s=wall_s, phases={phase: 1e-3 * us for phase, us in microseconds.items()})
    record = IterationRecord(
        iteration=0, wall_s=wall_s, num_env_steps=1000, sps=1000 / wall_s, total_env_steps=1000, ledger=ledger
    )
    config = ExperimentConfig(num_env_runners=0, num_envs_per_env_runner=total_envs, total_envs=total_envs)
    return RunResult(
        name=name, config=config, outcome="ok", env_id="X-v0", plan={}, algo={"minibatch_size": 256},
        iterations=(record,), ledger=ledger,
    )  # fmt: skip


STEP_RUNS = (
    step_run("serial 0x16", 16, env_step=140.0, inference=20.0, learner_update=40.0),
    step_run("shm 2x16", 32, env_step=60.0, runner_wait=10.0, learner_update=30.0),
    step_run("serial 0x1", 1, env_step=150.0, inference=200.0, learner_update=50.0),
)
RACE = RaceLog(
    (
        RaceSlice("shm 2x16", 10.0, 11.0, 9_900.0),
        RaceSlice("serial 0x16", 20.0, 21.0, 5_000.0),
        RaceSlice("shm 2x16", 60.0, 62.0, 10_100.0),
    ),
    begin_s=5.0,
    confirm_s=50.0,
)  # fmt: skip


def tuned_with_ledgers(**changes: Any) -> TuneResults:
    return tuned(**changes).model_copy(update={"experiments": STEP_RUNS})
