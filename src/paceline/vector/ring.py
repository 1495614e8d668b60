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
        end = begin + count
        if count == 1:
            self._cells[begin] = int(ids[0])
        elif end <= self._size:
            self._array[begin:end] = ids
        else:
            rest = self._size - begin
            self._array[begin:] = ids[:rest]
            self._array[: count - rest] = ids[rest:]
        self._at = end % self._size

    def put_together(self, ids: Any) -> None:
        """Add indices that belong together: the last is stored as its complement, see :func:`requests_in`."""
        self.put(ids)
        self._cells[self._at - 1] = ~int(ids[-1])  # at 0 it is the last cell, as it should be

    def take(self, count: int) -> list[int]:
        """Take the next ``count`` indices out."""
        begin = self._at
        end = begin + count
        self._at = end % self._size
        taken: list[int] = self._cells[begin:end].tolist()
        if end > self._size:
            taken += self._cells[: end - self._size].tolist()
        return taken

    def rewind(self) -> None:
        """Begin anew: the other side has."""
        self._at = 0


def requests_in(cells: list[int]) -> list[list[int]]:
    """Return what was put together, as lists of indices: signals add up, and with them what they tell of."""
    requests: list[list[int]] = [[]]
    for cell in cells:
        if cell >= 0:
            requests[-1].append(cell)
        else:
            requests[-1].append(~cell)
            requests.append([])
    return requests if requests[-1] else requests[:-1]
