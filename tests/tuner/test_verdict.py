"""What holds the winner back: the right name for it, and how far it is from the bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_plans import candidate

from paceline.measure.result import LedgerRecord
from paceline.tuner.candidates import Candidate, Pruned
from paceline.tuner.phases import PhaseCosts, bound_sps
from paceline.tuner.verdict import verdict_of
from paceline.vector.env_cost import EnvCost

ENV = EnvCost(build_s=0.001, reset_us=100, step_us=1000, p95_us=1010, mean_us=1000, cv=0.01, cpu_us=1000)
COSTS = PhaseCosts(env=ENV, acting_us=((1, 20.0), (64, 40.0)), update_s=0.05, cores=2.0)


def verdict(winner: Candidate, sps: float, costs: PhaseCosts = COSTS, *unfit: Pruned, **phases: float) -> Any:
    ledger = LedgerRecord(wall_s=sum(phases.values()), phases=phases)
    return verdict_of(winner, sps, ledger, costs, batch_size=1024, iterations=2, too_large=unfit)


@pytest.mark.parametrize(
    ("phase", "name", "who"),
    [
        ("env_step", "env-bound", "Stepping the environments"),
        ("learner_update", "learner-bound", "The learner's update"),
        ("inference", "inference-bound", "Turning observations into actions"),
        ("runner_wait", "IPC-bound", "Waiting for the runner processes"),
    ],
)
def test_the_largest_phase_gives_the_name_and_what_its_removal_would_give(phase: str, name: str, who: str) -> None:
    found, first, second = verdict(candidate(2, 8), 1500.0, **{phase: 6.0, "other": 2.0})
    assert found == name
    assert first.startswith(who)
    assert "75% of the wall time, on average 3 s of each 4 s iteration" in first
    assert "at most 4 times as fast" in first
    bound = bound_sps(candidate(2, 8).plan, COSTS, batch_size=1024)
    assert f"{bound:,.0f} steps/s; the winner reaches {1500 / bound:.0%} of that" in second
    assert "all 2 cores" in second


def test_waiting_for_steps_that_differ_much_is_waiting_for_the_slowest() -> None:
    uneven = replace(COSTS, env=replace(ENV, cv=1.5))
    name, first, _ = verdict(candidate(2, 8), 500.0, uneven, runner_wait=6.0, env_step=2.0)
    assert name == "straggler-bound"
    assert "steps differ by 150%" in first


def test_memory_holds_a_run_back_if_what_did_not_fit_would_have_been_faster() -> None:
    name, first, _ = verdict(candidate(0, 8), 900.0, COSTS, Pruned("shm 2x64", "too large", 1900.0), env_step=1.0)
    assert name == "memory-bound"
    assert "shm 2x64 was expected to give 1,900 steps/s" in first
    name, _, _ = verdict(candidate(0, 8), 900.0, COSTS, Pruned("shm 2x64", "too large", 910.0), env_step=1.0)
    assert name == "env-bound"


def test_a_winner_is_never_said_to_exceed_its_bound() -> None:
    assert "reaches all of that" in verdict(candidate(0, 8), 1e9, env_step=1.0)[2]
