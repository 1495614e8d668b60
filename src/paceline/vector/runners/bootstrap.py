"""A clean Python process of our own: how a runner, and the server that forks runners, come into being.

It is a new interpreter, not a fork: a process that has JAX loaded must not be forked, the math libraries must find
their thread counts in the environment before they load, and nothing imports the user's ``__main__`` again. Ctrl-C in
the terminal is the parent's business: SIGINT is ignored from the first instruction.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import paceline
from paceline.errors import PlanError
from paceline.machine import thread_environment

RUNNER_ENTRY = "paceline.vector.runners.runner:main"
"""What a runner executes, as ``module:function``; it is called with its arguments as JSON."""

_BOOTSTRAP = (
    "import signal,sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path.insert(0, sys.argv[2]); "
    "from importlib import import_module; module, _, name = sys.argv[3].partition(':'); "
    "getattr(import_module(module), name)(sys.argv[4])"
)


class ProcessHandle(Protocol):
    """A process that was started, as its starter holds it. ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Process id."""

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal that ended it), or None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it lives on after ``timeout`` seconds.
        """

    def kill(self) -> None:
        """End it at once, if it has not ended."""


def start_interpreter(label: str, entry: str, arguments: Mapping[str, Any], *, threads: int) -> subprocess.Popen[bytes]:
    """Start a process that calls ``entry`` with ``arguments`` as JSON.

    Args:
        label: what to call it in the list of processes.
        entry: ``module:function``.
        arguments: plain JSON data; the process inherits the file descriptors among it, see :func:`descriptors`.
        threads: threads of the math libraries.

    Raises:
        PlanError: this system has no way to start runner processes.
        OSError: no process can be had.
    """
    if os.name != "posix":
        raise PlanError(
            f"expected Linux or macOS for runner processes, got {sys.platform}; use backend serial or thread"
        )
    home = str(Path(paceline.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOTSTRAP, label, home, entry, json.dumps(dict(arguments))],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **thread_environment(threads)},
        pass_fds=tuple(descriptors(arguments).values()),
    )


def how_it_ended(code: int) -> str:
    """Return an exit status in words, to follow what had it.

    Args:
        code: as :class:`ProcessHandle` gives it.
    """
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal: only the first and the last of them have names
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (often: out of memory)" if -code == signal.SIGKILL else "")


def descriptors(arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return those of a process's arguments that are file descriptors: their names end in ``_fd``."""
    return {name: value for name, value in arguments.items() if name.endswith("_fd")}
