"""EnvPool's tasks as one simulation: another implementation of many environments, in C++ threads of its own.

EnvPool draws random numbers from generators of its own, and some of its tasks differ from Gymnasium's in details
(dtypes of observations and rewards, physics libraries, versions). So the data are not those of the other backends:
reproducible with the same seeds, but another stream. It resets by itself in the step after an end, as ``NEXT_STEP``
wants it; in the other autoreset modes it is told when to.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from paceline.errors import EnvNotFoundError, EnvRaisedError, PlanError, RequestError, SpecError, UnsupportedSpaceError
from paceline.vector.arrays import VecArrays
from paceline.vector.batched import VecOptions
from paceline.vector.native.simulation import EnvIds, Failure, Simulation
from paceline.vector.native.task import Columns

_SEED_BELOW = 2**31
_NOT_INFOS = ("env_id", "players")
_Result = tuple[EnvIds, Mapping[str, Any]]
"""Which environments a pool answered for, in its order, and its infos."""


class _Pool(NamedTuple):
    """A pool, and which environments of the vector are its own 0, 1, .., int64 ``[n]``."""

    handle: Any
    ids: EnvIds


class EnvpoolSimulation(Simulation):
    """N environments of one pool.

    A pool's seeds are fixed when it is made: it is made in the first reset, and anew when all environments are given
    seeds. Those that are given seeds while others are not move to a pool of their own.

    Args:
        name: EnvPool's id.
        kwargs: EnvPool's arguments of the task.
        num_envs: N.
        num_threads: threads that step.
        options: what every backend is told alike.

    Raises:
        PlanError: environments with several players, or faults that should be mended.
        SpecError: the task does not take one of ``kwargs``.
        EnvNotFoundError: a library that the task needs is missing.
        UnsupportedSpaceError: nested actions.
    """

    begins_when_stepped = True

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
        self._kwargs = dict(kwargs)
        self._num_threads = num_threads
        spec = self._make_spec(num_envs)
        if spec.config.max_num_players > 1:
            raise PlanError(f"expected an environment of one player for backend native, got {name}; choose another")
        with _quiet_bounds():
            self.observation_space = _known_space(spec.gymnasium_observation_space)
            self.action_space = _known_space(spec.gymnasium_action_space)
        if isinstance(self.action_space, spaces.Dict | spaces.Tuple):
            raise UnsupportedSpaceError(
                f"expected an action space that is not nested, got {self.action_space} of {name}"
            )
        self.metadata = {"render_modes": []}
        self.spec = None
        self.reason = (
            f"native: EnvPool {self._envpool.__version__} steps {name} in {num_threads} threads: its own "
            f"implementation and random stream, so not the data of the other backends"
        )
        self._everyone: EnvIds = np.arange(num_envs)
        self._pools: list[_Pool] = []
        self._home = np.zeros(num_envs, np.int64)
        self._local = np.zeros(num_envs, np.int32)
        self._results: list[_Result] = []

    def begin(
        self,
        env_ids: EnvIds,
        seeds: list[int | None] | None,
        arrays: VecArrays,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Begin episodes; EnvPool knows no options.

        Raises:
            RequestError: a seed of 2^31 or more.
        """
        if seeds is not None:
            given = [(index, seed) for index, seed in zip(env_ids.tolist(), seeds, strict=True) if seed is not None]
            self._move_to_new_pool(np.array([index for index, _ in given]), [seed for _, seed in given])
        results: list[_Result] = []
        for pool, rows in self._parts(env_ids):
            observations, infos = self._called(pool.handle.reset, self._local[rows])
            ids = pool.ids[infos["env_id"]]
            _store_rows(observations, arrays.observations, ids)
            results.append((ids, infos))
        self._results = results

    def advance(self, env_ids: EnvIds | None, arrays: VecArrays) -> Sequence[Failure]:
        """Step environments."""
        parts = self._parts(self._everyone if env_ids is None else env_ids)
        for pool, chosen in parts:
            whole = env_ids is None and len(parts) == 1
            actions = arrays.actions if whole else arrays.actions[chosen]
            self._called(pool.handle.send, actions, self._local if whole else self._local[chosen])
        results: list[_Result] = []
        for pool, _ in parts:
            observations, rewards, terminated, truncated, infos = self._called(pool.handle.recv)
            ids = pool.ids[infos["env_id"]]
            in_order = len(ids) == len(self._everyone) and bool((ids == self._everyone).all())
            rows: Any = slice(None) if in_order else ids
            _store_rows(observations, arrays.observations, rows)
            arrays.rewards[rows] = rewards
            arrays.terminated[rows] = terminated
            arrays.truncated[rows] = truncated
            results.append((ids, infos))
        self._results = results
        return ()

    def step_infos(self, env_ids: EnvIds | None) -> Columns:
        """Return EnvPool's own infos of the last step, such as ``elapsed_step``."""
        return _columns(self._results)

    def reset_infos(self, env_ids: EnvIds) -> Columns:
        """Return EnvPool's own infos of the last reset."""
        return _columns(self._results)

    def reseed(self, env_index: int, seed: int) -> None:
        """Refuse: a pool's seeds are fixed.

        Raises:
            RequestError: always.
        """
        raise RequestError(
            f"expected no new seed for env {env_index} of a pool, whose seeds are fixed, got {seed}; reset it instead"
        )

    def close(self) -> None:
        """End the pools' threads."""
        for pool in self._pools:
            pool.handle.close()
        self._pools = []

    def _parts(self, env_ids: EnvIds) -> list[tuple[_Pool, EnvIds]]:
        """Return the pools that have some of ``env_ids``, and which."""
        if len(self._pools) == 1:
            return [(self._pools[0], env_ids)]
        home = self._home[env_ids]
        return [(self._pools[k], env_ids[home == k]) for k in np.unique(home).tolist()]

    def _move_to_new_pool(self, env_ids: EnvIds, seeds: list[int]) -> None:
        if max(seeds) >= _SEED_BELOW:
            raise RequestError(f"expected seeds below 2^31 for EnvPool, got {max(seeds)}; choose others")
        with _quiet_bounds():
            handle = self._called(
                self._envpool.make,
                self._name,
                env_type="gymnasium",
                num_envs=len(seeds),
                num_threads=min(self._num_threads, len(seeds)),
                seed=seeds,
                **self._kwargs,
            )
            _ = handle.observation_space  # made, and kept, when it is first asked for: now, quietly
        self._pools.append(_Pool(handle, env_ids))
        self._home[env_ids] = len(self._pools) - 1
        self._local[env_ids] = np.arange(len(env_ids))
        left = np.unique(self._home)
        for k in range(len(self._pools)):
            if k not in left:
                self._pools[k].handle.close()
        self._pools = [self._pools[k] for k in left.tolist()]
        self._home = np.searchsorted(left, self._home)

    def _make_spec(self, num_envs: int) -> Any:
        name = self._name
        try:
            return self._envpool.make_spec(name, num_envs=num_envs, num_threads=self._num_threads, **self._kwargs)
        except ImportError as error:
            reason = str(error).rstrip(".")
            raise EnvNotFoundError(
                f"expected what EnvPool needs for {name} to be installed, got: {reason}; install it"
            ) from error
        except (AssertionError, TypeError, ValueError, KeyError) as error:
            raise SpecError(
                f"expected arguments that EnvPool's {name} takes, got {self._kwargs} ({error}); mend them"
            ) from error

    def _called(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise EnvRaisedError(
                f"EnvPool's {self._name} raised {type(error).__name__}: {error}".rstrip(". "),
                original_traceback="".join(traceback.format_exception(error)),
            ) from error


@contextmanager
def _quiet_bounds() -> Iterator[None]:
    """Drop the warning that bounds are given in double precision for single: nothing that a user can change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*precision lowered by casting", category=UserWarning)
        yield


def _known_space(space: Any) -> Any:
    """Return a space as Gymnasium's: EnvPool leaves those with several parts as plain dicts."""
    if isinstance(space, dict):
        return spaces.Dict({key: _known_space(part) for key, part in space.items()})
    return space


def _columns(results: Sequence[_Result]) -> Columns:
    """Return the infos that are one array for all environments, rows in ascending order of these."""
    order = np.argsort(np.concatenate([ids for ids, _ in results]))
    columns: Columns = {}
    for key in results[0][1]:
        parts = [infos.get(key) for _, infos in results]
        if key not in _NOT_INFOS and all(isinstance(part, np.ndarray) for part in parts):
            columns[key] = np.concatenate(parts)[order]  # type: ignore[arg-type]
    return columns


def _store_rows(source: Any, target: Any, rows: Any) -> None:
    """Write observations into rows of a tree of arrays."""
    if isinstance(target, dict):
        for key, part in target.items():
            _store_rows(source[key], part, rows)
    elif isinstance(target, tuple):
        for part, other in zip(target, source, strict=True):
            _store_rows(other, part, rows)
    else:
        target[rows] = source
