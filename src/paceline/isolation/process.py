"""A fresh process that is given requests, answers in events, and leaves nothing behind.

It is a new interpreter (no state of the caller's, no need for a ``__main__`` guard in the user's script) in a session
of its own, with the caller's ``sys.path``. The transport is JSON lines over a pipe that only this purpose uses.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from paceline.errors import ResourceError
from paceline.isolation import guard

STOP_GRACE_S = 3.0
"""How long a process may take to put runners and shared memory away when it is asked to stop."""
KILL_GRACE_S = 0.5
"""How long what a killed process started may take to go by itself."""
OUTPUT_BYTES = 64 * 2**10
"""How much of the end of what a process prints is kept."""

Event = Mapping[str, Any]


class FreshProcess:
    """One process, its events and its output, seen from the caller.

    Args:
        request: plain JSON data, ``task`` among it; see :mod:`paceline.isolation.child`.
        environment: variables to add to the process's environment.
        conversation: whether more requests will follow by :meth:`ask`; else the task finds none.

    Raises:
        ResourceError: the process cannot be started.
    """

    def __init__(
        self, request: Mapping[str, Any], environment: Mapping[str, str] | None = None, *, conversation: bool = False
    ) -> None:
        self.begin_s = time.monotonic()
        self._mark = secrets.token_hex(8)
        self._tail = b""
        self._partial_line = b""
        self._selector = selectors.DefaultSelector()
        self._events_fd, child_events_fd = os.pipe()
        self._output_fd, child_output_fd = os.pipe()
        process: subprocess.Popen[bytes] | None = None
        try:
            process = self._start(child_events_fd, child_output_fd, environment or {})
            self._guard = _start_guard(process.pid, self._mark)
        except OSError as error:
            if process:
                process.kill()
                process.wait()
            self._close()
            raise ResourceError(
                f"expected to start a process, got {error}; close other programs or raise the limit on processes "
                f"(ulimit -u)"
            ) from None
        finally:
            os.close(child_events_fd)
            os.close(child_output_fd)
        self._process = process
        self._selector.register(self._events_fd, selectors.EVENT_READ)
        self._selector.register(self._output_fd, selectors.EVENT_READ)
        self.ask({**request, "python_path": os.environ.get("PYTHONPATH")})
        if not conversation:
            self.hang_up()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status (negative: the signal that killed it); ``None`` while it lives."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """The end of what it has printed."""
        return self._tail.decode("utf-8", "replace").strip()

    @property
    def last_words(self) -> str:
        """The last line that it has printed, as the end of a sentence; empty if it printed nothing."""
        lines = self.output.splitlines()
        return f"; its last words: {lines[-1].strip()[:200]}" if lines else ""

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a further request (plain JSON data); one that has died does not hear it, which its exit tells."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def hang_up(self) -> None:
        """Say that no further request will follow; may be called twice."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def events(self, timeout_s: float) -> list[Event]:
        """Return the events that have come, waiting at most ``timeout_s`` for anything to happen."""
        if not self._selector.get_map():  # it closed both ends, yet it lives
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            return []
        found: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            chunk = os.read(key.fd, 1 << 16)
            if not chunk:
                self._selector.unregister(key.fd)
            elif key.fd == self._output_fd:
                self._tail = (self._tail + chunk)[-OUTPUT_BYTES:]
            else:
                *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
                found += [json.loads(line) for line in lines]
        return found

    def last_events(self) -> list[Event]:
        """Return what an ended process had still written."""
        found: list[Event] = []
        for _ in range(1000):  # bounded: something that it left behind may go on printing
            if not (self._selector.get_map() and self._selector.select(0.0)):
                break
            found += self.events(0.0)
        return found

    def ask_to_stop(self) -> list[Event]:
        """Ask it to unwind (close runners, unlink shared memory), wait a little, and return its last events."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_GRACE_S
        found: list[Event] = []
        while self._process.poll() is None and time.monotonic() < deadline_s:
            found += self.events(0.05)
        return found + self.last_events()

    def end(self) -> None:
        """Kill whatever is left of it and of everything that it started."""
        guard.end_group(self._process.pid, self._mark, grace_s=KILL_GRACE_S, reap=self._process.poll)
        self._process.wait()
        self.hang_up()
        self._close()
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError), self._guard.stdin as stdin:
            stdin.write(b".")
        self._guard.wait()

    def _start(self, events_fd: int, output_fd: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        added = {
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            "PYTHONFAULTHANDLER": "1",  # a segmentation fault, in a runner too, says where
            guard.MARK: self._mark,
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "paceline.isolation.child", str(events_fd), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=output_fd,
            stderr=output_fd,
            pass_fds=(events_fd,),
            start_new_session=True,  # Ctrl-C in the terminal reaches the caller alone
            env={**os.environ, **environment, **added},
        )

    def _close(self) -> None:
        self._selector.close()
        os.close(self._events_fd)
        os.close(self._output_fd)


def describe_exit(returncode: int) -> str:
    """Say how a process ended: ``exited with status 3``, ``was killed by SIGSEGV``."""
    if returncode < 0:
        number = -returncode
        with suppress(ValueError):
            return f"was killed by {signal.Signals(number).name}"
        return f"was killed by signal {number}"
    return f"exited with status {returncode}"


def silent_exit_text(process: FreshProcess, what: str) -> str:
    """Say how a process ended that delivered neither a result nor an error; ``what`` names it (``the trial's``)."""
    returncode = process.returncode or 0
    text = f"{what} process {describe_exit(returncode)} without a result"
    if returncode == -signal.SIGKILL:
        text += "; if it was not you, it was the kernel for want of memory (see dmesg)"
    return text + process.last_words


def _start_guard(leader_pid: int, mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(guard.__file__), str(leader_pid), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
