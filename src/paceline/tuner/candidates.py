"""A plan that may win, what is expected of it, and which plans are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.spec import Plan

GLOBAL_SD = 0.35
"""By how much predictions may be off alike for all plans, as a standard deviation of log SPS."""
KIND_SD = 0.25
"""By how much they may be off alike for all plans of a kind."""
SHAPE_SD = 0.20
"""By how much they may be off for plans of about this many runners and environments."""
OWN_SD = 0.03
"""By how much a plan may differ from everything that is like it."""
_SHAPE_LENGTH = 2.0
"""How many doublings of runners or environments make two plans of a kind unlike."""


@dataclass(frozen=True)
class Candidate:
    """A plan that may win.

    Attributes:
        name: what it is called, unique among the candidates: ``shm 2x8``.
        plan: the plan, nothing left open.
        predicted_sps: steps per second that the model expects.
        cores: cores that it is expected to keep busy.
        memory_bytes: what its processes are expected to hold.
        start_s: seconds that it is expected to take to start and compile.
        iteration_s: seconds that one iteration is expected to take.
    """

    name: str
    plan: Plan
    predicted_sps: float
    cores: float = 1.0
    memory_bytes: int = 0
    start_s: float = 4.0
    iteration_s: float = 0.2

    @property
    def kind(self) -> tuple[str, str, str]:
        """What makes plans alike but for their size: backend, inference and schedule."""
        return self.plan.resolved_backend, self.plan.inference, self.plan.schedule

    @property
    def cost(self) -> tuple[float, float, int]:
        """What a tie is decided by: cores, memory, environments."""
        return round(4.0 * self.cores) / 4.0, round(self.memory_bytes / 2**26), self.plan.num_envs


@dataclass(frozen=True)
class Pruned:
    """A plan that was left out before or during the search, and why.

    Attributes:
        name: what it is called.
        reason: one sentence.
    """

    name: str
    reason: str


def prior(candidates: Sequence[Candidate]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is believed before anything is measured: mean of log SPS ``[n]`` and covariance ``[n, n]``."""
    mean = np.log([candidate.predicted_sps for candidate in candidates])
    kinds = [candidate.kind for candidate in candidates]
    shapes = np.array([[_doublings(c.plan.num_env_runners), _doublings(c.plan.num_envs_per_env_runner)]
                       for c in candidates])  # fmt: skip
    same_kind = np.array([[one == other for other in kinds] for one in kinds], np.float64)
    distance = np.abs(shapes[:, None] - shapes[None]).sum(-1)
    covariance = (
        GLOBAL_SD**2
        + same_kind * (KIND_SD**2 + SHAPE_SD**2 * np.exp(-distance / _SHAPE_LENGTH))
        + OWN_SD**2 * np.eye(len(candidates))
    )
    return mean, covariance


def _doublings(count: int) -> float:
    return math.log2(max(count, 1)) if count else -1.0
