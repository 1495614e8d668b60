"""A case's process, seen from the bench: asked, listened to, and ended when it dies, hangs or eats the memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paceline import errors
from paceline.bench.cases import PROFILE, RUN_CASE, Case
from paceline.bench.spec import BenchSpec
from paceline.errors import RequestError
from paceline.isolation.memory import kernel_oom_kills, size_text, tree_memory_bytes
from paceline.isolation.process import Event, FreshProcess, silent_exit_text
from paceline.machine import thread_environment
from paceline.measure.result import Outcome

TICK_S = 0.2
"""How often time, memory and a request to stop are looked at."""

LEAVE_GRACE_S = 3.0
"""How long a case may take to close its environments."""


@dataclass(frozen=True)
class Failure:
    """Why a case ended before it was done.

    Attributes:
        outcome: the word for it.
        message: one sentence: what happened, with figures, and what to do.
        error_type: class name of the exception that was raised in it, if one was.
        output: the end of what it printed, and the traceback if there is one.
    """

    outcome: Outcome
    message: str
    error_type: str = ""
    output: str = ""


class CaseFailed(Exception):
    """A case ended before it answered."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Stopped(Exception):
    """The user, or the end of the time, stopped the bench while it waited."""


@dataclass(frozen=True)
class Watch:
    """What a wait is bounded by.

    Attributes:
        timeout_s: seconds for one answer.
        memory_bytes: what all processes of the bench together may hold.
        should_stop: asked every :data:`TICK_S`.
        tree_memory: measures a process tree, ``(pid, above_bytes) -> bytes``.
    """

    timeout_s: float
    memory_bytes: int
    should_stop: Callable[[], bool] = lambda: False
    tree_memory: Callable[[int, int], int] = tree_memory_bytes


class CaseProcess:
    """One process that builds what is measured, and waits to be asked in between.

    Args:
        name: what to call it in messages.
        request: for :mod:`paceline.bench.child`.
        watch: what its answers are bounded by.

    Raises:
        ResourceError: it cannot be started.
    """

    def __init__(self, name: str, request: Mapping[str, Any], watch: Watch) -> None:
        self._name = name
        self._watch = watch
        self._oom_kills = kernel_oom_kills()
        self._process = FreshProcess(request, thread_environment(1), conversation=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def measure(self, seconds: float) -> Event:
        """Have it measure a window of ``seconds`` and return the event; for errors see :meth:`answer`."""
        self._process.ask({"seconds": seconds})
        return self.answer()

    def answer(self) -> Event:
        """Wait for its next event.

        Raises:
            CaseFailed: it failed, died, hung, or the bench's processes hold too much memory.
            Stopped: the user asked to stop.
        """
        deadline_s = time.monotonic() + self._watch.timeout_s
        while True:
            events = self._process.events(TICK_S)
            if self._process.returncode is not None:
                events += self._process.last_events()
            for event in events:  # one request, one answer
                if event["event"] == "failed":
                    raise CaseFailed(self._failure_told(event))
                return event
            if self._process.returncode is not None:
                text = silent_exit_text(self._process, "its")
                raise CaseFailed(self._blame_memory(Failure("crash", text, output=self._process.output)))
            if self._watch.should_stop():
                raise Stopped
            if time.monotonic() >= deadline_s:
                raise CaseFailed(self._timed_out())
            self._check_memory()

    def end(self) -> None:
        """Kill whatever is left of it and of everything that it started."""
        self._process.end()

    def finish(self) -> None:
        """Let it put its environments away, then :meth:`end` it."""
        self._process.hang_up()
        deadline_s = time.monotonic() + LEAVE_GRACE_S
        while self._process.returncode is None and time.monotonic() < deadline_s:
            self._process.events(0.05)
        self.end()

    def _failure_told(self, event: Event) -> Failure:
        kind = getattr(errors, event["error_type"], None)
        refused = isinstance(kind, type) and issubclass(kind, RequestError)
        outcome: Outcome = "impossible" if refused else event["outcome"]
        output = "\n\n".join(part for part in (self._process.output, event["traceback"]) if part)
        return self._blame_memory(Failure(outcome, event["message"], event["error_type"], output))

    def _timed_out(self) -> Failure:
        return Failure(
            "timeout",
            f"did not answer within {self._watch.timeout_s:g} s; see whether the environment waits for something, or "
            f"give it longer (--case-timeout-s)",
            output=self._process.output,
        )

    def _check_memory(self) -> None:
        limit = self._watch.memory_bytes
        held = self._watch.tree_memory(os.getpid(), limit)
        if held > limit:
            raise CaseFailed(
                Failure(
                    "oom",
                    f"the bench's processes held {size_text(held)}, more than the limit of {size_text(limit)}; give "
                    f"fewer environments or runners",
                )
            )

    def _blame_memory(self, failure: Failure) -> Failure:
        """Turn a crash into ``oom`` where the kernel counted a kill for memory meanwhile."""
        now = kernel_oom_kills()
        if failure.outcome != "crash" or failure.error_type not in ("", "RunnerDiedError"):
            return failure
        if now is None or self._oom_kills is None or now <= self._oom_kills:
            return failure
        text = f"the kernel killed a process for want of memory ({failure.message}); give fewer environments or runners"
        return Failure("oom", text, failure.error_type, failure.output)


def start_case(case: Case, spec: BenchSpec, watch: Watch) -> CaseProcess:
    """Start the process of ``case``."""
    request = {
        "task": RUN_CASE,
        "env": spec.env.model_dump(mode="json"),
        "backend": case.backend,
        "num_envs": case.num_envs,
        "num_env_runners": case.num_env_runners,
        "actions": spec.actions,
        "path": spec.path,
        "batch_size": spec.batch_size,
        "infos": spec.infos,
        "seed": spec.seed,
    }
    return CaseProcess(case.name, request, watch)


def start_profile(spec: BenchSpec, watch: Watch) -> CaseProcess:
    """Start the process that looks at one environment by itself."""
    request = {
        "task": PROFILE,
        "env": spec.env.model_dump(mode="json"),
        "actions": spec.actions,
        "seconds": max(0.5, spec.seconds),
        "seed": spec.seed,
    }
    return CaseProcess("one environment", request, watch)
