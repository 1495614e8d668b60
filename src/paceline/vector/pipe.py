"""Environments in runner processes that are sent their actions, and send their results, pickled over a pipe.

The classic execution (one message per runner and step, each way), kept as the baseline that the others are measured
against, and for what shared memory cannot be had for.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from time import monotonic, perf_counter_ns
from typing import Any

import numpy as np

from paceline.envs import EnvFactory
from paceline.errors import EnvTimeoutError, PacelineError, RunnerDiedError
from paceline.vector.arrays import Layout, VecArrays
from paceline.vector.batched import Mask, VecOptions
from paceline.vector.infos import InfoColumns, InfoRecord, Infos, in_order
from paceline.vector.runners.launch import RunnerProcess
from paceline.vector.runners.memory import create_block, grow_block
from paceline.vector.runners.processes import ProcessOptions, ProcessVecEnv
from paceline.vector.runners.protocol import PipeRows, PipeStep, ResetAnswer
from paceline.vector.runners.serving import cursor_bytes, share_cursors, write_pipe_rows
from paceline.vector.selection import EnvIds, Selection
from paceline.vector.spaces import map_tree


class PipeVecEnv(ProcessVecEnv):
    """N environments in R runner processes over pipes; see :class:`ProcessVecEnv` for the arguments."""

    backend = "pipe"
    _by_pipe = True

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        num_env_runners: int,
        options: VecOptions,
        processes: ProcessOptions,
    ) -> None:
        self._bases = [(0, 0)] * num_env_runners  # busy_ns and env_steps of processes that have been replaced
        super().__init__(factories, num_env_runners, options, processes)
        self._starts = np.array([runner.envs.start for runner in self._runners])
        self._under_way: dict[int, EnvIds | None] = {}  # in each runner's one message; None: all of its environments
        self._backlog: dict[int, EnvIds] = {}
        self._deadline_s = [0.0] * num_env_runners

    def _create_memory(self) -> int:
        return create_block()  # for the cursors alone

    def _map_memory(self, layout: Layout) -> VecArrays:
        arrays = layout.arrays_over(np.zeros(layout.nbytes, np.uint8))
        return share_cursors(arrays, grow_block(self._memory_fd, cursor_bytes(layout.num_slots)))

    def _post(self, runner: RunnerProcess, request: Any) -> None:
        runner.post(request)

    def _start(self, chosen: Selection | None) -> None:
        if chosen is None:
            for slot in range(self.num_env_runners):
                self._send_step(slot, None)
            return
        for slot, ids, _ in chosen.parts(self._starts):
            self._send_step(slot, ids)

    def _send_step(self, slot: int, ids: EnvIds | None) -> None:
        """Send one message; to a runner that is at work only after its answer.

        With two under way both ends could be writing, each into a pipe that the other does not read.
        """
        if ids is not None and slot in self._under_way:
            before = self._backlog.get(slot)
            self._backlog[slot] = ids if before is None else np.concatenate((before, ids))
            return
        runner = self._runners[slot]
        envs = runner.envs
        rows: Any = slice(envs.start, envs.stop) if ids is None else ids
        actions = map_tree(lambda array: array[rows], self._arrays.actions)
        self._under_way[slot] = ids
        self._arrays.sent_ns[slot] = perf_counter_ns()
        self._deadline_s[slot] = monotonic() + (self._timeout_s or 0.0)
        runner.post(PipeStep(None if ids is None else (ids - envs.start).tolist(), actions))

    def _finish_all(self) -> Infos:
        found: dict[int, InfoColumns | list[InfoRecord]] = {}
        failure: PacelineError | None = None
        for slot in range(self.num_env_runners):
            while slot in self._under_way:
                try:
                    found[slot] = self._receive_step(slot).message.infos
                except (RunnerDiedError, EnvTimeoutError) as error:
                    self._mend(slot, self._located(slot, error))
                except PacelineError as error:
                    self._under_way.pop(slot, None)
                    failure = failure or error
        if failure is not None:
            raise failure
        return in_order(found)

    def _finish_some(self, wanted: Selection | None) -> tuple[list[int], Infos]:
        ids: list[int] = []
        found: list[InfoRecord] = []
        for slot in self._ready_slots():
            try:
                answer = self._receive_step(slot)
            except (RunnerDiedError, EnvTimeoutError) as error:
                self._mend(slot, self._located(slot, error))
                continue
            envs = self._runners[slot].envs
            ids += envs if answer.indices is None else [envs.start + index for index in answer.indices]
            infos = answer.message.infos
            found += infos.records() if isinstance(infos, InfoColumns) else infos
        return ids, found

    def _ready_slots(self) -> list[int]:
        """Wait until a runner that is at work has something to say; return all such runners."""
        poller = select.poll()
        slot_of = {}
        for slot in self._under_way:
            fd = self._runners[slot].channel.fileno()
            slot_of[fd] = slot
            poller.register(fd, select.POLLIN)
        timeout_ms = None
        if self._timeout_s is not None:
            first = min(self._under_way, key=lambda slot: self._deadline_s[slot])
            timeout_ms = max(0.0, self._deadline_s[first] - monotonic()) * 1000
        ready = [slot_of[fd] for fd, _ in poller.poll(timeout_ms)]
        return ready or [first]

    def _receive_step(self, slot: int) -> PipeRows:
        deadline = None if self._timeout_s is None else self._deadline_s[slot]
        answer: PipeRows = self._runners[slot].receive(deadline)
        runner = self._runners[slot]
        write_pipe_rows(answer, self._arrays, runner.envs, slot, self._bases[slot])
        del self._under_way[slot]
        self._took_faults(answer.message.faults)
        if slot in self._backlog:
            self._send_step(slot, np.sort(self._backlog.pop(slot)))
        return answer

    def _answer(self, slot: int, deadline: float | None) -> Any:
        answer = self._runners[slot].receive(deadline)
        if isinstance(answer, PipeRows):
            write_pipe_rows(answer, self._arrays, self._runners[slot].envs, slot, self._bases[slot])
            infos = answer.message.infos
            records = infos.records() if isinstance(infos, InfoColumns) else infos
            return ResetAnswer(records, answer.message.faults)
        return answer

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        self._drain()  # a pipe holds one conversation
        return super()._reset_envs(seeds, options, mask)

    def _start_again(self, slot: int) -> None:
        self._bases[slot] = (int(self._arrays.busy_ns[slot]), int(self._arrays.env_steps[slot]))
        none = np.empty(0, np.int64)
        ids = self._under_way.pop(slot, none)
        if ids is None:
            self._send_step(slot, None)
        elif len(ids := np.concatenate((ids, self._backlog.pop(slot, none)))):
            self._send_step(slot, np.sort(ids))
