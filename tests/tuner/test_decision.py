"""Who wins, given what is known: ties, costs, what counts as certain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from made_plans import candidate

from paceline.tuner.belief import Belief, Slice
from paceline.tuner.candidates import Candidate, prior
from paceline.tuner.decision import OBJECTIVES, Decision, Weights, decide, worth


def decided(
    plans: Sequence[Candidate], speeds: Sequence[float | None], weights: Weights | None = None, processes: int = 3
) -> Decision:
    """Measure each plan that has a speed, in turns, in several processes, almost without noise."""
    belief = Belief(*prior(plans))
    time_s, random = 0.0, np.random.default_rng(0)
    for process in range(processes):
        for index, sps in enumerate(speeds):
            for _ in range(3 if sps else 0):
                time_s += 1.0
                level = math.log(sps or 1.0) + float(random.normal(0, 0.004))
                belief.learn(Slice(index, 100 * index + process, time_s, level))
    return decide(belief, plans, range(len(plans)), weights or Weights(), np.random.default_rng(0))


PLANS = [candidate(2, 4, cores=2.0), candidate(1, 8, cores=1.0), candidate(0, 8, cores=1.0, memory_bytes=2**26)]


def test_the_fastest_wins_and_the_others_are_said_to_be_slower() -> None:
    found = decided(PLANS, [2000, 1500, 1000])
    assert (found.winner, found.runner_up, found.fastest) == (0, 1, 0)
    assert found.certain and found.tells and found.p_best > 0.99
    assert set(found.beaten) == {1, 2}
    standing = {one.candidate: one for one in found.standings}
    assert standing[1].ratio[0] == pytest.approx(0.75, rel=0.02)
    assert standing[1].ratio[1] < 0.75 < standing[1].ratio[2]
    assert standing[0].sps == pytest.approx(2000, rel=0.05)


def test_a_tie_goes_to_the_plan_that_needs_less() -> None:
    found = decided(PLANS, [1004, 1000, 700])
    assert set(found.tied) == {0, 1}
    assert (found.winner, found.fastest) == (1, 0)
    assert 1 not in found.beaten and 0 not in found.beaten


def test_a_plan_that_was_measured_in_one_process_alone_is_not_said_to_be_slower() -> None:
    found = decided(PLANS, [2000, 1500, 1000], processes=1)
    assert found.winner == 0
    assert found.compared == found.beaten == ()


def test_what_was_not_measured_cannot_win_but_keeps_the_winner_from_being_certain() -> None:
    plans = [*PLANS, candidate(4, 4, sps=4000)]
    found = decided(plans, [2000, 1500, 1000, None])
    assert found.winner == 0
    assert not found.certain
    assert next(one for one in found.standings if one.candidate == 3).measured is False


def test_nothing_measured_is_no_answer() -> None:
    assert decided(PLANS, [None, None, None]) == Decision(None)


def test_cores_have_their_price() -> None:
    speeds = [1300, 1000, 600]  # 30 % more for twice the cores
    assert decided(PLANS, speeds).winner == 0
    assert decided(PLANS, speeds, OBJECTIVES["frugal"]).winner == 1


def test_worth_is_speed_where_nothing_else_is_asked_for() -> None:
    log_sps = np.log([[2000.0, 1500.0, 1000.0]])
    np.testing.assert_allclose(worth(log_sps, PLANS, Weights()), log_sps)
    frugal = worth(log_sps, PLANS, Weights(cores=1.0))
    np.testing.assert_allclose(frugal[0, 0], math.log(1000))
