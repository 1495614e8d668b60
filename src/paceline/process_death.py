"""Ties the life of a process to that of the one that started it: nothing survives ``kill -9`` of the parent.

Called first thing in a new process. Imports only what every Python process has loaded, or loads in microseconds.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(
    parent_pid: int, *, lifeline_fd: int | None = None, parent_thread_is_main: bool = True, exit_status: int = 0
) -> None:
    """See to it that the kernel ends this process when the parent dies, even if it hangs in C code (Linux).

    The lifeline is a pipe whose other end only the process to die with holds: when that end closes, SIGIO ends this
    process. It reaches across processes in between. The parent-death signal covers parents that fork (a fork keeps the
    lifeline open), but it fires when the *thread* that started this process ends, so it is used only if that was the
    main thread.

    Args:
        parent_pid: the process that started this one; if it is dead already, this one exits at once.
        lifeline_fd: the read end of the pipe, or None.
        parent_thread_is_main: whether the parent's main thread started this process.
        exit_status: status to exit with if the parent is dead already.
    """
    if sys.platform == "linux":
        if lifeline_fd is not None:
            signal.signal(signal.SIGIO, signal.SIG_DFL)
            fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
        if parent_thread_is_main:
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the arrangements were made
        os._exit(exit_status)
