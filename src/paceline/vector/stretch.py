"""Consecutive rows of a group of environments, as views: what a step of them clears, reads and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.vector.breach import has_nan
from paceline.vector.spaces import PLAIN_FORMATS, ArrayTree, copied_rows, map_tree

_SMALL = 256
"""Up to this number Python sums numbers up in less time than NumPy, which finds nothing in the caches between steps."""


class Stretch:
    """Rows ``first`` to ``first + count - 1`` of a group's arrays.

    The views are made once: a step of four environments would take longer to make them than to use them.

    Args:
        first: index in the group.
        count: how many rows.
        actions: of the group, ``[E, ...]``.
        flags: terminated, truncated, reset_rows and restarted of the group, bool ``[E]`` each.
        rewards: of the group, float64 ``[E]``.
        floats: leaves of the group's observations that may hold NaN, ``[E, ...]`` each.

    Attributes:
        indices: of the rows in the group.
        rows: the same as a slice.
    """

    def __init__(
        self,
        first: int,
        count: int,
        *,
        actions: ArrayTree,
        flags: Sequence[NDArray[np.bool_]],
        rewards: NDArray[np.float64],
        floats: Sequence[NDArray[Any]],
    ) -> None:
        self.indices = range(first, first + count)
        self.rows = rows = slice(first, first + count)
        self._actions = map_tree(lambda array: array[rows], actions)
        self._flags: list[memoryview[Any]] = [flag[rows].data for flag in flags]
        self._none: memoryview[Any] = np.zeros(count, np.bool_).data
        self._rewards = rewards[rows]
        watched = [self._rewards, *(array[rows].reshape(-1) for array in floats)]
        small = [array.size <= _SMALL and array.dtype.char in PLAIN_FORMATS for array in watched]
        self._small = [(array.data, array) for array, is_small in zip(watched, small, strict=True) if is_small]
        self._large = [array for array, is_small in zip(watched, small, strict=True) if not is_small]

    def clear_flags(self) -> None:
        """Set all flags to False."""
        none = self._none
        for flag in self._flags:
            flag[:] = none

    def take_actions(self) -> list[Any]:
        """Return copies of the actions: an environment that keeps its last one must not see it change."""
        return copied_rows(self._actions)

    def is_nan(self) -> bool:
        """Return whether there is NaN in rewards or observations."""
        for cells, array in self._small:
            total: float = sum(cells)
            if total != total and has_nan(array):  # infinities of both signs make a sum NaN, too
                return True
        return any(map(has_nan, self._large))
