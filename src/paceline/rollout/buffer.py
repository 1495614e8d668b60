"""Storage of one rollout on the host: ``[T, N, ...]`` arrays that are written in place and never reallocated."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.vector.base import ObsTree, StepBatch
from paceline.vector.spaces import Allocate, map_tree, zeros


class RolloutBuffer:
    """Experience of T steps of N environments.

    Floating-point observations are kept as float32, integers as they are. Row t of ``observations`` is what the action
    of row t was chosen from; row T is where the rollout ends, and becomes row 0 of the next one.

    Args:
        observation_space: of a single environment.
        action_shape: shape of a single action.
        action_dtype: dtype in which the policy gives actions.
        rollout_length: T.
        num_envs: N.
        final_capacity: K, how many true last observations there is room for at first.
        allocate: returns an array of zeros of a shape and dtype; where memory is given rather than made,
            ``final_capacity`` must be large enough for good.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_shape: tuple[int, ...],
        action_dtype: Any,
        rollout_length: int,
        num_envs: int,
        *,
        final_capacity: int = 1,
        allocate: Allocate = np.zeros,
    ) -> None:
        shape = (rollout_length, num_envs)
        self.rollout_length = rollout_length
        self.num_envs = num_envs
        self.observations: ObsTree = zeros(observation_space, (rollout_length + 1, num_envs), allocate)
        self.actions = allocate((*shape, *action_shape), action_dtype)
        self.rewards = allocate(shape, np.float32)
        self.terminated = allocate(shape, np.bool_)
        self.truncated = allocate(shape, np.bool_)
        self.valid = allocate(shape, np.bool_)
        self._rows = [_map(itemgetter(t), self.observations) for t in range(rollout_length + 1)]
        self._leaves = _leaf_paths(self.observations)
        self._final_space = observation_space
        self._final_capacity = self._first_capacity = final_capacity
        self._final_rows: list[int] = []
        self._final_observations: ObsTree = zeros(observation_space, (final_capacity,), allocate)

    def row(self, t: int) -> ObsTree:
        """Return the observations of row ``t``, views ``[N, ...]``."""
        return self._rows[t]

    def some_of(self, t: int, env_ids: NDArray[np.int64]) -> ObsTree:
        """Return copies of the observations of row ``t`` of some environments, ``[B, ...]``."""
        return _map(itemgetter(env_ids), self._rows[t])

    def before(self) -> ObsTree:
        """Return the observations that actions were chosen from, views ``[T, N, ...]``."""
        return _map(lambda array: array[:-1], self.observations)

    def start(self, observations: ObsTree) -> None:
        """Begin a rollout at ``observations`` (``[N, ...]``), from which the first actions will be chosen."""
        self.write_observations(0, observations)
        self._final_rows.clear()

    def write(self, t: int, batch: StepBatch, *, finals_in_batch: bool) -> None:
        """Store what the step of row ``t`` returned.

        Args:
            t: row.
            batch: views from ``VecEnv.recv``.
            finals_in_batch: whether ``batch.final_observations`` holds the true last observations (``SAME_STEP``),
                rather than the next row (``NEXT_STEP``).
        """
        self.write_observations(t + 1, batch.observations)
        self.rewards[t] = batch.rewards
        self.terminated[t] = batch.terminated
        self.truncated[t] = batch.truncated
        if finals_in_batch:
            np.logical_not(batch.restarted, out=self.valid[t])
            if batch.truncated.any():
                self.add_finals(t, batch.truncated & ~batch.terminated, batch.final_observations)
        else:
            np.logical_not(batch.reset_rows | batch.restarted, out=self.valid[t])

    def write_some(self, t: int, env_ids: NDArray[np.int64], batch: StepBatch) -> None:
        """Store what the step of row ``t`` returned for some environments (``SAME_STEP`` mode), int64 ``[B]``."""
        row = self._rows[t + 1]
        for path in self._leaves:
            _leaf(row, path)[env_ids] = _leaf(batch.observations, path)
        self.rewards[t, env_ids] = batch.rewards
        self.terminated[t, env_ids] = batch.terminated
        self.truncated[t, env_ids] = batch.truncated
        self.valid[t, env_ids] = ~batch.restarted
        if batch.truncated.any():
            cut = batch.truncated & ~batch.terminated
            self.append_finals(
                map_tree(lambda array: array[cut], batch.final_observations), t * self.num_envs + env_ids[cut]
            )

    def write_observations(self, t: int, observations: ObsTree) -> None:
        """Replace the observations of row ``t``."""
        row = self._rows[t]
        for path in self._leaves:
            _leaf(row, path)[...] = _leaf(observations, path)

    def add_finals(self, t: int, which: NDArray[np.bool_], final_observations: ObsTree) -> None:
        """Keep the true last observations of the environments ``which`` (bool ``[N]``), truncated in row ``t``."""
        env_ids = np.flatnonzero(which)
        self.append_finals(map_tree(lambda array: array[env_ids], final_observations), t * self.num_envs + env_ids)

    def append_finals(self, final_observations: ObsTree, rows: NDArray[Any]) -> None:
        """Keep true last observations ``[M, *obs]`` and their rows t * N + n, integers ``[M]``."""
        begin = len(self._final_rows)
        end = begin + len(rows)
        if end > self._final_capacity:
            self._grow_finals(end)
        for path in self._leaves:
            _leaf(self._final_observations, path)[begin:end] = _leaf(final_observations, path)
        self._final_rows.extend(rows.tolist())

    def shrink_finals(self) -> None:
        """Go back to the capacity that the buffer was made with, as if it had never been full."""
        self._final_rows.clear()
        if self._final_capacity != self._first_capacity:
            self._final_capacity = self._first_capacity
            self._final_observations = zeros(self._final_space, (self._final_capacity,))

    def clear_finals(self) -> None:
        """Forget the true last observations."""
        self._final_rows.clear()

    @property
    def used_final_rows(self) -> list[int]:
        """Rows t * N + n of the true last observations that are kept."""
        return self._final_rows

    def copy_columns(self, other: RolloutBuffer, columns: slice) -> None:
        """Copy another rollout of the same length to these columns; its final observations are not copied."""
        for path in self._leaves:
            _leaf(self.observations, path)[:, columns] = _leaf(other.observations, path)
        for mine, theirs in (
            (self.actions, other.actions),
            (self.rewards, other.rewards),
            (self.terminated, other.terminated),
            (self.truncated, other.truncated),
            (self.valid, other.valid),
        ):
            mine[:, columns] = theirs

    def finals(self) -> tuple[ObsTree, NDArray[np.int32]]:
        """Return final observations ``[K, ...]`` and their rows int32 ``[K]``; unused slots have row T * N.

        K only ever doubles, so that a compiled learner sees few shapes.
        """
        rows = np.full(self._final_capacity, self.rollout_length * self.num_envs, np.int32)
        rows[: len(self._final_rows)] = self._final_rows
        return self._final_observations, rows

    def num_env_steps(self) -> int:
        """Return how many real steps the rollout holds (reset rows not counted)."""
        return int(self.valid.sum())

    def _grow_finals(self, needed: int) -> None:
        old, used = self._final_observations, len(self._final_rows)
        while self._final_capacity < needed:
            self._final_capacity *= 2
        self._final_observations = zeros(self._final_space, (self._final_capacity,))
        for path in self._leaves:
            _leaf(self._final_observations, path)[:used] = _leaf(old, path)[:used]


def _map(function: Callable[[Any], Any], tree: ObsTree) -> ObsTree:
    if isinstance(tree, dict):
        return {key: _map(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_map(function, value) for value in tree)
    return function(tree)


def _leaf_paths(tree: ObsTree, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in _leaf_paths(value, (*path, key))]
    if isinstance(tree, tuple):
        return [leaf for key, value in enumerate(tree) for leaf in _leaf_paths(value, (*path, key))]
    return [path]


def _leaf(tree: ObsTree, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
