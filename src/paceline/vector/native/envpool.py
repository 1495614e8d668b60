"""EnvPool's tasks as one simulation: another implementation of many environments, in C++ threads of its own.

EnvPool draws random numbers from generators of its own, and some of its tasks differ from Gymnasium's in details
(dtypes of observations and rewards, physics libraries, versions). So the data are not those of the other backends:
reproducible with the same seeds, but another stream. It resets by itself in the step after an end; here it is told when
to, so that all of Gymnasium's autoreset modes work.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.errors import EnvRaisedError, PlanError, RequestError, SpecError, UnsupportedSpaceError
from paceline.vector.arrays import VecArrays
from paceline.vector.batched import VecOptions
from paceline.vector.native.simulation import EnvIds, Simulation
from paceline.vector.native.task import Columns

_SEED_BELOW = 2**31
_NOT_INFOS = ("env_id", "players")


class EnvpoolSimulation(Simulation):
    """N environments of one pool.

    A pool's seeds are fixed when it is made: it is made in the first reset, and anew in every later reset that gives
    seeds to all environments.

    Args:
        name: EnvPool's id.
        kwargs: EnvPool's arguments of the task.
        num_envs: N.
        num_threads: threads that step.
        options: what every backend is told alike.

    Raises:
        PlanError: environments with several players, or faults that should be mended.
        SpecError: the task does not take one of ``kwargs``.
        UnsupportedSpaceError: nested actions.
    """

    def __init__(
        self, name: str, kwargs: Mapping[str, Any], num_envs: int, num_threads: int, options: VecOptions
    ) -> None:
        if options.faults.restarts:
            raise PlanError(
                "expected on_fault raise for EnvPool, which cannot replace one environment of a pool, got restart; "
                "leave it out, or use backend shm"
            )
        self._envpool = import_module("envpool")
        self._name = name
        self._arguments = {**kwargs, "num_envs": num_envs, "num_threads": num_threads}
        try:
            spec = self._envpool.make_spec(name, **self._arguments)
        except (AssertionError, TypeError, ValueError, KeyError) as error:
            raise SpecError(
                f"expected arguments that EnvPool's {name} takes, got {dict(kwargs)} ({error}); mend them"
            ) from error
        if spec.config.max_num_players > 1:
            raise PlanError(f"expected an environment of one player for backend native, got {name}; choose another")
        self.observation_space = _known_space(spec.gymnasium_observation_space)
        self.action_space = _known_space(spec.gymnasium_action_space)
        if isinstance(self.action_space, spaces.Dict | spaces.Tuple):
            raise UnsupportedSpaceError(
                f"expected an action space that is not nested, got {self.action_space} of {name}"
            )
        self.metadata = {"render_modes": []}
        self.spec = None
        self.reason = (
            f"EnvPool {self._envpool.__version__} steps {name} in {num_threads} threads: its own implementation and "
            f"random stream, so not the data of the other backends"
        )
        self._pool: Any = None
        self._infos: Columns = {}
        self._reset_infos: dict[int, Columns] = {}
        self._num_envs = num_envs

    def begin(self, env_ids: EnvIds, seeds: list[int | None] | None, arrays: VecArrays) -> None:
        """Begin episodes; seeds must be given to all environments or to none.

        Raises:
            RequestError: seeds for some environments only, or too large ones.
        """
        if seeds is not None:
            self._make_pool(env_ids, seeds)
        observations, infos = self._called(self._pool.reset, env_ids.astype(np.int32))
        ids, self._infos = _own_infos(infos)
        _store(observations, arrays.observations, ids)
        self._infos = _in_order(self._infos, ids)

    def advance(self, env_ids: EnvIds | None, arrays: VecArrays) -> None:
        """Step environments."""
        actions = arrays.actions if env_ids is None else arrays.actions[env_ids]
        ids32 = None if env_ids is None else env_ids.astype(np.int32)
        observations, rewards, terminated, truncated, infos = self._called(self._pool.step, actions, ids32)
        ids, self._infos = _own_infos(infos)
        _store(observations, arrays.observations, ids)
        arrays.rewards[ids] = rewards
        arrays.terminated[ids] = terminated
        arrays.truncated[ids] = truncated
        self._infos = _in_order(self._infos, ids)

    def step_infos(self, env_ids: EnvIds | None) -> Columns:
        """Return EnvPool's own infos of the last step, such as ``elapsed_step``."""
        return self._infos

    def reset_infos(self, env_ids: EnvIds) -> Columns:
        """Return EnvPool's own infos of the last reset."""
        return self._infos

    def reseed(self, env_index: int, seed: int) -> None:
        """Refuse: a pool's seeds are fixed.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"expected no new seed for env {env_index} of a pool, whose seeds are fixed, got {seed}")

    def close(self) -> None:
        """End the pool's threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _make_pool(self, env_ids: EnvIds, seeds: list[int | None]) -> None:
        if len(env_ids) < self._num_envs or None in seeds:
            raise RequestError(
                "expected seeds for all environments of an EnvPool, or for none, got some; reset all, or leave out "
                "the seeds"
            )
        if any(seed is not None and seed >= _SEED_BELOW for seed in seeds):
            raise RequestError(f"expected seeds below 2^31 for EnvPool, got {max(filter(None, seeds))}; choose others")
        self.close()
        self._pool = self._called(self._envpool.make, self._name, env_type="gymnasium", seed=seeds, **self._arguments)

    def _called(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise EnvRaisedError(
                f"EnvPool's {self._name} raised {type(error).__name__}: {error}".rstrip(". ")
            ) from error


def _known_space(space: Any) -> Any:
    """Return a space as Gymnasium's: EnvPool leaves those with several parts as plain dicts."""
    if isinstance(space, dict):
        return spaces.Dict({key: _known_space(part) for key, part in space.items()})
    return space


def _own_infos(infos: Mapping[str, Any]) -> tuple[NDArray[np.int64], Columns]:
    """Return which environments were stepped, in EnvPool's order, and the infos that are one value each."""
    ids = infos["env_id"].astype(np.int64)
    columns = {
        key: value
        for key, value in infos.items()
        if key not in _NOT_INFOS and isinstance(value, np.ndarray) and len(value) == len(ids)
    }
    return ids, columns


def _in_order(columns: Columns, ids: NDArray[np.int64]) -> Columns:
    if (ids[1:] > ids[:-1]).all():
        return columns
    order = np.argsort(ids)
    return {key: column[order] for key, column in columns.items()}


def _store(source: Any, target: Any, ids: NDArray[np.int64]) -> None:
    if isinstance(target, dict):
        for key, part in target.items():
            _store(source[key], part, ids)
    elif isinstance(target, tuple):
        for part, other in zip(target, source, strict=True):
            _store(other, part, ids)
    else:
        target[ids] = source
