"""A runner's loops, run in a thread of the test: what they read, what they answer, in which order."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from paceline.envs import make_env
from paceline.vector.arrays import IDLE, Layout, VecArrays
from paceline.vector.group import EnvGroup
from paceline.vector.runners.protocol import CallRequest, Failure, PipeStep, ResetRequest, SetAttrRequest, StepMessage
from paceline.vector.runners.protocol import receive_message as receive
from paceline.vector.runners.protocol import send_message as send
from paceline.vector.runners.serving import (
    MemoryServer,
    PipeServer,
    cursor_bytes,
    share_cursors,
    write_pipe_rows,
    write_rows,
)
from paceline.vector.runners.wakeup import CLOSE, REQUEST, SIGNAL_SIZE, STEP, SignalEnds, decode, num_done, step_some

FIRST, COUNT = 2, 3  # this runner's environments are 2, 3 and 4 of five


def make_group(env: str) -> tuple[EnvGroup, VecArrays]:
    envs = [make_env(env) for _ in range(COUNT)]
    layout = Layout(envs[0].observation_space, envs[0].action_space, FIRST + COUNT, 2, AutoresetMode.NEXT_STEP)
    arrays = layout.arrays_over(np.zeros(layout.nbytes, np.uint8))
    group = EnvGroup(envs, arrays, first=FIRST, slot=1, autoreset_mode=AutoresetMode.NEXT_STEP, infos="all")
    return group, arrays


class Served:
    """A memory server at work, and the parent's ends."""

    def __init__(self, env: str, most_ready: int = COUNT) -> None:
        self.group, self.arrays = make_group(env)
        self.channel, theirs = Pipe()
        self.wake, self.done = SignalEnds.create(), SignalEnds.create()
        ends = self.wake.read_fd, self.done.write_fd
        server = MemoryServer(self.group, self.arrays, 1, theirs, *ends, "park", most_ready)
        self.thread = threading.Thread(target=server.serve, daemon=True)
        self.thread.start()
        self.theirs = theirs

    def ask(self, request: Any) -> Any:
        send(self.channel, request)
        os.write(self.wake.write_fd, REQUEST)
        return receive(self.channel)

    def finished(self) -> tuple[int, int]:
        return num_done(decode(os.read(self.done.read_fd, SIGNAL_SIZE)))

    def close(self) -> None:
        os.write(self.wake.write_fd, CLOSE)
        self.thread.join(10)
        assert not self.thread.is_alive()
        for fd in {*self.wake, *self.done}:
            os.close(fd)
        self.channel.close()
        self.theirs.close()


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    server = Served(getattr(request, "param", "synthetic:faulty?fault=nan&at=10000"))
    assert not isinstance(server.ask(ResetRequest([5, 6, 7], None, None)), Failure)
    yield server
    server.close()


def test_a_step_of_all_is_one_signal_each_way(served: Served) -> None:
    os.write(served.wake.write_fd, STEP)
    assert served.finished() == (COUNT, 0)
    assert served.arrays.observations[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert served.arrays.rewards.tolist() == [0, 0, 1, 1, 1]
    assert served.arrays.cursors.tolist()[1] == IDLE and served.arrays.wakeups.tolist() == [0, 1]


def test_a_ring_is_stepped_in_its_order_and_told_in_it(served: Served) -> None:
    """Over and over, past the end of the ring; signals that were not read add up."""
    arrays = served.arrays
    size = arrays.requests.shape[1]
    order = [4, 2, 3, 3, 4, 2] * (size // 4)
    for place, env_id in enumerate(order):
        arrays.requests[1].put(place, env_id, mode="wrap")
        os.write(served.wake.write_fd, step_some(1))
        count, messages = served.finished()
        assert (count, messages) == (1, 0)
        assert arrays.completions[1].take(place, mode="wrap") == env_id
    assert len(order) > size
    assert [arrays.observations[i, 0] for i in (2, 3, 4)] == [order.count(i) for i in (2, 3, 4)]


class CountingGroup:
    """Notes which environments are stepped at once, and how many were signalled just before; ends after all of them."""

    def __init__(self, group: EnvGroup, done_fd: int, wake_fd: int) -> None:
        self.envs, self.first, self.take_faults = group.envs, group.first, group.take_faults
        self.chunks: list[tuple[list[int], int]] = []
        self._done_fd, self._wake_fd = done_fd, wake_fd

    def step(self, indices: list[int]) -> list[Any]:
        ready, _, _ = select.select([self._done_fd], [], [], 0)
        signalled = num_done(decode(os.read(self._done_fd, SIGNAL_SIZE)))[0] if ready else 0
        self.chunks.append((indices, signalled))
        if sum(len(chunk) for chunk, _ in self.chunks) == COUNT:
            os.write(self._wake_fd, CLOSE)
        return []


@pytest.mark.parametrize(
    ("most_ready", "chunks"),
    [(3, [([2], 0), ([0, 1], 1)]), (2, [([2], 0), ([0, 1], 1)]), (1, [([2], 0), ([0], 1), ([1], 1)])],
)
def test_no_more_are_ready_unsignalled_than_the_parent_wants(
    most_ready: int, chunks: list[tuple[list[int], int]]
) -> None:
    """The first is stepped by itself: nobody knows yet how long a step takes. These take next to no time."""
    group, arrays = make_group("synthetic:faulty?fault=nan&at=10000")
    wake, done = SignalEnds.create(), SignalEnds.create()
    ours, theirs = Pipe()
    counting: Any = CountingGroup(group, done.read_fd, wake.write_fd)
    server = MemoryServer(counting, arrays, 1, theirs, wake.read_fd, done.write_fd, "park", most_ready)
    arrays.requests[1][:3] = [4, 2, 3]
    os.write(wake.write_fd, step_some(3))
    server.serve()
    assert counting.chunks == chunks
    for fd in {*wake, *done}:
        os.close(fd)
    for end in (ours, theirs, group):
        end.close()


@pytest.mark.parametrize("served", ["synthetic:spaces?info=all&action=discrete"], indirect=True)
def test_infos_are_announced_with_the_steps(served: Served) -> None:
    served.arrays.actions[:] = 1
    os.write(served.wake.write_fd, STEP)
    assert served.finished() == (COUNT, 1)
    message = receive(served.channel)
    assert isinstance(message, StepMessage) and not message.faults
    assert [record.env_index for record in message.infos] == [2, 3, 4]


@pytest.mark.parametrize("served", ["synthetic:faulty?at=2&only_seed=6"], indirect=True)
def test_a_fault_is_announced_without_steps(served: Served) -> None:
    os.write(served.wake.write_fd, STEP)
    assert served.finished() == (COUNT, 0)
    os.write(served.wake.write_fd, STEP)
    assert served.finished() == (0, 1)
    error = receive(served.channel).unpack()
    assert (error.env_index, error.seed, error.step) == (3, 6, 2)


def test_requests_are_answered_and_refused(served: Served) -> None:
    assert served.ask(SetAttrRequest("level", [1, 2, 3])) is None
    assert served.ask(CallRequest("level", (), {})) == (1, 2, 3)
    for request, message in (
        (CallRequest("nothing", (), {}), "got 'nothing', which they lack"),
        (CallRequest("step", (), {}), "another method than step"),
        (CallRequest("render", (), {}), "render raised NotImplementedError"),
        ("what?", "unknown request str"),
        (CallRequest("__init__", (), {"fault": "rudeness"}), "got 'rudeness'"),
    ):
        answer = served.ask(request)
        assert isinstance(answer, Failure) and message in answer.text, answer
    assert served.ask(CallRequest("level", (), {})) == (1, 2, 3)


def test_an_answer_that_cannot_travel_is_refused(served: Served) -> None:
    served.group.envs[1].lock = threading.Lock()  # type: ignore[attr-defined]
    served.group.envs[0].lock = served.group.envs[2].lock = None  # type: ignore[attr-defined]
    answer = served.ask(CallRequest("lock", (), {}))
    assert isinstance(answer, Failure) and "that can be pickled" in answer.text


@pytest.fixture
def piped() -> Iterator[tuple[Connection, VecArrays, EnvGroup]]:
    group, arrays = make_group("synthetic:faulty?fault=nan&at=10000")
    ours, theirs = Pipe()
    server = PipeServer(group, arrays, slice(FIRST, FIRST + COUNT), 1, theirs)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield ours, arrays, group
    send(ours, None)
    thread.join(10)
    assert not thread.is_alive()
    ours.close()
    theirs.close()


def test_over_a_pipe_rows_travel(piped: tuple[Connection, VecArrays, EnvGroup]) -> None:
    channel, theirs, _ = piped
    _, ours = make_group("synthetic:faulty?fault=nan&at=10000")
    send(channel, ResetRequest([5, 6, 7], None, None))
    answer = receive(channel)
    write_pipe_rows(answer, ours, range(FIRST, FIRST + COUNT), 1, (0, 0))
    assert ours.observations[:, 2].tolist() == [0, 0, 5, 6, 7]
    send(channel, PipeStep([2, 0], np.array([1, 1])))
    answer = receive(channel)
    assert answer.indices == [2, 0]
    ours.rewards[:] = 9
    write_pipe_rows(answer, ours, range(FIRST, FIRST + COUNT), 1, (1000, 10))
    assert ours.observations[:, 0].tolist() == [0, 0, 1, 0, 1] and ours.rewards.tolist() == [9, 9, 1, 9, 1]
    assert ours.env_steps.tolist() == [0, 12] and ours.busy_ns[1] == theirs.busy_ns[1] + 1000


def test_over_a_pipe_a_masked_reset_sends_its_rows_alone(piped: tuple[Connection, VecArrays, EnvGroup]) -> None:
    channel, _, _ = piped
    send(channel, ResetRequest([5, 6, 7], None, None))
    assert receive(channel).indices is None
    send(channel, ResetRequest([None, 8, None], None, [False, True, False]))
    answer = receive(channel)
    assert answer.indices == [1] and answer.arrays[0].tolist() == [[0, 0, 8]]


def test_cursors_are_seen_by_all() -> None:
    group, arrays = make_group("synthetic:faulty?fault=nan&at=10000")
    memory = bytearray(cursor_bytes(2))
    mine, yours = share_cursors(arrays, memory), share_cursors(arrays, memory)
    mine.cursors[1] = 4
    assert yours.cursors.tolist() == [0, 4] and mine.observations is arrays.observations
    group.close()


def test_rows_of_trees_are_copied() -> None:
    target = {"a": np.zeros((3, 2)), "b": (np.zeros(3),)}
    write_rows(target, {"a": np.ones((2, 2)), "b": (np.array([5, 6]),)}, np.array([2, 0]))
    np.testing.assert_equal(target, {"a": np.array([[1, 1], [0, 0], [1, 1]]), "b": (np.array([6, 0, 5]),)})
