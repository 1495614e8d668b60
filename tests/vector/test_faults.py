"""What is told of a fault that was mended, and of one that was not."""

from __future__ import annotations

import pickle

import pytest

from paceline.errors import EnvError, EnvRaisedError, RunnerDiedError
from paceline.vector.faults import Fault, FaultPolicy, replacement_seed


@pytest.mark.parametrize("kind", [EnvRaisedError, RunnerDiedError])
def test_a_fault_tells_what_the_error_would_have(kind: type[EnvError]) -> None:
    error = kind("it broke", env_index=3, seed=7, step=11, action=[0.5], original_traceback="Traceback ...")
    fault = Fault.of(error, 3, 99)
    assert fault == pickle.loads(pickle.dumps(fault))
    assert (fault.kind, fault.message, fault.new_seed) == (kind.__name__, str(error), 99)
    told = fault.error("after 2 restarts")
    assert type(told) is kind
    assert str(told) == "it broke (env 3, seed 7, step 11, last action [0.5]), after 2 restarts"
    for name in ("env_index", "seed", "step", "action", "original_traceback"):
        assert getattr(told, name) == getattr(error, name)


def test_a_fault_of_a_kind_that_is_not_known_is_an_error_all_the_same() -> None:
    for kind in ("Unheard", "RequestError", "annotations"):
        fault = Fault(0, kind, "it broke", None, None, None, "", 1)
        assert type(fault.error("so it is")) is EnvError


def test_the_policy_says_whether_to_go_on() -> None:
    assert not FaultPolicy().restarts and FaultPolicy("restart").restarts


def test_a_life_leads_to_the_next() -> None:
    """No two lives share a seed, of one environment or of neighbours, or they would break in the same way again."""
    seeds = list(range(50))
    seen = set(seeds)
    for _ in range(20):
        seeds = [replacement_seed(seed, 1, index) for index, seed in enumerate(seeds)]
        assert not seen & set(seeds)
        seen |= set(seeds)
    assert len(seen) == 50 * 21
