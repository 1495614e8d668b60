"""What is written down of a race: why plans were not measured, and how long an update of the winner takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from made_plans import line_up

from paceline.measure.result import LedgerRecord
from paceline.measure.tune_result import TuneRecord
from paceline.spec import RunSpec, build_spec
from paceline.tuner.afterwards import Afterwards
from paceline.tuner.arena import Measured
from paceline.tuner.belief import Belief, Slice
from paceline.tuner.candidates import prior
from paceline.tuner.decision import Weights, decide
from paceline.tuner.entrants import Entrants
from paceline.tuner.load import Load
from paceline.tuner.outcome import record_of
from paceline.tuner.phases import PhaseCosts
from paceline.tuner.probe import ProbeResult
from paceline.tuner.race import Outcome
from paceline.tuner.spec import TuneSpec
from paceline.vector.env_cost import EnvCost

BATCH = 256
ENV = EnvCost(build_s=0.001, reset_us=5, step_us=7, p95_us=8, mean_us=7, cv=0.1, cpu_us=7)


def recorded(speeds: Sequence[float], slices: Sequence[Measured]) -> TuneRecord:
    """Return the record of a race in which the first of the plans alone was measured."""
    candidates = line_up(speeds)
    base = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": {"name": "ppo", "batch_size": BATCH}})
    runs = tuple(base.model_copy(update={"plan": one.plan}) for one in candidates)
    belief = Belief(*prior(candidates))
    for one in slices:
        belief.learn(Slice(0, 0, one.time_s, math.log(one.sps), one.wall_s))
    eligible = set(range(len(candidates)))
    decision = decide(belief, candidates, eligible, Weights(), np.random.default_rng(0))
    outcome = Outcome(belief, decision, eligible, measured={0: list(slices)}, stopped="budget")
    entrants = Entrants(tuple(candidates), runs, ("",) * len(runs), (), 0, None)
    found = ProbeResult(run=base, env=None, env_bytes=0, acting_us=(), update_s=0.01, compile_s=1.0, row_bytes=1)
    costs = PhaseCosts(env=ENV, acting_us=((1, 20.0), (64, 40.0)), update_s=0.01, cores=2.0)
    return record_of(
        TuneSpec(base=base), found, entrants, outcome, 60.0, costs=costs, load=Load(2.0), memory_bytes=2**30,
        afterwards=Afterwards(),
    )  # fmt: skip


def piece(time_s: float, updates: int) -> Measured:
    ledger = LedgerRecord(wall_s=1.0, phases={"env_step": 0.8, "learner_update": 0.2})
    steps = updates * BATCH
    return Measured(float(steps), 1.0, time_s, num_env_steps=steps, num_iterations=updates, ledger=ledger)


def test_a_plan_that_may_be_as_fast_is_not_said_to_be_hopeless() -> None:
    record = recorded([1000.0, 1100.0, 50.0], [piece(1.0, 4), piece(2.0, 4)])
    reasons = {one.predicted_sps: one.reason for one in record.plans if one.state == "not measured"}
    assert reasons[1100.0] == "no time was left to measure; perhaps as fast as the winner"
    assert reasons[50.0] == "it would have had to be much faster than expected to win"


def test_the_verdict_is_of_an_update_and_not_of_a_slice() -> None:
    record = recorded([1000.0], [piece(1.0, 4), piece(2.0, 4)])
    assert "it takes 80% of the wall time, on average 0.2 s of each 0.25 s iteration" in record.verdict[0]
    assert record.bound == "env-bound"
