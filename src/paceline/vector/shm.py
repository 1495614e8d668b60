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
from paceline.vector.batched import VecOptions
from paceline.vector.info_board import InfoReader, InfoSchema
from paceline.vector.infos import InfoColumns, InfoRecord, Infos, Said, in_order
from paceline.vector.ring import Ring
from paceline.vector.runners.memory import create_block, grow_block
from paceline.vector.runners.processes import ProcessOptions, ProcessVecEnv
from paceline.vector.runners.readiness import Readiness, RunnerEnded
from paceline.vector.runners.wakeup import STEP, is_on_board, num_done, step_some
from paceline.vector.selection import EnvIds, Selection


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
        self._requests = [Ring(cells) for cells in self._arrays.requests]
        self._completions = [Ring(cells) for cells in self._arrays.completions]
        self._boards = [InfoReader(self._arrays.info_cells, runner.envs) for runner in self._runners]
        self._whole_board: InfoReader | None = None
        self._sent_s = np.zeros(self.num_envs)
        self._awaited: list[int] = []  # runners of a step of all environments that have not finished it
        self._readiness = Readiness(self._runners, self._waiting)
        self._wake_fds = [runner.wake_fd for runner in self._runners]
        if not options.faults.restarts:
            os.close(self._memory_fd)
            self._memory_fd = -1

    def _create_memory(self) -> int:
        return create_block()

    def _map_memory(self, layout: Layout) -> VecArrays:
        return layout.arrays_over(grow_block(self._memory_fd, layout.nbytes))

    def _start(self, chosen: Selection | None) -> None:
        if chosen is None:
            self._arrays.sent_ns.fill(perf_counter_ns())
            for fd in self._wake_fds:
                _wake(fd, STEP)
            return
        if self._timeout_s is not None:
            self._sent_s[chosen.rows] = monotonic()
        for slot, ids, _ in chosen.parts(self._starts):
            self._request(slot, ids)

    def _request(self, slot: int, ids: EnvIds) -> None:
        """Add environments to a runner's ring and wake it."""
        self._requests[slot].put_together(ids)
        self._arrays.sent_ns[slot] = perf_counter_ns()
        _wake(self._wake_fds[slot], step_some(len(ids)))

    def _finish_all(self) -> Infos:
        deadline = self._deadline()
        found: dict[int, Said | InfoReader] = {}
        failures: dict[int, PacelineError] = {}
        awaited = self._awaited = list(self._slots)
        while awaited:
            slot = awaited[-1]  # it was woken last: whoever waits for it is woken seldom
            try:
                value = self._readiness.wait(slot, deadline)
            except RunnerEnded as ended:
                self._bury(ended.slot, found, failures)
                deadline = self._deadline()
            except EnvTimeoutError as error:
                self._finished_others(found, failures)
                if awaited:
                    self._mend(awaited[0], self._located(awaited[0], error))  # of several that hang, the first is told
                deadline = self._deadline()
            else:
                self._finished(slot, value, found, failures)
                if len(awaited) > 1:
                    self._finished_others(found, failures)
        if failures:
            raise failures[min(failures)]  # of several broken environments, the first is told
        if not found:
            return []
        on_board = [item for item in found.values() if isinstance(item, InfoReader)]
        if self._whole_board is not None and len(on_board) == self.num_env_runners:
            return [self._whole_board.read()]
        return in_order({slot: item.read() if isinstance(item, InfoReader) else item for slot, item in found.items()})

    def _finished_others(self, found: dict[int, Said | InfoReader], failures: dict[int, PacelineError]) -> None:
        """Note who else has finished by now."""
        for slot, value in self._readiness.signalled():
            self._finished(slot, value, found, failures)

    def _finished(
        self, slot: int, value: int, found: dict[int, Said | InfoReader], failures: dict[int, PacelineError]
    ) -> None:
        """Note that a runner has finished a step of all its environments, and take what it has to say of it."""
        if is_on_board(value):
            found[slot] = self._boards[slot]
        elif value != self._all_done[slot]:
            try:
                message = self._step_message(slot)  # it is there, or on its way
                found[slot] = message.infos
                if message.schema is not None:
                    self._learn(slot, message.schema)
            except RunnerDiedError:  # in the middle of the message: it has not finished then
                self._mend_ended(slot)
                return
            except PacelineError as error:
                failures[slot] = error
        self._awaited.remove(slot)

    def _learn(self, slot: int, schema: InfoSchema) -> None:
        """Note what a runner's infos look like; where all look alike, they are read in one go."""
        self._boards[slot].learn(schema)
        self._whole_board = None
        if all(board.schema == schema for board in self._boards):
            self._whole_board = InfoReader(self._arrays.info_cells, range(self.num_envs))
            self._whole_board.learn(schema)

    def _bury(self, slot: int, found: dict[int, Said | InfoReader], failures: dict[int, PacelineError]) -> None:
        """Replace a runner that died; what it finished before counts."""
        if slot in self._awaited and (value := self._readiness.take(slot)):
            self._finished(slot, value, found, failures)
            if slot in self._awaited:  # it was replaced on that occasion
                return
        self._mend_ended(slot)

    def _mend_ended(self, slot: int) -> None:
        obituary: RunnerDiedError = self._runners[slot].obituary()
        self._mend(slot, self._located(slot, obituary))

    def _finish_some(self, wanted: Selection | None) -> tuple[list[int], Infos]:
        ids: list[int] = []
        found: list[InfoRecord] = []
        for slot, value in self._wait_some(wanted):
            count, messages = num_done(value)
            try:
                said = [self._step_message(slot).infos for _ in range(messages)]
            except RunnerDiedError:  # in the middle of a message: the steps that it tells of do not count
                self._mend_ended(slot)
                continue
            ids += self._completions[slot].take(count)
            for infos in said:
                found += infos.records() if isinstance(infos, InfoColumns) else infos
        return ids, found

    def _wait_some(self, wanted: Selection | None) -> list[tuple[int, int]]:
        """Return runners that have signalled, and what; none if one had to be mended.

        Of runners whose environments are wanted one by one is waited for: the signals of the others wake nobody.
        """
        if wanted is None or self._timeout_s is not None:
            return self._wait_any()
        slot = next(part.slot for part in wanted.parts(self._starts) if self._flight.awaits(part.members))
        try:
            return [(slot, self._readiness.wait(slot, None))]
        except RunnerEnded as ended:
            self._mend_ended(ended.slot)
            return []

    def _wait_any(self) -> list[tuple[int, int]]:
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
        self._requests[slot].rewind()
        self._completions[slot].rewind()
        self._wake_fds[slot] = runner.wake_fd
        self._readiness.close()
        self._readiness = Readiness(self._runners, self._waiting)
        under_way = self._flight.under_way(runner.envs)
        if self._flight.together:
            if slot in self._awaited:
                os.write(runner.wake_fd, STEP)
        elif len(under_way):
            self._sent_s[under_way] = monotonic()
            self._request(slot, under_way)

    def _let_go(self, grace_s: float) -> None:
        super()._let_go(grace_s)
        if hasattr(self, "_readiness"):
            self._readiness.close()

    def __repr__(self) -> str:
        """Name backend and numbers."""
        return f"ShmVecEnv({self.num_envs} envs in {self.num_env_runners} runners)"


def _wake(fd: int, signal: bytes) -> None:
    """Signal a runner; of one that is dead, waiting for it tells (only a pipe, not an eventfd, would do so here)."""
    try:
        os.write(fd, signal)
    except BrokenPipeError:
        return
