"""Where a vector environment's time went: what runners did, what the caller waited for, who was sampled how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from paceline.vector.arrays import VecArrays
from paceline.vector.selection import Selection


@dataclass(frozen=True)
class RunnerStatistics:
    """One runner since the first step.

    Attributes:
        slot: index of the runner.
        num_envs: environments that it holds.
        env_steps: environment steps it took, reset rows included.
        busy_s: seconds in its environments.
        env_step_us: mean microseconds of an environment step, from ``busy_s``.
        wait_s: seconds in which it had nothing to do.
        wakeups: how often it was woken.
        wakeup_latency_us: mean microseconds from ``send`` to the runner's first instruction; 0, as ``wakeups`` are,
            where it is not measured: in ``serial``, which wakes nobody, and in ``pipe``.
    """

    slot: int
    num_envs: int
    env_steps: int
    busy_s: float
    env_step_us: float
    wait_s: float
    wakeups: int
    wakeup_latency_us: float


@dataclass(frozen=True)
class VecStatistics:
    """A vector environment since the first step (since the last ``reset`` of all environments).

    Attributes:
        wall_s: seconds since then.
        batches: batches that ``recv`` returned.
        env_steps: rows in these batches, reset rows included.
        batch_fill: mean rows of a batch as a share of ``batch_size``.
        wait_s: seconds in which the caller waited in ``recv`` (without runners: in which it stepped).
        overhead_s: seconds in ``send`` and ``recv`` that were not waiting: copying, signalling, infos.
        straggler_s: seconds, summed over batches, between the first and the last runner's end of a step of all
            environments; 0 where batches are first-ready.
        sampling_skew: (most - fewest steps of an environment) / mean; 0 where all are stepped alike.
        steps_of_env: steps of each environment, int64 ``[N]``.
        restarts: environments replaced since the vector was made, all of a runner's where that was replaced.
            (``max_restarts`` limits ``faults``, of which a runner's end is one.)
        runners: one each (serial: one that is this process).
    """

    wall_s: float
    batches: int
    env_steps: int
    batch_fill: float
    wait_s: float
    overhead_s: float
    straggler_s: float
    sampling_skew: float
    steps_of_env: NDArray[np.int64]
    restarts: int
    runners: tuple[RunnerStatistics, ...]


def sampling_skew(steps_of_env: NDArray[np.int64]) -> float:
    """Return (most - fewest) / mean of the steps that each environment took; 0 before the first step."""
    mean = float(steps_of_env.mean())
    return float(steps_of_env.max() - steps_of_env.min()) / mean if mean > 0 else 0.0


_MOST_UNCOUNTED = 256


class StepClock:
    """Accounts for the caller's time in ``send`` and ``recv``; a few clock readings a batch.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self._steps_of_env = np.zeros(num_envs, np.int64)
        self._resets_of_env = np.zeros(num_envs, np.int64)
        self._earlier_steps = np.zeros(num_envs, np.int64)
        self._whole_batches = 0
        self._taken: dict[Selection, int] = {}  # how often each batch came back, not added up yet
        self._zero()

    def _zero(self) -> None:
        self._earlier_steps = self.steps_taken()
        self._resets_of_env.fill(0)
        self._begin_ns = self._mark_ns = perf_counter_ns()
        self._whole_batches = self._batches = 0
        self._wait_ns = self._overhead_ns = self._straggler_ns = 0
        self._steps_of_env.fill(0)
        self._before: dict[str, NDArray[np.int64]] = {}

    def restart(self, arrays: VecArrays) -> None:
        """Begin anew; what runners have counted so far is left out."""
        self._zero()
        names = ("busy_ns", "env_steps", "wakeups", "wake_latency_ns")
        self._before = {name: getattr(arrays, name).copy() for name in names}

    def sent(self, begin_ns: int) -> None:
        """Note that a ``send`` that began at ``begin_ns`` is over."""
        self._overhead_ns += perf_counter_ns() - begin_ns

    def waits(self) -> None:
        """Note that a ``recv`` begins to wait."""
        self._mark_ns = perf_counter_ns()

    def waited(self) -> None:
        """Note that it has what it waited for."""
        now = perf_counter_ns()
        self._wait_ns += now - self._mark_ns
        self._mark_ns = now

    def received_all(self, finished_ns: NDArray[np.int64], reset_rows: NDArray[np.bool_]) -> None:
        """Note that it returns a step of all environments.

        Args:
            finished_ns: when runners finished, ``[R]``.
            reset_rows: rows that are resets, ``[N]``.
        """
        self._whole_batches += 1
        if 1 in reset_rows.tobytes():  # a sixth of the time that NumPy takes to count them
            self._resets_of_env += reset_rows
        if len(finished_ns) > 1:
            ends = finished_ns.tolist()
            self._straggler_ns += max(ends) - min(ends)
        self._overhead_ns += perf_counter_ns() - self._mark_ns

    def received(self, taken: Selection, reset_rows: NDArray[np.bool_]) -> None:
        """Note that it returns these environments, some of them as ``reset_rows`` ``[B]``."""
        self._batches += 1
        self._taken[taken] = self._taken.get(taken, 0) + 1
        if len(self._taken) > _MOST_UNCOUNTED:
            self._count()
        if 1 in reset_rows.tobytes():  # a sixth of the time that NumPy takes to count them
            self._resets_of_env[taken.rows] += reset_rows
        self._overhead_ns += perf_counter_ns() - self._mark_ns

    def _count(self) -> None:
        """Add the batches that came back to the steps of their environments."""
        for taken, times in self._taken.items():
            self._steps_of_env[taken.rows] += times
        self._taken.clear()

    def steps_taken(self) -> NDArray[np.int64]:
        """Return the steps of each environment that were returned since the vector was made, resets not counted."""
        self._count()
        taken: NDArray[np.int64] = self._earlier_steps + self._steps_of_env + self._whole_batches - self._resets_of_env
        return taken

    def statistics(
        self, arrays: VecArrays, slot_sizes: Sequence[int], batch_size: int, num_restarts: int
    ) -> VecStatistics:
        """Return what was counted since the last :meth:`restart`, and ``num_restarts`` as it is."""
        wall_s = (perf_counter_ns() - self._begin_ns) / 1e9
        self._count()
        steps_of_env = self._steps_of_env + self._whole_batches
        batches = self._batches + self._whole_batches
        env_steps = int(steps_of_env.sum())
        counted = {name: (getattr(arrays, name) - before).tolist() for name, before in self._before.items()}
        runners = []
        for slot, size in enumerate(slot_sizes if counted else ()):
            busy_s, steps = counted["busy_ns"][slot] / 1e9, counted["env_steps"][slot]
            wakeups = counted["wakeups"][slot]
            runners.append(
                RunnerStatistics(
                    slot=slot,
                    num_envs=size,
                    env_steps=steps,
                    busy_s=busy_s,
                    env_step_us=busy_s / steps * 1e6 if steps else 0.0,
                    wait_s=max(0.0, wall_s - busy_s),
                    wakeups=wakeups,
                    wakeup_latency_us=counted["wake_latency_ns"][slot] / wakeups / 1e3 if wakeups else 0.0,
                )
            )
        return VecStatistics(
            wall_s=wall_s,
            batches=batches,
            env_steps=env_steps,
            batch_fill=env_steps / (batches * batch_size) if batches else 0.0,
            wait_s=self._wait_ns / 1e9,
            overhead_s=self._overhead_ns / 1e9,
            straggler_s=self._straggler_ns / 1e9,
            sampling_skew=sampling_skew(steps_of_env),
            steps_of_env=steps_of_env,
            restarts=num_restarts,
            runners=tuple(runners),
        )
