"""Waiting for runners: signals before deaths, deaths before deadlines, with epoll and without."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from paceline.errors import EnvTimeoutError
from paceline.vector.runners.readiness import Readiness, RunnerEnded
from paceline.vector.runners.wakeup import decode, done


class FakeRunner:
    """A runner's descriptors: a signal, and a pipe whose closing is its death."""

    def __init__(self, slot: int, *, by_hangup: bool) -> None:
        self.slot = slot
        self.done_fd, self._done_write = os.pipe()
        self.death_fd, self._life = os.pipe()
        self._by_hangup = by_hangup
        self.channel = self

    def fileno(self) -> int:
        """Of the control channel, which is what tells of a death where processes have no descriptors."""
        return self.death_fd if self._by_hangup else -1

    def signals(self, count: int) -> None:
        os.write(self._done_write, done(count))

    def says_something(self) -> None:
        os.write(self._life, b"message")

    def closes_its_signal(self) -> None:
        os.close(self._done_write)
        self._done_write = -1

    def dies(self) -> None:
        if not self._by_hangup:
            os.write(self._life, b"x")  # as a pidfd, it is readable
        os.close(self._life)
        self._life = -1
        self.closes_its_signal()

    def close(self) -> None:
        for fd in (self.done_fd, self._done_write, self.death_fd, self._life):
            if fd >= 0:
                os.close(fd)


@pytest.fixture(params=["epoll", "poll", "poll, no pidfd"])
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[FakeRunner]]]:
    if request.param != "epoll":
        monkeypatch.delattr(select, "epoll", raising=False)
    elif not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    runners = [FakeRunner(slot, by_hangup="no pidfd" in request.param) for slot in range(3)]
    readiness = Readiness(runners, "park")  # type: ignore[arg-type]
    yield readiness, runners
    readiness.close()
    readiness.close()
    for runner in runners:
        runner.close()


def test_each_is_waited_for_by_itself_or_with_all(waiting: tuple[Any, list[FakeRunner]]) -> None:
    readiness, runners = waiting
    runners[1].signals(5)
    runners[2].signals(6)
    assert decode(done(6)) == readiness.wait(2, None)
    runners[0].signals(4)
    assert dict(readiness.wait_any(None)) == {0: decode(done(4)), 1: decode(done(5))}
    assert readiness.wait_any(0.0) == [] and readiness.take(0) == 0
    runners[0].signals(2)
    assert readiness.take(0) == decode(done(2)) and readiness.take(0) == 0


def test_a_death_is_seen_by_whoever_waits(waiting: tuple[Any, list[FakeRunner]]) -> None:
    readiness, runners = waiting
    runners[2].dies()
    for wait in (lambda: readiness.wait(0, None), lambda: readiness.wait(2, None), lambda: readiness.wait_any(None)):
        with pytest.raises(RunnerEnded) as caught:
            wait()
        assert caught.value.slot == 2


def test_the_end_of_a_signal_is_a_death(waiting: tuple[Any, list[FakeRunner]]) -> None:
    """A dying process closes one descriptor after the other."""
    readiness, runners = waiting
    runners[1].signals(2)
    runners[1].closes_its_signal()
    assert readiness.wait(1, None) == decode(done(2))
    assert readiness.signalled() == [] and readiness.take(1) == 0
    for wait in (lambda: readiness.wait(1, monotonic() + 10), lambda: readiness.wait_any(10.0)):
        with pytest.raises(RunnerEnded) as caught:
            wait()
        assert caught.value.slot == 1
    runners[2].signals(3)
    assert readiness.wait_any(None) == [(2, decode(done(3)))]


def test_what_was_finished_before_a_death_comes_first(waiting: tuple[Any, list[FakeRunner]]) -> None:
    readiness, runners = waiting
    runners[1].signals(3)
    runners[1].dies()
    assert readiness.wait_any(None) == [(1, decode(done(3)))]
    runners[0].signals(1)
    assert readiness.wait(0, None) == decode(done(1)), "one's own signal is worth more than another's death"
    with pytest.raises(RunnerEnded):
        readiness.wait_any(None)


def test_a_message_is_not_a_death(waiting: tuple[Any, list[FakeRunner]]) -> None:
    readiness, runners = waiting
    if runners[0].fileno() >= 0:  # else a message goes where nobody looks for deaths
        runners[0].says_something()
    assert readiness.wait_any(0.0) == []
    with pytest.raises(EnvTimeoutError):
        readiness.wait(1, monotonic())


def test_a_deadline_ends_the_wait(waiting: tuple[Any, list[FakeRunner]]) -> None:
    readiness, _ = waiting
    begin = monotonic()
    with pytest.raises(EnvTimeoutError, match="runner 1 "):
        readiness.wait(1, begin + 0.02)
    assert readiness.wait_any(0.02) == []
    assert 0.03 < monotonic() - begin < 1.0
    with pytest.raises(EnvTimeoutError):
        readiness.wait(1, begin - 5)
    assert readiness.wait_any(-1.0) == [], "what is overdue is not waited for"
