"""The inside of a case's process: builds the environments, then measures windows for as long as it is asked to.

Tasks of :mod:`paceline.isolation.child`. Events of :func:`run_case`: ``ready`` (once), then a ``window`` for every
further request ``{"seconds": ..}``; of :func:`profile_env`: ``profile``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, get_args

import numpy as np
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from paceline.bench.actions import action_batches
from paceline.bench.cases import CEILINGS
from paceline.bench.ceiling import FreeRunning, Loop, LoopRequest
from paceline.bench.windows import Totals, VecStepper, Window, attribute, run_window
from paceline.envs import EnvFactory, env_factory
from paceline.errors import PlanError, RequestError
from paceline.isolation.child import Emit, Request
from paceline.measure.bench_result import AUTO, FREE_RUNNING, EnvProfile, HeldMemory, Spread
from paceline.measure.ledger import ENV_STEP
from paceline.measure.monitor import cpu_clock_s, descendants, sum_pss_bytes, tree_rss_bytes
from paceline.spec import Backend, EnvSpec
from paceline.vector import make_vec
from paceline.vector.base import VecEnv
from paceline.vector.runners.placement import read_run_and_wait

_WARM_UP_S = 0.1
_PRIVATE = (b"Pss_Anon:", b"Pss_Shmem:")
PRIVATE_METHOD = (
    "anonymous and shared memory of the process tree, each shared page divided among the processes that map it; pages "
    "of program files are left out"
)
RESIDENT_METHOD = "resident set size of the process tree; pages that processes share count in each of them"

_PROFILE_LEAST_STEPS = 200
_PROFILE_RESETS = 5
_PROFILE_MORE_ENVS = 4


class Subject(Protocol):
    """What is measured."""

    facts: dict[str, Any]
    """What the ready event tells of it."""
    pids: tuple[int, ...]
    """Its runner processes."""

    def measure(self, seconds: float) -> tuple[Window, dict[str, float], float]:
        """Return a window, its phases in seconds, and the CPU seconds that it took."""

    def close(self) -> None:
        """Put it away."""


def run_case(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Build one case, tell that it is ready, and measure a window for each further request.

    Args:
        request: ``env``, ``backend``, ``num_envs``, ``num_env_runners``, ``actions``, ``path``, ``batch_size``,
            ``infos``, ``seed``.
        emit: writes one event.
        more: ``{"seconds": ..}`` each.
    """
    factory = env_factory(EnvSpec.model_validate(request["env"]))
    empty_bytes, _ = held_bytes([os.getpid()])
    begin_s = time.perf_counter()
    subject: Subject = (
        CeilingSubject(request, factory) if request["backend"] in CEILINGS else VecSubject(request, factory)
    )
    setup_s = time.perf_counter() - begin_s
    try:
        begin_s = time.perf_counter()
        subject.measure(_WARM_UP_S)
        warmup_s = time.perf_counter() - begin_s
        tree = descendants([os.getpid()])
        emit(
            {
                "event": "ready",
                "setup_s": setup_s,
                "warmup_s": warmup_s,
                "memory": _memory(subject, empty_bytes, request["num_envs"]).model_dump(),
                "rss_bytes": tree_rss_bytes(os.getpid()),
                "num_processes": len(tree),
                **subject.facts,
            }
        )
        for further in more:
            window, phases, cpu_s = subject.measure(further["seconds"])
            emit(
                {
                    "event": "window",
                    "num_env_steps": window.num_env_steps,
                    "num_batches": window.num_batches,
                    "wall_s": window.wall_ns * 1e-9,
                    "phases": phases,
                    "cpu_s": cpu_s,
                }
            )
    finally:
        subject.close()


class VecSubject:
    """A vector environment, stepped as its user would.

    Args:
        request: see :func:`run_case`.
        factory: builds one environment.

    Raises:
        PlanError: there is no such backend, or it cannot run this.
        UnsupportedSpaceError: the backend does not know a space of the environment.
    """

    def __init__(self, request: Request, factory: EnvFactory) -> None:
        self._venv = make_case(request, factory)
        self._venv.reset(seed=request["seed"])
        rows = request["batch_size"] or request["num_envs"]
        batches = action_batches(request["actions"], self._venv.single_action_space, rows, request["seed"])
        self._stepper = VecStepper(self._venv, batches, request["path"])
        self._batch_ns = 0.0
        self.pids = self._venv.runner_pids()
        self.facts = {
            "backend": self._venv.backend,
            "num_env_runners": self._venv.num_env_runners,
            "backend_reason": self._venv.backend_reason,
            "autoreset_mode": self._venv.autoreset_mode.name.lower(),
        }

    def measure(self, seconds: float) -> tuple[Window, dict[str, float], float]:
        """Return a window, its phases in seconds, and the CPU seconds that it took."""
        self._stepper.begin(self._batch_ns)
        cpu_s, before = self._cpu_s(), Totals.of(self._venv)
        window = run_window(self._stepper, seconds)
        spent, cpu_s = Totals.of(self._venv) - before, self._cpu_s() - cpu_s
        self._stepper.end()
        self._batch_ns = window.wall_ns / window.num_batches
        return window, attribute(window.wall_ns * 1e-9, spent), cpu_s

    def close(self) -> None:
        """Close the environments."""
        self._venv.close()

    def _cpu_s(self) -> float:
        return time.process_time() + sum(cpu_clock_s(pid) or 0.0 for pid in self.pids)


class CeilingSubject:
    """Free-running processes, or the loop in this one.

    Args:
        request: see :func:`run_case`.
        factory: builds one environment.
    """

    def __init__(self, request: Request, factory: EnvFactory) -> None:
        num_envs, runners = request["num_envs"], request["num_env_runners"]
        shares = [len(part) for part in np.array_split(np.arange(num_envs), max(runners, 1))]
        loops = [
            LoopRequest(factory, share, request["actions"], request["seed"] + sum(shares[:slot]))
            for slot, share in enumerate(shares)
        ]
        self._loops: Loop | FreeRunning = FreeRunning(loops) if request["backend"] == FREE_RUNNING else Loop(loops[0])
        self.pids = self._loops.pids
        self.facts: dict[str, Any] = {"num_env_runners": runners}

    def measure(self, seconds: float) -> tuple[Window, dict[str, float], float]:
        """Return a window; all of it is in the environments."""
        window, cpu_s = self._loops.measure(seconds)
        return window, {ENV_STEP: window.wall_ns * 1e-9}, cpu_s

    def close(self) -> None:
        """End processes and environments."""
        self._loops.close()


def make_case(request: Request, factory: EnvFactory) -> VecEnv:
    """Make the vector environment that ``request`` asks for.

    Episodes begin again in the step in which they end, so that every row is a step; a backend that cannot do so gets
    Gymnasium's default, and its reset rows are not counted.

    Raises:
        PlanError: there is no such backend, or it cannot run this.
    """
    backend = request["backend"]
    if backend not in get_args(Backend):
        raise PlanError(f"expected a backend of this version ({', '.join(get_args(Backend))}), got {backend}")
    options: dict[str, Any] = {"infos": request["infos"]}
    if backend not in ("serial", AUTO):
        options["num_env_runners"] = request["num_env_runners"]
    if request["batch_size"]:
        options["batch_size"] = request["batch_size"]
    try:
        venv = make_vec(factory, request["num_envs"], backend=backend, autoreset_mode="same_step", **options)
    except RequestError as refusal:
        try:
            venv = make_vec(factory, request["num_envs"], backend=backend, **options)
        except RequestError:
            raise refusal from None
    if backend != AUTO and venv.backend and venv.backend != backend:
        venv.close()
        raise PlanError(f"expected backend {backend}, got {venv.backend} in its place; this version does not have it")
    return venv


def profile_env(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Measure one environment by itself: building, resets, steps, memory.

    Args:
        request: ``env``, ``actions``, ``seconds``, ``seed``.
        emit: writes one event.
        more: not asked for.
    """
    factory = env_factory(EnvSpec.model_validate(request["env"]))
    empty_bytes, _ = held_bytes([os.getpid()])
    begin_s = time.perf_counter()
    env = factory()
    build_s = time.perf_counter() - begin_s
    space = env.action_space
    actions = _single_actions(request, space)
    resets = [_timed_reset(env, request["seed"])]
    steps, cpu_share = _timed_steps(env, actions, request["seconds"], resets)
    first_bytes, _ = held_bytes([os.getpid()])
    others = [factory() for _ in range(_PROFILE_MORE_ENVS if build_s < 1.0 else 1)]
    for number, other in enumerate(others):
        other.reset(seed=request["seed"] + 1 + number)
        other.step(actions[0])
    all_bytes, _ = held_bytes([os.getpid()])
    profile = EnvProfile(
        build_s=build_s,
        step=spread_of(steps),
        reset=spread_of(np.asarray(resets)),
        cpu_share=cpu_share,
        empty_bytes=empty_bytes,
        first_env_bytes=first_bytes,
        bytes_per_env=max(0.0, (all_bytes - first_bytes) / len(others)),
        observation_space=str(env.observation_space)[:200],
        action_space=str(space)[:200],
    )
    emit({"event": "profile", "profile": profile.model_dump()})
    for other in (env, *others):
        other.close()


def spread_of(seconds: NDArray[np.float64]) -> Spread:
    """Return the distribution of ``seconds``, float64 ``[K]``, K >= 1."""
    mean_s = float(seconds.mean())
    middle, p95, p99 = (float(value) for value in np.percentile(seconds, [50, 95, 99]))
    cv = float(seconds.std(ddof=1)) / mean_s if len(seconds) > 1 and mean_s > 0 else None
    return Spread(count=len(seconds), mean_s=mean_s, median_s=middle, p95_s=p95, p99_s=p99, cv=cv)


def held_bytes(pids: Sequence[int], *, whole_tree: bool = True) -> tuple[int, str]:
    """Return what processes (and, unless told otherwise, all they started) hold, in bytes, and how that was read."""
    members = descendants(pids) if whole_tree else set(pids)
    private = sum_pss_bytes(members, _PRIVATE)
    if private:
        return private, PRIVATE_METHOD
    return sum(tree_rss_bytes(pid) for pid in pids), RESIDENT_METHOD


def _memory(subject: Subject, empty_bytes: int, num_envs: int) -> HeldMemory:
    tree_bytes, method = held_bytes([os.getpid()])
    runners = held_bytes(subject.pids, whole_tree=False)[0] / len(subject.pids) if subject.pids else None
    return HeldMemory(
        tree_bytes=tree_bytes,
        empty_bytes=empty_bytes,
        bytes_per_env=max(0, tree_bytes - empty_bytes) / num_envs,
        bytes_per_runner=runners,
        method=method,
    )


def _single_actions(request: Request, space: Any) -> list[Any]:
    batched = batch_space(space, 1)
    return [
        next(iter(iterate(batched, batch))) for batch in action_batches(request["actions"], space, 1, request["seed"])
    ]


def _timed_reset(env: Any, seed: int | None = None) -> float:
    begin_s = time.perf_counter()
    env.reset(seed=seed)
    return time.perf_counter() - begin_s


def _timed_steps(
    env: Any, actions: Sequence[Any], seconds: float, resets: list[float]
) -> tuple[NDArray[np.float64], float]:
    """Step for ``seconds``, longer for few steps; return each step's seconds and the share of it that was CPU time."""
    clock_s = time.perf_counter
    crowded_before = read_run_and_wait(os.getpid())
    steps: list[float] = []
    reset_cpu_s = 0.0
    begin_s, begin_cpu_s = clock_s(), time.process_time()
    count = 0
    while True:
        before_s = clock_s()
        _, _, terminated, truncated, _ = env.step(actions[count % len(actions)])
        now_s = clock_s()
        steps.append(now_s - before_s)
        count += 1
        if terminated or truncated:
            cpu_s = time.process_time()
            resets.append(_timed_reset(env))
            reset_cpu_s += time.process_time() - cpu_s
        elapsed_s = now_s - begin_s
        if elapsed_s >= seconds and (count >= _PROFILE_LEAST_STEPS or elapsed_s >= 3 * seconds):
            break
    cpu_s = time.process_time() - begin_cpu_s - reset_cpu_s
    crowded_after = read_run_and_wait(os.getpid())
    crowded_s = (crowded_after[1] - crowded_before[1]) * 1e-9 if crowded_before and crowded_after else 0.0
    while len(resets) < _PROFILE_RESETS and clock_s() - begin_s < 6 * seconds:
        resets.append(_timed_reset(env))
    taken = np.asarray(steps)
    # What other programs took of the core is not time in which the environment waited.
    return taken, min(1.0, max(0.0, cpu_s) / max(float(taken.sum()) - crowded_s, 1e-9))
