"""The parent's end of a runner's control channel: a wait for a message ends when the runner does."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

_LONGEST_READ = 1 << 20
_LOOK_EVERY_S = 1.0


class WatchedConnection(Connection):
    """A connection to a process that may die while others keep its end open, so that no end of file ever comes.

    An environment may have started a process that holds all that the runner had open. What the runner said before it
    died is read nonetheless.
    """

    _deadline: float | None = None

    def watch(self, death_fd: int, is_dead: Callable[[], bool]) -> None:
        """Begin to watch the process.

        Args:
            death_fd: readable once it is dead; this connection's own descriptor where there is none such.
            is_dead: returns whether it is; asked now and then where there is no such descriptor.
        """
        self._by_asking = death_fd == self.fileno()
        self._is_dead = is_dead
        self._poller = select.poll()
        for fd in {death_fd, self.fileno()}:
            self._poller.register(fd, select.POLLIN)

    def recv_bytes_by(self, deadline: float | None) -> bytes:
        """Return the next message.

        Args:
            deadline: monotonic seconds by which it must have begun; None: for ever.

        Raises:
            TimeoutError: it has not.
            EOFError: the process is dead, or has closed its end; after all that it said.
            OSError: it ended in the middle of a message, or the connection is closed.
        """
        self._deadline = deadline
        return self.recv_bytes()

    def _recv(self, size: int, read: Any = None) -> io.BytesIO:
        """Read a part of a message, as the base class does, but never without a look at the process."""
        buffer = io.BytesIO()
        while size > 0:
            self._await_bytes()
            chunk = os.read(self.fileno(), min(size, _LONGEST_READ))
            if not chunk:
                raise EOFError
            self._deadline = None  # it has begun
            buffer.write(chunk)
            size -= len(chunk)
        return buffer

    def _await_bytes(self) -> None:
        fd, poll = self.fileno(), self._poller.poll
        while True:
            left_s = None if self._deadline is None else max(0.0, self._deadline - monotonic())
            if self._by_asking:
                left_s = _LOOK_EVERY_S if left_s is None else min(left_s, _LOOK_EVERY_S)
            ready = [at for at, _ in poll(None if left_s is None else left_s * 1000)]
            if fd in ready:
                return
            if ready or (self._by_asking and self._is_dead()):
                if self.poll(0):  # said between the two looks
                    return
                raise EOFError
            if self._deadline is not None and monotonic() >= self._deadline:
                raise TimeoutError
