"""From what was sampled to what the learner takes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from paceline.agents.experience import Batch
from paceline.rollout.buffer import RolloutBuffer
from paceline.vector.base import ObsTree


def batch_of(
    buffer: RolloutBuffer,
    *,
    finals: tuple[ObsTree, NDArray[np.int32]] | None = None,
    log_probs: NDArray[np.float32] | None = None,
) -> Batch:
    """Return what a rollout holds: views, not copies.

    Args:
        buffer: the rollout.
        finals: true last observations ``[K, *obs]`` and their rows, int32 ``[K]``; the buffer's by default.
        log_probs: of the policy that acted, where that is an older one, ``[T, N]``.
    """
    final_observations, final_rows = buffer.finals() if finals is None else finals
    return Batch(
        buffer.observations,
        buffer.actions,  # type: ignore[arg-type]  # NumPy arrays enter compiled functions as they are
        buffer.rewards,  # type: ignore[arg-type]
        buffer.terminated,  # type: ignore[arg-type]
        buffer.truncated,  # type: ignore[arg-type]
        buffer.valid,  # type: ignore[arg-type]
        final_observations,
        final_rows,  # type: ignore[arg-type]
        log_probs,  # type: ignore[arg-type]
    )


def expected_truncations(max_episode_steps: int | None, num_envs: int, rollout_length: int) -> int:
    """Return how many truncated episodes a rollout is expected to hold at most, a power of two.

    Args:
        max_episode_steps: of an environment, or None.
        num_envs: N.
        rollout_length: T.
    """
    limit = max_episode_steps or rollout_length
    return 1 << math.ceil(math.log2(num_envs * math.ceil(rollout_length / limit)))
