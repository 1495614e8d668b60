"""A runner's loops: wait, step or answer, signal. One for shared memory, one for pipes."""

from __future__ import annotations

import os
import select
import traceback
from dataclasses import replace
from multiprocessing.connection import Connection
from time import perf_counter_ns
from typing import Any

import numpy as np

from paceline.errors import EnvContractError, EnvRaisedError, PacelineError
from paceline.vector.arrays import VecArrays
from paceline.vector.env_list import call_envs, set_values
from paceline.vector.group import EnvGroup
from paceline.vector.info_board import InfoWriter
from paceline.vector.infos import InfoColumns, InfoRecord, pack
from paceline.vector.ring import Ring, requests_in
from paceline.vector.runners.patience import Patience, Waiting
from paceline.vector.runners.protocol import (
    SMALL_BYTES,
    CallRequest,
    Failure,
    PipeRows,
    PipeStep,
    ResetAnswer,
    ResetRequest,
    SetAttrRequest,
    StepMessage,
    pack_message,
    receive_message,
)
from paceline.vector.runners.wakeup import (
    CLOSE_BIT,
    REQUEST_BIT,
    SIGNAL_SIZE,
    STEP_BIT,
    decode,
    done,
    num_requested,
)
from paceline.vector.spaces import map_tree, write_rows

_CACHE_LINE = 64
_SIGNAL_EVERY_NS = 2_000_000
"""Environments that are ready are signalled at least this often; more often would wake the parent for every one."""


class MemoryServer:
    """Steps a group whenever it is woken; data lie in shared memory, messages are for what has no fixed size.

    Args:
        group: the environments.
        arrays: the shared memory.
        slot: index of the runner.
        channel: messages.
        wake_fd: read to be woken.
        done_fd: written to signal.
        waiting: how to wait.
        most_ready: how many environments may be ready before that is signalled.
    """

    def __init__(
        self,
        group: EnvGroup,
        arrays: VecArrays,
        slot: int,
        channel: Connection,
        wake_fd: int,
        done_fd: int,
        waiting: Waiting,
        most_ready: int,
    ) -> None:
        self._group = group
        self._channel = channel
        self._wake_fd, self._done_fd = wake_fd, done_fd
        self._patience = Patience(waiting)
        self._poll = select.poll()
        self._poll.register(wake_fd, select.POLLIN)
        self._slot = slot
        self._count = len(group.envs)
        self._most_ready = most_ready
        self._all_done = done(self._count)
        self._all_done_on_board = done(self._count, on_board=True)
        self._board = InfoWriter(arrays.info_cells, range(group.first, group.first + self._count))
        self._requests, self._completions = Ring(arrays.requests[slot]), Ring(arrays.completions[slot])
        self._sent_ns = arrays.sent_ns.data
        self._wakeups, self._latency_ns = arrays.wakeups.data, arrays.wake_latency_ns.data
        self._env_ns = _SIGNAL_EVERY_NS  # mean of an environment step: the first are signalled one by one

    def serve(self) -> None:
        """Wait for a signal, do what it says, signal back; until told to close, or the parent is gone."""
        while True:
            value = self._wait()
            if value == STEP_BIT:
                self._step_all()
            elif not value or value & CLOSE_BIT:
                return
            else:
                if count := num_requested(value):
                    self._step_some(count)
                if value & REQUEST_BIT:
                    answer = _fulfil(self._group, receive_message(self._channel))
                    self._channel.send_bytes(_pack_answer(answer, self._group))

    def _wait(self) -> int:
        """Return the next signal's value."""
        patience = self._patience
        if not patience.looks:
            return decode(os.read(self._wake_fd, SIGNAL_SIZE))
        begin_ns = perf_counter_ns()
        if patience.budget_ns:
            until_ns, poll, yields = begin_ns + patience.budget_ns, self._poll.poll, patience.yields
            while not poll(0) and perf_counter_ns() < until_ns:
                if yields:
                    os.sched_yield()
        value = decode(os.read(self._wake_fd, SIGNAL_SIZE))
        patience.waited(perf_counter_ns() - begin_ns)
        return value

    def _note_wakeup(self) -> None:
        slot = self._slot
        self._wakeups[slot] += 1
        self._latency_ns[slot] += perf_counter_ns() - self._sent_ns[slot]

    def _step_all(self) -> None:
        """Step the whole group and signal once."""
        self._note_wakeup()
        try:
            records = self._group.step()
        except PacelineError as error:
            self._signal_message(Failure.of(error), 0)
            return
        faults = self._group.take_faults()
        if not (records or faults):
            os.write(self._done_fd, self._all_done)
        elif not faults and self._board.write(records):
            os.write(self._done_fd, self._all_done_on_board)
        else:
            packed = pack(records, self._count)
            schema = self._board.learn(records) if packed is not None else None
            self._signal_message(StepMessage(packed or records, faults, schema), self._count)

    def _step_some(self, count: int) -> None:
        """Step the next ``count`` environments of the ring, in its order, and signal what is ready now and then.

        Every request is signalled by itself: the caller may wait for it alone.
        """
        self._note_wakeup()
        first = self._group.first
        for request in requests_in(self._requests.take(count)):
            indices = [env_id - first for env_id in request]
            while indices:
                size = max(1, min(len(indices), self._most_ready, _SIGNAL_EVERY_NS // self._env_ns))
                if not self._step_chunk(indices[:size]):
                    return
                indices = indices[size:]

    def _step_chunk(self, chunk: list[int]) -> bool:
        """Step environments of the group, signal them, and return whether nothing broke."""
        begin_ns = perf_counter_ns()
        try:
            records = self._group.step(chunk)
        except PacelineError as error:
            self._signal_message(Failure.of(error), 0)
            return False
        size, first = len(chunk), self._group.first
        self._env_ns = max(1, (perf_counter_ns() - begin_ns) // size)
        self._completions.put([index + first for index in chunk])
        faults = self._group.take_faults()
        if records or faults:
            self._signal_message(StepMessage(records, faults), size)
        else:
            os.write(self._done_fd, done(size))
        return True

    def _signal_message(self, message: Any, count: int) -> None:
        """Send ``message`` and signal it together with ``count`` environments.

        A small message goes first, so that the parent wakes once and finds it. A large one goes after the signal: it
        may not fit the socket's buffer, and the parent reads the socket only when told to.
        """
        payload = _pack_answer(message, self._group)
        small = len(payload) <= SMALL_BYTES
        if small:
            self._channel.send_bytes(payload)
        os.write(self._done_fd, done(count, messages=1))
        if not small:
            self._channel.send_bytes(payload)


class PipeServer:
    """Steps a group for every message and answers with its rows: the classic way, which pickles every step.

    Args:
        group: the environments.
        arrays: private memory of this process, laid out like the parent's.
        rows: of the group in ``arrays``.
        slot: index of the runner.
        channel: messages.
    """

    def __init__(self, group: EnvGroup, arrays: VecArrays, rows: slice, slot: int, channel: Connection) -> None:
        self._group = group
        self._arrays = arrays
        self._rows = rows
        self._slot = slot
        self._channel = channel
        finals = None if arrays.final_observations is arrays.observations else arrays.final_observations
        self._outputs = (
            arrays.observations, finals, arrays.rewards, arrays.terminated, arrays.truncated, arrays.reset_rows,
            arrays.restarted,
        )  # fmt: skip

    def serve(self) -> None:
        """Receive, do, answer; until the parent is gone or sends None."""
        while (request := receive_message(self._channel)) is not None:
            answer: Any
            if isinstance(request, PipeStep):
                answer = self._step(request)
            else:
                answer = _fulfil(self._group, request)
                if isinstance(answer, ResetAnswer):
                    # Rows that were not reset may not have been returned yet, and a mended runner has never had them.
                    chosen = None if request.mask is None else [i for i, pick in enumerate(request.mask) if pick]
                    answer = self._answer(chosen, StepMessage(answer.infos, answer.faults))
            self._channel.send_bytes(_pack_answer(answer, self._group))

    def _step(self, request: PipeStep) -> Any:
        rows = self._rows if request.indices is None else np.asarray(request.indices) + self._rows.start
        write_rows(self._arrays.actions, request.actions, rows)
        try:
            records = self._group.step(request.indices)
        except PacelineError as error:
            return Failure.of(error)
        message = StepMessage(pack(records, len(self._group.envs)) or records, self._group.take_faults())
        return self._answer(request.indices, message)

    def _answer(self, indices: list[int] | None, message: StepMessage) -> PipeRows:
        rows: Any = self._rows if indices is None else np.asarray(indices) + self._rows.start
        parts = tuple(None if part is None else map_tree(lambda array: array[rows], part) for part in self._outputs)
        arrays, slot = self._arrays, self._slot
        counters = (int(arrays.busy_ns[slot]), int(arrays.env_steps[slot]), int(arrays.finished_ns[slot]))
        return PipeRows(indices, parts, counters, message)


def cursor_bytes(num_slots: int) -> int:
    """Return the size of the block of shared memory that runners over pipes write their cursors to."""
    return num_slots * _CACHE_LINE


def share_cursors(arrays: VecArrays, memory: Any) -> VecArrays:
    """Return ``arrays`` with the cursors in ``memory``: of a runner that dies, or hangs, nothing else tells where.

    Args:
        arrays: private memory of a process.
        memory: shared by all, :func:`cursor_bytes` long.
    """
    lines: Any = np.ndarray((len(arrays.cursors), _CACHE_LINE // 8), np.int64, buffer=memory)
    return replace(arrays, cursors=lines[:, 0])


def write_pipe_rows(answer: PipeRows, arrays: VecArrays, envs: range, slot: int, base: tuple[int, int]) -> None:
    """Copy the rows of a runner's answer into the parent's arrays.

    Args:
        answer: of the runner.
        arrays: of the parent.
        envs: of the runner.
        slot: index of the runner.
        base: busy_ns and env_steps of the processes that had its place before.
    """
    rows: Any = slice(envs.start, envs.stop)
    if answer.indices is not None:
        rows = np.asarray(answer.indices) + envs.start
    outputs = (
        arrays.observations, arrays.final_observations, arrays.rewards, arrays.terminated, arrays.truncated,
        arrays.reset_rows, arrays.restarted,
    )  # fmt: skip
    for target, part in zip(outputs, answer.arrays, strict=True):
        if part is not None:
            write_rows(target, part, rows)
    arrays.busy_ns[slot], arrays.env_steps[slot], arrays.finished_ns[slot] = (
        answer.counters[0] + base[0], answer.counters[1] + base[1], answer.counters[2],
    )  # fmt: skip


def _fulfil(group: EnvGroup, request: Any) -> Any:
    """Do what a request says and return the answer."""
    try:
        if isinstance(request, ResetRequest):
            records: list[InfoRecord] = group.reset(request.seeds, request.options, request.mask)
            return ResetAnswer(records, group.take_faults())
        if isinstance(request, CallRequest):
            return call_envs(group.envs, request.name, request.args, request.kwargs, first=group.first)
        if isinstance(request, SetAttrRequest):
            set_values(group.envs, request.name, request.values, first=group.first)
            return None
        raise TypeError(f"unknown request {type(request).__name__}")
    except PacelineError as error:
        return Failure.of(error)
    except Exception as error:
        message = f"a call of the environments raised {type(error).__name__}: {error}"
        return Failure.of(EnvRaisedError(message, original_traceback=traceback.format_exc()))


def _pack_answer(message: Any, group: EnvGroup) -> bytes:
    """Return an answer as bytes; one that cannot travel becomes the failure that says so."""
    try:
        return pack_message(message)
    except Exception as error:
        text = (
            f"expected infos and results that can be pickled, got {type(error).__name__}: {error}; return plain data, "
            f"or make the vector environment with infos='none'"
        )
        culprit = _find_unpicklable(message)
        refusal = EnvContractError(text) if culprit is None else group.blame(culprit, text)
        return pack_message(Failure.of(refusal))


def _find_unpicklable(message: Any) -> int | None:
    """Return the environment whose infos cannot be pickled, or None if it is something else that cannot."""
    said = message.message if isinstance(message, PipeRows) else message
    infos = said.infos if isinstance(said, StepMessage | ResetAnswer) else []
    for record in [] if isinstance(infos, InfoColumns) else infos:
        try:
            pack_message(record)
        except Exception:
            return record.env_index
    return None
