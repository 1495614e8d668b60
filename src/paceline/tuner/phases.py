"""The phase model: what every plan should give, from what the parts cost.

With N = max(R, 1) E environments, t a step's time and c the part of it that computes, a(N) acting for N environments, u
an update by step of its batch, C cores, b + N n what native code computes for all, and w(.) the time of a step of all
environments in runners (:mod:`paceline.vector.choose`), a step of all environments takes

    in process       a(N) + N t
    runners          a(N) + w(N, R)
    pipelined        2 max(a(N/2), w(N/2, R)), but no less than all the computing on C cores
    native threads   a(N) + b + N n / min(R, C)
    policy in the runners   (a(E) + E t) max(1, R / C), the slowest runner waited for once a batch

and SPS = 1 / (step / N + u). Asynchronous actors and their learner wait for nobody: SPS is what the slowest of actors,
learner and cores gives. The model is rough and knows it: it only has to say which plans are worth a measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from paceline.spec import Plan
from paceline.vector.choose import (
    PROCESS_WAITER_US,
    ROW_US,
    SERIAL_STEP_US,
    THREAD_WAITER_US,
    WAKE_US,
    EnvCost,
    shm_us,
    waiting_us,
)

LEARNER_BYTES = 450 * 2**20
"""What the learner's process is assumed to hold where nothing was measured."""
RUNNER_BYTES = 60 * 2**20
ACTOR_BYTES = 330 * 2**20
"""A runner with a copy of the policy has JAX loaded."""
_SAMPLING_STEP_US = 25.0
"""Of every step of all environments: writing a row of the batch, the loop around it."""
_ACTOR_STEP_US = 15.0
_HALF_US = 110.0
"""Of every half of a pipelined step: its own ``recv`` and ``send``, by the learner's process."""
_PUBLISH_US = 150.0
"""Of every update: parameters to the runners."""
_SOFT = 6.0
"""How sharp the softened maximum of things is that go on at the same time."""
_START_S = {"serial": 3.0, "native": 3.0, "thread": 3.0, "pipe": 4.0, "shm": 3.6}
_START_ACTORS_S = 5.0
_START_EACH_S = 0.15


@dataclass(frozen=True)
class PhaseCosts:
    """What the parts of training cost on this machine.

    Attributes:
        env: of one environment.
        acting_us: microseconds of acting, by number of environments; two sizes or more.
        update_s: seconds of one update.
        cores: usable cores.
        native_us: microseconds of CPU that one more environment costs native code in a step of all; None where there
            is none.
        native_step_us: what a step of all costs it beside that.
        env_bytes: memory of one environment.
        row_bytes: memory of one step of a batch.
    """

    env: EnvCost
    acting_us: tuple[tuple[int, float], ...]
    update_s: float
    cores: float
    native_us: float | None = None
    native_step_us: float = 0.0
    env_bytes: int = 0
    row_bytes: int = 0

    def acting(self, num_envs: float) -> float:
        """Return the microseconds of acting for ``num_envs`` environments, in between by line."""
        sizes, times = (np.array(column, np.float64) for column in zip(*self.acting_us, strict=True))
        if num_envs <= sizes[-1]:
            return float(np.interp(num_envs, sizes, times))
        slope = (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
        return float(times[-1] + slope * (num_envs - sizes[-1]))


@dataclass(frozen=True)
class Prediction:
    """What a plan should give.

    Attributes:
        sps: steps per second.
        acting_us: microseconds of acting, by step of an environment.
        env_us: the same of stepping, waiting for runners included.
        update_us: the same of learning.
        cores: cores kept busy.
        memory_bytes: what all processes hold.
        start_s: seconds to start, compile and warm up.
        iteration_s: seconds of an iteration.
        unknown: share of the time that follows from assumptions: what measured parts do not account for.
        together: share of the time in which runners compute at the same time, times the doublings of their number.
    """

    sps: float
    acting_us: float
    env_us: float
    update_us: float
    cores: float
    memory_bytes: int
    start_s: float
    iteration_s: float
    unknown: float
    together: float


def predict(plan: Plan, costs: PhaseCosts, *, batch_size: int, updates_per_iteration: int = 1) -> Prediction:
    """Return what ``plan`` should give.

    Args:
        plan: with inference and schedule filled in.
        costs: of the parts.
        batch_size: steps of an update.
        updates_per_iteration: of one iteration.
    """
    acting, stepping = _step_us(plan, costs, batch_size)
    update = costs.update_s * 1e6 / batch_size
    if plan.inference == "runner":
        update += _PUBLISH_US / batch_size
    computing = costs.env.cpu_us
    if plan.resolved_backend == "native" and costs.native_us is not None:
        computing = costs.native_us + costs.native_step_us / plan.num_envs
    work = computing + acting * _copies(plan, costs) + update  # core-microseconds of a step
    if plan.schedule == "async":
        total = _soft_max(acting + stepping, update, work / costs.cores)
    else:
        total = acting + stepping + update
    sps = 1e6 / total
    known = _known_us(plan, costs)
    at_once = _at_once(plan, costs)
    return Prediction(
        sps=sps,
        acting_us=acting,
        env_us=stepping,
        update_us=update,
        cores=float(np.clip(work * sps * 1e-6, 0.1, costs.cores)),
        memory_bytes=memory_bytes(plan, costs, batch_size),
        start_s=start_s(plan, costs),
        iteration_s=batch_size * updates_per_iteration / sps,
        unknown=float(np.clip(1.0 - (known + update) / total, 0.0, 1.0)),
        together=min(1.0, computing / at_once / total) * math.log2(at_once),
    )


def bound_sps(plan: Plan, costs: PhaseCosts, *, batch_size: int) -> float:
    """Return the speed that no plan with this schedule, inference and native or Python steps can exceed.

    Stepping (and acting, with a policy in each runner) is spread over all cores without any loss, and waiting is
    hidden; an update takes what it takes. Asynchronous: everything together keeps every core busy.
    """
    width = plan.num_envs
    update = costs.update_s * 1e6 / batch_size
    if plan.resolved_backend == "native":
        native_us = costs.env.cpu_us if costs.native_us is None else costs.native_us
        at_once = min(costs.cores, _at_once(plan, costs))
        return 1e6 / ((costs.acting(width) + costs.native_step_us) / width + native_us / at_once + update)
    computing = costs.env.cpu_us
    acting = costs.acting(width) / width
    if plan.inference == "runner":
        acting = costs.acting(plan.num_envs_per_env_runner) / plan.num_envs_per_env_runner
    if plan.schedule == "async":
        return 1e6 / max(update, (computing + acting + update) / costs.cores)
    if plan.inference == "runner":
        return 1e6 / ((computing + acting) / costs.cores + update)
    if plan.schedule == "pipelined":
        return 1e6 / (max(acting, (computing + acting) / costs.cores) + update)
    return 1e6 / (computing / costs.cores + acting + update)


def memory_bytes(plan: Plan, costs: PhaseCosts, batch_size: int) -> int:
    """Return about what all processes of ``plan`` hold."""
    processes = plan.num_env_runners if plan.resolved_backend in ("shm", "pipe") else 0
    each = ACTOR_BYTES if plan.inference == "runner" else RUNNER_BYTES
    return LEARNER_BYTES + processes * each + plan.num_envs * costs.env_bytes + 3 * batch_size * costs.row_bytes


def start_s(plan: Plan, costs: PhaseCosts) -> float:
    """Return about how long a process with ``plan`` takes to be ready."""
    built = 1 if plan.resolved_backend == "native" else plan.num_envs_per_env_runner  # native code shares one model
    building = built * (costs.env.build_s + costs.env.reset_us * 1e-6)
    crowding = max(1.0, plan.num_env_runners / costs.cores)
    if plan.inference == "runner":
        return _START_ACTORS_S * crowding + building * crowding
    runners = plan.num_env_runners if plan.resolved_backend in ("shm", "pipe") else 0
    return _START_S[plan.resolved_backend] + _START_EACH_S * runners + building * crowding


def _step_us(plan: Plan, costs: PhaseCosts, batch_size: int) -> tuple[float, float]:
    """Return microseconds of acting and of stepping, by step of an environment."""
    width, runners, each = plan.num_envs, plan.num_env_runners, plan.num_envs_per_env_runner
    env = costs.env
    if plan.inference == "runner":
        crowding = max(1.0, runners / costs.cores) if not env.waits else 1.0
        acting = (costs.acting(each) + _ACTOR_STEP_US) * crowding
        stepping = each * (env.mean_us * crowding + env.slowness * ROW_US)
        rows = max(1, batch_size // width)
        straggler = 0.0
        if plan.schedule == "sync" and runners > 1:
            straggler = env.cv * env.mean_us * math.sqrt(each / rows) * math.sqrt(2.0 * math.log(runners))
        return acting / width, (stepping + straggler) / width
    acting = costs.acting(width) + _SAMPLING_STEP_US * env.slowness
    if plan.resolved_backend == "serial":
        return acting / width, (env.slowness * SERIAL_STEP_US + width * (env.mean_us + env.slowness * ROW_US)) / width
    if plan.resolved_backend == "native":
        native_us = env.cpu_us / 2 if costs.native_us is None else costs.native_us
        return acting / width, costs.native_step_us / width + native_us / min(runners, costs.cores)
    if plan.schedule != "pipelined":
        return acting / width, _runners_us(plan, costs, width) / width
    half = width / 2
    half_acting = costs.acting(half) + (_SAMPLING_STEP_US + _HALF_US) * env.slowness
    half_stepping = _runners_us(plan, costs, width // 2)
    computing = (half * env.cpu_us + half_acting + 2 * WAKE_US) / costs.cores
    period = 2.0 * _soft_max(half_acting, half_stepping, computing) + half_acting / 4
    return min(acting, half_acting) / width, max(period - min(acting, half_acting), 0.0) / width


def _runners_us(plan: Plan, costs: PhaseCosts, width: int) -> float:
    """Return microseconds of a step of ``width`` environments in the plan's runners."""
    env, runners = costs.env, min(plan.num_env_runners, max(1, width))
    if plan.resolved_backend == "thread":
        at_once = 1.0 if not env.releases_gil else costs.cores
        return waiting_us(env, width, runners, THREAD_WAITER_US, max(1, int(at_once if not env.waits else 1)))
    cores = max(1, int(costs.cores))
    if env.waits:
        return waiting_us(env, width, runners, PROCESS_WAITER_US, cores)
    together = shm_us(env, width, runners)
    return together * max(1.0, runners / costs.cores)


def _known_us(plan: Plan, costs: PhaseCosts) -> float:
    """Return the microseconds of a step, but for the update, that measured parts account for."""
    each, at_once = plan.num_envs_per_env_runner, _at_once(plan, costs)
    if plan.inference == "runner":
        return (costs.acting(each) / each + costs.env.mean_us) / at_once
    if plan.resolved_backend == "native":
        whole = costs.acting(plan.num_envs) + costs.native_step_us
        return whole / plan.num_envs + (costs.native_us or 0.0) / at_once
    return costs.acting(plan.num_envs) / plan.num_envs + costs.env.mean_us / at_once


def _at_once(plan: Plan, costs: PhaseCosts) -> float:
    """Return how many runners go on at the same time: as many as there are where they wait, else as there are cores."""
    runners = float(max(plan.num_env_runners, 1))
    waits = costs.env.waits and plan.resolved_backend != "native"
    return runners if waits else max(1.0, min(runners, costs.cores))


def _copies(plan: Plan, costs: PhaseCosts) -> float:
    """Return how many cores act at the same time."""
    return min(float(plan.num_env_runners), costs.cores) if plan.inference == "runner" else 1.0


def _soft_max(*values: float) -> float:
    """Return (sum x^p)^(1/p): things that go on at the same time hide each other, but not wholly."""
    return float(np.linalg.norm(values, ord=_SOFT))
