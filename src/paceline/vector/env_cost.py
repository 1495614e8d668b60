"""What one step of an environment costs, and whether it computes or waits: measured for a moment."""

from __future__ import annotations

import copy
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Env = gymnasium.Env[Any, Any]

WAITING_SHARE = 0.5
"""Share of its step from which an environment counts as one that waits."""
_LEAST_WAITING_US = 200.0
"""A wait that is shorter than this is over before a thread has been woken."""

REFERENCE_US = 77.0
"""Microseconds of :func:`_reference_work` where the constants of other modules were measured, while it was quiet.

A slower machine, or one that shares its cores, is slower in both: in steps and in waking others. (On the same machine,
crowded, CartPole's step came out at 6 us and, minutes later, at 11 us.)
"""
_REFERENCE_REPEATS = 5

_MOST_STEPS = 3000
_MOST_ACTIONS = 32
_TICKS_PER_STEP = 20
_FEWEST_TICKS_PER_STEP = 5
_LEAST_TICK_S = 50e-6
_PROBE_S = 0.02


@dataclass(frozen=True)
class EnvCost:
    """What one environment costs, measured in this process.

    Attributes:
        build_s: seconds to build it.
        reset_us: microseconds of a reset, median.
        step_us: microseconds of a step, median.
        p95_us: 95th percentile of these.
        mean_us: mean of a step, the resets between episodes that fell into the measurement included, the time in a
            queue for a core not.
        cv: standard deviation / mean of a step; of one that computes, of its CPU time. (Here and in the mean, the
            slowest hundredth is cut to size: it is made by other programs more often than by the environment.)
        cpu_us: microseconds of CPU time of a step, all threads of this process.
        waiting_share: share of a step in which it did not compute, the time in a queue for a core not counted.
        releases_gil: whether other Python threads ran meanwhile; None where it does not wait.
        num_steps: how many steps were taken.
        slowness: how many times longer than on the quiet machine of :data:`REFERENCE_US` the same work took meanwhile.
    """

    build_s: float
    reset_us: float
    step_us: float
    p95_us: float
    mean_us: float
    cv: float
    cpu_us: float
    waiting_share: float = 0.0
    releases_gil: bool | None = None
    num_steps: int = 0
    slowness: float = 1.0

    @property
    def waits(self) -> bool:
        """Whether it spends its steps waiting (for a simulator, a device, a network), and long enough to be woken."""
        return self.waiting_share >= WAITING_SHARE and self.mean_us >= _LEAST_WAITING_US


def measure_env_cost(factory: Callable[[], Env], *, budget_s: float = 0.1) -> EnvCost | None:
    """Build one environment, step it for a moment with actions drawn at random, and close it.

    Global random generators are put back as they were, and the action space that is drawn from is a copy: measuring
    changes no data. One reset and one step are taken however long they last; a second step if the first one waited.
    An environment that hangs, or takes its process down, does so here, too: do not measure where that must not happen.

    Args:
        factory: builds one environment per call.
        budget_s: seconds for resets and steps, building not counted.

    Returns:
        None if anything goes wrong with the environment: making the vector environment will tell.
    """
    with _random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they will be shown by the environments that are used
        try:
            begin = perf_counter()
            env = factory()
            build_s = perf_counter() - begin
            try:
                return _measure(env, build_s, budget_s)
            finally:
                env.close()
        except (Exception, SystemExit):
            return None


def _measure(env: Env, build_s: float, budget_s: float) -> EnvCost:
    begin = perf_counter()
    deadline = begin + budget_s
    env.reset(seed=0)
    resets = [perf_counter() - begin]
    actions = _draw_actions(env, perf_counter() + budget_s / 10)
    steps: list[float] = []
    cpu_of_steps: list[float] = []
    over = False
    reference_us = _reference_us()
    meter = _CpuMeter()
    while True:
        cpu_begin, begin = time.thread_time(), perf_counter()
        _, _, terminated, truncated, _ = env.step(actions[len(steps) % len(actions)])
        end = perf_counter()
        cpu_of_steps.append(time.thread_time() - cpu_begin)
        steps.append(end - begin)
        over = bool(terminated or truncated)
        if end >= deadline or len(steps) > _MOST_STEPS:
            break
        if over:
            env.reset()
            resets.append(perf_counter() - end)
    cpu_s, waiting_s = meter.read()
    reference_us = min(reference_us, _reference_us())  # a burst of something else that is over counts for nothing
    first = min(1, len(steps) - 1)  # the first step may compile, load or fill something
    wall_us, thread_us = np.array(steps[first:]) * 1e6, np.array(cpu_of_steps[first:]) * 1e6
    waiting_share = waiting_s / (cpu_s + waiting_s)
    # Where this thread alone computes, its CPU time says what a step takes without other programs in its way.
    computes_here = waiting_share < WAITING_SHARE and sum(cpu_of_steps) > cpu_s / 2
    spread_us = _cut(thread_us if computes_here else wall_us)
    own_us = (cpu_s + waiting_s) * 1e6 / len(steps)
    reset_us = float(np.median(resets)) * 1e6  # rather than the mean: a reset may be interrupted for milliseconds
    resets_us = reset_us * (len(resets) - 1) / len(steps)
    mean_us = float(min(_cut(wall_us).mean(), spread_us.mean())) + resets_us
    cost = EnvCost(
        build_s=build_s,
        reset_us=reset_us,
        step_us=float(np.median(wall_us)),
        p95_us=float(np.quantile(wall_us, 0.95)),
        mean_us=min(mean_us, own_us),
        cv=float(spread_us.std() / spread_us.mean()),
        cpu_us=cpu_s * 1e6 / len(steps),
        waiting_share=waiting_share,
        num_steps=len(steps),
        slowness=reference_us / REFERENCE_US,
    )
    if not cost.waits:
        return cost
    if over:
        env.reset()
    return replace(cost, releases_gil=_others_run_during(env, actions, cost.mean_us * 1e-6))


def _draw_actions(env: Env, deadline: float) -> list[Any]:
    space = copy.deepcopy(env.action_space)  # it may be an attribute of the class, which all environments share
    space.seed(0)
    actions = [space.sample()]
    while len(actions) < _MOST_ACTIONS and perf_counter() < deadline:
        actions.append(space.sample())
    return actions


def _cut(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(times, np.quantile(times, 0.99, method="lower"))


def _reference_us() -> float:
    times = []
    for _ in range(_REFERENCE_REPEATS):
        begin = perf_counter()
        _reference_work()
        times.append((perf_counter() - begin) * 1e6)
    return float(np.median(times))


def _reference_work() -> None:
    table = {"value": 1.0}
    for number in range(1000):
        table["value"] = abs(table["value"] - number) * 0.5


def _others_run_during(env: Env, actions: Sequence[Any], step_s: float) -> bool:
    """Return whether another Python thread gets to run while the environment waits.

    The other thread wakes every twentieth of a step. If the environment keeps the interpreter lock while it waits, the
    thread gets on once in a step or so.
    """
    ticks = 0
    stop = threading.Event()
    pause_s = max(_LEAST_TICK_S, step_s / _TICKS_PER_STEP)

    def tick() -> None:
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(pause_s)

    ticker = threading.Thread(target=tick, name="paceline-lock-probe", daemon=True)
    begin, steps = perf_counter(), 0
    ticker.start()
    try:
        while steps == 0 or (perf_counter() - begin < _PROBE_S and steps < len(actions)):
            _, _, terminated, truncated, _ = env.step(actions[steps])
            steps += 1
            if terminated or truncated:
                break
    finally:
        stop.set()
        ticker.join()
    return ticks >= min(_FEWEST_TICKS_PER_STEP, step_s / pause_s / 2) * steps


class _CpuMeter:
    """What this process does from now on: computing, queueing for a core, or neither.

    CPU time is that of all threads: an environment may compute in threads of its own. A thread of the caller that
    computes meanwhile makes an environment that waits look like one that does not, which errs on the safe side.
    """

    def __init__(self) -> None:
        self._begin = (perf_counter(), time.process_time(), _queued_s())

    def read(self) -> tuple[float, float]:
        """Return the seconds of CPU time since the beginning, and those spent neither computing nor in the queue."""
        wall_s, cpu_s, queued_s = (
            now - then
            for now, then in zip((perf_counter(), time.process_time(), _queued_s()), self._begin, strict=True)
        )
        return cpu_s, max(0.0, wall_s - cpu_s - queued_s)


def _queued_s() -> float:
    """Return how long this thread has been ready to run, but waited for a core; 0 where the kernel does not tell.

    Without it, a computing environment would look like a waiting one whenever other programs crowd the cores.
    """
    try:
        _, queued_ns, _ = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0.0
    return int(queued_ns) * 1e-9


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the global generators of Python and NumPy back after the body."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
