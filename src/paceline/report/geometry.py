"""Where things go in a chart: scales, ticks and labels that do not overlap. Pure numbers, no drawing library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """An axis-aligned rectangle, ``x0 <= x1`` and ``y0 <= y1``."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        """Return whether the interiors of the two boxes meet."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def inside(self, other: Box) -> bool:
        """Return whether this box lies within ``other``."""
        return self.x0 >= other.x0 and self.y0 >= other.y0 and self.x1 <= other.x1 and self.y1 <= other.y1


class Scale(NamedTuple):
    """A map from data to drawing units, linear or logarithmic (base 2)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of ``value``."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log2(value), math.log2(low), math.log2(high)
        span = high - low
        return self.start + (self.end - self.start) * ((value - low) / span if span else 0.5)


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Return round numbers that cover ``[low, high]`` with about ``target`` steps of 1, 2, 2.5 or 5 times 10^k."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(target, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def power_of_two_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return the powers of two that cover ``[low, high]``, thinned evenly to ``most``."""
    first, last = math.floor(math.log2(low) + 1e-9), math.ceil(math.log2(high) - 1e-9)
    last = max(last, first + 1)
    stride = math.ceil((last - first + 1) / most)
    return [2.0**exponent for exponent in range(first, last + stride, stride) if exponent <= last or stride > 1]


class Anchor(NamedTuple):
    """A point that wants a label of ``width`` x ``height`` drawing units."""

    x: float
    y: float
    width: float
    height: float


_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))


def place_labels(
    anchors: Sequence[Anchor], frame: Box, obstacles: Sequence[Box] = (), *, gap: float = 6.0
) -> list[Box | None]:
    """Place each label beside its point, clear of the frame's edge, of all points and of the labels before it.

    Greedy in the given order, so put the important ones first; eight sides are tried at one and at two gaps. A label
    for which no place is left gets ``None`` (the tables hold every name).

    Args:
        anchors: points and the sizes of their labels.
        frame: where labels may lie.
        obstacles: more boxes that labels must not cover.
        gap: distance between a point and its label.
    """
    marks = [Box(a.x - gap * 0.8, a.y - gap * 0.8, a.x + gap * 0.8, a.y + gap * 0.8) for a in anchors]
    taken = [*marks, *obstacles]
    placed: list[Box | None] = []
    for anchor in anchors:
        found: Box | None = None
        for distance in (gap, 2 * gap):
            for side_x, side_y in _SIDES:
                left = anchor.x + side_x * distance - (anchor.width * (1 - side_x) / 2)
                top = anchor.y + side_y * distance - (anchor.height * (1 - side_y) / 2)
                box = Box(left, top, left + anchor.width, top + anchor.height)
                if box.inside(frame) and not any(box.overlaps(other) for other in taken):
                    found = box
                    break
            if found:
                break
        placed.append(found)
        if found:
            taken.append(found)
    return placed
