"""What all backends share: Gymnasium's call on top of ``send`` and ``recv``, infos, seeds and the order of calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from paceline.errors import EnvTimeoutError, RequestError, RunnerDiedError, RunnerMemoryError
from paceline.vector.actions import plain_action, store_actions, store_rows
from paceline.vector.arrays import VecArrays
from paceline.vector.base import EnvIds, ObsTree, StepBatch, VecEnv
from paceline.vector.faults import Fault, FaultPolicy
from paceline.vector.flight import Flight
from paceline.vector.group import InfoLevel
from paceline.vector.info_stash import InfoStash
from paceline.vector.infos import InfoRecord, Infos, take_info_rows
from paceline.vector.seeding import resolve_seeds
from paceline.vector.selection import Selection
from paceline.vector.spaces import copy_tree, map_tree, take_row
from paceline.vector.statistics import StepClock, VecStatistics

Mask = NDArray[np.bool_]
ResetSeed = int | Sequence[int | None] | None
_OF_A_RUNNER = (RunnerDiedError.__name__, EnvTimeoutError.__name__, RunnerMemoryError.__name__)
"""Faults that are mended by replacing a runner with all its environments."""


@dataclass(frozen=True)
class VecOptions:
    """What every backend is told alike.

    Attributes:
        autoreset_mode: Gymnasium's autoreset mode.
        infos: which infos to collect: ``all``, ``final`` (of an episode's last step) or ``none``.
        copy: whether ``reset`` and ``step`` return copies rather than views.
        batch_size: how many environments ``recv`` waits for; None: all.
        faults: what to do about environments that break.
    """

    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP
    infos: InfoLevel = "all"
    copy: bool = True
    batch_size: int | None = None
    faults: FaultPolicy = field(default_factory=FaultPolicy)


class BatchedVecEnv(VecEnv):
    """A ``VecEnv`` whose data live in one :class:`VecArrays`; subclasses say who fills it.

    Args:
        num_envs: N.
        options: what every backend is told alike.
    """

    def __init__(self, num_envs: int, options: VecOptions) -> None:
        self.num_envs = num_envs
        self.batch_size = options.batch_size or num_envs
        self.options = options
        self.autoreset_mode = options.autoreset_mode
        self.env_seeds = (None,) * num_envs
        self.infos_level: InfoLevel = options.infos
        self.copy = options.copy
        self._flight = Flight(num_envs)
        self._clock = StepClock(num_envs)
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
            arrays.restarted,
        )
        names_finals = self.autoreset_mode is AutoresetMode.SAME_STEP and self.infos_level != "none"
        self._stash = InfoStash(arrays, self._add_info, names_finals=names_finals)
        # DISABLED mode: terminated and truncated of an environment at rest say whether its episode is over.
        self._ends = arrays.flags[:2] if self.autoreset_mode is AutoresetMode.DISABLED else None

    @abstractmethod
    def _start(self, chosen: Selection | None) -> None:
        """Start stepping environments (None: all, as one step) with the actions that lie in their rows."""

    @abstractmethod
    def _finish_all(self) -> Infos:
        """Wait until all environments, started together, have stepped, and return the infos."""

    @abstractmethod
    def _finish_some(self, wanted: Selection | None) -> tuple[list[int], Infos]:
        """Wait until at least one of those under way has stepped; return which have, and the infos.

        Args:
            wanted: the caller waits for all of these; None: for whoever is ready.
        """

    @abstractmethod
    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        """Reset the environments that ``mask`` chooses (None: all) and return the infos."""

    @abstractmethod
    def _release(self) -> None:
        """Give up what a failed vector environment holds, processes first."""

    def reset(
        self, *, seed: ResetSeed = None, options: dict[str, Any] | None = None, mask: Mask | None = None
    ) -> tuple[ObsTree, dict[str, Any]]:
        """Reset all environments, or those that ``mask`` chooses.

        Args:
            seed: one seed from which each environment's is derived, a list of N seeds, or None.
            options: passed to each environment; ``reset_mask``, Gymnasium's name for ``mask``, is taken out first.
            mask: which environments to reset, bool ``[N]``; the others may have steps under way.

        Returns:
            Observations ``[N, ...]`` (rows that were not reset keep theirs) and infos.

        Raises:
            RequestError: malformed seed or mask, a step is under way, or the vector environment is closed.
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """
        self._check_alive("reset")
        if options is not None and "reset_mask" in options:
            if mask is not None:
                raise RequestError("expected mask or options['reset_mask'], got both; give one of them")
            mask = options["reset_mask"]
            options = {key: value for key, value in options.items() if key != "reset_mask"}
        if mask is not None:
            self._check_mask(mask)
        self._flight.check_idle(mask, "reset")
        seeds = resolve_seeds(seed, self.num_envs, first_reset=not self._was_reset)
        if not self._was_reset and mask is not None and not mask.all():
            raise RequestError("expected all environments to be reset first, got a mask; call reset() without it")
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
        if mask is None:
            self._flight.clear()
            self._clock.restart(self._arrays)
        observations = self._arrays.observations
        return copy_tree(observations) if self.copy else observations, self._stash.gather(records, ())

    def step(
        self, actions: Any
    ) -> tuple[ObsTree, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every environment, as Gymnasium's vector environments do.

        Args:
            actions: one action per environment, ``[N, ...]``.

        Returns:
            Observations ``[N, ...]``, rewards float64 ``[N]``, terminated and truncated bool ``[N]``, and infos. Where
            environments were replaced, ``infos["restarted"]`` is their mask.

        Raises:
            RequestError: actions that do not fit, ``reset`` was not called, an episode is over (``DISABLED`` mode),
                steps are under way, or the vector environment is closed.
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """
        if self._flight.num_out:
            self._flight.check_idle(None, "step")
        self._send(actions, None)
        batch = self._recv_all()
        infos = dict(batch.infos)  # wrappers write into it
        if self.options.faults.restarts and batch.restarted.any():
            infos["restarted"] = infos["_restarted"] = batch.restarted.copy()
        if not self.copy:
            return batch.observations, batch.rewards, batch.terminated, batch.truncated, infos
        return (
            copy_tree(batch.observations),
            batch.rewards.copy(),
            batch.terminated.copy(),
            batch.truncated.copy(),
            infos,
        )

    def send(self, actions: Any, env_ids: Any = None) -> None:
        """Start one step of some environments.

        Args:
            actions: one action per environment, ``[B, ...]`` (nested as the action space is), in the order of
                ``env_ids``.
            env_ids: integers ``[B]``, distinct, none of them under way; None: those of the last ``recv``, and all N
                after ``reset``.

        Raises:
            RequestError: actions or indices that do not fit, a call out of order, an episode that is over (``DISABLED``
                mode), or the vector environment is closed.
        """
        chosen = self._flight.last if env_ids is None else self._flight.select(env_ids)
        self._send(actions, chosen)

    def _send(self, actions: Any, chosen: Selection | None) -> None:
        if not self._was_reset or self.closed or self._failure is not None:
            self._check_alive("send")
            raise RequestError("expected reset before the first step, got a step; call reset() first")
        begin_ns = perf_counter_ns()
        flight = self._flight
        flight.check_sendable(chosen)
        if self._ends is not None and self._ends.any():
            self._refuse_ended(self._ends, flight.everyone if chosen is None else chosen)
        if chosen is None:
            target = self._action_array
            if (
                target is not None
                and type(actions) is np.ndarray
                and (actions.shape == target.shape and actions.dtype == target.dtype)
            ):
                target[...] = actions
            else:
                store_actions(self._arrays.actions, actions)
        else:
            store_rows(self._arrays.actions, actions, chosen)
        # Runners signal a step of all of them once; where batches are smaller, each environment counts.
        whole = (chosen is None or len(chosen) == self.num_envs) and self.batch_size == self.num_envs
        try:
            started = flight.start(chosen, together=whole)
            self._start(started)
        except BaseException as error:  # Ctrl-C: some runners were told, others not
            self._fail(error)
            raise
        self._clock.sent(begin_ns)

    def recv(self, env_ids: Any = None) -> tuple[StepBatch, EnvIds]:
        """Wait for steps that :meth:`send` started.

        Args:
            env_ids: wait for these very environments; None: for the first ``batch_size`` that are ready (or for all
                that are under way, if these are fewer).

        Returns:
            Views on the batch, and the indices of its environments in ascending order.

        Raises:
            RequestError: nothing was sent, or not these; or the vector environment is closed.
            EnvError: an environment raised, broke its contract, hung, or its runner died.
        """
        flight = self._flight
        if flight.together and env_ids is None:
            batch = self._recv_all()
            return batch, flight.everyone.ids
        self._check_alive("recv")
        wanted = None if env_ids is None else flight.select(env_ids, under_way=True)
        if flight.num_out == 0:
            raise RequestError("expected send before recv, got recv; call send(actions) first")
        return self._recv_some(wanted)

    def _recv_all(self) -> StepBatch:
        """Return the step of all environments; the hot path if they were started together."""
        flight = self._flight
        if not flight.together:
            batch, _ = self._recv_some(flight.everyone)
            return batch
        self._clock.waits()
        try:
            found = self._finish_all()
            flight.finish_together()
        except BaseException as error:
            self._fail(error)
            raise
        self._clock.waited()
        batch = self._batch
        stash = self._stash
        if found or stash.names_finals:
            infos = stash.gather(found, stash.ended_rows(None))
            if infos:
                batch = batch._replace(infos=infos)
        self._clock.received_all(self._arrays.finished_ns, batch.reset_rows)
        self._look_after()
        return batch

    def _recv_some(self, wanted: Selection | None) -> tuple[StepBatch, EnvIds]:
        flight = self._flight
        self._clock.waits()
        try:
            if flight.together:
                self._stash.keep(self._finish_all())
                flight.arrive(range(self.num_envs))
            while not flight.has(wanted, self.batch_size):
                ids, found = self._finish_some(wanted)
                self._stash.keep(found)
                flight.arrive(ids)
        except BaseException as error:
            self._fail(error)
            raise
        self._clock.waited()
        taken = flight.take(wanted, self.batch_size)
        batch = self._rows(taken)
        self._clock.received(taken, batch.reset_rows)
        self._look_after()
        return batch, taken.ids

    def _look_after(self) -> None:
        """Do what is due now and then; called when a batch is complete and accounted for."""

    def _drain(self) -> None:
        """Finish what is under way and keep it for later, where a reset cannot run beside it."""
        flight = self._flight
        while len(flight.under_way(range(self.num_envs))):
            ids, found = self._finish_some(None)
            self._stash.keep(found)
            flight.arrive(ids)

    def _rows(self, taken: Selection) -> StepBatch:
        """Return a batch of these rows: views where they lie side by side."""
        batch: StepBatch | None = taken.batch
        if batch is None:
            whole, rows = self._batch, taken.rows
            observations = map_tree(lambda array: _take(array, rows), whole.observations)
            shares = whole.final_observations is whole.observations
            flags = _take(self._arrays.flags, rows, axis=1)
            batch = StepBatch(
                observations,
                _take(whole.rewards, rows),
                flags[0],
                flags[1],
                flags[2],
                observations if shares else map_tree(lambda array: _take(array, rows), whole.final_observations),
                {},
                flags[3],
            )
            if isinstance(rows, slice):
                taken.batch = batch  # these views are always the same
        stash = self._stash
        if stash or stash.names_finals:
            ids = taken.ids
            infos = stash.gather(stash.take(ids), stash.ended_rows(ids))
            if infos:
                batch = batch._replace(infos=infos if len(ids) == self.num_envs else take_info_rows(infos, ids))
        return batch

    def close(self, **kwargs: Any) -> None:
        """Give everything up; more than once does no harm.

        Args:
            **kwargs: ``timeout`` (seconds) and ``terminate``, where there are runners.
        """
        super().close(**kwargs)
        self._flight.clear()  # what was under way is not to be had any more

    def busy_ns(self) -> NDArray[np.int64]:
        """Return the cumulative time of each runner's loops over its environments, int64 ``[max(R, 1)]``."""
        return self._arrays.busy_ns.copy()

    def statistics(self) -> VecStatistics:
        """Return where time went since the last reset of all environments."""
        return self._clock.statistics(self._arrays, self._slot_sizes(), self.batch_size, self._num_replaced())

    def _num_replaced(self) -> int:
        """Return how many environments were replaced; a runner's end is one fault of all its environments."""
        sizes = self._slot_sizes()
        size_at = np.repeat(sizes, sizes).tolist()
        return sum(size_at[fault.env_index] if fault.kind in _OF_A_RUNNER else 1 for fault in self.faults)

    def _slot_sizes(self) -> list[int]:
        """Return how many environments each runner holds."""
        return [self.num_envs]

    def _took_faults(self, faults: Iterable[Fault]) -> None:
        """Count faults that were mended; the first past the cap is raised. That of a runner is one.

        Raises:
            EnvError: one fault too many.
        """
        limit = self.options.faults.max_restarts
        for fault in faults:
            if len(self.faults) >= limit:
                raise fault.error(f"after {len(self.faults)} restarts (max_restarts {limit})")
            self.faults = (*self.faults, fault)
            seeds = list(self.env_seeds)
            seeds[fault.env_index] = fault.new_seed
            self.env_seeds = tuple(seeds)

    def _last_known(self, env_id: int) -> dict[str, Any]:
        """Return seed, step and last action of an environment that cannot be asked any more."""
        given = plain_action(take_row(self._arrays.actions, env_id)) if self._was_reset else None
        step = int(self._clock.steps_taken()[env_id]) + self._flight.steps_out(env_id)
        return {"seed": self.env_seeds[env_id], "step": step, "action": given}

    def _refuse_ended(self, ends: NDArray[np.bool_], chosen: Selection) -> None:
        """Refuse to step environments whose episodes are over; ``ends`` are the flags that say so, ``[2, N]``."""
        over = chosen.ids[ends[:, chosen.rows].any(axis=0)]
        if len(over):
            raise RequestError(
                f"expected env {over[0]} to be reset after its episode ended, got a step; call "
                f"reset(mask=terminated | truncated) first, or choose another autoreset_mode"
            )

    def _check_mask(self, mask: Any) -> None:
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            got = f"shape {mask.shape}, {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise RequestError(
                f"expected mask (options['reset_mask']) to be a bool array of shape ({self.num_envs},), got {got}; "
                f"pass terminated | truncated"
            )
        if not mask.any():
            raise RequestError(
                "expected mask (options['reset_mask']) to choose an environment or more, got none; leave out the reset"
            )

    def _check_alive(self, call: str) -> None:
        if self.closed:
            raise RequestError(f"expected an open vector environment, got {call} after close; make a new one")
        if self._failure is not None:
            raise RequestError(
                f"expected a working vector environment, got {call} after it failed "
                f"({str(self._failure) or type(self._failure).__name__}); make a new one"
            )

    def _check_usable(self, call: str) -> None:
        """Refuse a call that needs all environments at rest."""
        self._check_alive(call)
        self._flight.check_idle(None, call)

    def _fail(self, error: BaseException) -> None:
        """Give up: an environment broke, or an interrupt in the middle of a step left some runners a step behind."""
        if self._failure is None:
            self._failure = error
        self._flight.clear()
        self._release()


def _take(array: NDArray[Any], rows: slice | EnvIds, axis: int = 0) -> NDArray[Any]:
    """Return rows of an array, as a view where they lie side by side."""
    if not isinstance(rows, slice):
        return array.take(rows, axis)
    return array[rows] if axis == 0 else array[:, rows]
