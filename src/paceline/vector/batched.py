"""What all backends share: Gymnasium's call on top of ``send`` and ``recv``, infos, seeds and the order of calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from paceline.errors import RequestError
from paceline.vector.arrays import VecArrays
from paceline.vector.base import ObsTree, StepBatch, VecEnv
from paceline.vector.group import InfoLevel
from paceline.vector.infos import Info, InfoColumns, InfoRecord, join, pack
from paceline.vector.seeding import resolve_seeds
from paceline.vector.spaces import copy_tree, take_row

Mask = NDArray[np.bool_]
ResetSeed = int | Sequence[int | None] | None


class BatchedVecEnv(VecEnv):
    """A ``VecEnv`` whose data live in one :class:`VecArrays`; subclasses say who fills it.

    Args:
        num_envs: N.
        autoreset_mode: Gymnasium's autoreset mode.
        infos: which infos to collect.
        copy: whether ``reset`` and ``step`` return copies rather than views.
    """

    def __init__(self, num_envs: int, autoreset_mode: AutoresetMode, infos: InfoLevel, copy: bool) -> None:
        self.num_envs = num_envs
        self.autoreset_mode = autoreset_mode
        self.env_seeds = (None,) * num_envs
        self.infos_level: InfoLevel = infos
        self.copy = copy
        self._pending = False
        self._was_reset = False
        self._failure: BaseException | None = None

    def _adopt(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        arrays: VecArrays,
        metadata: dict[str, Any],
        render_mode: str | None,
    ) -> None:
        """Take over what was learnt from the environments."""
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(action_space, self.num_envs)
        self.metadata = {**metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self._arrays = arrays
        self._action_array: NDArray[Any] | None = arrays.actions if isinstance(arrays.actions, np.ndarray) else None
        self._batch = StepBatch(
            arrays.observations,
            arrays.rewards,
            arrays.terminated,
            arrays.truncated,
            arrays.reset_rows,
            arrays.final_observations,
            {},
        )
        self._names_finals = self.autoreset_mode is AutoresetMode.SAME_STEP and self.infos_level != "none"

    @abstractmethod
    def _start_step(self) -> None:
        """Start stepping with the actions that lie in the arrays."""

    @abstractmethod
    def _finish_step(self) -> list[InfoRecord] | list[InfoColumns]:
        """Wait until every environment has stepped and return the infos."""

    @abstractmethod
    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        """Reset the environments that ``mask`` chooses (None: all) and return the infos."""

    @abstractmethod
    def _release(self) -> None:
        """Give up what a failed vector environment holds, processes first."""

    def reset(self, *, seed: ResetSeed = None, options: dict[str, Any] | None = None) -> tuple[ObsTree, dict[str, Any]]:
        """Reset all environments, or those of ``options["reset_mask"]``.

        Args:
            seed: one seed from which each environment's is derived, a list of N seeds, or None.
            options: passed to each environment; ``reset_mask``, a bool array ``[N]``, is taken out first.

        Returns:
            Observations ``[N, ...]`` (rows that were not reset keep theirs) and infos.

        Raises:
            RequestError: malformed seed or mask, a step is pending, or the vector environment is closed.
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """
        self._check_usable(pending=False, call="reset")
        mask = None
        if options is not None and "reset_mask" in options:
            mask = self._check_mask(options["reset_mask"])
            options = {key: value for key, value in options.items() if key != "reset_mask"}
        seeds = resolve_seeds(seed, self.num_envs, first_reset=not self._was_reset)
        if not self._was_reset and mask is not None and not mask.all():
            raise RequestError("expected all environments to be reset first, got a reset_mask; call reset() without it")
        chosen = [True] * self.num_envs if mask is None else mask.tolist()
        self.env_seeds = tuple(
            new if pick and new is not None else old
            for old, new, pick in zip(self.env_seeds, seeds, chosen, strict=True)
        )
        try:
            records = self._reset_envs(seeds, options, mask)
        except BaseException as error:
            self._fail(error)
            raise
        self._was_reset = True
        observations = self._arrays.observations
        return copy_tree(observations) if self.copy else observations, self._gather(records, ())

    def step(
        self, actions: Any
    ) -> tuple[ObsTree, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every environment, as Gymnasium's vector environments do.

        Args:
            actions: one action per environment, ``[N, ...]``.

        Returns:
            Observations ``[N, ...]``, rewards float64 ``[N]``, terminated and truncated bool ``[N]``, and infos.

        Raises:
            RequestError: actions that do not fit, ``reset`` was not called, or the vector environment is closed.
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """
        self.send(actions)
        batch = self.recv()
        if not self.copy:
            return batch.observations, batch.rewards, batch.terminated, batch.truncated, dict(batch.infos)
        return (
            copy_tree(batch.observations),
            batch.rewards.copy(),
            batch.terminated.copy(),
            batch.truncated.copy(),
            dict(batch.infos),  # wrappers write into it
        )

    def send(self, actions: Any) -> None:
        """Start one step of every environment.

        Args:
            actions: one action per environment, ``[N, ...]`` (nested as the action space is).

        Raises:
            RequestError: actions that do not fit, a call out of order, or the vector environment is closed.
        """
        if self._pending or not self._was_reset or self.closed or self._failure is not None:
            self._check_usable(pending=False, call="send")
            raise RequestError("expected reset before the first step, got a step; call reset() first")
        target = self._action_array
        if (
            target is not None
            and type(actions) is np.ndarray
            and (actions.shape == target.shape and actions.dtype == target.dtype)
        ):
            target[...] = actions
        else:
            _store_actions(self._arrays.actions, actions, "actions")
        self._pending = True
        self._start_step()

    def recv(self) -> StepBatch:
        """Wait for the step that :meth:`send` started and return views on it.

        Raises:
            RequestError: nothing was sent.
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """
        if not self._pending:
            self._check_usable(pending=True, call="recv")
        try:
            records = self._finish_step()
        except BaseException as error:
            self._fail(error)
            raise
        self._pending = False
        if not (records or self._names_finals):
            return self._batch
        infos = self._gather(records, self._ended_rows())
        return self._batch._replace(infos=infos) if infos else self._batch

    def busy_ns(self) -> NDArray[np.int64]:
        """Return the cumulative time of each runner's loops over its environments, int64 ``[max(R, 1)]``."""
        return self._arrays.busy_ns.copy()

    def _ended_rows(self) -> Sequence[int]:
        if not self._names_finals:
            return ()
        rows: list[int] = np.flatnonzero(self._arrays.terminated | self._arrays.truncated).tolist()
        return rows

    def _gather(self, found: list[InfoRecord] | list[InfoColumns], ended: Sequence[int]) -> Info:
        """Return Gymnasium's vector infos; ended rows are named in ``SAME_STEP`` mode even if their infos are empty."""
        if found and not ended:
            parts = [item for item in found if isinstance(item, InfoColumns)]
            if not parts and (packed := pack([item for item in found if isinstance(item, InfoRecord)], self.num_envs)):
                parts = [packed]
            joined = join(parts, self.num_envs) if parts else None
            if joined is not None:
                return joined
        by_index = {}
        for item in found:
            for record in item.records() if isinstance(item, InfoColumns) else (item,):
                by_index[record.env_index] = record
        for index in ended:
            if index not in by_index:
                by_index[index] = InfoRecord(index, {}, {})
        infos: dict[str, Any] = {}
        for index in sorted(by_index):
            _, final, info = by_index[index]
            if final is not None:
                last: Info = {"final_obs": take_row(self._arrays.final_observations, index), "final_info": final}
                infos = self._add_info(infos, last, index)
            infos = self._add_info(infos, info, index)
        return infos

    def _check_mask(self, mask: Any) -> Mask:
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            got = f"shape {mask.shape}, {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise RequestError(
                f"expected options['reset_mask'] to be a bool array of shape ({self.num_envs},), got {got}; "
                f"pass terminated | truncated"
            )
        if not mask.any():
            raise RequestError(
                "expected options['reset_mask'] to choose at least one environment, got none; leave out the reset"
            )
        return mask

    def _check_usable(self, *, pending: bool, call: str) -> None:
        if self.closed:
            raise RequestError(f"expected an open vector environment, got {call} after close; make a new one")
        if self._failure is not None:
            raise RequestError(
                f"expected a working vector environment, got {call} after it failed "
                f"({str(self._failure) or type(self._failure).__name__}); make a new one"
            )
        if self._pending and not pending:
            raise RequestError(f"expected recv after send, got {call}; call recv() first")
        if pending and not self._pending:
            raise RequestError("expected send before recv, got recv; call send(actions) first")

    def _fail(self, error: BaseException) -> None:
        """Give up: an environment broke, or an interrupt in the middle of a step left some runners a step behind."""
        self._failure = error
        self._pending = False
        self._release()


def _store_actions(target: Any, actions: Any, path: str) -> None:
    """Copy ``actions`` into the tree ``target``; shapes must agree, dtypes may differ in size but not in kind."""
    if isinstance(target, np.ndarray):
        source = np.asarray(actions)
        if source.shape != target.shape:
            raise RequestError(f"expected {path} of shape {target.shape}, got {source.shape}; give one per environment")
        try:
            np.copyto(target, source, casting="same_kind")
        except TypeError:
            raise RequestError(
                f"expected {path} of dtype {target.dtype}, got {source.dtype}; convert them with astype"
            ) from None
        return
    keys: Iterable[Any] = target if isinstance(target, dict) else range(len(target))
    for key in keys:
        try:
            part = actions[key]
        except (KeyError, IndexError, TypeError):
            raise RequestError(
                f"expected {path} to have a part {key!r}, got {type(actions).__name__}; nest it as the action space"
            ) from None
        _store_actions(target[key], part, f"{path}[{key!r}]")
