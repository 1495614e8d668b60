"""Where one execution overtakes another as the number of environments grows, and who is fastest at which size.

Two executions are compared at one size by the ratio of their speeds *within each round*: what else the machine did then
hit both. They differ only where the whole interval of that ratio says so; else it "cannot be told".

Where the difference changes its sign between two sizes at which it can be told, the crossing is estimated by straight
lines through the logarithm of the ratio over the logarithm of the size, and told with these two sizes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paceline.analysis.stats import Estimate, Ordering, estimate_median, order

Rounds = Mapping[int, float]
"""Steps per second by round."""
Curve = Mapping[int, Rounds]
"""Rounds by number of environments."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One execution overtakes another.

    Attributes:
        winner: faster from here on.
        loser: faster before.
        low: the largest measured size at which ``loser`` is still faster.
        high: the smallest measured size above it at which ``winner`` is faster.
        at: estimate of the size at which they are equal.
        undecided: measured sizes between ``low`` and ``high``, at which it cannot be told who is faster.
    """

    winner: str
    loser: str
    low: int
    high: int
    at: float
    undecided: tuple[int, ...] = ()

    @property
    def first(self) -> int:
        """The estimate as a number of environments above ``low``, up to ``high``."""
        return min(self.high, max(self.low + 1, round(self.at)))

    @property
    def text(self) -> str:
        """The crossing in a sentence."""
        if self.high - self.low == 1:
            return f"{self.winner} overtakes {self.loser} at {self.high} environments"
        between = f"measured: between {self.low} and {self.high}"
        if self.undecided:
            between += f"; cannot be told at {', '.join(map(str, self.undecided))}"
        return f"{self.winner} overtakes {self.loser} at about {self.first} environments ({between})"


@dataclass(frozen=True, slots=True)
class Contest:
    """Two executions: one overtakes the other, or is faster wherever that can be told, or nothing can be told.

    Attributes:
        faster: the one that is faster from the crossing on, or at every size at which it can be told.
        slower: the other.
        crossing: where; None if neither was seen to overtake the other.
        size: the size at which ``ratio`` was measured: the crossing's ``high``, or the largest that tells most.
        ratio: speed of ``faster`` over that of ``slower`` there.
        decided: whether it can be told at all who is faster.
        undecided: sizes at which it cannot be told.
    """

    faster: str
    slower: str
    crossing: Crossing | None
    size: int
    ratio: Estimate
    decided: bool
    undecided: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leaders:
    """Who is fastest at one size.

    Attributes:
        num_envs: the size.
        names: the fastest first, then those that cannot be told from it or are the same.
    """

    num_envs: int
    names: tuple[str, ...]


def paired_ratio(numerator: Rounds, denominator: Rounds) -> Estimate | None:
    """Return the median over common rounds of ``numerator / denominator``, None if there is no common round.

    Args:
        numerator: speed by round.
        denominator: likewise, positive.
    """
    common = sorted(numerator.keys() & denominator.keys())
    ratios = [numerator[number] / denominator[number] for number in common if denominator[number] > 0]
    return estimate_median(ratios) if ratios else None


def compare(first: Rounds, second: Rounds) -> Ordering:
    """Say whether ``first`` is faster (``higher``), slower (``lower``), the same, or whether that cannot be told."""
    ratio = paired_ratio(first, second)
    return "cannot tell" if ratio is None else order(ratio)


def crossings(first_name: str, first: Curve, second_name: str, second: Curve) -> list[Crossing]:
    """Return where one of two executions overtakes the other, in order of size.

    Sizes at which the two cannot be told apart lie inside the crossing around them; they help to estimate where.
    """
    points: list[tuple[int, float]] = []
    decided: list[tuple[int, Ordering]] = []
    for size in sorted(first.keys() & second.keys()):
        ratio = paired_ratio(first[size], second[size])
        if ratio is not None and ratio.value > 0:
            points.append((size, math.log(ratio.value)))
            if (verdict := order(ratio)) in ("higher", "lower"):
                decided.append((size, verdict))
    found = []
    for (low, before), (high, after) in itertools.pairwise(decided):
        if before != after:
            inside = [(size, value) for size, value in points if low <= size <= high]
            names = (first_name, second_name) if after == "higher" else (second_name, first_name)
            undecided = tuple(size for size, _ in inside[1:-1])
            found.append(Crossing(*names, low, high, _zero_between(inside), undecided))
    return found


def _zero_between(points: Sequence[tuple[int, float]]) -> float:
    """Return where lines through ``points`` (size, log ratio) first change sign, in the logarithm of the size."""
    for (low, left), (high, right) in itertools.pairwise(points):
        if left == 0.0 or (left < 0.0) != (right < 0.0):
            share = left / (left - right) if left else 0.0
            return math.exp((1 - share) * math.log(low) + share * math.log(high))
    raise ValueError(f"expected a change of sign, got {list(points)}")


def all_crossings(curves: Mapping[str, Curve]) -> list[Crossing]:
    """Return the crossings of every two executions, by size."""
    pairs = itertools.combinations(curves.items(), 2)
    found = [crossing for (one, a), (two, b) in pairs for crossing in crossings(one, a, two, b)]
    return sorted(found, key=lambda crossing: (crossing.at, crossing.winner, crossing.loser))


def contests(curves: Mapping[str, Curve]) -> list[Contest]:
    """Return how every two executions compare: their crossings by size, then those that never cross."""
    crossed, others = [], []
    for (one, a), (two, b) in itertools.combinations(curves.items(), 2):
        ratios = {size: ratio for size in sorted(a.keys() & b.keys()) if (ratio := paired_ratio(a[size], b[size]))}
        told = [size for size, ratio in ratios.items() if order(ratio) in ("higher", "lower")]
        undecided = tuple(size for size in ratios if size not in told)
        found = crossings(one, a, two, b)
        for item in found:
            ratio = paired_ratio(curves[item.winner][item.high], curves[item.loser][item.high])
            assert ratio is not None
            crossed.append(Contest(item.winner, item.loser, item, item.high, ratio, True, item.undecided))
        if ratios and not found:
            size = max(told or ratios)
            names = (one, two) if ratios[size].value >= 1 else (two, one)
            ratio = paired_ratio(curves[names[0]][size], curves[names[1]][size])
            assert ratio is not None
            others.append(Contest(*names, None, size, ratio, bool(told), undecided))
    crossed.sort(key=lambda item: (item.crossing.at if item.crossing else 0.0, item.faster, item.slower))
    return [*crossed, *others]


def leaders(curves: Mapping[str, Curve]) -> list[Leaders]:
    """Return who is fastest at each size, with those that cannot be told from it."""
    found = []
    for size in sorted({size for curve in curves.values() for size in curve}):
        medians = {
            name: estimate_median(list(curve[size].values())).value for name, curve in curves.items() if curve.get(size)
        }
        if not medians:
            continue
        ranked = sorted(medians, key=lambda name: -medians[name])
        best = curves[ranked[0]][size]
        ties = [name for name in ranked[1:] if compare(best, curves[name][size]) in ("same", "cannot tell")]
        found.append(Leaders(size, (ranked[0], *ties)))
    return found


def leader_sentences(found: Sequence[Leaders]) -> list[str]:
    """Say who is fastest at which sizes, neighbouring sizes with the same answer together."""
    groups = [list(group) for _, group in itertools.groupby(found, key=lambda item: set(item.names))]
    if len(groups) == 1 and len(found) > 1 and len(found[0].names) == 1:
        return [f"{found[0].names[0]} is fastest at every size measured"]
    return [_led_at(group) for group in groups]


def _led_at(group: Sequence[Leaders]) -> str:
    names = group[0].names
    where = sizes_text([item.num_envs for item in group])
    if len(names) == 1:
        return f"{names[0]} is fastest at {where}"
    return f"cannot tell {joined(names)} apart at {where}"


def sizes_text(sizes: Sequence[int]) -> str:
    """Write ``1 environment``, ``8 environments``, ``8 to 128 environments``."""
    if len(sizes) == 1:
        return "1 environment" if sizes[0] == 1 else f"{sizes[0]:,} environments"
    return f"{sizes[0]:,} to {sizes[-1]:,} environments"


def joined(names: Iterable[str]) -> str:
    """Write ``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
