"""A fresh process that is asked again and again: listened to, and ended when it dies, hangs or eats the memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paceline import errors
from paceline.errors import RequestError
from paceline.isolation.memory import kernel_oom_kills, size_text, tree_memory_bytes
from paceline.isolation.process import Event, FreshProcess, silent_exit_text
from paceline.measure.result import Outcome

TICK_S = 0.2
"""How often time, memory and a request to stop are looked at."""

LEAVE_GRACE_S = 3.0
"""How long a process may take to close what it has open."""


@dataclass(frozen=True)
class Failure:
    """Why a process ended before it had answered.

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


class AnswerFailed(Exception):
    """A process ended, or had to be ended, before it answered."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Stopped(Exception):
    """The user, or the end of the time, ended the wait for an answer."""


@dataclass(frozen=True)
class Watch:
    """What a wait is bounded by.

    Attributes:
        timeout_s: seconds for one answer.
        memory_bytes: what this process and all that it has started may hold together.
        should_stop: asked every :data:`TICK_S`.
        tree_memory: measures a process tree, ``(pid, above_bytes) -> bytes``.
        whose: processes these are, in messages: ``the bench's``.
        hold_less: what to do where they hold too much.
        wait_longer: what to do where an answer does not come.
    """

    timeout_s: float
    memory_bytes: int
    should_stop: Callable[[], bool] = lambda: False
    tree_memory: Callable[[int, int], int] = tree_memory_bytes
    whose: str = "these"
    hold_less: str = "give fewer environments or runners"
    wait_longer: str = "see whether the environment waits for something"


class Conversation:
    """One process that builds something at first, and waits to be asked in between.

    Args:
        request: what it begins with; see :mod:`paceline.isolation.child`.
        watch: what its answers are bounded by.
        environment: variables to add to its environment (thread counts).

    Attributes:
        watch: what its answers are bounded by from now on.

    Raises:
        ResourceError: it cannot be started.
    """

    def __init__(self, request: Mapping[str, Any], watch: Watch, environment: Mapping[str, str] | None = None) -> None:
        self.watch = watch
        self._oom_kills = kernel_oom_kills()
        self._process = FreshProcess(request, environment, conversation=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> Event:
        """Ask it for something and return its answer; for errors see :meth:`answer`."""
        self._process.ask(request)
        return self.answer()

    def answer(self) -> Event:
        """Wait for its next event.

        Raises:
            AnswerFailed: it failed, died, hung, or too much memory is held.
            Stopped: the user asked to stop.
        """
        deadline_s = time.monotonic() + self.watch.timeout_s
        while True:
            events = self._process.events(TICK_S)
            if self._process.returncode is not None:
                events += self._process.last_events()
            for event in events:  # one request, one answer
                if event["event"] == "failed":
                    raise AnswerFailed(self._failure_told(event))
                return event
            if self._process.returncode is not None:
                text = silent_exit_text(self._process, "its")
                raise AnswerFailed(self._blame_memory(Failure("crash", text, output=self._process.output)))
            if self.watch.should_stop():
                raise Stopped
            if time.monotonic() >= deadline_s:
                raise AnswerFailed(self._timed_out())
            self._check_memory()

    def end(self) -> None:
        """Kill whatever is left of it and of everything that it started."""
        self._process.end()

    def hang_up(self) -> None:
        """Let it put away what it has open, without waiting for that."""
        self._process.hang_up()

    def finish(self) -> None:
        """Let it put away what it has open, then :meth:`end` it."""
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
            f"did not answer within {self.watch.timeout_s:g} s; {self.watch.wait_longer}",
            output=self._process.output,
        )

    def _check_memory(self) -> None:
        limit = self.watch.memory_bytes
        held = self.watch.tree_memory(os.getpid(), limit)
        if held > limit:
            raise AnswerFailed(
                Failure(
                    "oom",
                    f"{self.watch.whose} processes held {size_text(held)}, more than the limit of {size_text(limit)}; "
                    f"{self.watch.hold_less}",
                )
            )

    def _blame_memory(self, failure: Failure) -> Failure:
        """Turn a crash into ``oom`` where the kernel counted a kill for memory meanwhile."""
        now = kernel_oom_kills()
        if failure.outcome != "crash" or failure.error_type not in ("", "RunnerDiedError"):
            return failure
        if now is None or self._oom_kills is None or now <= self._oom_kills:
            return failure
        text = f"the kernel killed a process for want of memory ({failure.message}); {self.watch.hold_less}"
        return Failure("oom", text, failure.error_type, failure.output)
