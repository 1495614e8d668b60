"""The loop over a group of environments: the same code in the learner's process and in a runner.

That both backends run this very loop is why they return the same data bit for bit.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from paceline.errors import EnvContractError, EnvError, EnvRaisedError, RequestError
from paceline.vector.arrays import IDLE, VecArrays
from paceline.vector.infos import Info, InfoRecord
from paceline.vector.spaces import ContractBreach, copy_tree, map_tree, row_writer, split_rows

Env = gymnasium.Env[Any, Any]
InfoLevel = Literal["all", "final", "none"]
"""Which infos a vector environment collects: all, those of an episode's last step, or none."""

_LONGEST_ACTION = 12


class EnvGroup:
    """E consecutive environments of a vector, stepped one after the other into the rows of its arrays.

    Args:
        envs: the environments; the group closes them.
        arrays: arrays of the whole vector.
        first: index of the group's first environment in the vector.
        slot: index of the group (runner).
        autoreset_mode: what happens at, or after, the end of an episode.
        infos: which infos to collect.
    """

    def __init__(
        self,
        envs: Sequence[Env],
        arrays: VecArrays,
        *,
        first: int,
        slot: int,
        autoreset_mode: AutoresetMode,
        infos: InfoLevel,
    ) -> None:
        rows = slice(first, first + len(envs))
        self.envs = list(envs)
        self.seeds: list[int | None] = [None] * len(envs)
        self._first = first
        self._slot = slot
        self._mode = autoreset_mode
        self._all_infos = infos == "all"
        self._final_infos = infos != "none"
        self._same_step = autoreset_mode is AutoresetMode.SAME_STEP
        self._steps = [env.step for env in envs]
        space = envs[0].observation_space
        indices = range(first, first + len(envs))
        self._write = [row_writer(space, arrays.observations, i) for i in indices]
        self._write_final = [row_writer(space, arrays.final_observations, i, "final observation") for i in indices]
        self._actions = map_tree(lambda array: array[rows], arrays.actions)
        self._flags = (arrays.terminated[rows], arrays.truncated[rows], arrays.reset_rows[rows])
        # Storing a scalar through a memoryview costs two thirds of storing it through an array, and it refuses None.
        self._rewards: memoryview[float] = arrays.rewards[rows].data  # type: ignore[assignment]
        self._terminated, self._truncated, self._reset_rows = (flags.data for flags in self._flags)
        self._cursors = arrays.cursors.data
        self._busy_ns = arrays.busy_ns
        self._over = [False] * len(envs)
        self._vector_steps = 0
        self._resets_in_steps = [0] * len(envs)

    def step(self) -> list[InfoRecord]:
        """Step every environment with its row of the actions.

        Raises:
            EnvRaisedError: an environment raised.
            EnvContractError: an environment returned something that does not fit.
            RequestError: ``DISABLED`` mode and an episode is over.
        """
        begin_ns = perf_counter_ns()
        try:
            # Environments get rows of a copy: one that keeps its last action must not see it change under its feet.
            actions = split_rows(copy_tree(self._actions))
            return self._step_same(actions) if self._same_step else self._step_next(actions)
        finally:
            self._vector_steps += 1
            self._cursors[self._slot] = IDLE
            self._busy_ns[self._slot] += perf_counter_ns() - begin_ns

    def _step_same(self, actions: list[Any]) -> list[InfoRecord]:
        records: list[InfoRecord] = []
        rewards, cursors, slot, first = self._rewards, self._cursors, self._slot, self._first
        all_infos = self._all_infos
        for flags in self._flags[:2]:
            flags.fill(False)
        index = 0
        result: Any = None
        try:
            for step, action, write in zip(self._steps, actions, self._write, strict=True):
                cursors[slot] = first + index
                result = step(action)
                observation, reward, terminated, truncated, info = result
                rewards[index] = reward
                if terminated or truncated:
                    self._terminated[index] = terminated
                    self._truncated[index] = truncated
                    self._write_final[index](observation)
                    self._start_next_episode(index, info, records)
                else:
                    write(observation)
                    if type(info) is not dict:
                        _refuse_info(info)
                    if all_infos and info:
                        records.append(InfoRecord(first + index, None, info))
                index += 1
        except Exception as error:
            raise self._explain(error, index, result, actions[index]) from error
        return records

    def _start_next_episode(self, index: int, final_info: Any, records: list[InfoRecord]) -> None:
        observation, info = self._reset_env(index, None, None)
        self._write[index](observation)
        if type(final_info) is not dict:
            _refuse_info(final_info)
        if self._final_infos:
            kept = info if self._all_infos else {}
            if final_info or kept:
                records.append(InfoRecord(self._first + index, final_info, kept))

    def _step_next(self, actions: list[Any]) -> list[InfoRecord]:
        records: list[InfoRecord] = []
        rewards, cursors, slot, first = self._rewards, self._cursors, self._slot, self._first
        over, writers = self._over, self._write
        for flags in self._flags:
            flags.fill(False)
        index = 0
        result: Any = None
        try:
            for step, action in zip(self._steps, actions, strict=True):
                cursors[slot] = first + index
                if over[index]:
                    observation, info = self._reset_after_end(index)
                    keep = self._all_infos
                else:
                    result = step(action)
                    observation, reward, terminated, truncated, info = result
                    rewards[index] = reward
                    keep = self._all_infos
                    if terminated or truncated:
                        self._terminated[index] = terminated
                        self._truncated[index] = truncated
                        over[index] = True
                        keep = self._final_infos
                writers[index](observation)
                if type(info) is not dict:
                    _refuse_info(info)
                if keep and info:
                    records.append(InfoRecord(first + index, None, info))
                index += 1
        except RequestError:
            raise
        except Exception as error:
            raise self._explain(error, index, result, actions[index]) from error
        return records

    def _reset_after_end(self, index: int) -> tuple[Any, Info]:
        if self._mode is AutoresetMode.DISABLED:
            raise RequestError(
                f"expected env {self._first + index} to be reset after its episode ended, got a step; call "
                f"reset(options={{'reset_mask': terminated | truncated}}) first, or choose another autoreset_mode"
            )
        self._over[index] = False
        self._rewards[index] = 0.0
        self._reset_rows[index] = True
        self._resets_in_steps[index] += 1
        return self._reset_env(index, None, None)

    def reset(
        self, seeds: Sequence[int | None], options: dict[str, Any] | None, mask: Sequence[bool] | None
    ) -> list[InfoRecord]:
        """Reset the environments, or those that ``mask`` chooses.

        Args:
            seeds: one per environment of the group; None leaves its generator as it is.
            options: passed to each environment.
            mask: which environments to reset; None for all.

        Raises:
            EnvRaisedError: an environment raised.
            EnvContractError: an environment returned something that does not fit.
        """
        begin_ns = perf_counter_ns()
        records: list[InfoRecord] = []
        index = 0
        try:
            for index, seed in enumerate(seeds):
                if mask is not None and not mask[index]:
                    continue
                self._cursors[self._slot] = self._first + index
                if seed is not None:
                    self.seeds[index] = seed
                observation, info = self._reset_env(index, seed, options)
                self._write[index](observation)
                self._over[index] = False
                self._rewards[index] = 0.0
                self._terminated[index] = self._truncated[index] = self._reset_rows[index] = False
                if self._all_infos and info:
                    records.append(InfoRecord(self._first + index, None, info))
        except Exception as error:
            raise self._explain(error, index, None, None) from error
        finally:
            self._cursors[self._slot] = IDLE
            self._busy_ns[self._slot] += perf_counter_ns() - begin_ns
        return records

    def close(self) -> None:
        """Close every environment; one that fails to close does not keep the others open."""
        for env in self.envs:
            try:
                env.close()
            except Exception:
                continue

    def _reset_env(self, index: int, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, Info]:
        result: Any = self.envs[index].reset(seed=seed, options=options)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise ContractBreach(f"expected reset to return (observation, info), got {got}; return both, info a dict")
        return result

    def _explain(self, error: Exception, index: int, result: Any, action: Any) -> EnvError:
        """Turn what went wrong at one environment into an error that says which, with which seed, step and action."""
        kind: type[EnvError] = EnvRaisedError
        message = f"an environment raised {type(error).__name__}: {error}".rstrip(": .")
        frames = error.__traceback__
        if isinstance(error, ContractBreach):
            kind, message = EnvContractError, str(error)
        elif frames is not None and frames.tb_next is None:  # raised by this module's own loop, handling the result
            kind, message = EnvContractError, _misfit(result, error)
        return kind(
            message,
            env_index=self._first + index,
            seed=self.seeds[index],
            step=self._vector_steps + (action is not None) - self._resets_in_steps[index],
            action=plain_action(action),
            original_traceback="".join(traceback.format_exception(error)),
        )


def plain_action(action: Any) -> Any:
    """Return an action as plain Python for a message; long ones are cut short."""
    if isinstance(action, np.ndarray):
        flat = action.reshape(-1).tolist()
        return action.tolist() if len(flat) <= _LONGEST_ACTION else [*flat[:_LONGEST_ACTION], "..."]
    if isinstance(action, np.generic):
        return action.item()
    if isinstance(action, dict):
        return {key: plain_action(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return tuple(plain_action(part) for part in action)
    return action


def _refuse_info(info: Any) -> None:
    if not isinstance(info, dict):
        raise ContractBreach(f"expected info to be a dict, got {type(info).__name__}; return {{}} if there is none")


def _misfit(result: Any, error: Exception) -> str:
    names = "(observation, reward, terminated, truncated, info)"
    if not isinstance(result, tuple | list):
        return f"expected step to return {names}, got {type(result).__name__}; return all five"
    if len(result) != 5:
        return f"expected step to return the 5 values {names}, got {len(result)}; return all five"
    if not isinstance(result[1], int | float | np.number):
        return f"expected the reward to be a number, got {type(result[1]).__name__}; return float(reward)"
    return f"expected step to return {names} of fitting types, got an error in reading them: {error}"
