"""What a tuning asks once its winner is known: what would change it, and does that learn as well?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from paceline.measure.tune_result import LearningCheck, Recommended, WhatIf
from paceline.spec import RunSpec
from paceline.tuner.arena import Interrupted
from paceline.tuner.candidates import Candidate
from paceline.tuner.decision import TIE
from paceline.tuner.entrants import Entrants
from paceline.tuner.learning_check import check_learning
from paceline.tuner.probe import ProbeResult
from paceline.tuner.variants import options_of
from paceline.tuner.what_ifs import SLICE_S, SLICES, Question

_MOST_CHECKS = 2
"""Changes of what is learned that are trained with before the tuning gives up on them."""


@dataclass(frozen=True)
class Afterwards:
    """What was found.

    Attributes:
        what_ifs: what one change or another would give.
        left_out: what was asked for by value and cannot be, sentences.
        learning_checks: of what learns differently and is faster.
        recommended: the first of these that learns as well.
    """

    what_ifs: tuple[WhatIf, ...] = ()
    left_out: tuple[str, ...] = ()
    learning_checks: tuple[LearningCheck, ...] = ()
    recommended: Recommended | None = None


def update_share(found: ProbeResult, entrants: Entrants, winner: int) -> float:
    """Return the share of the winner's time that updates take, as predicted."""
    speed = entrants.learner_speeds[winner] if entrants.learner_speeds else 1.0
    update_s = found.update_s / speed / (found.run.algo.batch_size or 1)
    return min(0.95, update_s * entrants.candidates[winner].predicted_sps)


def cost_s(winner: Candidate) -> float:
    """Return the seconds that a measurement beside the winner takes, its start included."""
    return winner.start_s + SLICES * max(SLICE_S, winner.iteration_s)


def check_the_fastest(
    found: Afterwards,
    asked: Sequence[Question],
    winner: RunSpec,
    *,
    minutes: float,
    memory_bytes: int,
    should_stop: Callable[[], bool],
    on_line: Callable[[str], None],
    on_check: Callable[[LearningCheck], None],
) -> Afterwards:
    """Train with and without what learns differently and is faster, the fastest first, until one learns as well.

    Args:
        found: the answers.
        asked: the questions behind them.
        winner: the run under the plan that won.
        minutes: training of each of the two.
        memory_bytes: what a run may hold.
        should_stop: asked several times a second; what was found until then counts.
        on_line: told what happens.
        on_check: given every comparison.
    """
    faster = [
        (one, question.run)
        for one, question in zip(found.what_ifs, asked, strict=True)
        if one.learns_differently and question.run and one.ci95 and one.ci95[0] > 0.0 and (one.change or 0.0) > TIE
    ]
    for one, run in sorted(faster, key=lambda pair: -(pair[0].change or 0.0))[:_MOST_CHECKS]:
        on_line(f"{one.what}: training with and without it, {minutes:g} min each")
        try:
            check = check_learning(
                one.what, winner, run, minutes=minutes, memory_bytes=memory_bytes, should_stop=should_stop,
                on_line=on_line,
            )  # fmt: skip
        except Interrupted:
            return found
        on_check(check)
        found = replace(found, learning_checks=(*found.learning_checks, check))
        if check.answer == "as well":
            algo = run.algo.model_dump(mode="json")
            recommended = Recommended(
                what=one.what, change=one.change or 0.0, algo=algo, options=options_of(winner, run)
            )
            return replace(found, recommended=recommended)
    return found
