"""Lockstep with nothing in it: what processes of Python can reach that step together, whoever writes them.

R forked processes hold N/R environments each. A step is one eventfd for each process, a bare loop over its
environments, and one eventfd back. Nothing is copied, checked, counted or returned. What separates this from processes
that never wait is the price of waking each other and of waiting for the slowest; what separates a vector environment
from this is its own doing.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from paceline.bench.actions import action_batches
from paceline.bench.windows import LoopStepper, Window, run_window
from paceline.envs import env_factory
from paceline.isolation.child import Request
from paceline.process_death import die_with_parent
from paceline.vector.runners.placement import spread_cores

_ONE = (1).to_bytes(8, "little")
_BATCHES = 64


class Bare:
    """The processes, set up.

    Args:
        request: as for any contender; ``options`` has ``num_processes``.
        seed: of the first environment.
    """

    def __init__(self, request: Request, seed: int) -> None:
        count = request["options"]["num_processes"]
        shares = [len(part) for part in np.array_split(np.arange(request["num_envs"]), count)]
        self._num_envs = request["num_envs"]
        self._wake = [os.eventfd(0) for _ in range(count)]
        self._done = [os.eventfd(0) for _ in range(count)]
        parent_pid = os.getpid()
        self._pids = []
        for slot, (share, cores) in enumerate(zip(shares, spread_cores(count), strict=True)):
            pid = os.fork()
            if not pid:
                _serve(request["env"], share, seed, cores, self._wake[slot], self._done[slot], parent_pid)
            self._pids.append(pid)
        self._run(1)  # which waits until all of them have built their environments
        self.facts: dict[str, Any] = {"num_processes": count, "envs_of_each": shares}

    def measure(self, seconds: float) -> Window:
        """Step together for about so long."""
        return run_window(self._run, seconds)

    def close(self) -> None:
        """End the processes."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for fd in self._wake + self._done:
            os.close(fd)

    def _run(self, count: int) -> int:
        wake, done = self._wake, self._done[::-1]  # the last is woken last: waiting for it first wakes us least
        for _ in range(count):
            for fd in wake:
                os.write(fd, _ONE)
            for fd in done:
                os.read(fd, 8)
        return count * self._num_envs


def _serve(env: str, share: int, seed: int, cores: list[int], wake_fd: int, done_fd: int, parent_pid: int) -> None:
    """Step whenever woken; the process ends with its parent, or is killed."""
    die_with_parent(parent_pid)
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        factory = env_factory(env)
        envs = [factory() for _ in range(share)]
        batches = action_batches("random", envs[0].action_space, share, seed)[:_BATCHES]
        step = LoopStepper(envs, [list(batch) for batch in batches], seed)
        while True:
            os.read(wake_fd, 8)
            step(1)
            os.write(done_fd, _ONE)
    finally:
        os._exit(1)
