from __future__ import annotations

import numpy as np
import pytest
from made_plans import candidate

from paceline.tuner.candidates import GLOBAL_SD, prior


def test_plans_that_are_alike_share_more_of_what_predictions_miss() -> None:
    plans = [candidate(2, 4), candidate(2, 8), candidate(8, 64), candidate(0, 8)]
    mean, covariance = prior(plans)
    np.testing.assert_allclose(np.exp(mean), 1000)
    assert covariance[0, 1] > covariance[0, 2] > covariance[0, 3] == pytest.approx(GLOBAL_SD**2)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_what_follows_from_measured_parts_alone_is_surer_than_what_is_assumed() -> None:
    _, known = prior([candidate(2, 4, unknown=0.02), candidate(2, 8, unknown=0.02)])
    _, assumed = prior([candidate(2, 4, unknown=0.8), candidate(2, 8, unknown=0.8)])
    spread = [float(np.sqrt(one[0, 0] + one[1, 1] - 2 * one[0, 1])) for one in (known, assumed)]
    assert spread[0] < 0.03 < 0.1 < spread[1]


def test_runners_that_compute_at_the_same_time_slow_each_other_down_alike() -> None:
    plans = [candidate(0, 8), candidate(2, 4, together=1.0), candidate(8, 4, together=3.0)]
    _, covariance = prior(plans)
    assert covariance[0, 1] == covariance[0, 2] == pytest.approx(GLOBAL_SD**2)
    assert covariance[1, 2] > 0.15**2 * 3.0 + GLOBAL_SD**2


def test_a_tie_is_decided_by_cores_then_memory_then_environments() -> None:
    few, many = candidate(1, 8, cores=1.0), candidate(2, 4, cores=2.0)
    light, heavy = candidate(2, 4, cores=2.0, memory_bytes=2**28), candidate(2, 8, cores=2.05, memory_bytes=2**30)
    assert few.cost < many.cost
    assert light.cost < heavy.cost
    assert candidate(1, 4).cost < candidate(1, 8).cost
