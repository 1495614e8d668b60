"""What no vector environment can be faster than: processes that step environments and never wait for each other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import process_time
from typing import Any

from gymnasium.vector.utils import batch_space, iterate

from paceline.bench.actions import action_batches
from paceline.bench.windows import LoopStepper, Window, run_window
from paceline.envs import EnvFactory
from paceline.errors import EnvRaisedError, RunnerDiedError, error_named
from paceline.isolation.child import failure_event


@dataclass(frozen=True)
class LoopRequest:
    """A bare loop over environments.

    Attributes:
        factory: builds one environment per call.
        num_envs: how many.
        actions: as :attr:`paceline.bench.spec.BenchSpec.actions`.
        seed: of actions and first resets.
    """

    factory: EnvFactory
    num_envs: int
    actions: str
    seed: int


class Loop:
    """Environments of this process, stepped in turn.

    Args:
        request: which.
    """

    def __init__(self, request: LoopRequest) -> None:
        self.envs = [request.factory() for _ in range(request.num_envs)]
        space = self.envs[0].action_space
        batched = batch_space(space, request.num_envs)
        rows = [
            list(iterate(batched, batch))
            for batch in action_batches(request.actions, space, request.num_envs, request.seed)
        ]
        self._stepper = LoopStepper(self.envs, rows, request.seed)

    @property
    def pids(self) -> tuple[int, ...]:
        """No processes."""
        return ()

    def measure(self, seconds: float) -> tuple[Window, float]:
        """Return a window, and the CPU seconds that it took."""
        begin_s = process_time()
        window = run_window(self._stepper, seconds)
        return window, process_time() - begin_s

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()


class FreeRunning:
    """R processes with a loop each; their windows begin together.

    Args:
        requests: one for each process.

    Raises:
        PacelineError: a process could not build its environments.
    """

    def __init__(self, requests: Sequence[LoopRequest]) -> None:
        context = multiprocessing.get_context("forkserver")  # imports are paid for once, not by each of them
        context.set_forkserver_preload([__name__])
        self._pipes: list[Connection] = []
        self._processes = []
        for request in requests:
            ours, theirs = context.Pipe()
            process = context.Process(target=_run_loop, args=(request, theirs))
            process.start()
            theirs.close()  # so that its death closes the pipe
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            self._receive(pipe)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes."""
        return tuple(process.pid or 0 for process in self._processes)

    def measure(self, seconds: float) -> tuple[Window, float]:
        """Return one window for all, and the CPU seconds that it took.

        Each process has a window of its own; their rates are added up, and the window's length is chosen so that steps
        by time gives the sum.
        """
        for pipe in self._pipes:
            pipe.send(seconds)
        found: list[tuple[Window, float]] = [self._receive(pipe) for pipe in self._pipes]
        steps = sum(window.num_env_steps for window, _ in found)
        rate = sum(window.num_env_steps / window.wall_ns for window, _ in found)
        batches = min(window.num_batches for window, _ in found)
        return Window(steps, batches, round(steps / rate)), sum(cpu_s for _, cpu_s in found)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def _receive(self, pipe: Connection) -> Any:
        try:
            answer = pipe.recv()
        except EOFError:
            raise RunnerDiedError(
                "a free-running process died; see what the environment prints, or run it by itself"
            ) from None
        if isinstance(answer, dict):
            error = error_named(answer["error_type"], answer["message"])
            if not isinstance(error, EnvRaisedError):
                raise error
            raise EnvRaisedError(answer["message"], original_traceback=answer["traceback"])
        return answer


def _run_loop(request: LoopRequest, pipe: Connection) -> None:
    """Build, then measure for as long as the pipe says; the end of the pipe ends it."""
    try:
        loop = Loop(request)
        pipe.send("ready")
        while True:
            pipe.send(loop.measure(pipe.recv()))
    except EOFError:
        loop.close()
    except Exception as error:
        pipe.send(dict(failure_event(error)))
