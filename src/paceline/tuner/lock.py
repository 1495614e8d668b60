"""One tuner to a machine: two that measure at once would measure each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from paceline.errors import ResourceError

_NAME = "paceline-tuner.lock"


@contextlib.contextmanager
def only_tuner(folder: Path | None = None) -> Iterator[None]:
    """Hold the machine's tuner lock for the body; the kernel lets go of it however this process ends.

    Args:
        folder: where the lock's file lies; default: the machine's folder for temporary files.

    Raises:
        ResourceError: another tuner holds it.
    """
    path = (folder or Path(tempfile.gettempdir())) / _NAME
    try:
        descriptor = _opened(path)
    except OSError:
        yield  # no such place: nothing to hold on to
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResourceError(
                "expected this machine to be free for measuring, got another `paceline tune` that is at it; wait until "
                "it is done"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the lock's file, which anyone may lock, whoever made it; it is never written to."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)  # without O_CREAT, which kernels refuse for another user's file in such a folder
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o666)  # whatever the umask
    return descriptor
