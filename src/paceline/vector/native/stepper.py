"""Autoreset, infos and NaN around a simulation, for all environments at once; nothing here loops over environments.

The exceptions are rare steps: episodes that end, and infos of some environments rather than all.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.errors import EnvContractError, EnvError, EnvRaisedError, RequestError
from paceline.vector.actions import plain_action
from paceline.vector.arrays import VecArrays
from paceline.vector.batched import VecOptions
from paceline.vector.breach import has_nan
from paceline.vector.faults import Fault, replacement_seed
from paceline.vector.infos import Info, InfoColumns, InfoRecord
from paceline.vector.native.simulation import BeginFailedError, Failure, Simulation
from paceline.vector.native.task import Columns
from paceline.vector.selection import EnvIds
from paceline.vector.spaces import copy_rows, float_leaves, map_tree, take_row

Infos = list[InfoRecord] | list[InfoColumns]


class Stepper:
    """Steps and resets environments of a simulation in one of Gymnasium's autoreset modes.

    Args:
        simulation: the environments.
        arrays: arrays of the vector, filled here.
        num_envs: N.
        options: mode, infos and what to do about NaN.

    Attributes:
        faults: environments that raised or returned NaN in a step, and were begun anew; whoever reads them takes them
            out.
        seeds: the seed that each environment was last reset with, or None.
    """

    def __init__(self, simulation: Simulation, arrays: VecArrays, num_envs: int, options: VecOptions) -> None:
        self.faults: list[Fault] = []
        self.seeds: list[int | None] = [None] * num_envs
        self._simulation = simulation
        self._arrays = arrays
        self._everyone: EnvIds = np.arange(num_envs)
        self._mode = options.autoreset_mode
        self._same_step = options.autoreset_mode is AutoresetMode.SAME_STEP
        self._level = options.infos
        self._restarts_faults = options.faults.restarts
        self._restarts = [0] * num_envs
        self._over = np.zeros(num_envs, np.bool_)
        self._any_over = False
        self._any_restarted = False
        self._steps = np.zeros(num_envs, np.int64)
        self._floats = float_leaves(simulation.observation_space, arrays.observations)
        self._watched = [(array.reshape(-1), array) for _, array in self._floats]
        self._watched.append((arrays.rewards, arrays.rewards))
        # What stands in for an observation that came to nothing: array and copy, leaf by leaf.
        self._kept: list[tuple[NDArray[Any], NDArray[Any]]] = []
        if self._restarts_faults:
            map_tree(lambda array: self._kept.append((array, array.copy())), arrays.observations)

    def reset(
        self, env_ids: EnvIds, seeds: Sequence[int | None] | None, options: dict[str, Any] | None = None
    ) -> list[InfoRecord]:
        """Begin an episode in ``env_ids`` (ascending), with ``seeds`` (one each; None goes on with the generators).

        Raises:
            RequestError: seeds that the simulation cannot take.
            EnvRaisedError: the simulation raised in an environment.
            EnvContractError: an observation is NaN.
        """
        given = None if seeds is None or all(seed is None for seed in seeds) else list(seeds)
        for index, seed in zip(env_ids.tolist(), given or (), strict=False):
            self.seeds[index] = self.seeds[index] if seed is None else seed
        arrays = self._arrays
        self._begin(env_ids, given, options)
        for flags in (self._over, arrays.terminated, arrays.truncated, arrays.reset_rows, arrays.restarted):
            flags[env_ids] = False
        arrays.rewards[env_ids] = 0.0
        self._any_over = bool(self._over.any())
        self._refuse_nan(env_ids, stepped=False)
        if self._level != "all":
            return []
        return [
            InfoRecord(index, None, info)
            for index, info in _rows_of(env_ids, self._simulation.reset_infos(env_ids)).items()
            if info
        ]

    def step(self, env_ids: EnvIds | None) -> Infos:
        """Step ``env_ids`` (ascending; None: all) with their rows of the actions.

        Raises:
            EnvRaisedError: the simulation raised in an environment.
            EnvContractError: an observation or reward is NaN.
            RequestError: ``DISABLED`` mode and an episode is over.
        """
        arrays = self._arrays
        rows: Any = slice(None) if env_ids is None else env_ids
        arrays.reset_rows[rows] = False
        if self._any_restarted:
            arrays.restarted[rows] = False
            self._any_restarted = bool(arrays.restarted.any())
        records: list[InfoRecord] = []
        live, begun = env_ids, self._everyone[:0]
        if self._any_over and self._over[rows].any():
            chosen = self._everyone[rows]
            if self._simulation.begins_when_stepped and self._mode is AutoresetMode.NEXT_STEP:
                begun = chosen[self._over[chosen]]
            else:
                live, records = self._begin_due(chosen)
        if live is not None and not len(live):
            return records
        for array, kept in self._kept:
            kept[rows] = array[rows]
        stepped: Any = slice(None) if live is None else live
        self._steps[stepped] += 1
        failures = self._advance(live)
        if len(begun):
            self._note_begun(begun)
        spoilt = self._mend_failures(failures) if failures else []
        spoilt += self._refuse_nan(live, stepped=True)
        ended = arrays.terminated[stepped] | arrays.truncated[stepped]
        some_ended = bool(ended.any())
        columns: Columns = {}
        if self._level == "all" or (some_ended and self._level == "final"):
            columns = self._simulation.step_infos(live)
        ended_ids = (self._everyone[stepped])[ended] if some_ended else self._everyone[:0]
        if some_ended and not self._same_step:
            self._over[ended_ids] = self._any_over = True
        if live is None and columns and not (some_ended and self._same_step) and self._level == "all" and not spoilt:
            return [_pack(columns)]
        infos = self._infos_of(live, columns, ended_ids, spoilt)
        next_infos = self._begin_same_step(ended_ids) if some_ended and self._same_step else {}
        if self._level == "none":
            return []
        for index, info in infos.items():
            if index in next_infos:
                records.append(InfoRecord(index, info, next_infos[index]))
            elif info:
                records.append(InfoRecord(index, None, info))
        return records

    def _advance(self, live: EnvIds | None) -> Sequence[Failure]:
        try:
            return self._simulation.advance(live, self._arrays)
        except EnvError as error:
            self._locate(error, self._everyone if live is None else live, stepped=True)
            raise

    def _begin(self, env_ids: EnvIds, seeds: list[int | None] | None, options: dict[str, Any] | None = None) -> None:
        try:
            self._simulation.begin(env_ids, seeds, self._arrays, options)
        except BeginFailedError as error:
            raise self._raised(error.failure, stepped=False) from error
        except EnvError as error:
            self._locate(error, env_ids, stepped=False)
            raise

    def _mend_failures(self, failures: Sequence[Failure]) -> list[int]:
        """Begin environments anew in which the simulation raised; return which.

        Raises:
            EnvRaisedError: faults are not to be mended.
        """
        for failure in failures:
            error = self._raised(failure, stepped=True)
            if not self._restarts_faults:
                raise error from failure.cause
            self._mend(failure.env_index, error)
        return [failure.env_index for failure in failures]

    def _begin_due(self, chosen: EnvIds) -> tuple[EnvIds, list[InfoRecord]]:
        """Begin the episodes that are due in the step after an end; return the environments that are still to step."""
        due = self._over[chosen]
        if self._mode is AutoresetMode.DISABLED:
            raise RequestError(
                f"expected env {chosen[due][0]} to be reset after its episode ended, got a step; call "
                f"reset(options={{'reset_mask': terminated | truncated}}) first, or choose another autoreset_mode"
            )
        begun = chosen[due]
        records = self.reset(begun, None)
        self._arrays.reset_rows[begun] = True
        return chosen[~due], records

    def _note_begun(self, begun: EnvIds) -> None:
        """Make the rows of environments that have begun their next episode, instead of a step, reset rows."""
        arrays = self._arrays
        self._over[begun] = False
        self._any_over = bool(self._over.any())
        self._steps[begun] -= 1  # counted with those that stepped
        arrays.rewards[begun] = 0.0
        arrays.terminated[begun] = arrays.truncated[begun] = False
        arrays.reset_rows[begun] = True

    def _begin_same_step(self, ended_ids: EnvIds) -> dict[int, Info]:
        """Keep the final observations, begin the next episodes, and return their infos."""
        arrays, simulation = self._arrays, self._simulation
        copy_rows(arrays.observations, arrays.final_observations, ended_ids)
        self._begin(ended_ids, None)
        if self._level == "all":
            return _rows_of(ended_ids, simulation.reset_infos(ended_ids))
        return {index: {} for index in ended_ids.tolist()}

    def _infos_of(
        self, live: EnvIds | None, columns: Columns, ended_ids: EnvIds, spoilt: Sequence[int]
    ) -> dict[int, Info]:
        """Return the infos that the level asks for, of each environment that has some, or whose episode ended."""
        infos: dict[int, Info] = {index: {} for index in ended_ids.tolist()}
        if columns:
            found = _rows_of(self._everyone if live is None else live, columns)
            infos = found if self._level == "all" else {index: found[index] for index in infos}
        return {index: {} if index in spoilt else info for index, info in infos.items()}

    def _refuse_nan(self, env_ids: EnvIds | None, *, stepped: bool) -> list[int]:
        """Look for NaN in what was written; return the environments that were begun anew because of it.

        A sum of squares costs a third of a microsecond and is NaN if anything is; only then is it searched for.
        """
        for flat, array in self._watched:
            if has_nan(flat if env_ids is None else array[env_ids]):
                break
        else:
            return []
        mended = []
        for index in (self._everyone if env_ids is None else env_ids).tolist():
            message = self._nan_in(index)
            if message is not None:
                error = EnvContractError(message, **self._place(index, stepped=stepped))
                if not (self._restarts_faults and stepped):
                    raise error
                self._mend(index, error)
                mended.append(index)
        return mended

    def _nan_in(self, index: int) -> str | None:
        for path, array in self._floats:
            row = array[index, ...]
            if np.isnan(row).any():
                return f"expected observation{path} to be numbers, got NaN; mend the actions, or the task's arguments"
        if np.isnan(self._arrays.rewards[index]):
            return "expected a reward that is a number, got NaN; mend the actions, or the task's arguments"
        return None

    def _place(self, index: int, *, stepped: bool) -> dict[str, Any]:
        """Return what an error says of an environment: which, with which seed, in which step, after which action."""
        return {
            "env_index": index,
            "seed": self.seeds[index],
            "step": int(self._steps[index]),
            "action": plain_action(take_row(self._arrays.actions, index)) if stepped else None,
        }

    def _raised(self, failure: Failure, *, stepped: bool) -> EnvRaisedError:
        return EnvRaisedError(
            failure.message,
            original_traceback="".join(traceback.format_exception(failure.cause)),
            **self._place(failure.env_index, stepped=stepped),
        )

    def _locate(self, error: EnvError, env_ids: EnvIds, *, stepped: bool) -> None:
        """Raise an error that does not say where anew, with the place, if no other environment was stepped or reset."""
        if len(env_ids) == 1:
            place = self._place(int(env_ids[0]), stepped=stepped)
            raise type(error)(str(error), original_traceback=error.original_traceback, **place) from error

    def _mend(self, index: int, error: EnvError) -> None:
        """Make the row a restarted one; the next episode begins from another seed."""
        arrays = self._arrays
        self._restarts[index] += 1
        seed = replacement_seed(self.seeds[index], self._restarts[index])
        self.faults.append(Fault.of(error, index, seed))
        self.seeds[index] = seed
        self._simulation.reseed(index, seed)
        for array, kept in self._kept:
            array[index] = kept[index]
        arrays.rewards[index] = 0.0
        arrays.terminated[index], arrays.truncated[index] = False, True
        arrays.restarted[index] = self._any_restarted = True


def _pack(columns: Columns) -> InfoColumns:
    kinds = tuple(column.dtype.type if column.ndim == 1 else np.ndarray for column in columns.values())
    return InfoColumns(0, tuple(columns), kinds, list(columns.values()))


def _rows_of(env_ids: EnvIds, columns: Columns) -> dict[int, Info]:
    """Return the infos of each environment as Gymnasium's environments return them."""
    keys = tuple(columns)
    rows = zip(*columns.values(), strict=True) if columns else ((),) * len(env_ids)
    return {index: dict(zip(keys, row, strict=True)) for index, row in zip(env_ids.tolist(), rows, strict=True)}
