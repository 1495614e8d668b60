"""The inside of the fork server: a process that has loaded what runners need, and forks one whenever it is asked.

Started by :mod:`paceline.vector.runners.fork_server` as a clean interpreter with one thread; the other half of the
protocol is there. Requests and answers are JSON, one datagram each, with file descriptors beside a request to start:

    {"id": 1, "start": {"label": .., "entry": .., "arguments": {..}, "fd_names": [..]}}  ->  {"id": 1, "pid": 4711}
    {"id": 2, "reap": 4711}                                                              ->  {"id": 2, "status": -9}

or ``{"id": .., "errno": ..}`` where the system refuses, ``{"id": .., "refused": ".."}`` where forking is unsafe. A fork
that has ended stays a zombie until it is reaped, so that its process id cannot be another's meanwhile. End of file
means that nobody will ask again.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from paceline.process_death import die_with_parent

LONGEST_MESSAGE = 65_536
MOST_FDS = 64

RUNNER_MODULES = (
    "numpy",
    "cloudpickle",
    "gymnasium",
    "gymnasium.vector",
    "multiprocessing.connection",
    "paceline.vector.runners.runner",
    "paceline.vector.runners.serving",
    "paceline.vector.env_list",
)
"""What every runner imports before it builds its environments."""

_PR_SET_NAME = 15
_LONGEST_NAME = 15


def main(arguments: str) -> None:
    """Run a fork server to its end; in each of its forks, run what the fork is for.

    Args:
        arguments: JSON with ``control_fd``, ``lifeline_fd``, ``parent_pid``, ``parent_thread_is_main``, ``sys_path``
            and ``preload``.
    """
    given = json.loads(arguments)
    die_with_parent(
        given["parent_pid"],
        lifeline_fd=given["lifeline_fd"],
        parent_thread_is_main=given["parent_thread_is_main"],
    )
    for name in ("control_fd", "lifeline_fd"):
        os.set_inheritable(given[name], False)
    sys.path[:] = given["sys_path"]
    refusal = load([*RUNNER_MODULES, *given["preload"]], single_thread=os.environ.get("OMP_NUM_THREADS") == "1")
    gc.collect()
    gc.freeze()  # the collector would write to every object, and unshare the page that it lies in
    server_pid = os.getpid()
    with socket.socket(fileno=given["control_fd"]) as channel:
        task = _serve(channel, refusal)
        if task is None:
            os._exit(0)
    os.close(given["lifeline_fd"])
    _become(
        task["label"], task["entry"], {**task["arguments"], "parent_pid": server_pid, "parent_thread_is_main": True}
    )


def load(modules: Sequence[str], *, single_thread: bool) -> str | None:
    """Import ``modules``; return why the process must not fork afterwards, or None.

    What cannot be imported is left to the runners, which say so better if they need it. A thread does not survive a
    fork, but the locks that it held do. (The threads of OpenBLAS are not counted where it was told to have some: it
    ends them before a fork and starts them after.)

    Args:
        modules: their full names.
        single_thread: the math libraries were told to use one thread, so that any second one is another's.
    """
    for name in modules:
        with suppress(Exception):
            import_module(name)
        if threading.active_count() > 1 or (single_thread and num_native_threads() > 1):
            return f"expected modules that start no threads, got some after importing {name}"
    return None


def num_native_threads() -> int:
    """Return how many threads this process has, those of C libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


def _serve(channel: socket.socket, refusal: str | None) -> dict[str, Any] | None:
    """Answer requests. Returns None when nobody will ask again, and in a fork what the fork is for."""
    while True:
        try:
            payload, fds, _, _ = socket.recv_fds(channel, LONGEST_MESSAGE, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        if not payload:
            return None
        request = json.loads(payload)
        task = request.get("start")
        answer: dict[str, Any]
        try:
            if task is None:
                _, status = os.waitpid(request["reap"], 0)
                answer = {"status": os.waitstatus_to_exitcode(status)}
            elif refusal is not None:
                answer = {"refused": refusal}
            else:
                pid = _fork()
                if pid == 0:
                    task["arguments"] |= dict(zip(task["fd_names"], fds, strict=True))
                    return dict(task)
                answer = {"pid": pid}
        except OSError as error:
            answer = {"errno": error.errno}
        for fd in fds:
            os.close(fd)
        with suppress(BrokenPipeError, ConnectionResetError):  # the next receive tells that nobody is there
            channel.send(json.dumps({"id": request["id"], **answer}).encode())


def _fork() -> int:
    sys.stdout.flush()  # what lies in a buffer would be printed twice
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python >= 3.12 counts OpenBLAS's threads, see load()
        return os.fork()


def _become(label: str, entry: str, arguments: dict[str, Any]) -> None:
    """Make a fork what a new interpreter would be, and run ``entry``.

    Python's own generator of random numbers is seeded anew in every fork; NumPy's is not, and all runners would draw
    the same numbers. When ``entry`` returns, the server's loop has been left, and the interpreter ends as it always
    does: exit handlers run, and an exception becomes status 1.
    """
    encoded = json.dumps(arguments)
    sys.argv[1:] = [label, sys.argv[2], entry, encoded]
    _set_process_name(label)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whatever a preloaded module made of it
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    module, _, function = entry.partition(":")
    getattr(import_module(module), function)(encoded)


def _set_process_name(label: str) -> None:
    """Show ``label`` where tools show a process's short name (its command line is still the server's)."""
    import ctypes

    name = label.replace("-runner-", "-")[:_LONGEST_NAME].encode()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name, 0, 0, 0)
