"""What is said beside an answer: leaks, and what the time was too short for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_plans import candidate

from paceline.spec import Budget, RunSpec, build_spec
from paceline.tuner.arena import Measured
from paceline.tuner.belief import Belief
from paceline.tuner.cautions import leak_cautions, leaks_of, time_cautions
from paceline.tuner.decision import Decision
from paceline.tuner.entrants import Entrants
from paceline.tuner.leak import Held
from paceline.tuner.race import Outcome

MIB = 2**20
PLANS = (candidate(0, 8, 1000.0), candidate(2, 8, 1800.0), candidate(2, 16, 2000.0), candidate(1, 1, 300.0))
RUN = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": {"batch_size": 256, "minibatch_size": 64}})
FIELD = Entrants(PLANS, (RUN,) * 4, ("",) * 4, (), baseline=0, one_by_one=3)


def outcome(stopped: str, *measured: int, winner: int | None = None, **more: Any) -> Outcome:
    belief = Belief(np.log([one.predicted_sps for one in PLANS]), np.eye(4))
    slices = {index: [Measured(1000.0, 1.0, 0.0)] for index in measured}
    return Outcome(belief, Decision(winner), set(range(4)), measured=slices, stopped=stopped, **more)


def held(*mib: int) -> list[Held]:
    return [Held(1, 10_000, size * MIB) for size in mib]


def test_a_leak_is_told_by_the_million_steps_the_winner_first() -> None:
    found = outcome(
        "sure", 1, 2, winner=1, held={1: held(400, 440, 480), 2: held(400, 500, 600), 0: held(400, 400, 401)}
    )
    assert set(leaks_of(found)) == {1, 2}
    (told,) = leak_cautions(RUN.model_copy(update={"budget": Budget(iterations=1)}), FIELD, found, 2**50)
    assert told == (
        "shm 2x8 holds 3.9 GiB more after each million steps (so does shm 2x16): a leak of the environment or its "
        "library."
    )
    assert not leak_cautions(RUN, FIELD, outcome("sure", 1, winner=1), 2**50)


@pytest.mark.parametrize(
    ("budget", "warned"),
    [
        ({"total_steps": 10**5}, False),
        ({"total_steps": 10**6}, True),
        ({"minutes": 1}, False),  # 1800 steps/s: 108,000 steps
        ({"minutes": 10}, True),
        ({"iterations": 400}, False),  # of 256 steps
        ({"iterations": 4000}, True),
    ],
)
def test_who_would_outgrow_the_memory_within_the_run_is_warned_of(budget: dict[str, Any], warned: bool) -> None:
    found = outcome("sure", 1, winner=1, held={1: held(400, 440, 480)}, rss_bytes={1: 480 * MIB})
    told = leak_cautions(RUN.model_copy(update={"budget": Budget(**budget)}), FIELD, found, 2**30)
    assert (len(told) == 2) == warned
    if warned:
        assert "more than the 1.0 GiB that there are for it: the run would not last" in told[1]


def test_what_there_was_no_time_for_is_told() -> None:
    assert time_cautions(FIELD, outcome("budget", 1, winner=1), 12.0) == (
        "In 12 s only shm 2x8 was measured; of the others there are predictions, the best of them shm 2x16 with "
        "2,000 steps/s, not measured.",
        "How much faster it is than serial 0x8 or shm 1x1 is not known: there was no time for that.",
        "There was no time to measure shm 2x8 again in a fresh process.",
    )
    (nothing,) = time_cautions(FIELD, outcome("budget"), 3.0)
    assert nothing.startswith(
        "In 3 s nothing was measured; of the others there are predictions, the best of them shm 2x16"
    )


def test_of_a_race_that_was_sure_or_measured_and_confirmed_everything_nothing_is_said() -> None:
    assert not time_cautions(FIELD, outcome("sure", 1, winner=1), 12.0)
    assert not time_cautions(FIELD, outcome("budget", 0, 1, 2, 3, winner=1, confirmed={1}), 300.0)
