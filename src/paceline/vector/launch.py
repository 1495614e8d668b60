"""The parent's side of one runner process: starting it, waking it, seeing it die, ending it.

A runner is a plain subprocess, not a fork: a process that has JAX loaded must not be forked, the math libraries must
find their thread counts in the environment before they load, and a subprocess does not import the user's ``__main__``
again.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

import paceline
from paceline.errors import EnvTimeoutError, OutOfMemoryError, ResourceError, RunnerDiedError
from paceline.machine import thread_environment
from paceline.vector.protocol import SOCKET_BUFFER_BYTES, Failure, receive_message, send_message
from paceline.vector.wakeup import REQUEST, SIGNAL_SIZE, SignalEnds

_BOOTSTRAP = (
    "import signal,sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path.insert(0, sys.argv[2]); "
    "from paceline.vector.runner import main; main(sys.argv[3])"
)


@dataclass(frozen=True)
class RunnerArguments:
    """What a runner is told on its command line; the rest follows over the control channel."""

    control_fd: int
    wake_fd: int
    done_fd: int
    memory_fd: int
    lifeline_fd: int
    parent_pid: int
    parent_thread_is_main: bool
    cores: list[int]


class RunnerProcess:
    """One runner process, seen from the parent.

    Args:
        slot: index of the runner.
        envs: indices of its environments.
        memory_fd: the block of shared memory.
        threads: threads of the math libraries.
        cores: cores to run on; empty for any.

    Raises:
        ResourceError: no process or file descriptor can be had; :class:`OutOfMemoryError` for lack of memory.
    """

    def __init__(self, slot: int, envs: range, *, memory_fd: int, threads: int, cores: Sequence[int]) -> None:
        self.slot = slot
        self.envs = envs
        self._fds: list[int] = []
        self._ended = False
        try:
            self._start(memory_fd, threads, cores)
        except OSError as error:
            self._close_fds()
            refused = OutOfMemoryError if error.errno == errno.ENOMEM else ResourceError
            raise refused(
                f"expected to start runner {slot}, got {error.strerror}; use fewer runners, or raise the limits on "
                f"processes and open files (ulimit -u, ulimit -n)"
            ) from error

    def _start(self, memory_fd: int, threads: int, cores: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self.channel = Connection(ours.detach())
        wake, done = SignalEnds.create(), SignalEnds.create()
        lifeline_read, lifeline_write = os.pipe()
        child_fds = (theirs.detach(), wake.read_fd, done.write_fd, memory_fd, lifeline_read)
        self.wake_fd, self.done_fd = wake.write_fd, done.read_fd
        self._fds = [self.wake_fd, self.done_fd, lifeline_write]
        arguments = RunnerArguments(
            *child_fds,
            parent_pid=os.getpid(),
            parent_thread_is_main=threading.current_thread() is threading.main_thread(),
            cores=list(cores),
        )
        home = str(Path(paceline.__file__).parent.parent)
        label = f"paceline-runner-{self.slot}"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOTSTRAP, label, home, json.dumps(asdict(arguments))],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **thread_environment(threads)},
                pass_fds=child_fds,
            )
        finally:
            for fd in {*child_fds} - {memory_fd, self.wake_fd, self.done_fd}:
                os.close(fd)
        self.death_fd = self.channel.fileno()
        if hasattr(os, "pidfd_open"):
            self.death_fd = os.pidfd_open(self.process.pid)
            self._fds.append(self.death_fd)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def post(self, message: Any) -> None:
        """Send a message; if the runner is dead, the next :meth:`receive` tells."""
        try:
            send_message(self.channel, message)
        except (BrokenPipeError, ConnectionResetError):
            return

    def request(self, message: Any) -> None:
        """Wake the runner with a request; the answer comes by :meth:`receive`."""
        self.post(message)
        os.write(self.wake_fd, REQUEST)

    def receive(self, deadline: float | None = None) -> Any:
        """Return the runner's next message.

        Args:
            deadline: monotonic time in seconds after which to give up; None waits for ever, and saves a system call.

        Raises:
            EnvTimeoutError: nothing came in time.
            RunnerDiedError: the runner died.
            PacelineError: the runner reports this error.
        """
        try:
            if deadline is not None and not self.channel.poll(max(0.0, deadline - monotonic())):
                raise EnvTimeoutError(f"runner {self.slot} did not answer in time", env_index=None)
            message = receive_message(self.channel)
        except (EOFError, OSError):
            raise self.obituary() from None
        if isinstance(message, Failure):
            raise message.unpack()
        return message

    def obituary(self) -> RunnerDiedError:
        """Return the error that says how the runner ended."""
        try:
            code = self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:  # it closed its channel but lives on
            self.process.kill()
            code = self.process.wait()
        how = f"exited with status {code}"
        if code < 0:
            how = f"was ended by {_signal_name(-code)}"
            how += " (often: out of memory)" if -code == signal.SIGKILL else ""
        whose = f"envs {self.envs.start} to {self.envs.stop - 1}" if len(self.envs) > 1 else f"env {self.envs.start}"
        return RunnerDiedError(
            f"expected runner {self.slot} (pid {self.pid}, {whose}) to step its environments, but it {how}; look above "
            f"for what it printed, and at the memory it uses"
        )

    def is_dead(self) -> bool:
        """Return whether the process has ended."""
        return self.process.poll() is not None

    def end(self, deadline: float) -> None:
        """Wait for the process until ``deadline`` (monotonic seconds), then kill it; release everything. Idempotent."""
        if self._ended:
            return
        self._ended = True
        try:
            self.process.wait(timeout=max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()
        self._close_fds()

    def _close_fds(self) -> None:
        for fd in set(self._fds):
            os.close(fd)
        self._fds = []


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last of them have names
        return f"signal {number}"


class DoneWaiter:
    """Waits for a runner's done signal while watching all runners for death. Never spins.

    Runners are waited for one after the other: the parent sleeps until the first is done, and those that finished
    meanwhile cost no further sleep.
    """

    def __init__(self, runners: Sequence[RunnerProcess]) -> None:
        self._runners = runners
        self._pollers = []
        for runner in runners:
            poller = select.poll()
            poller.register(runner.done_fd, select.POLLIN)
            for other in runners:
                if other.death_fd != other.channel.fileno():
                    poller.register(other.death_fd, select.POLLIN)
                else:  # without pidfd: the control channel hangs up; it is readable while a message waits, too
                    poller.register(other.death_fd, 0)
            self._pollers.append((runner.done_fd, poller))

    def wait(self, slot: int, deadline: float | None) -> bytes:
        """Return the done signal of runner ``slot``.

        Raises:
            EnvTimeoutError: it did not come before ``deadline`` (monotonic seconds).
            RunnerDiedError: a runner died.
        """
        done_fd, poller = self._pollers[slot]
        timeout_ms = None if deadline is None else max(0.0, (deadline - monotonic()) * 1000)
        events = poller.poll(timeout_ms)
        for fd, _ in events:
            if fd == done_fd:
                return os.read(done_fd, SIGNAL_SIZE)
        if not events:
            raise EnvTimeoutError(f"runner {slot} did not finish its step in time")
        dead = {fd for fd, _ in events}
        for runner in self._runners:
            if runner.death_fd in dead:
                raise runner.obituary()
        raise AssertionError("poll returned a file descriptor that was not registered")


def end_all(runners: Sequence[RunnerProcess], grace_s: float) -> None:
    """End all runners within ``grace_s`` seconds together: whoever has not exited by then is killed."""
    if grace_s <= 0:
        for runner in runners:
            if not runner.is_dead():
                runner.process.kill()
    deadline = monotonic() + max(grace_s, 0.0)
    for runner in runners:
        runner.end(deadline)
