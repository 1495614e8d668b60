"""Fragments of trajectories in shared memory: actors collect straight into them, the learner reads them there.

One block holds the newest parameters, in two copies of which one is always whole, and for each actor a few slots. A
slot holds one fragment: T steps of the actor's E environments, and what came of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.measure.ledger import ENV_STEP, INFERENCE, OTHER, RUNNER_GRADIENT, RUNNER_WAIT, TRANSFER
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.episodes import Episodes
from paceline.vector.base import ObsTree
from paceline.vector.spaces import Allocate, map_tree

_ALIGNMENT = 64

TIMES = (ENV_STEP, RUNNER_WAIT, INFERENCE, TRANSFER, OTHER, RUNNER_GRADIENT)
"""Phases of an actor's time, in the order of :attr:`Fragment.times_ns`."""


@dataclass(frozen=True)
class FragmentLayout:
    """Sizes of everything; the same arrays in every process that is given equal sizes.

    Attributes:
        observation_space: of one environment.
        action_shape: of one action.
        action_dtype: in which the policy gives actions.
        rollout_length: T.
        num_envs: E, environments of one actor.
        num_actors: R.
        num_slots: S, fragments of one actor that may lie unread.
        num_parameters: numbers that actors need to act.
        num_gradient: numbers that an actor returns beside its fragment: a gradient; 0 without.
    """

    observation_space: gymnasium.Space[Any]
    action_shape: tuple[int, ...]
    action_dtype: str
    rollout_length: int
    num_envs: int
    num_actors: int
    num_slots: int
    num_parameters: int
    num_gradient: int = 0

    @property
    def nbytes(self) -> int:
        """Size of the block."""
        carver = _Carver(None)
        FragmentMemory(self, carver)
        return carver.offset

    def over(self, block: Any) -> FragmentMemory:
        """Return the arrays in ``block``, a writable buffer of :attr:`nbytes` zero bytes."""
        return FragmentMemory(self, _Carver(block))


class FragmentMemory:
    """The arrays of one block.

    Args:
        layout: sizes.
        carve: where they come from.

    Attributes:
        parameters: what the learner publishes.
        slots: fragments, by actor and slot.
        steps: vector steps that each actor has begun, int64 ``[R]``: a sign of life.
    """

    def __init__(self, layout: FragmentLayout, carve: _Carver) -> None:
        self.parameters = ParameterBoard(layout.num_parameters, carve)
        self.steps: NDArray[np.int64] = carve((layout.num_actors,), np.int64)
        self.slots = [[Fragment(layout, carve) for _ in range(layout.num_slots)] for _ in range(layout.num_actors)]


class ParameterBoard:
    """The newest parameters, as one vector, and their version.

    Two copies: the learner writes the one that is not the newest, and then says that it is. A reader that was overtaken
    meanwhile sees that by the stamps, and reads again. Wake-ups order memory where readers wait for them; a reader that
    does not wait relies on stores becoming visible in their order, as they do on x86, and elsewhere on the stamps that
    are written before and after.

    Args:
        size: how many numbers.
        carve: where the arrays come from.
    """

    def __init__(self, size: int, carve: _Carver) -> None:
        self._data: NDArray[np.float32] = carve((2, size), np.float32)
        self._stamps: NDArray[np.int64] = carve((2, 2), np.int64)
        self._latest: NDArray[np.int64] = carve((1,), np.int64)

    @property
    def version(self) -> int:
        """Version of the newest parameters; 0 before the first."""
        return int(self._latest[0])

    def publish(self, parameters: NDArray[np.float32], version: int) -> None:
        """Write parameters ``[P]``; versions rise by one."""
        side = version % 2
        self._stamps[side, 0] = version
        self._data[side] = parameters
        self._stamps[side, 1] = version
        self._latest[0] = version

    def read(self, out: NDArray[np.float32]) -> int:
        """Copy the newest parameters to ``out`` ``[P]`` and return their version."""
        while True:
            version = int(self._latest[0])
            side = version % 2
            if self._stamps[side, 1] != version:
                continue
            out[...] = self._data[side]
            if self._stamps[side, 0] == version:
                return version


class Fragment:
    """One slot.

    Args:
        layout: sizes.
        carve: where the arrays come from.

    Attributes:
        buffer: T steps of E environments; the actor collects straight into it.
        log_probs: log μ(a|s) of the policy that acted, float32 ``[T, E]``.
        gradient: float32 ``[G]``.
        env_steps: real steps of each environment so far, int64 ``[E]``.
        times_ns: what the fragment took, by :data:`TIMES`, and its wall time last; int64.
        began_ns: when its actor began it, on the clock of ``time.perf_counter_ns``; int64 ``[1]``.
        facts: parameter version, number of final observations, of episodes, of environments replaced, and whether it
            begins with a reset of all environments; int64.
    """

    def __init__(self, layout: FragmentLayout, carve: Allocate) -> None:
        length, width = layout.rollout_length, layout.num_envs
        most = length * width
        self.buffer = RolloutBuffer(
            layout.observation_space, layout.action_shape, layout.action_dtype, length, width,
            final_capacity=most, allocate=carve,
        )  # fmt: skip
        self.log_probs: NDArray[np.float32] = carve((length, width), np.float32)
        self.gradient: NDArray[np.float32] = carve((layout.num_gradient,), np.float32)
        self.env_steps: NDArray[np.int64] = carve((width,), np.int64)
        self.times_ns: NDArray[np.int64] = carve((len(TIMES) + 1,), np.int64)
        self.began_ns: NDArray[np.int64] = carve((1,), np.int64)
        self.facts: NDArray[np.int64] = carve((5,), np.int64)
        self._final_rows: NDArray[np.int32] = carve((most,), np.int32)
        self._returns: NDArray[np.float64] = carve((most,), np.float64)
        self._lengths: NDArray[np.int64] = carve((most,), np.int64)

    def close(self, version: int, episodes: Episodes, num_replaced: int, *, begins_anew: bool) -> None:
        """Note what the buffer itself does not hold; called when all else is written."""
        rows = self.buffer.used_final_rows
        self._final_rows[: len(rows)] = rows
        count = len(episodes.returns)
        self._returns[:count] = episodes.returns
        self._lengths[:count] = episodes.lengths
        self.facts[:] = version, len(rows), count, num_replaced, begins_anew

    @property
    def version(self) -> int:
        """Version of the parameters that acted."""
        return int(self.facts[0])

    @property
    def num_replaced(self) -> int:
        """Environments that broke and were replaced while the fragment was sampled."""
        return int(self.facts[3])

    @property
    def begins_anew(self) -> bool:
        """Whether all of its environments were reset before its first step: its actor is new."""
        return bool(self.facts[4])

    def episodes(self) -> Episodes:
        """Return copies of the episodes that ended in the fragment."""
        count = int(self.facts[2])
        return Episodes(self._returns[:count].copy(), self._lengths[:count].copy())

    def finals(self) -> tuple[ObsTree, NDArray[np.int32]]:
        """Return true last observations ``[K, *obs]`` of truncated episodes and their rows t * E + e, as views."""
        count = int(self.facts[1])
        return map_tree(lambda array: array[:count], self.buffer.finals()[0]), self._final_rows[:count]

    def padded_finals(self, room: int) -> tuple[ObsTree, NDArray[np.int32]]:
        """Return the same with rows of T * E behind them: ``room`` of them, or doubled until there is enough."""
        count = int(self.facts[1])
        most = len(self._final_rows)
        size = min(most, max(room, 1 << max(0, count - 1).bit_length()))
        rows = np.full(size, most, np.int32)
        rows[:count] = self._final_rows[:count]
        return map_tree(lambda array: array[:size], self.buffer.finals()[0]), rows


class FragmentBatch:
    """Several fragments side by side, ``[T, M * E]``: copies, which an update reads while actors go on.

    Args:
        layout: sizes of a fragment.
        num_fragments: M.
        final_capacity: K, how many true last observations there is room for at first.
    """

    def __init__(self, layout: FragmentLayout, num_fragments: int, *, final_capacity: int = 1) -> None:
        self._width = layout.num_envs
        num_envs = num_fragments * layout.num_envs
        self.buffer = RolloutBuffer(
            layout.observation_space, layout.action_shape, layout.action_dtype, layout.rollout_length, num_envs,
            final_capacity=final_capacity,
        )  # fmt: skip
        self.log_probs = np.zeros((layout.rollout_length, num_envs), np.float32)

    def clear(self) -> None:
        """Begin another batch."""
        self.buffer.clear_finals()

    def put(self, place: int, fragment: Fragment) -> None:
        """Copy a fragment to place 0 .. M - 1; its slot is free afterwards."""
        first = place * self._width
        columns = slice(first, first + self._width)
        self.buffer.copy_columns(fragment.buffer, columns)
        self.log_probs[:, columns] = fragment.log_probs
        observations, rows = fragment.finals()
        if len(rows):
            steps, envs = np.divmod(rows, self._width)
            self.buffer.append_finals(observations, steps * self.buffer.num_envs + first + envs)


class _Carver:
    """Cuts arrays off a block, one after the other; without a block it only counts.

    Args:
        block: a writable buffer, or None.
    """

    def __init__(self, block: Any) -> None:
        self._block = block
        self.offset = 0

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        begin = -(-self.offset // _ALIGNMENT) * _ALIGNMENT
        self.offset = begin + int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self._block is None:
            return np.zeros(shape, dtype)
        return np.ndarray(shape, dtype, buffer=self._block, offset=begin)
