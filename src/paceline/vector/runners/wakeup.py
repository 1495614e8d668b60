"""Signals between processes: one write wakes the other side, one read takes the signal.

On Linux a signal is an eventfd, elsewhere a pipe. Both are used alike: eight bytes, a number whose bits say what is
meant. Signals that an eventfd has not delivered yet add up, so every meaning has bits of its own, and counts add up.
The system call that delivers a signal also orders memory: what was written to shared memory before the signal was sent
is seen by whoever has received it.
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
STEP_BIT, REQUEST_BIT, CLOSE_BIT = 1, 2, 4
_COUNT_SHIFT = 8
_MESSAGE_SHIFT = 32
_BOARD_BIT = 1 << 31


def step_some(count: int) -> bytes:
    """Return the signal that tells a runner to step the next ``count`` environments of its ring of requests."""
    return _encode(count << _COUNT_SHIFT)


def num_requested(value: int) -> int:
    """Return how many environments of the ring of requests a signal to a runner adds."""
    return value >> _COUNT_SHIFT


def done(count: int, *, messages: int = 0, on_board: bool = False) -> bytes:
    """Return a runner's signal that ``count`` more environments have stepped.

    Args:
        count: how many.
        messages: how many messages it has sent about them.
        on_board: whether their infos lie on the board (a step of all its environments).
    """
    return _encode(count + (_BOARD_BIT if on_board else 0) + (messages << _MESSAGE_SHIFT))


def is_on_board(value: int) -> bool:
    """Return whether infos lie on the board, of a runner's signal."""
    return bool(value & _BOARD_BIT)


def num_done(value: int) -> tuple[int, int]:
    """Return how many environments have stepped and how many messages there are, of a runner's signal."""
    return value & (_BOARD_BIT - 1), value >> _MESSAGE_SHIFT


def decode(signal: bytes) -> int:
    """Return the value of a signal, perhaps the sum of several; 0 for an empty one (the other side is gone)."""
    return int.from_bytes(signal, sys.byteorder)


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
