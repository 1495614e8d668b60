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
TOGETHER_SD = 0.15
"""By how much alike for all plans whose runners compute at the same time, by doubling of their number: caches, memory
and clock rate are shared."""
KIND_SD = (0.05, 0.4)
"""By how much alike for all plans of a kind: where nothing of a plan's time is unknown, and how much more where all is.
"""
SHAPE_SD = (0.01, 0.36)
"""The same for plans of about this many runners and environments."""
OWN_SD = (0.008, 0.044)
"""The same for one plan against everything that is like it."""
CORES_TOLERANCE = 0.25
"""Cores that a plan may keep busy beyond what it may have: a thread that wakes now and then is no core."""
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
        unknown: share of its time that the model assumes rather than knows from a measurement of the parts.
        together: share of its time in which runners compute at the same time, times the doublings of their number.
    """

    name: str
    plan: Plan
    predicted_sps: float
    cores: float = 1.0
    memory_bytes: int = 0
    start_s: float = 4.0
    iteration_s: float = 0.2
    unknown: float = 0.5
    together: float = 0.0

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
        predicted_sps: what was expected of it, where memory is the reason.
    """

    name: str
    reason: str
    predicted_sps: float | None = None


def prior(candidates: Sequence[Candidate]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is believed before anything is measured: mean of log SPS ``[n]`` and covariance ``[n, n]``."""
    mean = np.log([candidate.predicted_sps for candidate in candidates])
    kinds = [(c.kind, c.plan.learner_threads, c.plan.device) for c in candidates]
    shapes = np.array([[_doublings(c.plan.num_env_runners), _doublings(c.plan.num_envs_per_env_runner)]
                       for c in candidates])  # fmt: skip
    same_kind = np.array([[one == other for other in kinds] for one in kinds], np.float64)
    distance = np.abs(shapes[:, None] - shapes[None]).sum(-1)
    unknown = np.array([candidate.unknown for candidate in candidates])
    together = TOGETHER_SD * np.array([candidate.together for candidate in candidates])
    of_kind, of_shape, own = (least + more * unknown for least, more in (KIND_SD, SHAPE_SD, OWN_SD))
    covariance = (
        GLOBAL_SD**2
        + np.outer(together, together)
        + same_kind * (np.outer(of_kind, of_kind) + np.outer(of_shape, of_shape) * np.exp(-distance / _SHAPE_LENGTH))
        + np.diag(own**2)
    )
    return mean, covariance


def _doublings(count: int) -> float:
    return math.log2(max(count, 1)) if count else -1.0
