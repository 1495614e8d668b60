"""Gymnasium's classic-control tasks as one simulation: all environments at once in batched NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random

from paceline.errors import PlanError
from paceline.vector.arrays import VecArrays
from paceline.vector.breach import NO_RESULT, name_breach
from paceline.vector.native.classic_task import ClassicTask
from paceline.vector.native.simulation import BeginFailedError, EnvIds, Failure, Simulation
from paceline.vector.native.task import Columns
from paceline.vector.native.template import Env, options_of, refuse_wrappers, step_limit


class ClassicSimulation(Simulation):
    """Gymnasium's classic-control tasks over arrays, in the thread that asks for a step, the data Gymnasium's own.

    Same seeds and actions give the same states, observations, rewards and ends bit for bit. A NumPy call costs about as
    much for one environment as for a hundred, so this pays from a few environments on.

    Args:
        template: one environment of the task, fresh from ``gymnasium.make``.
        task: the task's class.
        num_envs: N.
        num_threads: 1; there is nothing for others to do.

    Raises:
        PlanError: more threads, or an environment that is wrapped in more than Gymnasium's own checks and time limit.
    """

    in_calling_thread = True

    def __init__(self, template: Env, task: type[ClassicTask], num_envs: int, num_threads: int) -> None:
        name = template.spec.id if template.spec is not None else task.__name__
        if num_threads != 1:
            raise PlanError(
                f"expected num_env_runners 1 for {name} with backend native, which steps all environments in the "
                f"calling thread, got {num_threads}; use 1, or backend shm"
            )
        refuse_wrappers(template)
        self.observation_space = template.observation_space
        self.action_space = template.action_space
        self.metadata = dict(template.metadata)
        self.spec = template.spec
        self._task = task(options_of(template.unwrapped, template.spec))
        self._state = np.zeros((task.size, num_envs))
        self._elapsed = np.zeros(num_envs, np.int64)
        self._max_steps = step_limit(template.spec)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self.reason = f"native: batched NumPy steps {name} in the calling thread, with Gymnasium's data"

    def begin(
        self,
        env_ids: EnvIds,
        seeds: list[int | None] | None,
        arrays: VecArrays,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Begin episodes."""
        for k, index in enumerate(env_ids.tolist()):
            seed = None if seeds is None else seeds[k]
            if seed is not None:
                self.reseed(index, seed)
            rng = self._rngs[index]
            if rng is None:
                rng = self._rngs[index] = np_random(None)[0]
            try:
                self._state[:, index] = self._task.draw_state(rng, options)
            except Exception as error:  # options that make no sense, told as an environment's own refusal
                raise BeginFailedError(_failure(index, error)) from error
        self._elapsed[env_ids] = 0
        rows = np.empty((len(env_ids), *arrays.observations.shape[1:]), np.float32)
        self._task.observe_start(self._state[:, env_ids], rows)
        arrays.observations[env_ids] = rows

    def advance(self, env_ids: EnvIds | None, arrays: VecArrays) -> Sequence[Failure]:
        """Step environments; those that are given an action outside their space raise, as Gymnasium's do."""
        task = self._task
        actions = arrays.actions if env_ids is None else arrays.actions[env_ids]
        errors = task.errors(actions)
        if errors:
            chosen = np.arange(len(self._elapsed)) if env_ids is None else env_ids
            fit = np.delete(np.arange(len(chosen)), list(errors))
            self._move(chosen[fit], actions[fit], arrays)
            return [_failure(int(chosen[row]), error) for row, error in errors.items()]
        self._move(env_ids, actions, arrays)
        return ()

    def step_infos(self, env_ids: EnvIds | None) -> Columns:
        """Return nothing: these tasks have no infos."""
        return {}

    def reset_infos(self, env_ids: EnvIds) -> Columns:
        """Return nothing: these tasks have no infos."""
        return {}

    def reseed(self, env_index: int, seed: int) -> None:
        """Give one environment a new generator."""
        self._rngs[env_index] = np_random(seed)[0]

    def close(self) -> None:
        """Give nothing back: there are only arrays."""

    def _move(self, env_ids: EnvIds | None, actions: Any, arrays: VecArrays) -> None:
        task = self._task
        rows: Any = slice(None)
        if env_ids is None:
            verdict = task.move(self._state, actions)
            task.observe(self._state, arrays.observations)
        else:
            rows = env_ids
            state = self._state[:, rows]
            verdict = task.move(state, actions)
            self._state[:, rows] = state
            observations = np.empty((len(env_ids), *arrays.observations.shape[1:]), np.float32)
            task.observe(state, observations)
            arrays.observations[rows] = observations
        self._elapsed[rows] += 1
        arrays.rewards[rows], arrays.terminated[rows] = verdict
        arrays.truncated[rows] = self._elapsed[rows] >= self._max_steps


def _failure(env_index: int, error: Exception) -> Failure:
    return Failure(env_index, name_breach(error, NO_RESULT)[1], error)
