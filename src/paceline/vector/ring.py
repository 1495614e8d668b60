"""A ring of environment indices in shared memory: one side puts, the other takes, counts travel by signal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Ring:
    """One side's end of a ring. It cannot overflow: an environment is in it once at most.

    Args:
        cells: int32 ``[size]``, with room for all environments of a runner.
    """

    def __init__(self, cells: NDArray[np.int32]) -> None:
        self._array = cells
        self._cells: memoryview[Any] = cells.data
        self._size = len(cells)
        self._at = 0

    def put(self, ids: Any) -> None:
        """Add indices, an array or a list; a single one, which is the rule where batches are small, costs least."""
        begin, count = self._at, len(ids)
        self._at = begin + count
        if count == 1:
            self._cells[begin % self._size] = int(ids[0])
        else:
            self._array.put(range(begin, begin + count), ids, mode="wrap")

    def take(self, count: int) -> list[int]:
        """Take the next ``count`` indices out."""
        begin = self._at
        self._at = begin + count
        if count == 1:
            return [self._cells[begin % self._size]]
        taken: list[int] = self._array.take(range(begin, begin + count), mode="wrap").tolist()
        return taken

    def rewind(self) -> None:
        """Begin anew: the other side has."""
        self._at = 0
