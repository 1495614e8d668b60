"""Where a vector environment's time went: what runners did, what the caller waited for, who was sampled how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RunnerStatistics:
    """One runner since the first step.

    Attributes:
        slot: index of the runner.
        num_envs: environments that it holds.
        env_steps: environment steps it took, reset rows included.
        busy_s: seconds in its environments.
        env_step_us: mean microseconds of an environment step, from ``busy_s``.
        wait_s: seconds in which it had nothing to do.
        wakeups: how often it was woken.
        wakeup_latency_us: mean microseconds from ``send`` to the runner's first instruction.
    """

    slot: int
    num_envs: int
    env_steps: int
    busy_s: float
    env_step_us: float
    wait_s: float
    wakeups: int
    wakeup_latency_us: float


@dataclass(frozen=True)
class VecStatistics:
    """A vector environment since the first step (since the last ``reset`` of all environments).

    Attributes:
        wall_s: seconds since then.
        batches: batches that ``recv`` returned.
        env_steps: rows in these batches, reset rows included.
        batch_fill: mean rows of a batch as a share of ``batch_size``.
        wait_s: seconds in which the caller waited in ``recv``.
        overhead_s: seconds in ``send`` and ``recv`` that were not waiting: copying, signalling, infos.
        straggler_s: seconds, summed over batches, between the first and the last runner's end of a step of all
            environments; 0 where batches are first-ready.
        sampling_skew: (most - fewest steps of an environment) / mean; 0 where all are stepped alike.
        steps_of_env: steps of each environment, int64 ``[N]``.
        restarts: environments replaced.
        runners: one each (serial: one that is this process).
    """

    wall_s: float
    batches: int
    env_steps: int
    batch_fill: float
    wait_s: float
    overhead_s: float
    straggler_s: float
    sampling_skew: float
    steps_of_env: NDArray[np.int64]
    restarts: int
    runners: tuple[RunnerStatistics, ...]


def sampling_skew(steps_of_env: NDArray[np.int64]) -> float:
    """Return (most - fewest) / mean of the steps that each environment took; 0 before the first step."""
    mean = float(steps_of_env.mean())
    return float(steps_of_env.max() - steps_of_env.min()) / mean if mean > 0 else 0.0
