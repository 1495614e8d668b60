"""The parent's waiting for runners: one file descriptor tells of all that are ready, and of any that died."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from time import monotonic, perf_counter_ns

from paceline.errors import EnvTimeoutError
from paceline.vector.runners.launch import RunnerProcess
from paceline.vector.runners.patience import Patience, Waiting
from paceline.vector.runners.wakeup import SIGNAL_SIZE, decode


class RunnerEnded(Exception):
    """A runner died while it was waited for.

    Args:
        slot: which one.
    """

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.slot = slot


class Readiness:
    """Waits for signals of runners while watching all of them for death.

    On Linux all that can die hang on one epoll descriptor, and all that can be ready on another that also holds the
    first: a wait costs the same for two runners and for sixty.

    Args:
        runners: all runners.
        waiting: how to wait.
    """

    def __init__(self, runners: Sequence[RunnerProcess], waiting: Waiting) -> None:
        self._patience = Patience("spin" if waiting == "spin" else "park")  # a runner may need this very core
        self._slot_of = {runner.done_fd: runner.slot for runner in runners}
        self._done_fds = [runner.done_fd for runner in runners]
        self._epolls: list[select.epoll] = []
        self._slot_of_death = {runner.death_fd: runner.slot for runner in runners}
        deaths: list[tuple[int, int]] = []
        for runner in runners:
            by_hangup = runner.death_fd == runner.channel.fileno()  # it is readable while a message waits, too
            deaths.append((runner.death_fd, 0 if by_hangup else select.POLLIN))
        self._deaths: select.epoll | select.poll = select.poll()
        if hasattr(select, "epoll"):
            self._deaths = select.epoll()
            self._epolls.append(self._deaths)
        for fd, events in deaths:
            self._deaths.register(fd, events)
        if self._epolls:
            deaths = [(self._epolls[0].fileno(), select.POLLIN)]
        self._pollers = []
        for fd in self._done_fds:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            for death_fd, events in deaths:
                poller.register(death_fd, events)
            self._pollers.append(poller)
        self._any: select.epoll | select.poll = select.poll()
        if hasattr(select, "epoll"):
            self._any = select.epoll()
            self._epolls.append(self._any)
        for fd, events in [*((fd, select.POLLIN) for fd in self._done_fds), *deaths]:
            self._any.register(fd, events)

    def wait(self, slot: int, deadline: float | None) -> int:
        """Wait for a signal of runner ``slot`` and return its value.

        Args:
            slot: which runner.
            deadline: monotonic seconds; None: wait for ever.

        Raises:
            EnvTimeoutError: it did not come in time.
            RunnerEnded: a runner died.
        """
        fd, poll, patience = self._done_fds[slot], self._pollers[slot].poll, self._patience
        events: list[tuple[int, int]] = []
        begin_ns = perf_counter_ns()
        if patience.budget_ns:
            until_ns = begin_ns + patience.budget_ns
            while not events and perf_counter_ns() < until_ns:
                events = poll(0)
        if not events:
            events = poll(None if deadline is None else max(0.0, (deadline - monotonic()) * 1000))
        patience.waited(perf_counter_ns() - begin_ns)
        for ready, _ in events:
            if ready == fd:
                value = decode(os.read(fd, SIGNAL_SIZE))
                if not value:
                    raise RunnerEnded(slot)
                return value
        if events:
            raise RunnerEnded(self._ended_slot())
        raise EnvTimeoutError(f"runner {slot} did not finish its step in time")

    def wait_any(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Wait until any runner signals; return slots and values, none if ``timeout_s`` passed.

        Raises:
            RunnerEnded: a runner died, and none that lives has signalled.
        """
        per_second = 1 if self._epolls else 1000  # epoll counts seconds, poll milliseconds
        events = self._any.poll(None if timeout_s is None else max(0.0, timeout_s) * per_second)
        found, ended = self._signals(events)
        if not found and events:
            raise RunnerEnded(min(ended) if ended else self._ended_slot())
        return found

    def unread(self) -> set[int]:
        """Return the slots of all runners that have sent a signal that was not read."""
        return {self._slot_of[fd] for fd, event in self._any.poll(0) if fd in self._slot_of and event & select.POLLIN}

    def ended(self) -> list[int]:
        """Return the slots of all runners that died and have no signal left that was not read."""
        return sorted({self._slot_of_death[fd] for fd, _ in self._deaths.poll(0)} - self.unread())

    def signalled(self) -> list[tuple[int, int]]:
        """Return slots and values of all runners that have signalled by now; two system calls less for each."""
        return self._signals(self._any.poll(0))[0]

    def _signals(self, events: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[int]]:
        """Return slots and values of all that have signalled, and the slots of those whose signal has come to its end.

        A pipe at its end is readable for ever; it may be so before the runner's death can be seen elsewhere.
        """
        values = [(self._slot_of[fd], decode(os.read(fd, SIGNAL_SIZE))) for fd, _ in events if fd in self._slot_of]
        return [pair for pair in values if pair[1]], [slot for slot, value in values if not value]

    def take(self, slot: int) -> int:
        """Return the value of a signal that runner ``slot`` has sent already, 0 if there is none or it is dead."""
        fd = self._done_fds[slot]
        return decode(os.read(fd, SIGNAL_SIZE)) if any(at == fd for at, _ in self._pollers[slot].poll(0)) else 0

    def close(self) -> None:
        """Release the descriptors."""
        for epoll in self._epolls:
            epoll.close()

    def _ended_slot(self) -> int:
        return min(self._slot_of_death[fd] for fd, _ in self._deaths.poll(0))
