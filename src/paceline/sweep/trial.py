"""One trial, one fresh process: listened to, kept within its limits, and ended with everything it started.

Whatever happens in there (an exception, ``os._exit``, a segmentation fault, a hang, memory without end) becomes an
outcome with a sentence; nothing of it reaches the sweep.

Memory is watched from outside: the sum of resident sizes of the process tree, which is cheap and counts shared pages
once per process; only when that exceeds the limit is the proportional size asked for, and only that one decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from paceline.isolation.memory import kernel_oom_kills, size_text, tree_memory_bytes
from paceline.isolation.process import Event, FreshProcess, silent_exit_text
from paceline.measure.result import IterationRecord, RunResult
from paceline.sweep.child import TRIAL
from paceline.sweep.ending import Ending, judged, result_of, stamped
from paceline.sweep.grid import Trial

ENTRY_POINT = "paceline.training.trial:run_trial"
"""What a trial's process runs, ``package.module:function``; see :class:`paceline.sweep.child.EntryPoint`."""

TICK_S = 0.2
"""How often time and a request to stop are looked at."""
MEMORY_POLL_S = 0.25
"""How often memory is looked at, at most; it never takes more than 1 % of one core."""
EXIT_GRACE_S = 10.0
"""How long a process may take to leave once it has said all it has to say."""


@dataclass(frozen=True)
class TrialReport:
    """How one trial went.

    Attributes:
        result: what goes into the results file.
        wall_s: seconds from the start of the process to its end.
        error_type: class name of the exception that ended it, if one did.
        output: the end of what it printed, and the traceback if there is one.
    """

    result: RunResult
    wall_s: float
    error_type: str = ""
    output: str = ""


@dataclass(frozen=True)
class Limits:
    """What a trial may take.

    Attributes:
        timeout_s: wall seconds, start-up included.
        memory_bytes: what its process tree may hold; ``None``: no limit.
        exit_grace_s: seconds that its process may take to leave once it has said all it has to say.
    """

    timeout_s: float
    memory_bytes: int | None = None
    exit_grace_s: float = EXIT_GRACE_S


def run_in_fresh_process(
    trial: Trial,
    limits: Limits,
    *,
    entry_point: str = ENTRY_POINT,
    on_iteration: Callable[[IterationRecord], None] = lambda record: None,
    should_stop: Callable[[], bool] = lambda: False,
    environment: Mapping[str, str] | None = None,
    tree_memory: Callable[[int, int], int] = tree_memory_bytes,
) -> TrialReport:
    """Run ``trial`` in a process of its own and return how it went; never raises for what happens in there.

    Args:
        trial: what to run.
        limits: the time and memory that it may take.
        entry_point: what to call in the process, ``package.module:function``.
        on_iteration: called with each measured iteration as it finishes.
        should_stop: asked every :data:`TICK_S`; once true, the trial is stopped and its outcome is ``interrupted``.
        environment: variables to add to the process's environment (thread counts).
        tree_memory: measures a process tree, ``(pid, above_bytes) -> bytes``.

    Raises:
        ResourceError: the process cannot be started.
    """
    listener = _Listener(trial, on_iteration)
    request = {
        "task": TRIAL,
        "entry_point": entry_point,
        "spec": trial.spec.model_dump(mode="json"),
        "name": trial.name,
        "repeat": trial.repeat,
        "iterations": trial.iterations,
        "warmup_iterations": trial.warmup_iterations,
    }
    process = FreshProcess(request, environment)
    try:
        listener.follow(process, limits, should_stop, tree_memory)
    finally:  # also on a second Ctrl-C, or if on_iteration raises: nothing stays behind
        process.end()
    return listener.report(process)


class _Listener:
    """Follows one trial's process and knows how it ended."""

    def __init__(self, trial: Trial, on_iteration: Callable[[IterationRecord], None]) -> None:
        self._trial = trial
        self._on_iteration = on_iteration
        self._iterations: list[IterationRecord] = []
        self._first_s: float | None = None
        self._result: RunResult | None = None
        self._ending: Ending | None = None
        self._oom_kills = kernel_oom_kills()

    def follow(
        self,
        process: FreshProcess,
        limits: Limits,
        should_stop: Callable[[], bool],
        tree_memory: Callable[[int, int], int],
    ) -> None:
        """Return when the process has ended by itself, or has to be ended."""
        deadline_s = process.begin_s + limits.timeout_s
        next_look_s = process.begin_s
        said_all = False
        while True:
            self._take(process.events(TICK_S))
            now_s = time.monotonic()
            if process.returncode is not None:
                return self._take(process.last_events())
            if should_stop():
                return self._stop(process, Ending("interrupted", "stopped by the user before it finished"))
            if not said_all and (self._result or self._ending):
                said_all = True
                deadline_s = now_s + limits.exit_grace_s
            if now_s >= deadline_s:
                return (
                    None if said_all else self._stop(process, Ending("timeout", self._timeout_text(limits.timeout_s)))
                )
            if limits.memory_bytes and not said_all and now_s >= next_look_s:
                held_bytes = tree_memory(process.pid, limits.memory_bytes)
                if held_bytes > limits.memory_bytes:
                    self._ending = Ending("oom", _memory_text(held_bytes, limits.memory_bytes))
                    return None
                next_look_s = now_s + max(MEMORY_POLL_S, 100 * (time.monotonic() - now_s))

    def report(self, process: FreshProcess) -> TrialReport:
        """Say how it went, once the process is gone."""
        now_s = time.monotonic()
        wall_s = now_s - process.begin_s
        if self._result is not None:
            return TrialReport(judged(stamped(self._trial, self._result)), wall_s, "", process.output)
        ending = self._memory_verdict(self._ending or Ending("crash", silent_exit_text(process, "the trial's")))
        setup_s = max(0.0, (self._first_s or now_s) - process.begin_s)
        output = "\n\n".join(part for part in (process.output, ending.traceback) if part)
        return TrialReport(
            result_of(self._trial, ending, self._iterations, setup_s=setup_s), wall_s, ending.error_type, output
        )

    def _stop(self, process: FreshProcess, ending: Ending) -> None:
        """Stop the process; a result that it had already said counts for more than the stop.

        An error does not: whatever the stop interrupted may turn it into one of its own.
        """
        before = self._ending
        self._take(process.ask_to_stop())
        self._ending = before or ending

    def _take(self, events: list[Event]) -> None:
        for event in events:
            try:
                self._take_one(event)
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]
                where = ".".join(map(str, problem["loc"]))
                text = f"expected a well-formed {event['event']} from the trial, got {where}: {problem['msg']}"
                self._ending = Ending("crash", text)

    def _take_one(self, event: Event) -> None:
        if event["event"] == "iteration":
            record = IterationRecord.model_validate(event["record"])
            if record.wall_s <= 0:
                self._ending = Ending(
                    "crash", f"expected an iteration to take time, got {record.wall_s} s from the trial"
                )
                return
            if self._first_s is None:
                self._first_s = time.monotonic() - record.wall_s
            self._iterations.append(record)
            self._on_iteration(record)
        elif event["event"] == "result":
            self._result = RunResult.model_validate(event["result"])
        elif event["event"] == "failed":
            self._ending = Ending(event["outcome"], event["message"], event["error_type"], event["traceback"])

    def _timeout_text(self, timeout_s: float) -> str:
        return (
            f"did not finish within {timeout_s:g} s ({len(self._iterations)} of {self._trial.iterations} iterations "
            f"done); give the trial more time or fewer iterations"
        )

    def _memory_verdict(self, ending: Ending) -> Ending:
        """Turn a crash into ``oom`` where the kernel counted a kill for memory meanwhile."""
        now = kernel_oom_kills()
        if ending.outcome != "crash" or ending.error_type not in ("", "RunnerDiedError"):
            return ending  # an exception of another kind is its own explanation
        if now is None or self._oom_kills is None or now <= self._oom_kills:
            return ending
        text = (
            f"the kernel killed a process for want of memory during this trial ({ending.message}); give fewer runners "
            f"or environments, or more memory"
        )
        return Ending("oom", text, ending.error_type, ending.traceback)


def _memory_text(held_bytes: int, limit_bytes: int) -> str:
    return (
        f"its processes held {size_text(held_bytes)}, more than the limit of {size_text(limit_bytes)}; give fewer "
        f"runners or environments, a smaller batch, or raise the limit"
    )
