"""The parent's side of a fork server: runners that are forked from a process which has loaded everything already.

A clean interpreter spends 0.2 to 0.4 s of a core on importing NumPy, Gymnasium and MuJoCo, in every runner again; a
fork takes a millisecond and shares the memory of what was loaded. What is forked is never the user's process (which may
have JAX and threads), but a server that is as clean as a runner. Linux only: on macOS a fork must not use system
libraries.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from paceline.errors import PlanError, ResourceError, RunnerDiedError
from paceline.vector.runners.bootstrap import (
    RUNNER_ENTRY,
    ProcessHandle,
    descriptors,
    how_it_ended,
    start_interpreter,
)

SERVER_ENTRY = "paceline.vector.runners.forking:main"
_LONGEST_MESSAGE = 65_536
_LONGEST_ANSWER_S = 120.0
_CLOSE_GRACE_S = 1.0


class ForkServer:
    """One process that forks runners on request, for one vector environment.

    It returns while the server is still loading. The server ends when this object is closed or forgotten, or when this
    process dies in whatever way; its runners end with it. Forks see the working directory and the environment variables
    of the moment when the server was started.

    Args:
        threads: threads of the math libraries in the runners.
        preload: modules to load before forking, beyond what every runner needs. They must start no threads, and what
            they draw at random while they load is the same in all runners.
        entry: what a fork executes, ``module:function``.

    Raises:
        PlanError: this system cannot do it safely.
        OSError: no process or file descriptor can be had.
    """

    start_method: Literal["forkserver"] = "forkserver"

    def __init__(self, *, threads: int = 1, preload: Sequence[str] = (), entry: str = RUNNER_ENTRY) -> None:
        refusal = fork_server_refusal()
        if refusal is not None:
            raise PlanError(refusal)
        self._entry = entry
        self._lock = threading.Lock()
        self._num_requests = 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline_read, lifeline_write = os.pipe()
        arguments = {
            "control_fd": theirs.fileno(),
            "lifeline_fd": lifeline_read,
            "parent_pid": os.getpid(),
            "parent_thread_is_main": threading.current_thread() is threading.main_thread(),
            "sys_path": [os.fspath(folder) for folder in sys.path],
            "preload": list(preload),
        }
        try:
            self._process = start_interpreter("paceline-fork-server", SERVER_ENTRY, arguments, threads=threads)
        except BaseException:
            ours.close()
            os.close(lifeline_write)
            raise
        finally:
            theirs.close()
            os.close(lifeline_read)
        ours.settimeout(_LONGEST_ANSWER_S)
        self._channel = ours
        self._finalizer = weakref.finalize(self, _end_server, self._process, ours, lifeline_write, os.getpid())

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def start(self, label: str, arguments: Mapping[str, Any]) -> ProcessHandle:
        """Fork a process that executes the entry.

        Args:
            label: what to call it.
            arguments: plain JSON data; the file descriptors among it (names that end in ``_fd``) travel along.
                ``parent_pid`` and ``parent_thread_is_main`` are replaced by what is true of the server.

        Raises:
            PlanError: a module that was loaded has started threads.
            ResourceError: the server is gone or does not answer.
            OSError: the system refuses another process.
        """
        fds = descriptors(arguments)
        task = {"label": label, "entry": self._entry, "arguments": dict(arguments), "fd_names": list(fds)}
        answer = self._ask({"start": task}, list(fds.values()))
        if answer is None:
            raise ResourceError(
                f"expected the fork server (pid {self.pid}) to start {label}, but it is gone; look above for what it "
                f"printed, or use start_method spawn"
            )
        if "refused" in answer:
            raise PlanError(f"{answer['refused']}; leave it out of preload, or use start_method spawn")
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return ForkedProcess(self, answer["pid"], label)

    def reap(self, pid: int) -> int:
        """Return the exit status of an ended fork, which is no zombie any more.

        Where the server has died before, its forks were killed with it, and nobody knows better than that.
        """
        try:
            answer = self._ask({"reap": pid})
        except ResourceError:
            answer = None
        return -signal.SIGKILL if answer is None or "status" not in answer else int(answer["status"])

    def obituary(self) -> RunnerDiedError | None:
        """Return the error that says how the server ended, and its runners with it; None while it lives."""
        code = self._process.poll()
        if code is None:
            return None
        return RunnerDiedError(
            f"expected the fork server (pid {self.pid}) to live as long as the runners that it forked, but it "
            f"{how_it_ended(code)}, and they died with it; look above for what it printed, and at the memory in use"
        )

    def close(self) -> None:
        """End the server, and with it whatever it forked that still lives. Idempotent; takes a second at most."""
        self._finalizer()

    def _ask(self, request: Mapping[str, Any], fds: Sequence[int] = ()) -> dict[str, Any] | None:
        """Return the server's answer, None if it is dead."""
        with self._lock:
            if not self._finalizer.alive:
                return None
            self._num_requests += 1
            number = self._num_requests
            payload = json.dumps({"id": number, **request}).encode()
            if len(payload) > _LONGEST_MESSAGE:
                raise ValueError(f"expected a request of {_LONGEST_MESSAGE} bytes at most, got {len(payload)}")
            try:
                socket.send_fds(self._channel, [payload], fds)
                while reply := self._channel.recv(_LONGEST_MESSAGE):
                    answer: dict[str, Any] = json.loads(reply)
                    if answer["id"] == number:  # else the answer that an interrupted call did not wait for
                        return answer
            except (BrokenPipeError, ConnectionResetError):
                return None
            except TimeoutError:
                raise ResourceError(
                    f"expected the fork server (pid {self.pid}) to answer within {_LONGEST_ANSWER_S:.0f} s, but it has "
                    f"not; look at what the modules do that it loads, or use start_method spawn"
                ) from None
        return None


class ForkedProcess:
    """A process that a :class:`ForkServer` forked, to be used like ``subprocess.Popen``.

    Args:
        server: the server; it has not reaped the process yet.
        pid: the process.
        label: what to call it.

    Raises:
        OSError: no file descriptor can be had.
    """

    def __init__(self, server: ForkServer, pid: int, label: str) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._label = label
        self._pidfd = os.pidfd_open(pid)
        self._poller = select.poll()
        self._poller.register(self._pidfd, select.POLLIN)
        self._release = weakref.finalize(self, os.close, self._pidfd)

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal that ended it), or None while it lives."""
        if self.returncode is None and self._poller.poll(0):
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            subprocess.TimeoutExpired: it lives on.
        """
        if self.returncode is not None:
            return self.returncode
        if not self._poller.poll(None if timeout is None else max(0.0, timeout * 1000)):
            raise subprocess.TimeoutExpired(self._label, timeout or 0.0)
        return self._reap()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _reap(self) -> int:
        self.returncode = self._server.reap(self.pid)
        self._release()
        return self.returncode


def fork_server_refusal(platform: str = sys.platform) -> str | None:
    """Return why runners cannot be forked from a server on this system, or None if they can.

    Args:
        platform: name of the system, as ``sys.platform`` has it.
    """
    if platform == "darwin":
        return "expected start_method spawn on macOS, where a fork must not use system libraries, got forkserver"
    if platform != "linux":
        return f"expected Linux for start_method forkserver, got {platform}; use backend serial or thread"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return f"expected a Linux kernel with pidfd for start_method forkserver, got {error}; use start_method spawn"
    return None


def _end_server(process: subprocess.Popen[bytes], channel: socket.socket, lifeline_fd: int, owner_pid: int) -> None:
    """Close the channel and wait for the server's end, unless this is a fork of the process that owns it."""
    if os.getpid() != owner_pid:
        return
    channel.close()
    try:
        process.wait(timeout=_CLOSE_GRACE_S)
    except BaseException as error:  # it is still loading something; or Ctrl-C came
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    finally:
        os.close(lifeline_fd)
