"""From a belief to a decision: who wins, how sure that is, and what a tie goes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paceline.tuner.belief import Belief, Floats
from paceline.tuner.candidates import Candidate

TIE = 0.02
"""Plans within this share of the best are as good: no one would notice, and next week's machine would not agree."""
SURE = 0.95
"""Probability from which one plan is said to be better than another."""
TELLING = 0.5
"""Below this probability that the chosen plan is within :data:`TIE` of the best, the answer is "cannot tell"."""
NUM_SAMPLES = 4000
_CONFIRMED = 2
"""Processes that a plan was measured in before it is said to be faster or slower than another."""


@dataclass(frozen=True)
class Weights:
    """What is wanted: speed, and how much of it a core or a byte is worth.

    A plan's worth is ``log SPS - cores log(cores) - memory log(memory)``: with ``cores`` 1, twice the cores have to
    give twice the speed.
    """

    cores: float = 0.0
    memory: float = 0.0


OBJECTIVES: Mapping[str, Weights] = {
    "fastest": Weights(),
    "balanced": Weights(cores=0.35, memory=0.05),
    "frugal": Weights(cores=0.8, memory=0.1),
}
"""Weights by name."""


def weights_of(objective: str) -> Weights:
    """Return the weights of an objective: ``fastest``, ``balanced``, ``frugal``, or ``cores=0.5,memory=0.1``.

    Raises:
        ValueError: it is neither.
    """
    if objective in OBJECTIVES:
        return OBJECTIVES[objective]
    given: dict[str, float] = {}
    for part in objective.split(","):
        name, _, text = part.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if name.strip() not in ("cores", "memory") or not 0.0 <= value <= 10.0:
            raise ValueError(
                f"expected fastest, balanced, frugal, or weights between 0 and 10 such as cores=0.5,memory=0.1, got "
                f"{objective!r}"
            )
        given[name.strip()] = value
    return Weights(**given)


@dataclass(frozen=True)
class Standing:
    """How one plan stands.

    Attributes:
        candidate: its index.
        sps: expected steps per second (median of the posterior).
        sps_ci95: where it lies with 95 %.
        p_best: probability that no plan is better.
        p_tied: probability that none is better by more than :data:`TIE`.
        measured: whether it was measured at all.
        ratio: speed in units of the chosen plan's: median and 95 % interval.
    """

    candidate: int
    sps: float
    sps_ci95: tuple[float, float]
    p_best: float
    p_tied: float
    measured: bool
    ratio: tuple[float, float, float]


@dataclass(frozen=True)
class Decision:
    """Who wins.

    Attributes:
        winner: index of the plan to take; None where nothing was measured.
        runner_up: index of the next best plan that was measured.
        fastest: index of the plan of the greatest worth; another than ``winner`` where that is tied with it and costs
            less.
        tied: indices of measured plans that are as good as far as can be told, the winner among them.
        compared: indices of other plans that were, like the winner, measured in two processes or more.
        beaten: of these, the ones that the winner is said to be faster than: with :data:`SURE` for all pairs of them
            and the winner together (Bonferroni), since any of them could have been the winner.
        p_best: probability that no plan is better than the winner by more than :data:`TIE`.
        certain: ``p_best`` is at least :data:`SURE`.
        tells: ``p_best`` is at least :data:`TELLING`; else the answer is "cannot tell".
        standings: of all plans, best first.
    """

    winner: int | None
    runner_up: int | None = None
    fastest: int | None = None
    tied: tuple[int, ...] = ()
    compared: tuple[int, ...] = ()
    beaten: tuple[int, ...] = ()
    p_best: float = 0.0
    certain: bool = False
    tells: bool = False
    standings: tuple[Standing, ...] = ()


def worth(log_sps: Floats, candidates: Sequence[Candidate], weights: Weights) -> Floats:
    """Return the worth of each plan, of the shape of ``log_sps`` ``[.., n]``."""
    cores = np.log([max(candidate.cores, 0.25) for candidate in candidates])
    memory = np.log([max(candidate.memory_bytes, 2**26) for candidate in candidates])
    return np.asarray(log_sps - weights.cores * cores - weights.memory * memory, np.float64)


def decide(
    belief: Belief,
    candidates: Sequence[Candidate],
    eligible: Collection[int],
    weights: Weights,
    generator: np.random.Generator,
) -> Decision:
    """Choose among the plans that were measured.

    A plan is tied with the best if its expected loss is at most :data:`TIE` and it cannot be told from it with
    probability :data:`SURE`; of tied plans the one with fewest cores is taken, then least memory, then fewest
    environments.

    Args:
        belief: what is known.
        candidates: the plans.
        eligible: indices of those that may win: neither failed nor ruled out.
        weights: what is wanted.
        generator: for samples of the posterior.
    """
    measured = sorted({piece.candidate for piece in belief.slices} & set(eligible))
    if not measured:
        return Decision(None)
    some = sorted(eligible)
    log_sps = belief.sample(NUM_SAMPLES, generator)
    worths = worth(log_sps, candidates, weights)
    best_of_all = worths[:, some].max(1)
    expected = worths.mean(0)
    fastest = max(measured, key=lambda index: expected[index])
    loss = np.log1p(TIE)
    tied = [
        index
        for index in measured
        if index == fastest
        or (
            expected[fastest] - expected[index] <= loss
            and np.mean(worths[:, fastest] > worths[:, index] + 1e-12) < SURE
        )
    ]
    winner = min(tied, key=lambda index: (candidates[index].cost, -expected[index]))
    p_tied = np.mean(worths >= best_of_all[:, None] - loss, axis=0)
    p_best = np.mean(worths >= best_of_all[:, None], axis=0)
    others = [index for index in measured if index != winner]
    processes = {index: {piece.process for piece in belief.slices if piece.candidate == index} for index in measured}
    compared = [index for index in others if min(len(processes[index]), len(processes[winner])) >= _CONFIRMED]
    pairs = len(compared) * (len(compared) + 1) // 2
    beaten = [
        index for index in compared if np.mean(log_sps[:, winner] > log_sps[:, index]) > 1.0 - (1.0 - SURE) / pairs
    ]
    standings = []
    for index in sorted(some, key=lambda index: -expected[index]):
        low, middle, high = np.exp(np.quantile(log_sps[:, index], (0.025, 0.5, 0.975)))
        ratio = np.exp(np.quantile(log_sps[:, index] - log_sps[:, winner], (0.5, 0.025, 0.975)))
        standings.append(
            Standing(
                index, float(middle), (float(low), float(high)), float(p_best[index]), float(p_tied[index]),
                index in measured, (float(ratio[0]), float(ratio[1]), float(ratio[2])),
            )
        )  # fmt: skip
    return Decision(
        winner=winner,
        runner_up=max(others, key=lambda index: expected[index], default=None),
        fastest=fastest,
        tied=tuple(tied),
        compared=tuple(compared),
        beaten=tuple(beaten),
        p_best=float(p_tied[winner]),
        certain=bool(p_tied[winner] >= SURE),
        tells=bool(p_tied[winner] >= TELLING),
        standings=tuple(standings),
    )
