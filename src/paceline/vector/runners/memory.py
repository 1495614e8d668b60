"""One block of shared memory without a name: nothing is left behind, however its users die."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import sys

from paceline.errors import OutOfMemoryError, ResourceError
from paceline.machine import Paths, memory_available_bytes

OUT_OF_MEMORY = frozenset({errno.ENOMEM, errno.ENOSPC})
"""What the system answers where memory or shared memory ran out; other refusals (open files) are no lack of it."""


def create_block() -> int:
    """Return the file descriptor of an anonymous shared-memory block of size 0.

    On Linux this is a memfd, which needs no room in ``/dev/shm`` (64 MiB in many containers).

    Raises:
        ResourceError: the system refuses; :class:`OutOfMemoryError` for lack of memory.
    """
    try:
        if hasattr(os, "memfd_create"):
            return os.memfd_create("paceline", os.MFD_CLOEXEC)
        import _posixshmem  # type: ignore[import-not-found,unused-ignore]  # what multiprocessing.shared_memory uses

        name = f"/paceline-{secrets.token_hex(4)}"
        fd: int = _posixshmem.shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
        _posixshmem.shm_unlink(name)
        return fd
    except OSError as error:
        raise _refused(error, f"expected a block of shared memory, got {error.strerror}; free some memory") from error


def grow_block(fd: int, nbytes: int, *, paths: Paths | None = None) -> mmap.mmap:
    """Give the block its size, claim the memory now rather than in the middle of a step, and map it.

    Args:
        fd: from :func:`create_block`.
        nbytes: size.
        paths: where the kernel tells what is available.

    Raises:
        OutOfMemoryError: there is no room, on the machine or in its container.
        ResourceError: the system refuses for another reason.
    """
    # Claiming more than the container may hold is no error for the kernel: it ends this process instead.
    available = memory_available_bytes(paths)
    if nbytes > available:
        raise OutOfMemoryError(_no_room(nbytes, f"{available / 2**20:,.1f} MiB are available"))
    try:
        os.ftruncate(fd, nbytes)
        if sys.platform == "linux":
            os.posix_fallocate(fd, 0, nbytes)
        return mmap.mmap(fd, nbytes)
    except OSError as error:
        raise _refused(error, _no_room(nbytes, error.strerror or str(error))) from error


def _refused(error: OSError, message: str) -> ResourceError:
    return (OutOfMemoryError if error.errno in OUT_OF_MEMORY else ResourceError)(message)


def _no_room(nbytes: int, got: str) -> str:
    return (
        f"expected {nbytes / 2**20:,.1f} MiB of shared memory for observations and actions, got {got}; use fewer "
        f"environments or smaller observations"
    )
