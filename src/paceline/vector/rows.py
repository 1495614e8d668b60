"""The rows of a group of environments in the vector's arrays: where its loop reads actions and writes results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from paceline.vector.arrays import VecArrays
from paceline.vector.breach import has_nan, refuse_nan
from paceline.vector.spaces import (
    copy_rows,
    copy_tree,
    float_leaves,
    map_tree,
    row_reader,
    row_writer,
    split_rows,
    take_row,
)
from paceline.vector.stretch import Stretch

_MOST_STRETCHES = 256


class GroupRows:
    """Views on E consecutive rows of a vector's arrays; indices are of the group, 0 to E - 1.

    Args:
        arrays: arrays of the whole vector.
        rows: the group's.
        space: observation space of one environment.
        has_finals: final observations have rows of their own (``SAME_STEP`` mode).
        keeps: observations are kept from each step to the next, for rows whose environment breaks in between.

    Attributes:
        write: writers of each row's observation.
        write_final: writers of each row's final observation.
        rewards: float64 ``[E]``.
        terminated: bool ``[E]``, like ``truncated``, ``reset_rows`` and ``restarted``.
        whole: all rows as one stretch.
    """

    def __init__(
        self, arrays: VecArrays, rows: slice, space: gymnasium.Space[Any], *, has_finals: bool, keeps: bool
    ) -> None:
        indices = range(rows.start, rows.stop)
        self.write = [row_writer(space, arrays.observations, i) for i in indices]
        self.write_final = [row_writer(space, arrays.final_observations, i, "final observation") for i in indices]
        self._observations = map_tree(lambda array: array[rows], arrays.observations)
        self._finals = map_tree(lambda array: array[rows], arrays.final_observations) if has_finals else None
        # What stands in for an observation that never came; half of a broken one may have been written over it.
        self._kept = copy_tree(self._observations) if keeps else None
        self._floats = float_leaves(space, self._observations)
        self._final_floats = [] if self._finals is None else float_leaves(space, self._finals)
        self._actions = map_tree(lambda array: array[rows], arrays.actions)
        by_env = (arrays.terminated, arrays.truncated, arrays.reset_rows, arrays.restarted)
        self._flags = [flag[rows] for flag in by_env]
        self._reward_array = arrays.rewards[rows]
        # Storing a scalar through a memoryview costs two thirds of storing it through an array, and it refuses None.
        self.rewards: memoryview[float] = self._reward_array.data  # type: ignore[assignment]
        self.terminated, self.truncated, self.reset_rows, self.restarted = (flag.data for flag in self._flags)
        self._take_action = row_reader(self._actions)
        self._watched = [[array[index, ...].reshape(-1) for _, array in self._floats] for index in range(len(indices))]
        self._stretches: dict[tuple[int, int], Stretch] = {}
        self.whole = self.stretch(0, len(indices))

    def stretch(self, first: int, count: int) -> Stretch:
        """Return rows that lie side by side; they are kept: first-ready batches come back alike."""
        found = self._stretches.get((first, count))
        if found is None:
            if len(self._stretches) >= _MOST_STRETCHES:
                self._stretches.clear()
            found = self._stretches[first, count] = Stretch(
                first, count, actions=self._actions, flags=self._flags, rewards=self._reward_array,
                floats=[array for _, array in self._floats],
            )  # fmt: skip
        return found

    def begin_stretch(self, stretch: Stretch) -> list[Any]:
        """Begin a step of rows side by side: clear their flags, keep their observations, return their actions."""
        stretch.clear_flags()
        if self._kept is not None:
            copy_rows(self._observations, self._kept, stretch.rows)
        return stretch.take_actions()

    def begin_one(self, index: int) -> Any:
        """Begin a step of one row and return its action; without NumPy where that costs more than it does."""
        self.terminated[index] = self.truncated[index] = self.reset_rows[index] = self.restarted[index] = False
        if self._kept is not None:
            copy_rows(self._observations, self._kept, index)
        return self._take_action(index)

    def begin_scattered(self, indices: Sequence[int]) -> list[Any]:
        """Begin a step of rows that do not lie side by side, and return their actions."""
        for flags in self._flags:
            flags[indices] = False
        if self._kept is not None:
            copy_rows(self._observations, self._kept, indices)
        return split_rows(map_tree(lambda array: array[indices], self._actions))

    def clear(self, index: int) -> None:
        """Set a row's reward and flags to those of an episode's beginning."""
        self.rewards[index] = 0.0
        self.terminated[index] = self.truncated[index] = self.reset_rows[index] = self.restarted[index] = False

    def is_nan(self, index: int) -> bool:
        """Return whether there is NaN in the reward or the observation of a row."""
        reward = self.rewards[index]
        return reward != reward or any(map(has_nan, self._watched[index]))

    def is_nan_among(self, indices: Sequence[int]) -> bool:
        """Return whether there is NaN in rewards or observations of these rows."""
        return has_nan(self._reward_array[indices]) or any(has_nan(array[indices]) for _, array in self._floats)

    def refuse_nan(self, index: int) -> None:
        """Refuse NaN in the observation of a row.

        Raises:
            ContractBreach: there is some.
        """
        refuse_nan(self._floats, index, "observation")

    def refuse_final_nan(self, index: int) -> None:
        """Refuse NaN in the final observation of a row, if it has one of its own.

        Raises:
            ContractBreach: there is some.
        """
        if self._final_floats:
            refuse_nan(self._final_floats, index, "final observation")

    def mark_restarted(self, index: int) -> None:
        """Make the row one of a step that did not happen: the last observation, reward 0, truncated."""
        if self._kept is not None:
            copy_rows(self._kept, self._observations, index)
        for _, array in self._floats:  # a process that was killed may have left half an observation
            np.nan_to_num(array[index, ...], copy=False, posinf=np.inf, neginf=-np.inf)
        self.clear(index)
        self.truncated[index] = self.restarted[index] = True
        if self._finals is not None:
            copy_rows(self._observations, self._finals, index)

    def action(self, index: int) -> Any:
        """Return the action of a row as the environment takes it."""
        return take_row(self._actions, index)
