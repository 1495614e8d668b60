"""One call that makes any vector environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode

from paceline.envs import EnvFactory, env_factory
from paceline.errors import PlanError
from paceline.machine import Cgroup, Paths
from paceline.spec import Backend, EnvSpec, Plan
from paceline.vector.base import VecEnv
from paceline.vector.group import InfoLevel
from paceline.vector.placement import spread_cores, usable_cores
from paceline.vector.serial import SerialVecEnv
from paceline.vector.shm import ShmVecEnv

Env = gymnasium.Env[Any, Any]


def make_vec(
    env: EnvSpec | EnvFactory | str | Callable[..., Env] | type[Env],
    num_envs: int | None = None,
    *,
    plan: Plan | None = None,
    backend: Backend = "auto",
    num_env_runners: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    infos: InfoLevel = "all",
    copy: bool = True,
    step_timeout_s: float | None = None,
    runner_threads: int = 1,
    runner_cores: Sequence[Sequence[int]] | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """Make N environments that step together: a real ``gymnasium.vector.VectorEnv``.

    Args:
        env: an id, a callable that returns an environment, an environment class or a spec.
        num_envs: N; may be left out if ``plan`` is given.
        plan: decides backend, runners, threads and pinning; the arguments for these must then be left out.
        backend: ``serial`` (this process), ``shm`` (runner processes) or ``auto``: serial for one environment or one
            usable core, else shm.
        num_env_runners: R; default: one per usable core, at most N.
        autoreset_mode: Gymnasium's autoreset mode.
        infos: ``all`` as Gymnasium does, ``final`` (only of an episode's last step) or ``none`` (fastest).
        copy: whether ``reset`` and ``step`` return copies rather than views.
        step_timeout_s: longest time for a step or reset of all environments (needs runner processes).
        runner_threads: threads of the math libraries in each runner.
        runner_cores: cores of each runner for good, R lists (an empty one: any core); default: see
            :mod:`paceline.vector.placement`. Only cores that this process may run on itself are shared out, so make
            the vector before pinning the learner.
        env_kwargs: keyword arguments of the environment.

    Raises:
        PlanError: the arguments contradict each other.
        EnvNotFoundError: no environment of that name.
        UnsupportedSpaceError: a space has no fixed-size array form.
        ResourceError: no room for the shared memory, or no more processes.
        EnvError: an environment cannot be built.
    """
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
    if num_envs is None or num_envs < 1:
        raise PlanError(f"expected num_envs of at least 1, got {num_envs}; give num_envs or a plan")
    if step_timeout_s is not None and step_timeout_s <= 0:
        raise PlanError(f"expected step_timeout_s above 0, got {step_timeout_s}; leave it out to wait for ever")
    if infos not in ("all", "final", "none"):
        raise PlanError(f"expected infos to be all, final or none, got {infos!r}; use one of them")
    num_runners = _resolve_runners(backend, num_env_runners, num_envs, needs_process=step_timeout_s is not None)
    mode = _autoreset_mode(autoreset_mode)
    factory = env_factory(env, **(env_kwargs or {}))
    if num_runners == 0:
        if step_timeout_s is not None:
            raise PlanError("expected a backend with runner processes for step_timeout_s, got serial; use backend shm")
        return SerialVecEnv(factory, num_envs, autoreset_mode=mode, infos=infos, copy=copy)
    if runner_cores is not None and len(runner_cores) != num_runners:
        raise PlanError(f"expected runner_cores for {num_runners} runners, got {len(runner_cores)}; give one list each")
    return ShmVecEnv(
        factory,
        num_envs,
        num_runners,
        autoreset_mode=mode,
        infos=infos,
        copy=copy,
        step_timeout_s=step_timeout_s,
        runner_threads=runner_threads,
        runner_cores=runner_cores,
    )


def _useful_runners(num_envs: int) -> int:
    """Return how many runners can be busy at once: cores, within what a container's quota grants, and environments."""
    quota = Cgroup(Paths()).cpu_quota()
    cores = len(usable_cores())
    return min(num_envs, cores if quota is None else max(1, min(cores, int(quota))))


def _resolve_runners(backend: Backend, num_env_runners: int | None, num_envs: int, *, needs_process: bool) -> int:
    """Return R; 0 means serial."""
    if backend == "serial":
        if num_env_runners:
            raise PlanError(f"expected no runners for backend serial, got {num_env_runners}; use backend shm")
        return 0
    if num_env_runners is None:
        useful = _useful_runners(num_envs)
        return useful if backend == "shm" or needs_process or useful > 1 else 0
    if num_env_runners < 0 or (backend == "shm" and num_env_runners == 0):
        raise PlanError(
            f"expected num_env_runners of at least 1 for backend shm, got {num_env_runners}; leave it out for one per "
            f"usable core, or use backend serial"
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
