"""Episode returns and lengths against a loop over steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.rollout.episodes import EpisodeTracker


@given(
    seed=st.integers(0, 2**31),
    num_envs=st.integers(1, 4),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    end_share=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    reset_share=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=150, deadline=None)
def test_episodes_are_what_a_loop_would_count(
    seed: int, num_envs: int, lengths: list[int], end_share: float, reset_share: float
) -> None:
    rng = np.random.default_rng(seed)
    tracker = EpisodeTracker(num_envs)
    totals, steps = [0.0] * num_envs, [0] * num_envs
    for length in lengths:
        shape = (length, num_envs)
        valid = rng.random(shape) >= reset_share
        done = (rng.random(shape) < end_share) & valid
        rewards = np.where(valid, rng.normal(size=shape), 0).astype(np.float32)
        expected: list[tuple[float, int]] = []
        for n in range(num_envs):
            for t in range(length):
                totals[n] += float(rewards[t, n])
                steps[n] += int(valid[t, n])
                if done[t, n]:
                    expected.append((totals[n], steps[n]))
                    totals[n], steps[n] = 0.0, 0
        episodes = tracker.finish_rollout(rewards, done, valid)
        np.testing.assert_allclose(episodes.returns, [total for total, _ in expected], atol=1e-9)
        np.testing.assert_array_equal(episodes.lengths, [count for _, count in expected])
        assert episodes.returns.dtype == np.float64
        assert episodes.lengths.dtype == np.int64


def test_a_million_small_rewards_lose_nothing() -> None:
    tracker, rewards = EpisodeTracker(1), np.full((1000, 1), 0.1, np.float32)
    going, valid = np.zeros((1000, 1), bool), np.ones((1000, 1), bool)
    for _ in range(999):
        assert len(tracker.finish_rollout(rewards, going, valid).returns) == 0
    done = going.copy()
    done[-1] = True
    episodes = tracker.finish_rollout(rewards, done, valid)
    assert episodes.lengths.tolist() == [1_000_000]
    assert episodes.returns[0] == pytest.approx(1_000_000 * float(np.float32(0.1)), rel=1e-9)
