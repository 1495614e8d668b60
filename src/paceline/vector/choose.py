"""Which execution fits an environment: its cost is measured for a moment, and a small model of time says what pays.

The model, in microseconds per step of all N environments, for R runners of m = ceil(N / R) environments each::

    in turn       SERIAL_STEP + N (t + ROW)
    R processes   WAKE + R WAKE_EACH + m (t + ROW + SHARED_ROW) (CROWDING if R > 1) + straggler
    R that wait   root of (WAKE + m (t + ROW) + straggler)^2 + ((N (c + ROW) + R WAITER) / cores)^2
    straggler     s sqrt(m) z(R),   z(R) = inverse normal of (R - 3/8) / (R + 1/4)

with t an environment step, s its standard deviation, c the part of it that computes. The straggler is how much later
than the mean the last of R sums of m steps ends: the expected maximum of R normal variables (Blom, 1958). Where
environments wait, waiting and computing hide each other in part (threads compute one at a time: cores is 1 for them).
The constants are of one machine while it was quiet; on another, or among other programs, they grow as a fixed piece of
work does that is timed beside the environment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from paceline.vector.env_cost import EnvCost, measure_env_cost
from paceline.vector.native.support import NativeWay

__all__ = [
    "Choice",
    "ChosenBackend",
    "EnvCost",
    "choose_backend",
    "choose_untried",
    "measure_env_cost",
    "serial_us",
    "shm_us",
    "waiting_us",
]

ChosenBackend = Literal["serial", "pipe", "shm", "thread", "native"]
"""An execution. ``pipe`` is there to be compared with; nothing speaks for choosing it."""

# Measured on 2 cores (autoreset same_step, no infos), contenders in turn, the least of 7 rounds: CartPole with 1 to 64
# environments, busy loops of 20, 50 and 100 us with 2 to 64, HalfCheetah with 2 to 64.
SERIAL_STEP_US = 5.0
"""A step of all environments, without the environments."""
ROW_US = 1.5
"""What the loop adds to each environment's step: actions, observation, flags."""
SHARED_ROW_US = 0.5
"""What shared memory adds to that: the caller copies rows that another core has written."""
WAKE_US = 30.0
"""From the caller to waiting runners and back."""
WAKE_EACH_US = 6.0
"""Of which each runner takes so much of the caller's time."""
CROWDING = 1.03
"""How much longer a step takes while the other cores are busy as well (shared caches, clock rate)."""
PROCESS_WAITER_US = 50.0
"""CPU time around a wait in a process of its own: being woken twice, by the caller and by what it waited for."""
THREAD_WAITER_US = 60.0
"""The same in a thread, and the interpreter lock handed over. Both fit 8 to 64 environments that sleep 2 ms, in 8 to 64
threads and processes, to a fifth."""

LEAST_GAIN = 1.4
"""How many times faster processes must be for their memory and their start to be worth it.

A tenth of a second cannot tell much less on a machine that others use as well, and the model sees only quiet cores:
where it promised 1.28 for 16 CartPoles on two slow cores, processes were as fast as the loop (0.9 to 1.2) once other
programs had been running in between.
"""
LEAST_FOR_THREADS_US = 200.0
"""Steps shorter than this are spent on handing the interpreter lock around, even where they let go of it."""
_ALIKE = 1.05
"""Of expected times that differ by less, the one with fewer runners is taken."""
MOST_PROCESSES_PER_CORE = 4
"""For environments that wait. Each process has memory of its own, and what it waits for may be a program that runs on
the same cores, which no measurement in one process can see."""
MOST_THREADS_PER_CORE = 32
_NO_PROCESSES = "runner processes need Linux or macOS"


@dataclass(frozen=True)
class Choice:
    """An execution, and one sentence on why.

    Attributes:
        backend: name of the execution.
        num_env_runners: R; 0 for serial.
        reason: the sentence.
    """

    backend: ChosenBackend
    num_env_runners: int
    reason: str


def choose_backend(
    cost: EnvCost | None,
    num_envs: int,
    num_runners_useful: int,
    *,
    native: NativeWay | None = None,
    has_processes: bool = True,
) -> Choice:
    """Choose how to execute N environments.

    Args:
        cost: of one of them; None if unknown.
        num_envs: N.
        num_runners_useful: how many processes can compute at once: cores, within a container's quota.
        native: how native code steps these environments, and faster than in turn; None if it does not.
        has_processes: whether there can be runner processes; else the choice is between this process and its threads.
    """
    cores = max(1, num_runners_useful)
    if native is not None:
        runners = min(num_envs, cores, native.most_threads or cores)
        return Choice("native", runners, f"native, {_count(runners, 'thread')}: {native.reason}")
    if num_envs == 1:
        return Choice("serial", 0, "serial: a single environment gains nothing from another process")
    if cost is None:
        return _choose_unmeasured(num_envs, cores, has_processes=has_processes)
    threads = bool(cost.releases_gil)
    if not has_processes and not threads:
        step = f"a step takes {_duration(cost.mean_us)} and lets no other thread run"
        return Choice("serial", 0, f"serial: {step}, and {_NO_PROCESSES}")
    if cost.waits:
        return _choose_for_waiting(cost, num_envs, cores, threads=threads, has_processes=has_processes)
    return _choose_for_computing(cost, num_envs, cores, threads=threads, has_processes=has_processes)


def choose_untried(
    num_envs: int, num_runners_useful: int, because: Sequence[str], *, has_processes: bool = True
) -> Choice:
    """Choose for environments that must not be tried out in this process, or need processes whatever a step costs.

    Args:
        num_envs: N.
        num_runners_useful: how many processes can compute at once.
        because: the arguments that say so, at least one.
        has_processes: whether there can be runner processes; else threads come nearest.
    """
    cores = max(1, num_runners_useful)
    runners = min(num_envs, cores)
    need = f"{' and '.join(because)} {'needs' if len(because) == 1 else 'need'} processes"
    if not has_processes:
        return Choice("thread", runners, f"thread, {_count(runners, 'thread')}: {need}, but {_NO_PROCESSES}")
    why = f"{_one_each(num_envs, cores)}; {need}, so no step was tried out in this one"
    return Choice("shm", runners, f"shm, {_count(runners, 'runner')}: {why}")


def serial_us(cost: EnvCost, num_envs: int) -> float:
    """Return the expected microseconds of a step of N environments in turn."""
    return cost.slowness * SERIAL_STEP_US + num_envs * (cost.mean_us + cost.slowness * ROW_US)


def shm_us(cost: EnvCost, num_envs: int, num_env_runners: int) -> float:
    """Return the expected microseconds of a step of N environments in R processes, each with a core of its own."""
    per_runner = math.ceil(num_envs / num_env_runners)
    crowding = CROWDING if num_env_runners > 1 else 1.0
    stepping = per_runner * (cost.mean_us + cost.slowness * (ROW_US + SHARED_ROW_US)) * crowding
    return _waking_us(cost, num_env_runners) + stepping + _straggler_us(cost, per_runner, num_env_runners)


def waiting_us(cost: EnvCost, num_envs: int, num_env_runners: int, waiter_us: float, cores: int) -> float:
    """Return the expected microseconds of a step of N environments that wait in R runners at the same time.

    Args:
        cost: of one of them.
        num_envs: N.
        num_env_runners: R.
        waiter_us: CPU time of a runner around its wait.
        cores: how many runners can compute at once.
    """
    per_runner = math.ceil(num_envs / num_env_runners)
    row_us = cost.slowness * ROW_US
    waiting = cost.slowness * WAKE_US + per_runner * (cost.mean_us + row_us)
    waiting += _straggler_us(cost, per_runner, num_env_runners)
    computing = num_envs * (cost.cpu_us + row_us) + num_env_runners * cost.slowness * waiter_us
    return math.hypot(waiting, computing / cores)


def _choose_unmeasured(num_envs: int, cores: int, *, has_processes: bool) -> Choice:
    runners = min(num_envs, cores)
    if not has_processes:
        return Choice("serial", 0, f"serial: a step's cost is not known, and {_NO_PROCESSES}")
    if runners == 1:
        return Choice("serial", 0, "serial: there is one usable core, which processes would have to share")
    why = f"{_one_each(num_envs, cores)}; a step's cost is not known"
    return Choice("shm", runners, f"shm, {_count(runners, 'runner')}: {why}")


def _one_each(num_envs: int, cores: int) -> str:
    return "one for each usable core" if num_envs >= cores else "one for each environment"


def _choose_for_computing(cost: EnvCost, num_envs: int, cores: int, *, threads: bool, has_processes: bool) -> Choice:
    step = f"a step takes {_duration(cost.mean_us)}"
    if cores == 1:
        return Choice("serial", 0, f"serial: {step}, and there is one usable core, which processes would have to share")
    expected = {runners: shm_us(cost, num_envs, runners) for runners in range(1, min(num_envs, cores) + 1)}
    runners = _fewest_alike(expected)
    took = _duration(expected[runners])
    who = _count(runners, "runner")
    in_turn = serial_us(cost, num_envs)
    if in_turn < LEAST_GAIN * expected[runners]:
        runners = min((count for count in expected if count > 1), key=expected.__getitem__)
        return Choice("serial", 0, _not_worth(cost, num_envs, runners, expected[runners]))
    sentence = f"{step}, so {num_envs} in turn would take about {_duration(in_turn)}; {{}} take about {took}"
    if threads and cost.mean_us >= LEAST_FOR_THREADS_US:
        who = _count(runners, "thread")
        return Choice("thread", runners, f"thread, {who}: it lets other threads run; {sentence.format(who)}")
    if not has_processes:
        return Choice("serial", 0, f"serial: {step}, too short for threads, and {_NO_PROCESSES}")
    return Choice("shm", runners, f"shm, {who}: {sentence.format(who)}")


def _not_worth(cost: EnvCost, num_envs: int, runners: int, took_us: float) -> str:
    in_turn = _duration(serial_us(cost, num_envs))
    wake = _duration(_waking_us(cost, runners))
    return (
        f"serial: a step takes {_duration(cost.mean_us)}, so {num_envs} in turn take about {in_turn}; {runners} "
        f"runners would take about {_duration(took_us)}, {wake} of it to wake them, which is not {LEAST_GAIN} times as "
        f"fast"
    )


def _choose_for_waiting(cost: EnvCost, num_envs: int, cores: int, *, threads: bool, has_processes: bool) -> Choice:
    """Choose for environments that mostly wait: more runners than cores wait at the same time.

    A thread is as good as a process for that, costs next to nothing, and needs nothing to be pickled, if others can run
    while it waits. But threads compute one at a time, so that with many cores processes may win.
    """

    def expect(most: int, waiter_us: float, at_once: int) -> tuple[int, float]:
        counts = range(2, min(num_envs, most) + 1)
        expected = {count: waiting_us(cost, num_envs, count, waiter_us, at_once) for count in counts}
        runners = _fewest_alike(expected)
        return runners, expected[runners]

    backend: ChosenBackend = "shm"
    runners, took_us = expect(MOST_PROCESSES_PER_CORE * cores, PROCESS_WAITER_US, cores)
    if threads:
        in_threads = expect(MOST_THREADS_PER_CORE * cores, THREAD_WAITER_US, 1)
        if not has_processes or in_threads[1] <= LEAST_GAIN * took_us:
            backend, (runners, took_us) = "thread", in_threads
    who = _count(runners, "thread" if backend == "thread" else "runner")
    return Choice(
        backend,
        runners,
        f"{backend}, {who}: a step takes {_duration(cost.mean_us)} but computes for {_duration(cost.cpu_us)} of it, so "
        f"{num_envs} in turn would take about {_duration(serial_us(cost, num_envs))}; {who} that wait at the same time "
        f"take about {_duration(took_us)}",
    )


def _fewest_alike(expected: dict[int, float]) -> int:
    """Return the least number of runners whose expected time is as good as the best."""
    best = min(expected.values())
    return min(runners for runners, took in expected.items() if took <= _ALIKE * best)


def _waking_us(cost: EnvCost, num_env_runners: int) -> float:
    return cost.slowness * (WAKE_US + num_env_runners * WAKE_EACH_US)


def _straggler_us(cost: EnvCost, per_runner: int, num_env_runners: int) -> float:
    return cost.cv * cost.mean_us * math.sqrt(per_runner) * _expected_maximum(num_env_runners)


def _expected_maximum(count: int) -> float:
    """Return about what the largest of ``count`` standard normal variables is on average; 0 for one."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(us: float) -> str:
    """Return a time in words, with two or three digits."""
    for size, unit in ((1.0, "us"), (1e3, "ms"), (1e6, "s")):
        value = us / size
        if value < 9.95:
            return f"{value:.1f} {unit}"
        if value < 999.5:
            return f"{value:.0f} {unit}"
    return f"{us / 1e6:,.0f} s"
