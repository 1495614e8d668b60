"""Which environments have a step under way, which are ready, and in which order the ready ones are returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.errors import RequestError
from paceline.vector.selection import EnvIds, Selection, Selections


class Flight:
    """Keeps account of steps between ``send`` and ``recv``.

    Environments that are ready wait in one queue, in the order in which they were found ready, so that none starves.
    The account is kept in sets: for the few environments of a batch NumPy takes five times as long, between other
    work, where nothing of it lies in the caches.

    Args:
        num_envs: N.

    Attributes:
        everyone: all environments.
        together: whether all were started together, so that they are finished together.
        num_out: how many are under way or ready.
        last: those of the last batch; None for all.
    """

    def __init__(self, num_envs: int) -> None:
        self._selections = Selections()
        self.everyone = self._selections.keep(np.arange(num_envs, dtype=np.int64))
        self._num_envs = num_envs
        self._under_way: set[int] = set()
        self._ready: set[int] = set()
        self._queue: list[int] = []
        self.together = False
        self.num_out = 0
        self.last: Selection | None = None

    def select(self, env_ids: Any, *, under_way: bool = False) -> Selection:
        """Return the environments that ``env_ids`` names.

        Args:
            env_ids: indices of environments, in any order.
            under_way: whether each must have a step under way.

        Raises:
            RequestError: not a non-empty list of distinct integers from 0 to N - 1, or one is not under way.
        """
        last = self.last
        if last is not None and env_ids is last.ids and not under_way:
            return last  # as recv gave them
        known = None
        if type(env_ids) is np.ndarray and env_ids.dtype == np.int64 and env_ids.ndim == 1:
            known = self._selections.find(env_ids)
        chosen = known or self._selections.keep(self._check_ids(env_ids))
        if under_way and not self.together:
            resting = chosen.members - self._under_way - self._ready
            if resting:
                raise RequestError(
                    f"expected send before recv, got recv of env {min(resting)}, which rests; send it an action"
                )
        return chosen

    def _check_ids(self, env_ids: Any) -> EnvIds:
        ids = np.asarray(env_ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
            raise RequestError(
                f"expected env_ids to be a list of integers, got {_shorten(env_ids)}; give the indices of environments"
            )
        if ids.min() < 0 or ids.max() >= self._num_envs:
            raise RequestError(
                f"expected env_ids from 0 to {self._num_envs - 1}, got {_shorten(env_ids)}; mend the indices"
            )
        if len(np.unique(ids)) < len(ids):
            raise RequestError(f"expected distinct env_ids, got {_shorten(env_ids)}; name each environment once")
        return ids.astype(np.int64, copy=False)

    def check_sendable(self, chosen: Selection | None) -> None:
        """Refuse to start environments (None: all) that have not been received since they were last started."""
        if not self.num_out:
            return
        members = (chosen or self.everyone).members
        if self.together or not (members.isdisjoint(self._under_way) and members.isdisjoint(self._ready)):
            which = "all environments have"
            if not self.together:
                which = f"env {min(members & (self._under_way | self._ready))} has"
            raise RequestError(f"expected recv after send, got send while {which} a step under way; call recv()")

    def check_idle(self, mask: NDArray[np.bool_] | None, call: str) -> None:
        """Refuse ``call`` while environments (those of ``mask``; None: any) have a step under way."""
        if not self.num_out:
            return
        if self.together or mask is None or (self._under_way | self._ready).intersection(np.flatnonzero(mask).tolist()):
            raise RequestError(f"expected recv after send, got {call} while steps are under way; call recv() first")

    def start(self, chosen: Selection | None, *, together: bool) -> Selection | None:
        """Note that environments (None: all) were started; return them, or None if all run together."""
        if together:
            self.together = True
            self.num_out = self._num_envs
            return None
        chosen = chosen or self.everyone
        self._under_way |= chosen.members
        self.num_out += len(chosen)
        return chosen

    def finish_together(self) -> None:
        """Note that all were returned together."""
        self.together = False
        self.num_out = 0
        self.last = None

    def arrive(self, ids: Sequence[int]) -> None:
        """Note that ``ids`` are ready."""
        self.together = False
        self._under_way.difference_update(ids)
        self._ready.update(ids)
        self._queue.extend(ids)

    def has(self, wanted: Selection | None, batch_size: int) -> bool:
        """Return whether a batch is complete: ``wanted``, or any ``batch_size``, or all that are under way."""
        if wanted is None:
            return len(self._queue) >= min(batch_size, self.num_out)
        return wanted.members <= self._ready

    def awaits(self, members: frozenset[int]) -> bool:
        """Return whether any of ``members`` has a step under way that is not ready."""
        return not members.isdisjoint(self._under_way)

    def take(self, wanted: Selection | None, batch_size: int) -> Selection:
        """Take a batch out and return its environments."""
        if wanted is None:
            first = self._queue[:batch_size]
            del self._queue[:batch_size]
            taken = self._selections.keep(np.array(sorted(first), np.int64))
            self._ready -= taken.members
        else:
            taken = wanted
            self._ready -= taken.members
            self._queue = [env_id for env_id in self._queue if env_id in self._ready] if self._ready else []
        self.num_out -= len(taken)
        self.last = taken if len(taken) < self._num_envs else None
        return taken

    def under_way(self, ids: range) -> EnvIds:
        """Return those of ``ids`` that have a step under way and are not ready, ascending."""
        found = ids if self.together else sorted(self._under_way.intersection(ids))
        return np.array(found, np.int64)

    def steps_out(self, env_id: int, *, ready: bool = False) -> int:
        """Return 1 if ``env_id`` has a step that was not returned yet (``ready``: one that is complete), else 0."""
        if self.together:
            return 0 if ready else 1
        return int(env_id in self._ready or (not ready and env_id in self._under_way))

    def clear(self) -> None:
        """Forget all steps under way: everything was reset, or nothing works any more."""
        self._under_way.clear()
        self._ready.clear()
        self._queue.clear()
        self.together = False
        self.num_out = 0
        self.last = None


def _shorten(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
