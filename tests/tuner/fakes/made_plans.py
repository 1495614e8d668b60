"""Plans of known speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paceline.spec import Plan
from paceline.tuner.candidates import Candidate

SHM = {"backend": "shm", "inference": "learner", "schedule": "sync"}
SERIAL = {"backend": "serial", "inference": "learner", "schedule": "sync"}


def candidate(runners: int, envs: int, sps: float = 1000.0, **more: Any) -> Candidate:
    kind = SHM if runners else SERIAL
    plan = Plan.model_validate({**kind, "num_env_runners": runners, "num_envs_per_env_runner": envs})
    return Candidate(f"{plan.resolved_backend} {plan.label}", plan, sps, **more)


def line_up(speeds: Sequence[float]) -> list[Candidate]:
    """Return plans with more and more environments, predicted as given."""
    return [candidate(2, 1 << power, sps) for power, sps in enumerate(speeds)]
