"""Which environments have a step under way, which are ready, and in which order the ready ones are returned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.errors import RequestError

EnvIds = NDArray[np.int64]

_IDLE, _UNDER_WAY, _READY = 0, 1, 2


class Flight:
    """Keeps account of steps between ``send`` and ``recv``; arrays alone, no loop over environments.

    Environments that are ready wait in one queue, in the order in which they were found ready, so that none starves.

    Args:
        num_envs: N.

    Attributes:
        all_ids: 0 to N - 1, read-only.
        together: whether all were started together, so that they are finished together.
        num_out: how many are under way or ready.
        last_ids: those of the last batch; None for all.
    """

    def __init__(self, num_envs: int) -> None:
        self.all_ids: EnvIds = np.arange(num_envs, dtype=np.int64)
        self.all_ids.flags.writeable = False
        self._num_envs = num_envs
        self._state = np.zeros(num_envs, np.int8)
        self._queue = self.all_ids[:0]
        self.together = False
        self.num_out = 0
        self.last_ids: EnvIds | None = None

    def check_ids(self, env_ids: Any, *, under_way: bool = False) -> EnvIds:
        """Return ``env_ids`` as an int64 array.

        Args:
            env_ids: indices of environments, in any order.
            under_way: whether each must have a step under way.

        Raises:
            RequestError: not a non-empty list of distinct integers from 0 to N - 1, or one is not under way.
        """
        last = self.last_ids
        if last is not None and env_ids is last and not under_way:
            return last  # as recv gave them
        ids = np.asarray(env_ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
            raise RequestError(
                f"expected env_ids to be a list of integers, got {_shorten(env_ids)}; give the indices of environments"
            )
        ids = ids.astype(np.int64, copy=False)
        if ids.min() < 0 or ids.max() >= self._num_envs:
            raise RequestError(
                f"expected env_ids from 0 to {self._num_envs - 1}, got {_shorten(env_ids)}; mend the indices"
            )
        if len(np.unique(ids)) < len(ids):
            raise RequestError(f"expected distinct env_ids, got {_shorten(env_ids)}; name each environment once")
        if under_way and not self.together and not self._state[ids].all():
            idle = ids[self._state[ids] == _IDLE]
            raise RequestError(f"expected send before recv, got recv of env {idle[0]}, which rests; send it an action")
        return ids

    def check_sendable(self, ids: EnvIds | None) -> None:
        """Refuse to start environments that have not been received since they were last started."""
        if not self.num_out:
            return
        busy = self._state.nonzero()[0] if ids is None else ids[self._state[ids] != _IDLE]
        if self.together or len(busy):
            which = "all environments" if self.together else f"env {busy[0]}"
            raise RequestError(f"expected recv after send, got send while {which} has a step under way; call recv()")

    def check_idle(self, mask: NDArray[np.bool_] | None, call: str) -> None:
        """Refuse ``call`` while environments (those of ``mask``; None: any) have a step under way."""
        if self.num_out and (self.together or mask is None or self._state[mask].any()):
            raise RequestError(f"expected recv after send, got {call} while steps are under way; call recv() first")

    def start(self, ids: EnvIds | None, *, together: bool) -> EnvIds | None:
        """Note that ``ids`` (ascending; None: all) were started; return them, or None if all run together."""
        if together:
            self.together = True
            self.num_out = self._num_envs
            return None
        ids = self.all_ids if ids is None else ids
        self._state[ids] = _UNDER_WAY
        self.num_out += len(ids)
        return ids

    def finish_together(self) -> None:
        """Note that all were returned together."""
        self.together = False
        self.num_out = 0
        self.last_ids = None

    def arrive(self, ids: EnvIds) -> None:
        """Note that ``ids`` are ready."""
        self.together = False
        self._state[ids] = _READY
        self._queue = np.concatenate((self._queue, ids)) if len(self._queue) else ids

    def has(self, wanted: EnvIds | None, batch_size: int) -> bool:
        """Return whether a batch is complete: ``wanted``, or any ``batch_size``, or all that are under way."""
        if wanted is None:
            return len(self._queue) >= min(batch_size, self.num_out)
        return bool((self._state[wanted] == _READY).all())

    def take(self, wanted: EnvIds | None, batch_size: int) -> EnvIds:
        """Take a batch out and return its environments, ascending."""
        if wanted is None:
            ids, self._queue = self._queue[:batch_size], self._queue[batch_size:]
            self._state[ids] = _IDLE
        else:
            ids = wanted
            self._state[ids] = _IDLE
            self._queue = self._queue[self._state[self._queue] == _READY]
        self.num_out -= len(ids)
        ids = np.sort(ids)
        ids.flags.writeable = False
        self.last_ids = ids if len(ids) < self._num_envs else None
        return ids

    def under_way(self, ids: range) -> EnvIds:
        """Return those of ``ids`` that have a step under way and are not ready, ascending."""
        if self.together:
            return np.arange(ids.start, ids.stop)
        return ids.start + np.flatnonzero(self._state[ids.start : ids.stop] == _UNDER_WAY)

    def steps_out(self, env_id: int, *, ready: bool = False) -> int:
        """Return 1 if ``env_id`` has a step that was not returned yet (``ready``: one that is complete), else 0."""
        if self.together:
            return 0 if ready else 1
        return int(self._state[env_id] == _READY if ready else self._state[env_id] != _IDLE)

    def clear(self) -> None:
        """Forget all steps under way: everything was reset, or nothing works any more."""
        self._state.fill(_IDLE)
        self._queue = self.all_ids[:0]
        self.together = False
        self.num_out = 0
        self.last_ids = None


def _shorten(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
