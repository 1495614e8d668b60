"""How a run might stand, for tests of what is shown."""

from __future__ import annotations

from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.training.status import Status


def status(iteration: int = 0, progress: float = 0.25, recent: float | None = 12.34) -> Status:
    phases = {"env_step": 1.0, "learner_update": 2.9, "inference": 0.09, "logging": 0.01}
    record = IterationRecord(
        iteration=iteration,
        wall_s=4.0,
        num_env_steps=8000,
        sps=2000.4,
        total_env_steps=8000 * (iteration + 1),
        ledger=LedgerRecord(wall_s=4.0, phases=phases),
    )
    return Status(record, recent, 1234.5, progress, elapsed_s=65.0, remaining_s=3700.0)
