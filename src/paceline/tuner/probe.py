"""What the environment, the policy and the learner cost, measured in a fresh process before anything is planned.

Some of it is tried out that an environment need not survive: several at once in one process, native code, a runner
process. Before each of these, the event ``step`` names it (``stage``), so that whoever started the probe knows what
ended it, and can start it again ``without`` that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

import gymnasium
import numpy as np
from pydantic import Field

from paceline.envs import EnvFactory, env_factory
from paceline.isolation.child import Emit, Request
from paceline.measure.monitor import tree_pss_bytes, tree_rss_bytes
from paceline.measure.result import Record, finite
from paceline.spec import RunSpec, build_spec
from paceline.training.costs import measure_learner_costs
from paceline.training.resolve import resolve_for_spaces
from paceline.vector import make_vec
from paceline.vector.env_cost import EnvCost, measure_env_cost
from paceline.vector.native.support import native_reason, native_support

PROBE = "paceline.tuner.probe:probe_run"
SIZES = (1, 8, 64)
SEVERAL, NATIVE, RUNNER = "several", "native", "runner"
STAGES = (SEVERAL, NATIVE, RUNNER)
"""What a probe can do without."""
_NATIVE_ENVS = 16
_MORE_ENVS = 3
_RUNNER_STEPS = 3


class ProbeResult(Record):
    """What a probe has found.

    Attributes:
        run: the run with every field filled in.
        env: of one environment; None where it could not be measured.
        env_bytes: memory of one more environment.
        acting_us: microseconds of acting, by number of environments.
        update_s: seconds of one update.
        compile_s: seconds of compiling.
        row_bytes: bytes of one step of a batch.
        native: ``yes``, or one sentence that says why native code cannot step it.
        native_us: microseconds of CPU of a step in native code.
        several: ``yes``, or one sentence that says why there is no second environment in one process.
        processes: ``yes``, or one sentence that says why runner processes cannot have it.
        max_episode_steps: of an episode, where there is a limit.
        wall_s: seconds that the probe took.
    """

    run: RunSpec
    env: EnvCost | None
    env_bytes: int
    acting_us: tuple[tuple[int, float], ...]
    update_s: float
    compile_s: float
    row_bytes: int
    native: str | Literal["yes"] = "yes"
    native_us: float | None = None
    several: str | Literal["yes"] = "yes"
    processes: str | Literal["yes"] = "yes"
    max_episode_steps: int | None = None
    wall_s: float = Field(default=0.0, ge=0)


def probe_run(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Measure what the run ``request["spec"]`` is made of; task of :mod:`paceline.isolation.child`.

    ``request["envpool"]`` says whether native code may be EnvPool's, ``request["without"]`` which stages are left out,
    and why; ``env_s`` and ``learner_s`` are the seconds to spend. Events: ``step`` with ``what`` it is about and its
    ``stage``, then ``probed`` with the :class:`ProbeResult`.
    """
    begin = time.perf_counter()
    spec = build_spec(RunSpec, request["spec"], source="probe")
    factory = env_factory(spec.env)
    without = request.get("without") or {}

    def told(what: str, stage: str = "") -> bool:
        if stage in without:
            return False
        emit({"event": "step", "what": what, "stage": stage})
        return True

    told("the environment")
    cost, observation_space, action_space, limit = _one(factory, request.get("env_s", 1.0))
    env_bytes, several = 0, without.get(SEVERAL)
    if told("several environments in one process", SEVERAL):
        env_bytes, several = _several(factory)
    native = without.get(NATIVE) or _why_not_native(factory, envpool=bool(request.get("envpool")))
    native_us = None
    if native is None and told("the environment in native code", NATIVE):
        native_us = _native_us(factory)
    processes = without.get(RUNNER)
    if told("the environment in a runner process", RUNNER):
        processes = _why_no_runner(factory)
    told("the policy and the learner")
    serial = {"num_env_runners": 0, "num_envs_per_env_runner": 8, "backend": "serial", "schedule": "sync",
              "inference": "learner"}  # fmt: skip
    kept = resolve_for_spaces(spec, observation_space, action_space)
    plan = kept.plan.model_copy(update=serial)
    costs = measure_learner_costs(
        kept.model_copy(update={"plan": plan}), observation_space, action_space, SIZES,
        budget_s=request.get("learner_s", 2.0),
    )  # fmt: skip
    found = ProbeResult(
        run=kept,
        env=cost,
        env_bytes=env_bytes,
        acting_us=costs.acting_us,
        update_s=costs.update_s,
        compile_s=costs.compile_s,
        row_bytes=costs.row_bytes,
        native=native or "yes",
        native_us=native_us,
        several=several or "yes",
        processes=processes or "yes",
        max_episode_steps=limit,
        wall_s=time.perf_counter() - begin,
    )
    emit(finite({"event": "probed", "result": found.model_dump(mode="json")}))


def _one(
    factory: EnvFactory, seconds: float
) -> tuple[EnvCost | None, gymnasium.Space[Any], gymnasium.Space[Any], int | None]:
    """Return the cost of the only environment that there need be, its spaces, and the limit of an episode."""
    seen: list[gymnasium.Env[Any, Any]] = []

    def watched() -> gymnasium.Env[Any, Any]:
        seen.append(factory())
        return seen[-1]

    cost = measure_env_cost(watched, budget_s=seconds)
    if cost is None:
        _break_openly(factory, seconds)
    one = seen[0] if seen else factory()
    return cost, one.observation_space, one.action_space, getattr(one.spec, "max_episode_steps", None)


def _break_openly(factory: EnvFactory, seconds: float) -> None:
    """Step an environment that could not be measured until it raises what is wrong with it."""
    env = _started(factory)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    env.close()


def _several(factory: EnvFactory) -> tuple[int, str | None]:
    """Return the memory of one more environment, and why there can be no second one in a process (None: there can)."""
    envs: list[gymnasium.Env[Any, Any]] = []
    try:
        envs.append(_started(factory))
        first_bytes = _held_bytes()
        envs += [_started(factory) for _ in range(_MORE_ENVS)]
        return max(0, _held_bytes() - first_bytes) // _MORE_ENVS, None
    except (Exception, SystemExit) as error:
        return 0, f"a second environment in one process fails: {_in_a_line(error)}"
    finally:
        for env in envs:
            env.close()


def _why_no_runner(factory: EnvFactory) -> str | None:
    """Return why a runner process cannot build and step it, None if it can."""
    try:
        venv = make_vec(factory, 1, backend="shm", num_env_runners=1, infos="none", copy=False)
        try:
            venv.reset(seed=0)
            for _ in range(_RUNNER_STEPS):
                venv.step(np.asarray(venv.action_space.sample()))
        finally:
            venv.close()
    except Exception as error:
        return f"it fails in a runner process: {_in_a_line(error)}"
    return None


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _why_not_native(factory: EnvFactory, *, envpool: bool) -> str | None:
    """Return why native code is out of the question, None if it can be tried."""
    if native_reason(factory) is not None:
        return None
    why = native_support(factory)
    if why is None and not envpool:
        return f"EnvPool has {factory.id}, but with data of its own; give --backends native to try it"
    return why


def _started(factory: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    env = factory()
    env.reset(seed=0)
    return env


def _held_bytes() -> int:
    return tree_pss_bytes(os.getpid()) or tree_rss_bytes(os.getpid())


def _native_us(factory: EnvFactory) -> float | None:
    """Return microseconds of CPU of one environment's step in one native thread; None if it does not work."""
    try:
        venv = make_vec(factory, _NATIVE_ENVS, backend="native", num_env_runners=1, infos="none", copy=False)
    except Exception:  # whatever it is will be told where the plan is tried
        return None
    try:
        venv.reset(seed=0)
        actions = np.asarray(venv.action_space.sample())
        venv.step(actions)
        begin, cpu, steps = time.perf_counter(), time.process_time(), 0
        while steps < 5 or time.perf_counter() - begin < 0.2:
            venv.step(actions)
            steps += 1
        return (time.process_time() - cpu) * 1e6 / (steps * _NATIVE_ENVS)
    finally:
        venv.close()
