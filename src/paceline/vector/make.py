"""One call that makes any vector environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, get_args

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from paceline.envs import EnvFactory, env_factory
from paceline.envs.registry import ENVPOOL_PREFIX
from paceline.errors import PlanError
from paceline.spec import Backend, EnvSpec, Plan
from paceline.vector.base import VecEnv
from paceline.vector.batched import VecOptions
from paceline.vector.choose import Choice, choose_backend, choose_untried, measure_env_cost
from paceline.vector.faults import FaultPolicy, OnFault
from paceline.vector.group import InfoLevel
from paceline.vector.native import NativeVecEnv, native_way
from paceline.vector.pipe import PipeVecEnv
from paceline.vector.runners.launch import StartMethod
from paceline.vector.runners.placement import spread_cores, usable_core_time
from paceline.vector.runners.processes import ProcessOptions
from paceline.vector.serial import SerialVecEnv
from paceline.vector.shm import ShmVecEnv
from paceline.vector.thread import ThreadVecEnv

Env = gymnasium.Env[Any, Any]
EnvLike = EnvSpec | EnvFactory | str | Callable[..., Env] | type[Env]

_OF_PROCESSES = ("memory_limit_bytes", "start_method", "runner_threads", "runner_cores")
"""Arguments that mean something to runner processes only."""


def make_vec(
    env: EnvLike | Sequence[Callable[..., Env]],
    num_envs: int | None = None,
    *,
    plan: Plan | None = None,
    backend: Backend = "auto",
    num_env_runners: int | None = None,
    batch_size: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    infos: InfoLevel = "all",
    copy: bool = True,
    on_fault: OnFault = "raise",
    max_restarts: int = 16,
    step_timeout_s: float | None = None,
    memory_limit_bytes: int | None = None,
    start_method: StartMethod | None = None,
    runner_threads: int = 1,
    runner_cores: Sequence[Sequence[int]] | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """Make N environments that step together: a real ``gymnasium.vector.VectorEnv``.

    Args:
        env: an id, a callable that returns an environment, an environment class or a spec; or N callables, one for each
            environment.
        num_envs: N; may be left out if ``plan`` or N callables are given.
        plan: decides backend, runners, threads and pinning; the arguments for these must then be left out.
        backend: ``serial`` (this process), ``thread``, ``pipe`` and ``shm`` (runner processes), ``native`` (batches,
            by C threads or NumPy), or ``auto``, which measures a step of the environment and picks; ``backend_reason``
            says why. With ``on_fault="restart"``, ``step_timeout_s`` or an argument of runner processes it takes
            processes, and tries nothing out in this one.
        num_env_runners: R, processes or threads; default: one per usable core, at most N.
        batch_size: how many environments ``recv`` waits for; default: all.
        autoreset_mode: Gymnasium's autoreset mode.
        infos: ``all`` as Gymnasium does, ``final`` (only of an episode's last step) or ``none`` (fastest).
        copy: whether ``reset`` and ``step`` return copies rather than views.
        on_fault: what to do when an environment breaks: ``raise``, or ``restart`` (replace it, mark the row, go on).
        max_restarts: faults that are mended before the next one is raised; the end of a runner is one.
        step_timeout_s: longest time for a step or reset of all environments (not with serial and native).
        memory_limit_bytes: what all runner processes together may use; default: 80 % of the machine's memory. This and
            the next three are for runner processes, and refused by backends without.
        start_method: how runner processes are started: ``spawn`` (a new interpreter each), ``forkserver`` (forks of one
            that has loaded everything; Linux), or None for what is quicker. Neither runs your ``__main__`` again.
        runner_threads: threads of the math libraries in each runner process.
        runner_cores: cores of each runner process for good, R lists (an empty one: any core); default: see
            :mod:`paceline.vector.runners.placement`. Only cores that this process may run on itself are shared out, so
            make the vector before pinning the learner.
        env_kwargs: keyword arguments of the environment.

    Raises:
        PlanError: the arguments contradict each other.
        EnvNotFoundError: no environment of that name.
        UnsupportedSpaceError: a space has no fixed-size array form.
        ResourceError: no room for the shared memory, or no more processes.
        EnvError: an environment cannot be built.
    """
    asked = _asked_of_processes(memory_limit_bytes, start_method, runner_threads, runner_cores)
    if plan is not None:
        if backend != "auto" or num_env_runners is not None or runner_threads != 1:
            raise PlanError(
                "expected a plan or backend, num_env_runners and runner_threads, got both; put them into the plan"
            )
        if num_envs is not None and num_envs != plan.num_envs:
            raise PlanError(
                f"expected num_envs {plan.num_envs} as the plan says ({plan.label}), got {num_envs}; leave it out"
            )
        num_envs, runner_threads = plan.num_envs, plan.runner_threads
        backend, num_env_runners = plan.resolved_backend, plan.num_env_runners
        if plan.pin_cores and runner_cores is None:
            runner_cores = spread_cores(num_env_runners, one_each=True) or None
    factories = _factories(env, num_envs, env_kwargs or {})
    _check_numbers(len(factories), batch_size, step_timeout_s, max_restarts, infos, on_fault)
    options = VecOptions(
        autoreset_mode=_autoreset_mode(autoreset_mode),
        infos=infos,
        copy=copy,
        batch_size=batch_size,
        faults=FaultPolicy(on_fault, max_restarts),
    )
    choice = _choose(
        backend,
        num_env_runners,
        factories,
        process_only=asked,
        better_in_process=_better_in_process(on_fault, step_timeout_s),
        planned=plan is not None,
    )
    if asked and choice.backend not in ("shm", "pipe"):
        raise PlanError(
            f"expected a backend with runner processes for {asked[0]}, got {choice.backend}; use backend shm or pipe, "
            f"or leave {asked[0]} out"
        )
    venv = _build(
        choice,
        factories,
        options,
        ProcessOptions(step_timeout_s, runner_threads, runner_cores, memory_limit_bytes, start_method),
    )
    venv.backend_reason = venv.backend_reason or choice.reason
    return venv


def _build(choice: Choice, factories: Sequence[EnvFactory], options: VecOptions, processes: ProcessOptions) -> VecEnv:
    """Build the execution that was chosen."""
    backend, num_runners = choice.backend, choice.num_env_runners
    if backend in ("serial", "native") and processes.step_timeout_s is not None:
        raise PlanError(
            f"expected a backend with runners for step_timeout_s, got {backend}; use backend shm, pipe or thread"
        )
    if backend == "serial":
        return SerialVecEnv(factories, options)
    if backend == "thread":
        return ThreadVecEnv(factories, num_runners, options, processes.step_timeout_s)
    if backend == "native":
        if len(set(map(id, factories))) > 1:
            raise PlanError(
                "expected one environment N times for backend native, got several; use backend serial, thread or shm"
            )
        return NativeVecEnv(factories[0], len(factories), num_runners, options)
    cores = processes.runner_cores
    if cores is not None and len(cores) != num_runners:
        raise PlanError(f"expected runner_cores for {num_runners} runners, got {len(cores)}; give one list each")
    kind = PipeVecEnv if backend == "pipe" else ShmVecEnv
    return kind(factories, num_runners, options, processes)


def _asked_of_processes(
    memory_limit_bytes: int | None,
    start_method: StartMethod | None,
    runner_threads: int,
    runner_cores: Sequence[Sequence[int]] | None,
) -> list[str]:
    """Return the names of the arguments that were given and that only runner processes can heed."""
    given = (memory_limit_bytes is not None, start_method is not None, runner_threads != 1, runner_cores is not None)
    return [name for name, there in zip(_OF_PROCESSES, given, strict=True) if there]


def _better_in_process(on_fault: OnFault, step_timeout_s: float | None) -> list[str]:
    """Return the names of the arguments that say: a step may hang, or take its process down."""
    given = {"on_fault restart": on_fault == "restart", "step_timeout_s": step_timeout_s is not None}
    return [name for name, there in given.items() if there]


def _choose(
    backend: Backend,
    num_env_runners: int | None,
    factories: Sequence[EnvFactory],
    *,
    process_only: Sequence[str] = (),
    better_in_process: Sequence[str] = (),
    planned: bool = False,
    has_processes: bool = os.name == "posix",
) -> Choice:
    """Return the execution that was asked for, or, where none was, the one that a step's cost speaks for.

    Args:
        backend: as asked for.
        num_env_runners: R, if it was asked for.
        factories: one for each environment.
        process_only: arguments that only runner processes heed.
        better_in_process: arguments for which processes are taken where there can be any.
        planned: whether a plan asks.
        has_processes: whether the system has what runner processes need.
    """
    num_envs = len(factories)
    if backend not in get_args(Backend):
        raise PlanError(
            f"expected a backend of {', '.join(get_args(Backend)[:-1])} or {get_args(Backend)[-1]}, got {backend!r}; "
            f"Gymnasium's sync is serial here, its async is pipe, or shm, which is quicker"
        )
    if backend != "auto":
        who = "the plan asks for it" if planned else "it was asked for"
        if backend == "native" and num_env_runners is None and (way := native_way(factories[0])) is not None:
            num_env_runners = min(way.most_threads or num_envs, _useful_runners(num_envs))
        return Choice(backend, _check_runners(backend, num_env_runners, num_envs), f"{backend}: {who}")
    if num_env_runners is not None:
        return _choose_for_runners(_check_runners(backend, num_env_runners, num_envs), has_processes)
    useful = _useful_runners(num_envs)
    if factories[0].id.startswith(ENVPOOL_PREFIX):
        return Choice("native", useful, "native: EnvPool has this environment, and steps it in batches")
    if process_only or better_in_process:
        # An environment that may hang, or take its process down, must not be tried out in this one.
        because = [*better_in_process, *process_only]
        return choose_untried(num_envs, useful, because, has_processes=has_processes or bool(process_only))
    if num_envs == 1:
        return choose_backend(None, num_envs, useful)
    native = native_way(factories[0]) if len(set(map(id, factories))) == 1 else None
    if native is not None and num_envs < native.least_envs:
        native = None
    cost = None if native else measure_env_cost(factories[0])
    return choose_backend(cost, num_envs, useful, native=native, has_processes=has_processes)


def _choose_for_runners(num_env_runners: int, has_processes: bool) -> Choice:
    """Return the execution of which only R is given."""
    if num_env_runners == 0:
        return Choice("serial", 0, "serial: num_env_runners is 0")
    if has_processes:
        return Choice("shm", num_env_runners, "shm: num_env_runners was given, and runners compute best in processes")
    reason = "thread: num_env_runners was given, and runner processes need Linux or macOS"
    return Choice("thread", num_env_runners, reason)


def _factories(env: Any, num_envs: int | None, kwargs: dict[str, Any]) -> list[EnvFactory]:
    """Return a factory for each environment."""
    if isinstance(env, list | tuple):
        if num_envs is not None and num_envs != len(env):
            raise PlanError(f"expected one callable per environment, got {len(env)} for num_envs {num_envs}")
        if not env:
            raise PlanError("expected at least one callable that builds an environment, got an empty list")
        known: dict[int, EnvFactory] = {}
        return [known.setdefault(id(item), env_factory(item, **kwargs)) for item in env]
    if num_envs is not None and not isinstance(num_envs, int | np.integer):
        raise PlanError(f"expected num_envs to be an integer, got {num_envs!r}; give a whole number")
    if num_envs is None or num_envs < 1:
        raise PlanError(f"expected num_envs of at least 1, got {num_envs}; give num_envs or a plan")
    return [env_factory(env, **kwargs)] * num_envs


def _check_numbers(
    num_envs: int,
    batch_size: int | None,
    step_timeout_s: float | None,
    max_restarts: int,
    infos: str,
    on_fault: str,
) -> None:
    if batch_size is not None and not 1 <= batch_size <= num_envs:
        raise PlanError(f"expected batch_size from 1 to num_envs {num_envs}, got {batch_size}; leave it out for all")
    if step_timeout_s is not None and step_timeout_s <= 0:
        raise PlanError(f"expected step_timeout_s above 0, got {step_timeout_s}; leave it out to wait for ever")
    if max_restarts < 0:
        raise PlanError(f"expected max_restarts of at least 0, got {max_restarts}")
    if infos not in ("all", "final", "none"):
        raise PlanError(f"expected infos to be all, final or none, got {infos!r}; use one of them")
    if on_fault not in ("raise", "restart"):
        raise PlanError(f"expected on_fault to be raise or restart, got {on_fault!r}; use one of them")


def _useful_runners(num_envs: int) -> int:
    """Return how many runners can be busy at once: cores, within what a container's quota grants, and environments."""
    return min(num_envs, max(1, int(usable_core_time())))


def _check_runners(backend: Backend, num_env_runners: int | None, num_envs: int) -> int:
    """Return R; 0 means serial."""
    if backend == "serial":
        if num_env_runners:
            raise PlanError(f"expected no runners for backend serial, got {num_env_runners}; use backend shm")
        return 0
    if num_env_runners is None:
        return _useful_runners(num_envs)
    if not isinstance(num_env_runners, int | np.integer):
        raise PlanError(f"expected num_env_runners to be an integer, got {num_env_runners!r}; leave it out, or mend it")
    if num_env_runners < 0 or (backend != "auto" and num_env_runners == 0):
        raise PlanError(
            f"expected num_env_runners of at least 1 for backend {backend}, got {num_env_runners}; leave it out for "
            f"one per usable core, or use backend serial"
        )
    if num_env_runners > num_envs:
        raise PlanError(
            f"expected at most one runner per environment, got {num_env_runners} runners for {num_envs} environments; "
            f"use fewer runners or more environments"
        )
    return num_env_runners


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    try:
        return AutoresetMode[mode.upper()] if mode.upper() in AutoresetMode.__members__ else AutoresetMode(mode)
    except ValueError:
        names = ", ".join(member.name for member in AutoresetMode)
        raise PlanError(f"expected autoreset_mode to be one of {names}, got {mode!r}; use one of them") from None
