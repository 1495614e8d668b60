"""The loop over a group of environments: the same code in the learner's process, in a thread and in a runner.

That all backends run this very loop is why they return the same data bit for bit.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, Literal

import gymnasium
from gymnasium.vector import AutoresetMode

from paceline.envs import EnvFactory
from paceline.errors import EnvContractError, EnvError, EnvRaisedError, RequestError
from paceline.vector.actions import plain_action
from paceline.vector.arrays import IDLE, VecArrays
from paceline.vector.breach import NO_RESULT, name_breach, refuse_info
from paceline.vector.faults import Fault, FaultPolicy, replacement_seed
from paceline.vector.infos import Info, InfoRecord
from paceline.vector.rows import GroupRows
from paceline.vector.spaces import (
    ContractBreach,
)
from paceline.vector.stretch import Stretch

Env = gymnasium.Env[Any, Any]
InfoLevel = Literal["all", "final", "none"]
"""Which infos a vector environment collects: all, those of an episode's last step, or none."""

_Todo = Iterable[tuple[int, Any, Any, Any]]
"""Index in the group, ``step`` of the environment, its action, and the writer of its observation."""


class _Lost(Exception):
    """The environment's predecessor died with its process: the step that is asked of it cannot happen."""


class EnvGroup:
    """E consecutive environments of a vector, stepped one after the other into the rows of its arrays.

    Args:
        envs: the environments; the group closes them.
        arrays: arrays of the whole vector.
        first: index of the group's first environment in the vector.
        slot: index of the group (runner).
        autoreset_mode: what happens at, or after, the end of an episode.
        infos: which infos to collect.
        factories: build the replacement of each environment.
        policy: what to do about an environment that breaks.
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
        factories: Sequence[EnvFactory] = (),
        policy: FaultPolicy | None = None,
    ) -> None:
        rows = slice(first, first + len(envs))
        self.envs = list(envs)
        self.seeds: list[int | None] = [None] * len(envs)
        self._factories = factories
        self._policy = policy or FaultPolicy()
        self._restarts_faults = self._policy.restarts
        self._faults: list[Fault] = []
        self._num_faults = 0
        self.first = first
        self._slot = slot
        self._mode = autoreset_mode
        self._all_infos = infos == "all"
        self._final_infos = infos != "none"
        self._same_step = autoreset_mode is AutoresetMode.SAME_STEP
        self._run = self._run_same if self._same_step else self._run_next
        self._steps = [env.step for env in envs]
        self._rows = GroupRows(
            arrays, rows, envs[0].observation_space, has_finals=self._same_step, keeps=self._restarts_faults
        )
        self._cursors = arrays.cursors.data
        self._busy_ns = arrays.busy_ns.data
        self._env_steps = arrays.env_steps.data
        self._finished_ns = arrays.finished_ns.data
        self._alone = len(envs) == 1
        self._over = [False] * len(envs)
        self._resetting = False  # SAME_STEP: the environment at the cursor has ended its episode and begins another
        self._vector_steps = 0
        self._extra_steps = [0] * len(envs)  # steps less those of the whole group; resets in steps count against it
        self._restarts = [0] * len(envs)
        self._fresh_seeds: dict[int, int] = {}

    def step(self, indices: Sequence[int] | None = None) -> list[InfoRecord]:
        """Step environments with their rows of the actions.

        Args:
            indices: which of the group, distinct; None: all.

        Raises:
            EnvRaisedError: an environment raised.
            EnvContractError: an environment returned something that does not fit, or NaN.
            RequestError: ``DISABLED`` mode and an episode is over.
        """
        begin_ns = perf_counter_ns()
        records: list[InfoRecord] = []
        actions: list[Any] = []
        whole = indices is None and not self._alone
        if indices is None:
            indices = self._rows.whole.indices
        try:
            if len(indices) == 1:
                is_nan = self._step_one(indices[0], actions, records)
            elif whole or list(indices) == list(range(indices[0], indices[0] + len(indices))):
                stretch = self._rows.whole if whole else self._rows.stretch(indices[0], len(indices))
                is_nan = self._step_stretch(stretch, actions, records)
            else:
                is_nan = self._step_scattered(indices, actions, records)
            if is_nan:
                self._refuse_nan(indices, actions, records)
        finally:
            if whole:
                self._vector_steps += 1
            else:
                for index in indices:
                    self._extra_steps[index] += 1
            slot, end_ns = self._slot, perf_counter_ns()
            self._cursors[slot] = IDLE
            self._busy_ns[slot] += end_ns - begin_ns
            self._env_steps[slot] += len(indices)
            self._finished_ns[slot] = end_ns
        return records

    def _step_stretch(self, stretch: Stretch, actions: list[Any], records: list[InfoRecord]) -> bool:
        """Step environments side by side, add their actions to ``actions``, and return whether there is NaN."""
        rows = stretch.rows
        actions += self._rows.begin_stretch(stretch)
        todo = zip(stretch.indices, self._steps[rows], actions, self._rows.write[rows], strict=True)
        self._step_through(todo, records)
        return stretch.is_nan()

    def _step_one(self, index: int, actions: list[Any], records: list[InfoRecord]) -> bool:
        """Step one environment, likewise."""
        actions.append(self._rows.begin_one(index))
        self._step_through(((index, self._steps[index], actions[0], self._rows.write[index]),), records)
        return self._rows.is_nan(index)

    def _step_scattered(self, indices: Sequence[int], actions: list[Any], records: list[InfoRecord]) -> bool:
        """Step environments that do not lie side by side, likewise."""
        actions += self._rows.begin_scattered(indices)
        todo = [(i, self._steps[i], action, self._rows.write[i]) for i, action in zip(indices, actions, strict=True)]
        self._step_through(todo, records)
        return self._rows.is_nan_among(indices)

    def take_faults(self) -> list[Fault]:
        """Return the faults that were mended since the last call."""
        taken, self._faults = self._faults, []  # never the list itself: a thread may append to it before it is read
        return taken

    def _step_through(self, todo: _Todo, records: list[InfoRecord]) -> None:
        """Run the loop; where an environment breaks and is replaced, go on with the next one."""
        rest = iter(todo)
        while True:
            try:
                self._run(rest, records)
                return
            except EnvError as error:
                index = self._cursors[self._slot] - self.first
                in_reset = self._resetting or bool(self._rows.reset_rows[index])
                self._resetting = False
                if isinstance(error.__cause__, _Lost):
                    self._replace(index, None, records, in_reset=False)
                elif self._restarts_faults:
                    self._replace(index, error, records, in_reset=in_reset)
                else:
                    raise

    def _run_same(self, todo: _Todo, records: list[InfoRecord]) -> None:
        rows, cursors, slot, first = self._rows, self._cursors, self._slot, self.first
        rewards = rows.rewards
        all_infos = self._all_infos
        index = 0
        action: Any = None
        result: Any = None
        nothing = NO_RESULT
        try:
            for index, step, action, write in todo:  # the handler below needs them
                cursors[slot] = first + index
                result = nothing  # else one that raises would be blamed for what the one before returned
                result = step(action)
                observation, reward, terminated, truncated, info = result
                rewards[index] = reward
                if terminated or truncated:
                    rows.terminated[index] = terminated
                    rows.truncated[index] = truncated
                    rows.write_final[index](observation)
                    rows.refuse_final_nan(index)
                    self._start_next_episode(index, info, records)
                else:
                    write(observation)
                    if type(info) is not dict:
                        refuse_info(info)
                    if all_infos and info:
                        records.append(InfoRecord(first + index, None, info))
        except (Exception, SystemExit) as error:
            raise self._explain(error, index, result, action) from error

    def _start_next_episode(self, index: int, final_info: Any, records: list[InfoRecord]) -> None:
        if type(final_info) is not dict:
            refuse_info(final_info)
        self._resetting = True
        info: Info = {}
        final_info = dict(final_info)  # the environment may use it again for the next episode
        try:
            observation, info = self._reset_env(index, None, None)
            self._rows.write[index](observation)
        finally:  # the episode has ended, whatever becomes of the next one
            if self._final_infos:
                kept = info if self._all_infos else {}
                if final_info or kept:
                    records.append(InfoRecord(self.first + index, final_info, kept))
        self._resetting = False

    def _run_next(self, todo: _Todo, records: list[InfoRecord]) -> None:
        rows, cursors, slot, first = self._rows, self._cursors, self._slot, self.first
        rewards = rows.rewards
        over = self._over
        index = 0
        action: Any = None
        result: Any = None
        nothing = NO_RESULT
        try:
            for index, step, action, write in todo:
                cursors[slot] = first + index
                result = nothing  # else one that raises would be blamed for what the one before returned
                if over[index]:
                    observation, info = self._reset_after_end(index)
                    keep = self._all_infos
                else:
                    result = step(action)
                    observation, reward, terminated, truncated, info = result
                    rewards[index] = reward
                    keep = self._all_infos
                    if terminated or truncated:
                        rows.terminated[index] = terminated
                        rows.truncated[index] = truncated
                        over[index] = True
                        keep = self._final_infos
                write(observation)
                if type(info) is not dict:
                    refuse_info(info)
                if keep and info:
                    records.append(InfoRecord(first + index, None, info))
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            raise self._explain(error, index, result, action) from error

    def _reset_after_end(self, index: int) -> tuple[Any, Info]:
        if self._mode is AutoresetMode.DISABLED:
            raise RequestError(
                f"expected env {self.first + index} to be reset after its episode ended, got a step; call "
                f"reset(options={{'reset_mask': terminated | truncated}}) first, or choose another autoreset_mode"
            )
        self._over[index] = False
        self._rows.rewards[index] = 0.0
        self._rows.reset_rows[index] = True
        self._extra_steps[index] -= 1
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
            EnvContractError: an environment returned something that does not fit, or NaN.
        """
        begin_ns = perf_counter_ns()
        records: list[InfoRecord] = []
        try:
            for index, seed in enumerate(seeds):
                if mask is None or mask[index]:
                    self._cursors[self._slot] = self.first + index
                    self._restart_episode(index, seed, options, records)
        finally:
            self._cursors[self._slot] = IDLE
            self._busy_ns[self._slot] += perf_counter_ns() - begin_ns
        return records

    def _restart_episode(
        self, index: int, seed: int | None, options: dict[str, Any] | None, records: list[InfoRecord]
    ) -> None:
        if seed is not None:
            self.seeds[index] = seed
        self._steps[index] = self.envs[index].step  # a lost environment has its new beginning here
        self._over[index] = False
        self._rows.clear(index)
        try:
            observation, info = self._reset_env(index, seed, options)
            self._rows.write[index](observation)
            self._rows.refuse_nan(index)
        except (Exception, SystemExit) as error:
            explained = self._explain(error, index, NO_RESULT, None)
            if not self._restarts_faults:
                raise explained from error
            self._replace(index, explained, records, in_reset=True)
            return
        if self._all_infos and info:
            records.append(InfoRecord(self.first + index, None, info))

    def close(self) -> None:
        """Close every environment; one that fails to close does not keep the others open."""
        for env in self.envs:
            with suppress(Exception, SystemExit):
                env.close()

    def lose(self, seeds: Sequence[int], steps: Sequence[int]) -> None:
        """Stand in for a group that died: each environment's next step is a restarted row, and starts from its seed.

        Args:
            seeds: of the environments in their new life.
            steps: how many each has taken since the vector was made.
        """
        for index, seed in enumerate(seeds):
            self.seeds[index] = seed
            self._fresh_seeds[index] = seed
            self._steps[index] = _raise_lost
            self._over[index] = False
        self._extra_steps = list(steps)

    def blame(self, env_index: int, message: str) -> EnvContractError:
        """Return an error that names an environment of this group after its step."""
        index = env_index - self.first
        return EnvContractError(
            message,
            env_index=env_index,
            seed=self.seeds[index],
            step=self._vector_steps + self._extra_steps[index],
            action=plain_action(self._rows.action(index)),
        )

    def _replace(self, index: int, error: EnvError | None, records: list[InfoRecord], *, in_reset: bool) -> None:
        """Put a new environment in the place of one that broke, and make its row what the contract says of it.

        One that breaks in its first reset is replaced in turn, as often as the policy allows; past that the row is left
        as it is, and whoever takes the faults raises the last.

        Args:
            index: which of the group.
            error: what went wrong; None: a group that died had the environment, and this one is new already.
            records: infos of the step or reset.
            in_reset: it broke at the beginning of an episode, so that the row tells of a reset, or of a step that ended
                the episode before, and stays what it is.

        Raises:
            EnvError: the replacement cannot be built, or has other spaces.
        """
        if not in_reset:
            self._rows.mark_restarted(index)
        info: Info = {}
        while True:
            if error is not None and not self._renew(index, error):
                return
            self._steps[index] = self.envs[index].step
            if not in_reset and not self._same_step:
                self._over[index] = True  # the next step, or reset, begins its first episode
                break
            try:
                observation, info = self._reset_env(index, None, None)
                self._rows.write[index](observation)
                self._rows.refuse_nan(index)
                break
            except (Exception, SystemExit) as again:
                error = self._explain(again, index, NO_RESULT, None)
        self._revise(records, index, info, keep_final=in_reset)

    def _renew(self, index: int, error: EnvError) -> bool:
        """Note a fault and build another environment; return whether it may still be replaced."""
        self._restarts[index] += 1
        self._num_faults += 1
        seed = replacement_seed(self.seeds[index], self._restarts[index], self.first + index)
        self._faults.append(Fault.of(error, self.first + index, seed))
        if self._num_faults > self._policy.max_restarts:
            return False
        old = self.envs[index]
        with suppress(Exception, SystemExit):  # it is broken already
            old.close()
        try:
            env = self._factories[index]()
        except (Exception, SystemExit) as refusal:
            raise EnvRaisedError(
                f"expected to replace an environment that broke, but no other can be built: {refusal}; it broke "
                f"because {error.args[0]}",
                env_index=self.first + index,
                seed=error.seed,
                original_traceback="".join(traceback.format_exception(refusal)),
            ) from refusal
        self.envs[index] = env
        if (env.observation_space, env.action_space) != (old.observation_space, old.action_space):
            raise EnvContractError(
                f"expected the replacement of a broken environment to have its spaces, {old.observation_space} and "
                f"{old.action_space}, got {env.observation_space} and {env.action_space}; build equal ones",
                env_index=self.first + index,
            )
        self.seeds[index] = seed
        self._fresh_seeds[index] = seed
        return True

    def _revise(self, records: list[InfoRecord], index: int, info: Info, *, keep_final: bool) -> None:
        """Let the infos tell of the environment that is there now, and of the end of the one before if there was."""
        env_index = self.first + index
        finals = [record.final for record in records if record.env_index == env_index and keep_final]
        final = finals[0] if finals else None
        records[:] = [record for record in records if record.env_index != env_index]
        kept = info if self._all_infos else {}
        if final or kept:
            records.append(InfoRecord(env_index, final, kept))
            records.sort(key=lambda record: record.env_index)

    def _reset_env(self, index: int, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, Info]:
        fresh = self._fresh_seeds.pop(index, None) if self._fresh_seeds else None
        result: Any = self.envs[index].reset(seed=fresh if seed is None else seed, options=options)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise ContractBreach(f"expected reset to return (observation, info), got {got}; return both, info a dict")
        return result

    def _refuse_nan(self, indices: Sequence[int], actions: Sequence[Any], records: list[InfoRecord]) -> None:
        """Find the environments that wrote NaN and name them, or replace them."""
        for index, action in zip(indices, actions, strict=True):
            self._cursors[self._slot] = self.first + index
            ended = self._same_step and bool(self._rows.terminated[index] or self._rows.truncated[index])
            in_reset = False
            try:
                if self._rows.rewards[index] != self._rows.rewards[index]:
                    raise ContractBreach("expected a reward that is a number, got NaN; mend the environment's reward")
                in_reset = ended or bool(self._rows.reset_rows[index])
                self._rows.refuse_nan(index)
            except ContractBreach as breach:
                error = self._explain(breach, index, NO_RESULT, action)
                if not self._restarts_faults:
                    raise error from breach
                self._replace(index, error, records, in_reset=in_reset)

    def _explain(self, error: BaseException, index: int, result: Any, action: Any) -> EnvError:
        """Turn what went wrong at one environment into an error that says which, with which seed, step and action."""
        kind, message = name_breach(error, result)
        return kind(
            message,
            env_index=self.first + index,
            seed=self.seeds[index],
            step=self._vector_steps + self._extra_steps[index] + (action is not None),
            action=plain_action(action),
            original_traceback="".join(traceback.format_exception(error)),
        )


def _raise_lost(action: Any) -> Any:
    raise _Lost
