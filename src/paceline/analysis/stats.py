"""Statistics that admit what they do not know: bootstrap intervals, robust centres, and "cannot tell".

All figures are plain floats; every random choice is seeded, so the same results give the same report.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval ``[low, high]``.

    Attributes:
        low: lower end.
        high: upper end.
        confidence: nominal coverage, e.g. 0.95.
        method: how it was made (``bootstrap percentile``, ``bootstrap of repeats``, ``profile`` ..).
    """

    low: float
    high: float
    confidence: float = 0.95
    method: str = "bootstrap percentile"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A central value, its interval, and the reason where no interval can be given.

    Attributes:
        value: the central value (which one is said by whoever makes it; a median unless said otherwise).
        interval: confidence interval, or None.
        reason: why ``interval`` is None ("" where there is one).
        count: number of samples behind it.
    """

    value: float
    interval: Interval | None = None
    reason: str = ""
    count: int = 1
