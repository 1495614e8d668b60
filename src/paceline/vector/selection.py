"""Some environments of a vector, and what follows from their indices alone: worked out once, for batches come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EnvIds = NDArray[np.int64]

_MOST_KEPT = 1024
"""Selections that are remembered; first-ready batches of many environments may be different ones for ever."""


class Part(NamedTuple):
    """Environments of one runner: its slot, their indices, and these as a set."""

    slot: int
    ids: EnvIds
    members: frozenset[int]


class Selection:
    """Distinct environments, in ascending order.

    Args:
        ids: int64 ``[B]``, distinct, in the order in which a caller named them.

    Attributes:
        ids: ascending, read-only.
        order: what brings rows in the caller's order into that of ``ids``; None if they are in it.
        rows: index of their rows in arrays ``[N, ...]``: a slice where they lie side by side, else ``ids``.
        members: the same as a set.
        batch: what a backend returns for them, where that is always the same views; None until it is known.
    """

    __slots__ = ("_parts", "batch", "ids", "members", "order", "rows")

    def __init__(self, ids: EnvIds) -> None:
        ascending = len(ids) == 1 or bool((ids[1:] > ids[:-1]).all())
        self.order: NDArray[np.intp] | None = None if ascending else np.argsort(ids)
        self.ids: EnvIds = ids.copy() if self.order is None else ids[self.order]
        self.ids.flags.writeable = False
        first, last = int(self.ids[0]), int(self.ids[-1])
        self.rows: Any = slice(first, last + 1) if last - first == len(ids) - 1 else self.ids
        self.members = frozenset(self.ids.tolist())
        self.batch: Any = None
        self._parts: list[Part] | None = None

    def __len__(self) -> int:
        """Return how many environments these are."""
        return len(self.ids)

    def parts(self, starts: NDArray[np.int64]) -> list[Part]:
        """Return which runners hold them.

        Args:
            starts: each runner's first environment, int64 ``[R]``; always the same.
        """
        if self._parts is None:
            bounds: Sequence[int] = [*np.searchsorted(self.ids, starts).tolist(), len(self.ids)]
            held = [(slot, self.ids[bounds[slot] : bounds[slot + 1]]) for slot in range(len(starts))]
            self._parts = [Part(slot, ids, frozenset(ids.tolist())) for slot, ids in held if len(ids)]
        return self._parts


class Selections:
    """Remembers selections by their indices."""

    def __init__(self) -> None:
        self._known: dict[bytes, Selection] = {}

    def find(self, ids: EnvIds) -> Selection | None:
        """Return the selection of these indices, in this order, if it was kept."""
        return self._known.get(ids.tobytes())

    def keep(self, ids: EnvIds) -> Selection:
        """Return the selection of these indices, which are distinct and in range, and remember it."""
        key = ids.tobytes()
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            found = self._known[key] = Selection(ids)
        return found
