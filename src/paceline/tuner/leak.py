"""Whether the processes of a plan hold more and more, and by how much with every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST_BYTES = 16 * 2**20
_LEAST_SHARE = 0.02
"""Growth below either of these is what allocators do anyway."""
_LEAST_GROWTHS = 2
_RISING = 0.75
"""Share of slices after which more must be held than before: one jump is no leak."""


@dataclass(frozen=True)
class Held:
    """What the processes of a plan held at the end of a slice.

    Attributes:
        process: number of the contender.
        num_env_steps: steps of the slice.
        rss_bytes: what was held.
    """

    process: int
    num_env_steps: int
    rss_bytes: int


def leak_bytes_per_step(slices: Sequence[Held]) -> float | None:
    """Return by how many bytes a plan grows with each step; None where it does not, or where it cannot be told.

    Args:
        slices: of one plan, in order; those of different contenders are held against their own first one.
    """
    last: dict[int, int] = {}
    seen: dict[int, int] = {}
    growths, steps, warm = [], [], []
    for piece in slices:
        if piece.process in last:
            growths.append(piece.rss_bytes - last[piece.process])
            steps.append(piece.num_env_steps)
            warm.append(seen[piece.process] > 1)
        last[piece.process] = piece.rss_bytes
        seen[piece.process] = seen.get(piece.process, 0) + 1
    if len(growths) < _LEAST_GROWTHS or not all(steps) or not any(warm):
        return None
    grown, taken = sum(growths), sum(steps)
    rising = np.mean(np.array(growths) > 0)
    if grown < max(_LEAST_BYTES, _LEAST_SHARE * max(last.values())) or rising < _RISING:
        return None
    rates = np.array(growths) / np.array(steps)
    # Buffers still fill in a process's second slice: what grew later has to grow as much.
    typical = min(float(np.median(rates)), float(np.median(rates[np.array(warm)])))
    return grown / taken if typical * taken > grown / 2 else None
