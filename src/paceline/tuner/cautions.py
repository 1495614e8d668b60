"""What a reader of a tuning should know beside its answer: plans that leak, and what the time was too short for."""

from __future__ import annotations

import math

from paceline.isolation.memory import size_text
from paceline.spec import RunSpec
from paceline.tuner.entrants import Entrants
from paceline.tuner.leak import leak_bytes_per_step
from paceline.tuner.race import Outcome

_MOST_NAMES = 3


def leaks_of(outcome: Outcome) -> dict[int, float]:
    """Return of every plan that grows while it runs by how many bytes a step."""
    found = {index: leak_bytes_per_step(held) for index, held in outcome.held.items()}
    return {index: leak for index, leak in found.items() if leak is not None}


def leak_cautions(run: RunSpec, entrants: Entrants, outcome: Outcome, memory_bytes: int) -> tuple[str, ...]:
    """Return sentences on plans that hold more and more; the winner is named first.

    Args:
        run: what is going to be run with the winner.
        entrants: who took part.
        outcome: what was measured.
        memory_bytes: what a run may hold.
    """
    leaks = leaks_of(outcome)
    if not leaks:
        return ()
    names = [one.name for one in entrants.candidates]
    first = max(leaks, key=lambda index: (index == outcome.decision.winner, leaks[index]))
    others = [names[index] for index in sorted(leaks, key=lambda index: -leaks[index]) if index != first]
    more = f" (so does {_few(others)})" if others else ""
    sentences = [
        f"{names[first]} holds {size_text(1e6 * leaks[first])} more after each million steps{more}: a leak of the "
        f"environment or its library."
    ]
    too_much = {index: bytes_at_end(run, outcome, index, leaks[index]) for index in leaks}
    too_much = {index: held for index, held in too_much.items() if held > memory_bytes}
    if too_much:
        index = first if first in too_much else max(too_much, key=too_much.__getitem__)
        sentences.append(
            f"At the end of the run {names[index]} would hold about {size_text(too_much[index])}, more than the "
            f"{size_text(memory_bytes)} that there are for it: the run would not last."
        )
    return tuple(sentences)


def bytes_at_end(run: RunSpec, outcome: Outcome, index: int, leak: float) -> float:
    """Return what a plan would hold at the end of its run's budget."""
    budget = run.budget
    if budget.total_steps is not None:
        steps = float(budget.total_steps)
    elif budget.minutes is not None:
        steps = 60.0 * budget.minutes * math.exp(outcome.belief.mean[index])
    else:
        steps = float((budget.iterations or 0) * (run.algo.batch_size or 0))
    return outcome.rss_bytes.get(index, 0) + leak * steps


def time_cautions(entrants: Entrants, outcome: Outcome, wall_s: float) -> tuple[str, ...]:
    """Return sentences on what the time was too short for; none where the race ended because it was sure."""
    if outcome.stopped not in ("budget", "interrupted"):
        return ()
    names = [one.name for one in entrants.candidates]
    unknown = [index for index in sorted(outcome.eligible) if index not in outcome.measured]
    best = max(unknown, key=lambda index: entrants.candidates[index].predicted_sps, default=None)
    expected = ""
    if best is not None:
        expected = (
            f"; of the others there are predictions, the best of them {names[best]} with "
            f"{entrants.candidates[best].predicted_sps:,.0f} steps/s, not measured"
        )
    if not outcome.measured:
        return (f"In {wall_s:.0f} s nothing was measured{expected}.",)
    sentences = []
    measured = [names[index] for index in sorted(outcome.measured)]
    if len(measured) <= 2:
        were = "was" if len(measured) == 1 else "were"
        sentences.append(f"In {wall_s:.0f} s only {' and '.join(measured)} {were} measured{expected}.")
    missing = [names[index] for index in entrants.baselines if index not in outcome.measured]
    if len(missing) == len(entrants.baselines) and missing:
        sentences.append(f"How much faster it is than {' or '.join(missing)} is not known: there was no time for that.")
    winner = outcome.decision.winner
    if winner is not None and winner not in outcome.confirmed:
        sentences.append(f"There was no time to measure {names[winner]} again in a fresh process.")
    return tuple(sentences)


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
