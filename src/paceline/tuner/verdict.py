"""What holds the winner back: the name of it, and two sentences, one on the largest cost and one on the bound."""

from __future__ import annotations

from dataclasses import replace

from paceline.analysis.bottleneck import find_bottleneck
from paceline.measure.ledger import RUNNER_WAIT
from paceline.measure.result import LedgerRecord
from paceline.tuner.candidates import Candidate, Pruned
from paceline.tuner.phases import PhaseCosts, bound_sps, predict

MEMORY_GAIN = 1.05
"""Memory holds a run back if a plan that did not fit was expected to be this many times as fast as the winner."""


def verdict_of(
    winner: Candidate,
    sps: float,
    ledger: LedgerRecord | None,
    costs: PhaseCosts,
    *,
    batch_size: int,
    iterations: int,
    too_large: tuple[Pruned, ...] = (),
) -> tuple[str, ...]:
    """Return what holds the winner back: ``env-bound`` or the like, then two sentences.

    Args:
        winner: the plan.
        sps: its steps per second as believed.
        ledger: of its slices; None where there is none.
        costs: what the parts cost.
        batch_size: steps of its updates.
        iterations: slices that the ledger covers.
        too_large: plans that did not fit into memory.
    """
    found = find_bottleneck(ledger, num_env_runners=winner.plan.num_env_runners, iterations=iterations)
    name, first = str(found.verdict), _with_bound(found.sentences)
    unfit = max(too_large, key=lambda one: one.predicted_sps or 0.0, default=None)
    if unfit is not None and (unfit.predicted_sps or 0.0) > MEMORY_GAIN * sps:
        name = "memory-bound"
        first = (
            f"Memory holds this run back: {unfit.name} was expected to give {unfit.predicted_sps:,.0f} steps/s, but "
            f"does not fit."
        )
    elif found.limiting_phase == RUNNER_WAIT and _stragglers(winner, costs, batch_size):
        name = "straggler-bound"
        spread = f"{costs.env.cv:.0%}"
        first = (
            f"Waiting for the slowest runner holds this run back: steps differ by {spread} (standard deviation), and "
            f"all wait for the last. {first.partition(': ')[2].capitalize()}"
        )
    return name, first, _distance(winner, sps, costs, batch_size)


def _with_bound(sentences: tuple[str, str]) -> str:
    """Join what takes the time and what its removal would give."""
    first, second = sentences
    return f"{first.rstrip('.')}; {second[0].lower()}{second[1:]}"


def _stragglers(winner: Candidate, costs: PhaseCosts, batch_size: int) -> bool:
    """Return whether waiting for the slowest takes longer than everything else that is waited for."""
    even = replace(costs, env=replace(costs.env, cv=0.0))
    with_spread, without = (predict(winner.plan, parts, batch_size=batch_size).env_us for parts in (costs, even))
    waking = without - costs.env.mean_us / max(1.0, min(winner.plan.num_env_runners, costs.cores))
    return with_spread - without > max(waking, 0.0)


def _distance(winner: Candidate, sps: float, costs: PhaseCosts, batch_size: int) -> str:
    bound = bound_sps(winner.plan, costs, batch_size=batch_size)
    share = f"{min(sps / bound, 1.0):.0%}" if sps < bound else "all"
    if winner.plan.resolved_backend == "native":
        what = "If nothing were lost between steps, acting and updates as they were measured by themselves"
    elif winner.plan.num_env_runners == 0:
        what = f"If its steps were spread over {_cores(costs.cores)} without any loss"
    elif winner.plan.schedule == "async":
        what = f"If {_cores(costs.cores)} were busy with steps and updates all the time"
    else:
        what = f"If stepping were spread over {_cores(costs.cores)} without any loss"
    return f"{what}, this run would do {bound:,.0f} steps/s; the winner reaches {share} of that."


def _cores(cores: float) -> str:
    return "the one usable core" if cores <= 1 else f"all {cores:g} cores"
