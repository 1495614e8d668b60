"""Learning curves of runs whose every episode is known."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_runs import made_run

from paceline.analysis.learning import LearningCurve, learning_curve, smoothing_window


def curve_of(returns: list[float | None], window: int = 100, **fields: object) -> LearningCurve:
    curve = learning_curve(made_run(returns=returns, **fields).result.iterations, window)  # type: ignore[arg-type]
    assert curve is not None
    return curve


def test_steps_and_seconds_add_up_over_iterations() -> None:
    run = made_run(returns=[1.0, 2.0, 3.0], steps=1000)
    curve = learning_curve(run.result.iterations)
    assert curve is not None
    assert curve.steps.tolist() == [1000, 2000, 3000]
    assert curve.seconds[-1] == pytest.approx(sum(item.wall_s for item in run.result.iterations))


def test_the_final_return_is_the_mean_of_the_curve_over_the_last_tenth() -> None:
    returns: list[float | None] = [0.0] * 17 + [60.0, 100.0, 400.0]
    assert curve_of(returns, 10).final_return() == (100 + 400) / 2
    assert curve_of(returns, 20).final_return() == (80 + 250) / 2


@settings(deadline=None)
@given(returns=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), window=st.integers(1, 100))
def test_a_run_reaches_nine_tenths_of_its_own_final_return(returns: list[float], window: int) -> None:
    """Both are read off one curve: a run that did not reach what it ended with made no sense."""
    curve = curve_of([*returns], window)
    final = curve.final_return()
    assert curve.returns.max() >= final - 1e-9 * abs(final)
    assert final <= 0 or curve.reached(0.9 * final) is not None


def test_one_window_suits_all_runs_and_the_shortest_decides() -> None:
    def window(*episodes: int) -> int:
        return smoothing_window(made_run(episodes=each).result.iterations for each in episodes)

    assert (window(50), window(50, 5), window(5, 50, 3), window(1), window()) == (100, 20, 12, 4, 100)
    silent = made_run(returns=[None] * 4).result.iterations
    assert smoothing_window([silent]) == 100 and smoothing_window([silent, made_run().result.iterations]) == 40


def test_an_earlier_look_is_that_of_a_run_that_ended_there() -> None:
    returns: list[float | None] = [float(i) for i in range(40)]
    for steps in (1000, 7000, 20_000, 40_000):
        assert curve_of(returns).final_return(steps) == curve_of(returns[: steps // 1000]).final_return()
    assert curve_of(returns).final_return(1) == 0.0
    assert curve_of(returns).final_return(math.inf) == curve_of(returns).final_return()


def test_where_no_episode_ended_lately_the_last_that_did_counts() -> None:
    assert curve_of([5.0, 7.0, *[None] * 28], 10).final_return() == 7.0
    assert curve_of([None, None, 7.0]).steps.tolist() == [3000.0]


@pytest.mark.parametrize("returns", [[], [None, None], [math.nan, None]])
def test_no_episode_no_curve(returns: list[float | None]) -> None:
    assert learning_curve(made_run(returns=returns).result.iterations) is None


@settings(deadline=None)
@given(
    returns=st.lists(st.none() | st.floats(-100, 100), min_size=1, max_size=30).filter(
        lambda r: any(x is not None for x in r)
    ),
    episodes=st.integers(1, 60),
    window=st.integers(1, 100),
)
def test_the_running_mean_is_that_of_the_last_episodes(returns: list[float | None], episodes: int, window: int) -> None:
    curve = curve_of(returns, window, episodes=episodes)
    played: list[float] = []
    expected = []
    for value in returns:
        played += [value] * episodes if value is not None else []
        expected.append(np.mean(played[-window:]) if played else math.nan)
    assert curve.returns.tolist() == pytest.approx(expected[-len(curve) :], abs=1e-9)


def test_a_return_is_reached_when_the_running_mean_is_there() -> None:
    curve = curve_of([0.0] * 5 + [100.0] * 5, episodes=100)
    assert curve.reached(100.0) == (6000.0, pytest.approx(curve.seconds[5]))
    assert curve.reached(-1.0) == (1000.0, pytest.approx(curve.seconds[0]))
    assert curve.reached(100.1) is None
    lucky = curve_of([0.0] * 5 + [500.0] + [0.0] * 24, episodes=40)
    assert lucky.reached(450.0) is None, "one lucky iteration of forty episodes is not the mean of a hundred"
