"""Figures of a run against hand arithmetic and known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.measure.throughput import (
    check_steadiness,
    sps,
    sps_interval,
    summarize,
    total_ledger,
)


def record(
    iteration: int, wall_s: float, steps: int = 100, episode_return: float | None = None, episodes: int = 0
) -> IterationRecord:
    return IterationRecord(
        iteration=iteration,
        wall_s=wall_s,
        num_env_steps=steps,
        sps=steps / wall_s,
        total_env_steps=steps * (iteration + 1),
        ledger=LedgerRecord(wall_s=wall_s, phases={"env_step": wall_s * 0.75, "unattributed": wall_s * 0.25}),
        episode_return_mean=episode_return,
        num_episodes=episodes,
    )


def test_sps_is_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    summary = summarize([record(0, 1.0), record(1, 3.0)], batch_size=100, num_envs=4)
    assert summary is not None
    assert summary.avg_sps == 50.0  # the mean of 100 and 33.3 would be 66.7
    assert summary.avg_time_per_iter_s == 2.0
    assert summary.total_training_time_s == 4.0
    assert summary.num_env_steps == 200
    assert (summary.batch_size, summary.num_envs, summary.num_iterations) == (100, 4, 2)


def test_episode_means_weigh_by_their_number_of_episodes() -> None:
    records = [record(0, 1.0, episode_return=10.0, episodes=1), record(1, 1.0), record(2, 1.0, 100, 40.0, 3)]
    summary = summarize(records, batch_size=100, num_envs=1, setup_s=1.0, compile_s=2.0, warmup_s=3.0)
    assert summary is not None
    assert summary.episode_return_mean == 32.5
    assert summary.num_episodes == 4
    assert (summary.setup_s, summary.compile_s, summary.warmup_s) == (1.0, 2.0, 3.0)


def test_no_iterations_no_summary() -> None:
    assert summarize([], batch_size=1, num_envs=1) is None
    assert total_ledger([]) is None


def test_no_episodes_no_return() -> None:
    summary = summarize([record(0, 1.0)], batch_size=100, num_envs=1)
    assert summary is not None
    assert summary.episode_return_mean is None


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_iterations_have_no_interval(count: int) -> None:
    assert sps_interval([100] * count, [1.0] * count) is None


def test_equal_iterations_have_an_interval_of_no_width() -> None:
    assert sps_interval([100] * 5, [0.5] * 5) == pytest.approx((200.0, 200.0))


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 10.0), min_size=3, max_size=30), st.integers(1, 10_000))
def test_interval_lies_around_the_estimate_and_repeats(seconds: list[float], steps: int) -> None:
    interval = sps_interval([steps] * len(seconds), seconds)
    assert interval is not None
    low, high = interval
    slowest, fastest = steps / max(seconds), steps / min(seconds)
    assert slowest * (1 - 1e-9) <= low <= high <= fastest * (1 + 1e-9)
    assert interval == sps_interval([steps] * len(seconds), seconds)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    trials, covered = 80, 0
    for _ in range(trials):
        seconds = generator.gamma(25.0, 1 / 25.0, size=30)  # mean 1 s, so the true SPS is 100
        interval = sps_interval([100] * 30, seconds.tolist())
        assert interval is not None
        covered += interval[0] <= 100.0 <= interval[1]
    assert 0.85 <= covered / trials <= 1.0


def test_interval_matches_the_normal_approximation() -> None:
    seconds = np.random.default_rng(0).normal(1.0, 0.05, size=400)
    interval = sps_interval([100] * 400, seconds.tolist())
    assert interval is not None
    standard_error = seconds.std(ddof=1) / math.sqrt(400)
    assert interval[0] == pytest.approx(100 / (seconds.mean() + 1.96 * standard_error), rel=1e-3)
    assert interval[1] == pytest.approx(100 / (seconds.mean() - 1.96 * standard_error), rel=1e-3)


def test_steady_iterations_are_steady() -> None:
    seconds = np.random.default_rng(0).normal(1.0, 0.02, size=20)
    steadiness = check_steadiness([100] * 20, seconds.tolist())
    assert not steadiness.unsteady
    assert steadiness.reason == ""
    assert steadiness.variation == pytest.approx(0.02, abs=0.01)


def test_scatter_is_unsteady() -> None:
    steadiness = check_steadiness([100] * 6, [1.0, 1.6, 0.9, 1.5, 1.0, 1.4])
    assert steadiness.unsteady
    assert "varies by" in steadiness.reason
    assert "measure more iterations" in steadiness.reason


@pytest.mark.parametrize(("change", "way"), [(0.3, "30% slower"), (-0.3, "30% faster")])
def test_drift_is_unsteady_and_named(change: float, way: str) -> None:
    seconds = 1.0 + np.linspace(-change / 2, change / 2, 9)
    steadiness = check_steadiness([100] * 9, seconds.tolist())
    assert steadiness.drift == pytest.approx(change)
    assert steadiness.unsteady
    assert way in steadiness.reason


def test_one_stall_is_no_drift() -> None:
    assert check_steadiness([100] * 9, [1.0] * 8 + [5.0]).drift == pytest.approx(0.0)


def test_longer_iterations_with_more_steps_are_steady() -> None:
    assert not check_steadiness([100, 200, 400], [1.0, 2.0, 4.0]).unsteady


def test_drift_is_found_in_a_long_run() -> None:
    seconds = np.linspace(1.0, 1.4, 5000)
    steadiness = check_steadiness([100] * 5000, seconds.tolist())
    assert steadiness.drift == pytest.approx(0.4 / 1.2, rel=0.01)
    assert steadiness.unsteady


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_iterations_cannot_be_unsteady(count: int) -> None:
    assert not check_steadiness([100] * count, [1.0] * count).unsteady


def test_ledgers_add_up_over_iterations() -> None:
    total = total_ledger([record(0, 1.0), record(1, 3.0)])
    assert total is not None
    assert total.wall_s == 4.0
    assert total.phases == {"env_step": 3.0, "unattributed": 1.0}


@pytest.mark.parametrize(
    ("steps", "seconds", "message"),
    [
        ([1, 2], [1.0], "as many step counts as times"),
        ([1, 2, 3], [1.0, 0.0, 1.0], "expected positive times, got 0.0 s"),
    ],
)
def test_impossible_data_are_refused(steps: list[int], seconds: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sps_interval(steps, seconds)


def test_sps_needs_time() -> None:
    assert sps(100, 0.5) == 200.0
    with pytest.raises(ValueError, match="positive time"):
        sps(100, 0.0)
