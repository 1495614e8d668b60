"""Signals between processes: one write wakes the other side, one read takes the signal.

On Linux a signal is an eventfd, elsewhere a pipe. Both are used alike: eight bytes, a number whose bits say what is
meant. Signals that an eventfd has not delivered yet add up, so every meaning is a bit of its own.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

SIGNAL_SIZE = 8
"""Bytes of a signal."""


def _encode(value: int) -> bytes:
    return value.to_bytes(SIGNAL_SIZE, sys.byteorder)


STEP = _encode(1)
"""To a runner: step every environment."""
REQUEST = _encode(2)
"""To a runner: a request lies in the control channel."""
CLOSE = _encode(4)
"""To a runner: close the environments and exit."""

DONE = _encode(1)
"""From a runner: stepped."""
DONE_WITH_MESSAGE = _encode(2)
"""From a runner: stepped, or failed to; infos or the error lie in the control channel."""


def has(signal: bytes, wanted: bytes) -> bool:
    """Return whether ``signal``, perhaps the sum of several, contains ``wanted``."""
    return bool(int.from_bytes(signal, sys.byteorder) & int.from_bytes(wanted, sys.byteorder))


class SignalEnds(NamedTuple):
    """File descriptors of one signal; the same one twice where the system has eventfd."""

    read_fd: int
    write_fd: int

    @classmethod
    def create(cls) -> SignalEnds:
        """Make a signal.

        Raises:
            OSError: no file descriptors left.
        """
        if hasattr(os, "eventfd"):
            fd = os.eventfd(0, os.EFD_CLOEXEC)
            return cls(fd, fd)
        return cls(*os.pipe())

    def close(self) -> None:
        """Close both ends."""
        for fd in {self.read_fd, self.write_fd}:
            os.close(fd)
