from __future__ import annotations

import numpy as np
import pytest
from made_plans import candidate

from paceline.tuner.candidates import GLOBAL_SD, KIND_SD, OWN_SD, SHAPE_SD, prior


def test_plans_that_are_alike_share_more_of_what_predictions_miss() -> None:
    plans = [candidate(2, 4), candidate(2, 8), candidate(8, 64), candidate(0, 8)]
    mean, covariance = prior(plans)
    np.testing.assert_allclose(np.exp(mean), 1000)
    assert covariance[0, 0] == pytest.approx(GLOBAL_SD**2 + KIND_SD**2 + SHAPE_SD**2 + OWN_SD**2)
    assert covariance[0, 1] > covariance[0, 2] > covariance[0, 3] == pytest.approx(GLOBAL_SD**2)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_a_tie_is_decided_by_cores_then_memory_then_environments() -> None:
    few, many = candidate(1, 8, cores=1.0), candidate(2, 4, cores=2.0)
    light, heavy = candidate(2, 4, cores=2.0, memory_bytes=2**28), candidate(2, 8, cores=2.05, memory_bytes=2**30)
    assert few.cost < many.cost
    assert light.cost < heavy.cost
    assert candidate(1, 4).cost < candidate(1, 8).cost
