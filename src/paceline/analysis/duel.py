"""Two contenders against each other, and the sentence that says no more than their intervals do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from paceline.analysis.contenders import Contender
from paceline.analysis.over_seeds import (
    exchange_probability,
    probability_of_improvement,
    too_few_on_a_side,
    too_few_seeds,
)
from paceline.analysis.stats import (
    CONFIDENCE,
    FULL_SAMPLES,
    SAME_WITHIN,
    Estimate,
    Ordering,
    at_full_confidence,
    estimate_median,
    estimate_ratio,
    order,
)

Learnt = Literal["better", "worse", "cannot tell"]
Machines = Literal["same", "other", "unknown"]


@dataclass(frozen=True, slots=True)
class Mark:
    """When the runs of one contender reached the common return.

    Attributes:
        num_runs: runs of the contender.
        steps: environment steps of each run that reached it.
        seconds: wall seconds of each, likewise.
        steps_median: over runs, with interval; None unless all runs reached it (the median of the quick ones flatters).
        seconds_median: likewise.
    """

    num_runs: int
    steps: tuple[float, ...]
    seconds: tuple[float, ...]
    steps_median: Estimate | None
    seconds_median: Estimate | None

    @classmethod
    def of(cls, reached: Sequence[tuple[float, float] | None]) -> Self:
        """Make it of (steps, seconds) of every run, None for one that never got there."""
        there = [item for item in reached if item is not None]
        steps, seconds = tuple(item[0] for item in there), tuple(item[1] for item in there)
        complete = bool(there) and len(there) == len(reached)
        few = too_few_seeds(len(there), FULL_SAMPLES)
        medians = [
            at_full_confidence(estimate_median(values), few) if complete else None for values in (steps, seconds)
        ]
        return cls(len(reached), steps, seconds, medians[0], medians[1])


@dataclass(frozen=True, slots=True)
class Duel:
    """A contender against the first.

    Attributes:
        challenger: its name.
        reference: the first contender's name.
        machines: whether both ran on the ``same`` machine, an ``other`` one, or it is ``unknown``.
        same_algo: whether algorithm, batch and hyperparameters are the same, so that a step is worth the same; else
            more steps per second are not faster training.
        sps_ratio: speed of the challenger / that of the reference; None where one has none.
        seconds_ratio: seconds to the common return, likewise; None unless every run of both reached it.
        improvement: probability that a seed of the challenger beats one of the reference; None where one has no
            returns.
        by_chance: share of random exchanges of seeds between them that differ as much (the p-value of a permutation
            test), likewise.
        marks: when the challenger and the reference reached the common return.
        seeds: how many of the challenger and of the reference have a return.

    No interval claims less than 95 %: where there are too few samples for that, there is none.
    """

    challenger: str
    reference: str
    machines: Machines
    sps_ratio: Estimate | None
    seconds_ratio: Estimate | None
    improvement: Estimate | None
    by_chance: float | None = None
    marks: tuple[Mark | None, Mark | None] = (None, None)
    same_algo: bool = True
    seeds: tuple[int, int] = (0, 0)

    @property
    def speed(self) -> Ordering:
        """Whether the challenger makes more steps per second."""
        return order(self.sps_ratio) if self.sps_ratio else "cannot tell"

    @property
    def time(self) -> Ordering:
        """Whether the challenger needs more time to the common return (``lower``: it is sooner there)."""
        return order(self.seconds_ratio) if self.seconds_ratio else "cannot tell"

    @property
    def learnt(self) -> Learnt:
        """Whether the challenger learns better per step: bootstrap and permutation test must both say so, at 95 %."""
        bounds = self.improvement.interval if self.improvement else None
        if bounds is None or bounds.contains(0.5) or self.by_chance is None or self.by_chance > 1 - CONFIDENCE:
            return "cannot tell"
        return "better" if bounds.low > 0.5 else "worse"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a duel.

    Attributes:
        contender: who.
        speeds: steps per second of every iteration of each run.
        mark: when the runs reached the common return, None where there is none.
        scores: returns of the seeds at the point at which learning is compared.
    """

    contender: Contender
    speeds: Sequence[Sequence[float]]
    mark: Mark | None
    scores: Sequence[float]


def duel(reference: Side, challenger: Side) -> Duel:
    """Hold ``challenger`` against ``reference``."""
    ours, theirs = challenger, reference
    sps_ratio = seconds_ratio = None
    if any(ours.speeds) and any(theirs.speeds):
        sps_ratio = estimate_ratio(ours.speeds, theirs.speeds)
        sps_ratio = at_full_confidence(sps_ratio, too_few_iterations(sps_ratio.count))
    if ours.mark and theirs.mark and ours.mark.seconds_median and theirs.mark.seconds_median:
        few = too_few_on_a_side(ours.mark.num_runs, theirs.mark.num_runs, FULL_SAMPLES)
        seconds_ratio = at_full_confidence(estimate_ratio([ours.mark.seconds], [theirs.mark.seconds]), few)
    scored = bool(ours.scores) and bool(theirs.scores)
    return Duel(
        challenger=ours.contender.name,
        reference=theirs.contender.name,
        machines=_machines(ours.contender, theirs.contender),
        sps_ratio=sps_ratio,
        seconds_ratio=seconds_ratio,
        improvement=probability_of_improvement(ours.scores, theirs.scores) if scored else None,
        by_chance=exchange_probability(ours.scores, theirs.scores) if scored else None,
        marks=(ours.mark, theirs.mark),
        same_algo=ours.contender.algo == theirs.contender.algo,
        seeds=(len(ours.scores), len(theirs.scores)),
    )


def _machines(ours: Contender, theirs: Contender) -> Machines:
    mine, others = ({run.info.machine_fingerprint for run in side.runs} for side in (ours, theirs))
    if "" in mine | others:
        return "unknown"
    return "same" if mine == others and len(mine) == 1 else "other"


def leading(duels: Sequence[Duel]) -> Duel:
    """Return the duel to speak of first: of who is soonest at the common return, else of the fastest."""

    def place(item: Duel) -> tuple[float, float]:
        sooner = item.seconds_ratio.value if item.seconds_ratio and item.time == "lower" else 1.0
        return sooner, -item.sps_ratio.value if item.sps_ratio else 0.0

    return min(duels, key=place)


def duel_sentence(item: Duel, threshold: float | None) -> str:
    """Say who is faster, who is sooner at the common return, and who learns better per step; or that it is not known.

    Args:
        item: the duel.
        threshold: the common return.
    """
    clauses, whose = [_speed_clause(item)], f"{item.reference}'s"
    if threshold is not None and item.time == "cannot tell":
        clauses.append(_time_untold(item, threshold))
    elif threshold is not None and item.speed == "cannot tell":
        clauses.append(f"{item.challenger} {_time_told(item, threshold, whose)}")
    elif threshold is not None:  # subject and object are named already
        clauses = [f"{clauses[0]} {_conjunction(item)} {_time_told(item, threshold, 'its')}"]
    text = "; ".join([*clauses, _learning_clause(item)])
    return f"{text[0].upper()}{text[1:]}." if text.startswith(("whether ", "which ")) else f"{text}."


def too_few_iterations(count: int) -> str:
    """Say why there is no interval over ``count`` iterations."""
    return f"{count} iteration{'s' * (count != 1)}, a 95% interval needs {FULL_SAMPLES}"


def return_text(value: float) -> str:
    """Write a return to three significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds_text(value: float) -> str:
    """Write a duration in seconds, or in minutes where it is long."""
    return f"{value / 60:,.1f} min" if value >= 180 else f"{value:.3g} s"


def interval_text(estimate: Estimate) -> str:
    """Write ``95% 0.30 to 0.80``, or why there is no interval."""
    bounds = estimate.interval
    return estimate.reason if bounds is None else f"{CONFIDENCE:.0%} {bounds.low:.2f} to {bounds.high:.2f}"


_ELSEWHERE = {"same": "", "other": ", on another machine,", "unknown": ", perhaps on another machine,"}


def _speed_clause(item: Duel) -> str:
    """Say who is faster; only where it can be told, the challenger is the subject and the reference the object."""
    ours = f"{item.challenger}{_ELSEWHERE[item.machines]}"
    does = "trains" if item.same_algo else "takes steps"
    ratio = item.sps_ratio
    if ratio is None:
        return f"how fast {ours} {does} was not measured"
    if item.speed == "cannot tell":
        return f"whether {ours} {does} faster than {item.reference} cannot be told ({_ratio_text(ratio)})"
    if item.speed == "same":
        return f"{ours} {does} as fast as {item.reference} (within {SAME_WITHIN:.0%})"
    factor = f"{ratio.value:.2f}x" if ratio.value < 10 else f"{ratio.value:.0f}x"
    if item.speed == "higher":
        return f"{ours} {does} {factor} as fast as {item.reference}"
    return f"{ours} {does} at {factor} the speed of {item.reference}"


def _conjunction(item: Duel) -> str:
    """Return ``but`` where speed and time point different ways."""
    return "but" if (item.speed, item.time) in (("higher", "higher"), ("lower", "lower")) else "and"


def _time_told(item: Duel, threshold: float, whose: str) -> str:
    """Say how the challenger's time to the common return compares with the reference's, which is ``whose`` time."""
    assert item.seconds_ratio is not None
    goal, ratio = f"a return of {return_text(threshold)}", item.seconds_ratio.value
    if item.time == "same":
        return f"reaches {goal} in {whose} time as well (within {SAME_WITHIN:.0%})"
    if item.time == "lower":
        return f"reaches {goal} in {ratio:.2f} of {whose} time"
    return f"needs {ratio:.2f}x {whose} time to reach {goal}"


def _time_untold(item: Duel, threshold: float) -> str:
    ours, theirs = item.marks
    goal = f"a return of {return_text(threshold)}"
    if ours is None or theirs is None:
        return f"when each reached {goal} was not measured"
    if ours.seconds_median is None or theirs.seconds_median is None:
        return (
            f"{goal} was reached by {len(ours.seconds)} of {ours.num_runs} runs of {item.challenger} and "
            f"{len(theirs.seconds)} of {theirs.num_runs} of {item.reference}"
        )
    assert item.seconds_ratio is not None
    if item.seconds_ratio.interval is None:
        took = f"{seconds_text(ours.seconds_median.value)} against {seconds_text(theirs.seconds_median.value)}"
        return f"which reaches {goal} sooner cannot be told ({took}; {item.seconds_ratio.reason})"
    return f"which reaches {goal} sooner cannot be told ({_ratio_text(item.seconds_ratio)})"


def _learning_clause(item: Duel) -> str:
    found = item.improvement
    if found is None:
        return "which learns better per step cannot be told (no episode ended)"
    if found.interval is None:
        return f"which learns better per step cannot be told ({found.reason})"
    chance = f"probability of improvement {found.value:.2f}"
    if item.learnt != "cannot tell":
        return f"{item.challenger} learns {item.learnt} per step ({chance}, {interval_text(found)})"
    if not found.interval.contains(0.5):
        exchanged = f"{item.by_chance:.0%} of random exchanges of seeds between them differ as much"
        return f"which learns better per step cannot be told ({chance}, but {exchanged})"
    return f"which learns better per step cannot be told ({chance}, {interval_text(found)})"


def _ratio_text(ratio: Estimate) -> str:
    return f"{ratio.value:.2f}x{',' if ratio.interval else ';'} {interval_text(ratio)}"
