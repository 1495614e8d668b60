"""Who steps environments, and how: every contender of the vector benchmarks, each in a fresh process of its own.

A fresh process each, because libraries that are loaded side by side change each other (threads, allocators, what a fork
copies). Everybody gets actions that were drawn before the clock starts, and is counted by the same rule: rows that are
resets are no steps.

The parent's side is :mod:`benchmarks.vector_rounds`; this is what runs inside (a task of
:mod:`paceline.isolation.child`).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from paceline.bench.actions import action_batches
from paceline.bench.ceiling import FreeRunning, LoopRequest
from paceline.bench.windows import VecStepper, Window, run_window
from paceline.envs import env_factory
from paceline.isolation.child import Emit, Request

TASK = "benchmarks.vector_contenders:run"
SEED = 1
_WARM_UP_S = 0.1
_LEAD_IN = 0.15
"""Share of a window that is stepped before it: caches, clock rate and placement are those of a program that runs."""


@dataclass(frozen=True)
class Contender:
    """One way to step N environments.

    Attributes:
        name: what to call it in tables.
        library: ``paceline``, ``gymnasium``, ``sb3``, ``envpool``, ``free`` (processes that never wait for others) or
            ``bare`` (processes in lockstep, and nothing else).
        env: name of the environment, as ``make_vec`` takes it (EnvPool: its own).
        num_envs: N.
        path: paceline: ``step`` or ``send`` (``send`` and ``recv``).
        options: keyword arguments of what is built.
    """

    name: str
    library: str
    env: str
    num_envs: int
    path: str = "step"
    options: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """Return the request that makes a fresh process this contender."""
        return {"task": TASK, **asdict(self)}


class Subject(Protocol):
    """A contender that was set up."""

    facts: dict[str, Any]

    def measure(self, seconds: float) -> Window:
        """Step for about so long."""

    def close(self) -> None:
        """Put it away."""


class Paceline:
    """``make_vec``'s vector environment."""

    def __init__(self, request: Request) -> None:
        from paceline import make_vec

        self._venv = make_vec(request["env"], request["num_envs"], **request["options"])
        self._venv.reset(seed=SEED)
        batches = action_batches("random", self._venv.single_action_space, self._venv.batch_size, SEED)
        self._stepper = VecStepper(self._venv, batches, request["path"])
        self._batch_ns = 0.0
        self.facts = {
            "backend": self._venv.backend,
            "num_env_runners": self._venv.num_env_runners,
            "backend_reason": self._venv.backend_reason,
            "runner_pids": self._venv.runner_pids(),
        }

    def measure(self, seconds: float) -> Window:
        """Step for about so long; what first-ready batches leave under way is finished off the clock."""
        self._stepper.begin(self._batch_ns)
        window = run_window(self._stepper, seconds)
        self._stepper.end()
        self._batch_ns = window.wall_ns / window.num_batches
        return window

    def close(self) -> None:
        """Close it."""
        self._venv.close()


class LockStep:
    """Anybody's vector environment whose ``step`` takes a batch of actions.

    Args:
        step: returns whether each environment's episode is over, bool ``[N]``.
        batches: actions, played round and round.
        num_envs: N.
        resets_are_rows: whether the row after the end of an episode is its reset, as in Gymnasium's default mode.
        close: puts it away.
        facts: what there is to tell of it.
    """

    def __init__(
        self,
        step: Callable[[Any], Any],
        batches: list[Any],
        num_envs: int,
        *,
        resets_are_rows: bool,
        close: Callable[[], None],
        facts: dict[str, Any],
    ) -> None:
        self.facts, self.close = facts, close
        self._step, self._batches, self._num_envs = step, batches, num_envs
        self._resets_are_rows = resets_are_rows
        self._next = 0
        self._over = np.zeros(num_envs, np.bool_)

    def measure(self, seconds: float) -> Window:
        """Step for about so long."""
        self._run(1)
        return run_window(self._run, seconds)

    def _run(self, count: int) -> int:
        step, batches = self._step, self._batches
        resets = 0
        for index in range(self._next, self._next + count):
            over = step(batches[index % len(batches)])
            if self._resets_are_rows:
                resets += int(self._over.sum())
                self._over = over
        self._next += count
        return count * self._num_envs - resets


def _gymnasium(request: Request) -> Subject:
    """Gymnasium's own: ``kind`` is ``sync`` or ``async``."""
    from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

    options = dict(request["options"])
    kind = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}[options.pop("kind")]
    venv = kind([env_factory(request["env"])] * request["num_envs"], **options)
    venv.reset(seed=SEED)

    def step(actions: Any) -> Any:
        _, _, terminated, truncated, _ = venv.step(actions)
        return terminated | truncated

    batches = action_batches("random", venv.single_action_space, request["num_envs"], SEED)
    return LockStep(step, batches, request["num_envs"], resets_are_rows=True, close=venv.close, facts={})


def _sb3(request: Request) -> Subject:
    """Stable-Baselines3's one process per environment, no Monitor around it.

    Its fork server loads Stable-Baselines3 (and torch) once, so that the processes share it: 16 of them, or 64, each
    with torch of its own would fill the memory and step no faster.
    """
    from multiprocessing import forkserver

    from stable_baselines3.common.vec_env import SubprocVecEnv

    forkserver.set_forkserver_preload(["stable_baselines3.common.vec_env.subproc_vec_env"])
    venv = SubprocVecEnv([env_factory(request["env"])] * request["num_envs"], start_method="forkserver")
    venv.seed(SEED)
    venv.reset()
    batches = action_batches("random", venv.action_space, request["num_envs"], SEED)
    return LockStep(
        lambda actions: venv.step(actions)[2],
        batches,
        request["num_envs"],
        resets_are_rows=False,
        close=venv.close,
        facts={},
    )


def _envpool(request: Request) -> Subject:
    """EnvPool, all environments in every batch."""
    import envpool

    options = dict(request["options"])
    pool = envpool.make(request["env"], env_type="gymnasium", num_envs=request["num_envs"], seed=SEED, **options)
    pool.reset()

    def step(actions: Any) -> Any:
        _, _, terminated, truncated, _ = pool.step(actions)
        return terminated | truncated

    batches = action_batches("random", pool.action_space, request["num_envs"], SEED)
    facts = {"env": request["env"], "envpool": envpool.__version__}
    return LockStep(step, batches, request["num_envs"], resets_are_rows=True, close=pool.close, facts=facts)


class Free:
    """Processes that step their share of the environments in turn and never wait for each other."""

    def __init__(self, request: Request) -> None:
        runners = request["options"]["num_processes"]
        factory = env_factory(request["env"])
        shares = [len(part) for part in np.array_split(np.arange(request["num_envs"]), runners)]
        self._loops = FreeRunning(
            [LoopRequest(factory, share, "random", SEED + sum(shares[:slot])) for slot, share in enumerate(shares)]
        )
        self.facts: dict[str, Any] = {"num_processes": runners, "envs_of_each": shares}

    def measure(self, seconds: float) -> Window:
        """Step for about so long; the rates of the processes are added up."""
        return self._loops.measure(seconds)[0]

    def close(self) -> None:
        """End the processes."""
        self._loops.close()


def _bare(request: Request) -> Subject:
    from benchmarks.vector_bare import Bare

    return Bare(request, SEED)


_LIBRARIES: dict[str, Callable[[Request], Subject]] = {
    "paceline": Paceline,
    "gymnasium": _gymnasium,
    "sb3": _sb3,
    "envpool": _envpool,
    "free": Free,
    "bare": _bare,
}


def set_up(request: Request) -> Subject:
    """Build and reset what ``request`` names."""
    return _LIBRARIES[request["library"]](request)


def run(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Set a contender up, tell so, then measure a window for every further request ``{"seconds": ..}``."""
    begin_s = time.perf_counter()
    subject = set_up(request)
    try:
        setup_s = time.perf_counter() - begin_s
        subject.measure(_WARM_UP_S)
        emit({"event": "ready", "setup_s": setup_s, "facts": subject.facts})
        for further in more:
            subject.measure(_LEAD_IN * further["seconds"])
            window = subject.measure(further["seconds"])
            emit({"event": "window", "num_env_steps": window.num_env_steps, "wall_s": window.wall_ns * 1e-9})
    finally:
        subject.close()
        for child in multiprocessing.active_children():
            child.terminate()
