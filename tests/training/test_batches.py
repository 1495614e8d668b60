"""A batch is what was sampled, with nothing copied."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from paceline.rollout.buffer import RolloutBuffer
from paceline.training.batches import batch_of, expected_truncations


def test_a_batch_is_made_of_views_of_the_buffer() -> None:
    buffer = RolloutBuffer(spaces.Box(-1, 1, (3,)), (2,), "float32", 4, 5, final_capacity=2)
    batch = batch_of(buffer)
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "valid"):
        assert np.shares_memory(getattr(batch, name), getattr(buffer, name)), name
    assert batch.log_probs is None
    assert batch.rewards.shape == (4, 5)
    log_probs = np.ones((4, 5), np.float32)
    finals = np.zeros((1, 3), np.float32), np.zeros(1, np.int32)
    given = batch_of(buffer, finals=finals, log_probs=log_probs)
    assert given.log_probs is log_probs and given.final_observations is finals[0] and given.final_rows is finals[1]


@pytest.mark.parametrize(
    ("limit", "num_envs", "length", "expected"),
    [
        (1000, 16, 128, 16),  # one cut episode of each at most
        (100, 3, 250, 16),  # three of each: 9, and room is a power of two
        (None, 5, 64, 8),  # nobody knows: one of each
        (1, 2, 8, 16),
    ],
)
def test_room_for_cut_episodes(limit: int | None, num_envs: int, length: int, expected: int) -> None:
    assert expected_truncations(limit, num_envs, length) == expected
