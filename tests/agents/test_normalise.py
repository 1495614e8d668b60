"""Running statistics against NumPy's over all the data."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.agents.normalise import RunningStats, merge, normalise, scale_rewards

_merge = jax.jit(merge)


@given(
    seed=st.integers(0, 2**31),
    offset=st.sampled_from([0.0, -3.0, 500.0]),
    scale=st.sampled_from([0.01, 1.0, 50.0]),
    num_batches=st.integers(1, 5),
    valid_share=st.sampled_from([1.0, 0.6]),
)
@settings(max_examples=40, deadline=None)
def test_merging_batches_gives_the_statistics_of_all_valid_rows(
    seed: int, offset: float, scale: float, num_batches: int, valid_share: float
) -> None:
    rng = np.random.default_rng(seed)
    stats, kept = RunningStats.create(3), []
    for _ in range(num_batches):
        samples = (rng.normal(size=(16, 4, 3)) * scale * [1, 2, 3] + offset).astype(np.float32)
        valid = rng.random((16, 4)) < valid_share
        valid[0, 0] = True
        kept.append(samples[valid])
        samples[~valid] = 1e30
        stats = _merge(stats, samples, valid.astype(np.float32))
    everything = np.concatenate(kept).astype(np.float64)
    # The prior of 1e-4 samples (mean 0, variance 1) is all that may differ, beside float32.
    prior = 1e-4 / len(everything)
    np.testing.assert_allclose(
        stats.mean, everything.mean(0), rtol=1e-4, atol=1e-4 * scale + prior * abs(offset) + 1e-6 * abs(offset)
    )
    np.testing.assert_allclose(
        stats.var, everything.var(0), rtol=2e-3, atol=1.1 * prior * (1 + everything.mean(0).max() ** 2)
    )
    assert float(stats.count) == pytest.approx(len(everything), rel=1e-4)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e38])
def test_rows_of_weight_zero_leave_no_trace_whatever_they_hold(garbage: float) -> None:
    rng = np.random.default_rng(0)
    samples, weights = rng.normal(size=(8, 2)).astype(np.float32), np.array([1, 1, 0, 1, 0, 1, 1, 0], np.float32)
    clean = _merge(RunningStats.create(2), samples, weights)
    samples[weights == 0] = garbage
    jax.tree.map(np.testing.assert_array_equal, _merge(RunningStats.create(2), samples, weights), clean)


def test_a_batch_without_valid_rows_changes_nothing() -> None:
    before = RunningStats(np.array([2.0], np.float32), np.array([3.0], np.float32), np.float32(10))
    after = _merge(before, np.full((4, 1), 7, np.float32), np.zeros(4, np.float32))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after, before)


def test_normalised_data_has_mean_0_and_variance_1() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal([5.0, -2.0], [3.0, 0.1], size=(5000, 2)).astype(np.float32)
    scaled = np.asarray(normalise(_merge(RunningStats.create(2), samples, np.ones(5000, np.float32)), samples))
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-3)


def test_a_component_that_never_changes_becomes_zero_and_outliers_are_clipped() -> None:
    samples = np.stack([np.full(4096, 100.1), np.linspace(-1, 1, 4096)], axis=1).astype(np.float32)
    stats = RunningStats.create(2)
    for _ in range(20):
        stats = _merge(stats, samples, np.ones(4096, np.float32))
    assert abs(float(normalise(stats, samples[:1])[0, 0])) < 0.5
    assert normalise(stats, np.array([[100.1, 1e9]], np.float32))[0, 1] == 10
    assert normalise(stats, np.array([[100.1, -1e9]], np.float32))[0, 1] == -10


def test_rewards_are_divided_by_the_standard_deviation_and_not_centred() -> None:
    stats = RunningStats(np.array([50.0], np.float32), np.array([4.0], np.float32), np.float32(100))
    rewards = np.array([[0.0, 1.0], [-3.0, 1000.0]], np.float32)
    np.testing.assert_allclose(scale_rewards(stats, rewards), [[0.0, 0.5], [-1.5, 10.0]], rtol=1e-6)
