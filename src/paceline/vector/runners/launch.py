"""The parent's side of one runner process: starting it, waking it, seeing it die, ending it.

How a runner comes into being is its launcher's business: ``spawn`` is a new interpreter for each
(:mod:`paceline.vector.runners.bootstrap`), ``forkserver`` one server that forks them
(:mod:`paceline.vector.runners.fork_server`). What the runner is told, and how it is talked to, is the same.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any, Literal, Protocol

from paceline.errors import EnvTimeoutError, OutOfMemoryError, PlanError, ResourceError, RunnerDiedError
from paceline.vector.runners.bootstrap import RUNNER_ENTRY, ProcessHandle, how_it_ended, start_interpreter
from paceline.vector.runners.fork_server import ForkServer, fork_server_refusal
from paceline.vector.runners.protocol import SOCKET_BUFFER_BYTES, Failure, send_message, unpack_message
from paceline.vector.runners.wakeup import REQUEST, SignalEnds
from paceline.vector.runners.watched import WatchedConnection

StartMethod = Literal["spawn", "forkserver"]
"""How a runner process comes into being."""

FEWEST_TO_FORK = 4
"""Runners from which a fork server is worth a process of its own."""
_NO_PIDFD = (errno.ENOSYS, errno.EPERM, errno.EACCES)
"""What an old kernel, and a sandbox that does not know the call, answer to pidfd_open."""


class Launcher(Protocol):
    """Starts the runner processes of one vector environment."""

    @property
    def start_method(self) -> StartMethod:
        """How."""

    def start(self, label: str, arguments: Mapping[str, Any]) -> ProcessHandle:
        """Start a process.

        Args:
            label: what to call it in the list of processes.
            arguments: :class:`RunnerArguments` as a mapping.

        Raises:
            OSError: no process can be had.
        """

    def obituary(self) -> RunnerDiedError | None:
        """Return the error that says how what the processes come from died, and they with it; None if it did not."""

    def close(self) -> None:
        """Release what the launcher itself holds, once its processes have ended. Idempotent."""


class SpawnLauncher:
    """Starts each process as a new interpreter.

    Args:
        threads: threads of the math libraries.
        entry: what a process executes, ``module:function``.
    """

    start_method: Literal["spawn"] = "spawn"

    def __init__(self, *, threads: int = 1, entry: str = RUNNER_ENTRY) -> None:
        self._threads = threads
        self._entry = entry

    def start(self, label: str, arguments: Mapping[str, Any]) -> ProcessHandle:
        """Start a process, see :class:`Launcher`."""
        return start_interpreter(label, self._entry, arguments, threads=self._threads)

    def obituary(self) -> None:
        """Return None: no process depends on another."""

    def close(self) -> None:
        """Do nothing: there is nothing but the processes."""


class AutoLauncher:
    """Forks from a server for as long as that is safe, else starts new interpreters.

    A package that Gymnasium loads as a plug-in may start threads, which the user knows nothing of: where the start
    method was not asked for, that is no reason to fail.

    Args:
        server: the fork server.
        spawn: what to do if it refuses.
    """

    def __init__(self, server: ForkServer, spawn: SpawnLauncher) -> None:
        self._server = server
        self._chosen: ForkServer | SpawnLauncher = server
        self._spawn = spawn

    @property
    def start_method(self) -> StartMethod:
        """How the next process will be started."""
        return self._chosen.start_method

    def start(self, label: str, arguments: Mapping[str, Any]) -> ProcessHandle:
        """Start a process, see :class:`Launcher`."""
        try:
            return self._chosen.start(label, arguments)
        except PlanError:
            self._server.close()
            self._chosen = self._spawn
            return self._spawn.start(label, arguments)

    def obituary(self) -> RunnerDiedError | None:
        """Tell how the server died, if processes come from it, see :class:`Launcher`."""
        return self._chosen.obituary()

    def close(self) -> None:
        """End the server."""
        self._server.close()


def default_start_method(num_env_runners: int, platform: str = sys.platform) -> StartMethod:
    """Return the start method that has ``num_env_runners`` runners ready soonest, without needless parts.

    Measured on 2 cores, in turns: seconds until R runners with one CartPole each have been reset, and memory of each
    (PSS; the server takes 10 to 17 MB beside them)::

        R            1     2     4    32
        spawn     0.19  0.17  0.37  3.1  s    22 to 30 MB each
        forked    0.19  0.18  0.20  0.34 s    16, 12, 9, 5 MB

    With HalfCheetah 0.36 and 0.36 s for R = 2, 1.4 and 0.4 s for R = 8. Below four runners there is little to gain (and
    nothing where each has a core to load on), and a runner that depends on no other process is simpler.

    Args:
        num_env_runners: R.
        platform: name of the system, as ``sys.platform`` has it.
    """
    if num_env_runners < FEWEST_TO_FORK or platform != "linux" or fork_server_refusal(platform) is not None:
        return "spawn"
    return "forkserver"


def make_launcher(
    start_method: StartMethod | None,
    num_env_runners: int,
    *,
    threads: int = 1,
    preload: Sequence[str] = (),
    entry: str = RUNNER_ENTRY,
) -> Launcher:
    """Return what starts the runners of one vector environment; close it after them (:func:`end_all` does).

    Args:
        start_method: None for what :func:`default_start_method` says.
        num_env_runners: R.
        threads: threads of the math libraries in each runner.
        preload: modules that a fork server loads before it forks, see :func:`modules_to_preload`.
        entry: what a process executes, ``module:function``.

    Raises:
        PlanError: no such start method, or not on this system.
        ResourceError: no process or file descriptor can be had.
    """
    if start_method not in (None, "spawn", "forkserver"):
        raise PlanError(f"expected start_method to be spawn or forkserver, got {start_method!r}; use one of them")
    spawn = SpawnLauncher(threads=threads, entry=entry)
    if (start_method or default_start_method(num_env_runners)) == "spawn":
        return spawn
    try:
        server = ForkServer(threads=threads, preload=preload, entry=entry)
    except OSError as error:
        raise refused_start("the fork server", error) from error
    return AutoLauncher(server, spawn) if start_method is None else server


def modules_to_preload(env_id: str) -> tuple[str, ...]:
    """Return what a fork server should load for an environment that Gymnasium itself ships; nothing for others.

    Others may do anything while they are imported: start threads, draw random numbers, open connections. Each runner
    does that for itself.

    Args:
        env_id: a Gymnasium id, or any other name of an environment.
    """
    import gymnasium

    spec = gymnasium.registry.get(env_id)
    if spec is None or not isinstance(spec.entry_point, str) or not spec.entry_point.startswith("gymnasium.envs."):
        return ()
    return (spec.entry_point.partition(":")[0],)


@dataclass(frozen=True)
class RunnerArguments:
    """What a runner is told on its command line; the rest follows over the control channel.

    Names that end in ``_fd`` are file descriptors, which the launcher hands over.
    """

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
        threads: threads of the math libraries, if there is no ``launcher``.
        cores: cores to run on; empty for any.
        launcher: starts the process; None: as a new interpreter. :func:`end_all` closes it.

    Raises:
        ResourceError: no process or file descriptor can be had; :class:`OutOfMemoryError` for lack of memory.
        PlanError: this system cannot start runners this way.
    """

    def __init__(
        self,
        slot: int,
        envs: range,
        *,
        memory_fd: int,
        threads: int = 1,
        cores: Sequence[int] = (),
        launcher: Launcher | None = None,
    ) -> None:
        self.slot = slot
        self.envs = envs
        self.launcher = launcher or SpawnLauncher(threads=threads)
        self._fds: list[int] = []
        self.ended = False
        try:
            self._start(memory_fd, cores)
        except BaseException as error:  # the lifeline closes, too: a process that may have been started ends
            self._close_fds()
            if hasattr(self, "process"):
                self.process.kill()
                self.process.wait()
            if isinstance(error, OSError):
                raise refused_start(f"runner {slot}", error) from error
            raise

    def _start(self, memory_fd: int, cores: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self.channel = WatchedConnection(ours.detach())
        lent = [theirs.detach()]
        try:
            wake = SignalEnds.create()
            self.wake_fd = self._own(wake.write_fd)
            lent.append(wake.read_fd)
            done = SignalEnds.create()
            self.done_fd = self._own(done.read_fd)
            lent.append(done.write_fd)
            lifeline_read, lifeline_write = os.pipe()
            self._own(lifeline_write)
            lent.append(lifeline_read)
            arguments = RunnerArguments(
                control_fd=lent[0],
                wake_fd=wake.read_fd,
                done_fd=done.write_fd,
                memory_fd=memory_fd,
                lifeline_fd=lifeline_read,
                parent_pid=os.getpid(),
                parent_thread_is_main=threading.current_thread() is threading.main_thread(),
                cores=list(cores),
            )
            self.process = self.launcher.start(f"paceline-runner-{self.slot}", asdict(arguments))
        finally:
            for fd in {*lent} - {*self._fds}:  # an eventfd is both ends in one
                os.close(fd)
        self.death_fd = self._open_death()
        self.channel.watch(self.death_fd, self.is_dead)

    def _open_death(self) -> int:
        """Return a descriptor that is readable once the process is dead; where there is none, the channel hangs up."""
        if hasattr(os, "pidfd_open"):
            try:
                return self._own(os.pidfd_open(self.process.pid))
            except OSError as error:
                if error.errno not in _NO_PIDFD:
                    raise
        return self.channel.fileno()

    def _own(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

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
        with suppress(BrokenPipeError):  # it is dead, as the wait for its answer tells
            os.write(self.wake_fd, REQUEST)

    def receive(self, deadline: float | None = None) -> Any:
        """Return the runner's next message.

        Args:
            deadline: monotonic time in seconds after which to give up; None waits for ever.

        Raises:
            EnvTimeoutError: nothing came in time.
            RunnerDiedError: the runner died.
            PacelineError: the runner reports this error.
        """
        try:
            payload = self.channel.recv_bytes_by(deadline)
        except TimeoutError:
            raise EnvTimeoutError(f"runner {self.slot} did not answer in time", env_index=None) from None
        except (EOFError, OSError):
            raise self.obituary() from None
        message = unpack_message(payload)
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
        whose = f"envs {self.envs.start} to {self.envs.stop - 1}" if len(self.envs) > 1 else f"env {self.envs.start}"
        return RunnerDiedError(
            f"expected runner {self.slot} (pid {self.pid}, {whose}) to step its environments, but it "
            f"{how_it_ended(code)}; look above for what it printed, and at the memory it uses"
        )

    def is_dead(self) -> bool:
        """Return whether the process has ended."""
        return self.process.poll() is not None

    def end(self, deadline: float) -> None:
        """Wait for the process until ``deadline`` (monotonic seconds), then kill it; release everything. Idempotent."""
        if self.ended:
            return
        self.ended = True
        try:
            self.process.wait(timeout=max(0.0, deadline - monotonic()))
        except BaseException as error:  # it takes too long; or Ctrl-C came
            self.process.kill()
            self.process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            self.channel.close()
            self._close_fds()

    def _close_fds(self) -> None:
        for fd in set(self._fds):
            os.close(fd)
        self._fds = []


def end_all(runners: Sequence[RunnerProcess], grace_s: float) -> None:
    """End all runners within ``grace_s`` seconds together, then their launchers.

    Whoever has not exited by then is killed. A launcher that started no runner is for whoever made it to close.
    """
    if grace_s <= 0:
        for runner in runners:
            if not runner.is_dead():
                runner.process.kill()
    deadline = monotonic() + max(grace_s, 0.0)
    try:
        for runner in runners:
            runner.end(deadline)
    except BaseException:  # Ctrl-C: whoever is waited for in vain is not waited for again
        for runner in runners:
            runner.process.kill()
        raise
    for launcher in {id(runner.launcher): runner.launcher for runner in runners}.values():
        launcher.close()


def refused_start(what: str, error: OSError) -> ResourceError:
    """Return the error that says why the system would not start ``what``."""
    kind = OutOfMemoryError if error.errno == errno.ENOMEM else ResourceError
    return kind(
        f"expected to start {what}, got {error.strerror or error}; use fewer runners, or raise the limits on processes "
        f"and open files (ulimit -u, ulimit -n)"
    )
