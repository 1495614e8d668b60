"""Environments in runner processes, with everything that moves in every step in shared memory.

A step costs one wake-up per runner and one back, however many environments each holds: actions, observations, rewards
and flags are written where the other side reads them. Nothing is pickled, unless an environment returns infos and the
caller wants them.

Where batches are smaller than N, each runner has a ring of environments that it is to step, and one of those that it
has stepped; signals carry how many were added. The system call that delivers a signal orders memory, so no other fence
is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic, perf_counter_ns

import numpy as np

from paceline.envs import EnvFactory
from paceline.errors import EnvTimeoutError, PacelineError, RunnerDiedError
from paceline.vector.arrays import Layout, VecArrays
from paceline.vector.batched import Infos, VecOptions
from paceline.vector.flight import EnvIds
from paceline.vector.infos import InfoColumns, InfoRecord
from paceline.vector.memory import create_block, grow_block
from paceline.vector.processes import ProcessOptions, ProcessVecEnv
from paceline.vector.readiness import Readiness, RunnerEnded
from paceline.vector.wakeup import STEP, num_done, step_some


class ShmVecEnv(ProcessVecEnv):
    """N environments in R runner processes over shared memory; see :class:`ProcessVecEnv` for the arguments."""

    backend = "shm"

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        num_env_runners: int,
        options: VecOptions,
        processes: ProcessOptions,
    ) -> None:
        super().__init__(factories, num_env_runners, options, processes)
        self._slots = range(num_env_runners)
        self._starts = np.array([runner.envs.start for runner in self._runners])
        self._all_done = [len(runner.envs) for runner in self._runners]
        self._asked = [0] * num_env_runners
        self._taken = [0] * num_env_runners
        self._sent_s = np.zeros(self.num_envs)
        self._readiness = Readiness(self._runners, self._waiting)
        self._wake_fds = [runner.wake_fd for runner in self._runners]
        if not options.faults.restarts:
            os.close(self._memory_fd)
            self._memory_fd = -1

    def _create_memory(self) -> int:
        return create_block()

    def _map_memory(self, layout: Layout) -> VecArrays:
        return layout.arrays_over(grow_block(self._memory_fd, layout.nbytes))

    def _start(self, env_ids: EnvIds | None) -> None:
        if env_ids is None:
            self._arrays.sent_ns.fill(perf_counter_ns())
            write = os.write
            for fd in self._wake_fds:
                write(fd, STEP)
            return
        if self._timeout_s is not None:
            self._sent_s[env_ids] = monotonic()
        bounds = [*np.searchsorted(env_ids, self._starts).tolist(), len(env_ids)]
        for slot in self._slots:
            if bounds[slot] < bounds[slot + 1]:
                self._request(slot, env_ids[bounds[slot] : bounds[slot + 1]])

    def _request(self, slot: int, ids: EnvIds) -> None:
        """Add environments to a runner's ring and wake it."""
        begin = self._asked[slot]
        self._asked[slot] = begin + len(ids)
        self._arrays.requests[slot].put(range(begin, begin + len(ids)), ids, mode="wrap")
        self._arrays.sent_ns[slot] = perf_counter_ns()
        os.write(self._wake_fds[slot], step_some(len(ids)))

    def _finish_all(self) -> Infos:
        deadline = None if self._timeout_s is None else monotonic() + self._timeout_s
        found: list[InfoColumns | list[InfoRecord]] = []
        failure: PacelineError | None = None
        wait, slots = self._wait, list(self._slots)
        for slot in slots:
            if wait(slot, deadline, slots) != self._all_done[slot]:
                try:
                    found.append(self._step_message(slot).infos)  # it is there, or on its way
                except PacelineError as error:
                    failure = failure or error  # of several broken environments, the first is told
        if failure is not None:
            raise failure
        self._look_after()
        columns = [item for item in found if isinstance(item, InfoColumns)]
        if len(columns) == len(found):
            return columns
        return [record for item in found for record in (item.records() if isinstance(item, InfoColumns) else item)]

    def _wait(self, slot: int, deadline: float | None, slots: list[int]) -> int:
        """Wait for a runner's signal; a runner that dies or hangs meanwhile, this one or another, is mended.

        One that had stepped already steps again in its new life, so it is added to the ``slots`` to wait for.
        """
        while True:
            try:
                return self._readiness.wait(slot, deadline)
            except RunnerEnded as ended:
                self._mend_ended(ended.slot)
                if ended.slot < slot:
                    slots.append(ended.slot)
            except EnvTimeoutError as error:
                self._mend(slot, self._located(slot, error))
            deadline = None if self._timeout_s is None else monotonic() + self._timeout_s

    def _mend_ended(self, slot: int) -> None:
        obituary: RunnerDiedError = self._runners[slot].obituary()
        self._mend(slot, self._located(slot, obituary))

    def _finish_some(self) -> tuple[EnvIds, Infos]:
        ids: list[EnvIds] = []
        found: list[InfoRecord] = []
        for slot, value in self._wait_any():
            count, messages = num_done(value)
            taken = self._taken[slot]
            self._taken[slot] = taken + count
            ids.append(self._arrays.completions[slot].take(range(taken, taken + count), mode="wrap"))
            for _ in range(messages):
                infos = self._step_message(slot).infos
                found += infos.records() if isinstance(infos, InfoColumns) else infos
        self._look_after()
        return (np.concatenate(ids).astype(np.int64) if ids else self._flight.all_ids[:0]), found

    def _wait_any(self) -> list[tuple[int, int]]:
        """Return runners that have signalled, and what; none if one had to be mended."""
        timeout_s = None
        if self._timeout_s is not None:
            under_way = self._flight.under_way(range(self.num_envs))
            oldest = int(under_way[self._sent_s[under_way].argmin()])
            timeout_s = self._sent_s[oldest] + self._timeout_s - monotonic()
        try:
            signals = self._readiness.wait_any(timeout_s)
        except RunnerEnded as ended:
            self._mend_ended(ended.slot)
            return []
        if not signals:
            slot = int(np.searchsorted(self._starts, oldest, side="right")) - 1
            self._mend(slot, self._located(slot, EnvTimeoutError("it did not answer in time")))
        return signals

    def _start_again(self, slot: int) -> None:
        runner = self._runners[slot]
        self._asked[slot] = self._taken[slot] = 0
        self._wake_fds[slot] = runner.wake_fd
        self._readiness.close()
        self._readiness = Readiness(self._runners, self._waiting)
        under_way = self._flight.under_way(runner.envs)
        if self._flight.together:
            os.write(runner.wake_fd, STEP)
        elif len(under_way):
            self._sent_s[under_way] = monotonic()
            self._request(slot, under_way)

    def fileno(self) -> int | None:
        """Return a descriptor that is readable while any runner is ready or dead (Linux; else None)."""
        return self._readiness.fileno()

    def _let_go(self, grace_s: float) -> None:
        super()._let_go(grace_s)
        if hasattr(self, "_readiness"):
            self._readiness.close()

    def __repr__(self) -> str:
        """Name backend and numbers."""
        return f"ShmVecEnv({self.num_envs} envs in {self.num_env_runners} runners)"
