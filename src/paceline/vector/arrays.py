"""The arrays of one vector environment, laid out in one block of memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.vector.info_board import MOST_KEYS
from paceline.vector.spaces import ArrayTree, assemble, leaves

_ALIGNMENT = 64
IDLE = -1
"""Value of a runner's cursor between steps."""


@dataclass(frozen=True)
class VecArrays:
    """Views on one block of memory; environments along the first axis, ``[N, ...]``.

    Attributes:
        observations: tree of the observation space.
        final_observations: another such tree in ``SAME_STEP`` mode; else ``observations`` itself, which then holds the
            true last observation of an episode.
        actions: tree of the action space.
        rewards: float64 ``[N]``.
        flags: bool ``[4, N]``: the next four, which lie one after the other.
        terminated, truncated, reset_rows: bool ``[N]``.
        restarted: bool ``[N]``, rows whose environment broke and was replaced.
        cursors: int64 ``[R]``, the environment that each runner is at, or :data:`IDLE`.
        busy_ns: int64 ``[R]``, nanoseconds that each runner spent stepping and resetting.
        env_steps: int64 ``[R]``, environment steps that each runner took.
        wakeups: int64 ``[R]``, how often each runner was woken to step.
        wake_latency_ns: int64 ``[R]``, nanoseconds from ``sent_ns`` to the runner's first instruction, added up.
        finished_ns: int64 ``[R]``, when each runner finished its last step (monotonic clock of the machine).
        sent_ns: int64 ``[R]``, when each runner was last told to step; written by the parent.
        requests: int32 ``[R, E]``, rings of the environments that each runner is to step; written by the parent.
        completions: int32 ``[R, E]``, rings of the environments that each runner has stepped.
        info_cells: float64 ``[K, N]``, infos that are plain numbers, see :mod:`paceline.vector.info_board`.
    """

    observations: ArrayTree
    final_observations: ArrayTree
    actions: ArrayTree
    rewards: NDArray[np.float64]
    flags: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    reset_rows: NDArray[np.bool_]
    restarted: NDArray[np.bool_]
    cursors: NDArray[np.int64]
    busy_ns: NDArray[np.int64]
    env_steps: NDArray[np.int64]
    wakeups: NDArray[np.int64]
    wake_latency_ns: NDArray[np.int64]
    finished_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    requests: NDArray[np.int32]
    completions: NDArray[np.int32]
    info_cells: NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Where each array of a :class:`VecArrays` lies; the same in every process that is given the same arguments.

    Attributes:
        observation_space: of one environment.
        action_space: of one environment.
        num_envs: N.
        num_slots: max(R, 1).
        autoreset_mode: decides whether final observations need room of their own.
    """

    observation_space: Space[Any]
    action_space: Space[Any]
    num_envs: int
    num_slots: int
    autoreset_mode: AutoresetMode

    @property
    def nbytes(self) -> int:
        """Size of the block."""
        offset = 0
        for _, _, end in self._places():
            offset = end
        return max(_aligned(offset), _ALIGNMENT)

    def arrays_over(self, buffer: Any) -> VecArrays:
        """Return the views on ``buffer``, a writable block of at least :attr:`nbytes` zero bytes."""
        arrays: Iterator[NDArray[Any]] = (
            np.ndarray(shape, dtype, buffer=buffer, offset=end - int(np.prod(shape)) * dtype.itemsize)
            for shape, dtype, end in self._places()
        )
        observations = assemble(self.observation_space, arrays)
        final = assemble(self.observation_space, arrays) if self._keeps_finals else observations
        actions = assemble(self.action_space, arrays)
        rewards = next(arrays)
        flags: NDArray[np.bool_] = next(arrays)
        terminated, truncated, reset_rows, restarted = flags
        by_runner, by_parent, requests, completions, info_cells = arrays
        names = ("cursors", "busy_ns", "env_steps", "wakeups", "wake_latency_ns", "finished_ns")
        counters = {name: by_runner[:, k] for k, name in enumerate(names)}
        return VecArrays(
            observations=observations,
            final_observations=final,
            actions=actions,
            rewards=rewards,
            flags=flags,
            terminated=terminated,
            truncated=truncated,
            reset_rows=reset_rows,
            restarted=restarted,
            sent_ns=by_parent[:, 0],
            requests=requests,
            completions=completions,
            info_cells=info_cells,
            **counters,
        )

    @property
    def _keeps_finals(self) -> bool:
        return self.autoreset_mode is AutoresetMode.SAME_STEP

    def _places(self) -> Iterator[tuple[tuple[int, ...], np.dtype[Any], int]]:
        """Yield shape, dtype and end offset of each array."""
        observation = leaves(self.observation_space)
        batched = [*observation, *(observation if self._keeps_finals else []), *leaves(self.action_space)]
        shapes = [((self.num_envs, *leaf.shape), leaf.dtype) for leaf in batched]
        shapes += [((self.num_envs,), np.dtype(np.float64)), ((4, self.num_envs), np.dtype(np.bool_))]
        # A cache line per runner and writer: neighbours in a line would steal it from each other at every environment.
        shapes += [((self.num_slots, _ALIGNMENT // 8), np.dtype(np.int64))] * 2
        longest = -(-self.num_envs // self.num_slots)
        ring = -(-longest * 4 // _ALIGNMENT) * _ALIGNMENT // 4
        shapes += [((self.num_slots, ring), np.dtype(np.int32))] * 2
        shapes += [((MOST_KEYS, self.num_envs), np.dtype(np.float64))]
        offset = 0
        for shape, dtype in shapes:
            offset = _aligned(offset) + int(np.prod(shape)) * dtype.itemsize
            yield shape, dtype, offset


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
