"""The real arena: every contender is a fresh process that waits while it is not measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paceline.isolation.conversation import AnswerFailed, Conversation, Failure, Stopped, Watch
from paceline.isolation.process import Event
from paceline.machine import thread_environment
from paceline.measure.result import LedgerRecord
from paceline.spec import RunSpec
from paceline.tuner.arena import Failed, Interrupted, Measured, Opened
from paceline.tuner.probe import NATIVE, PROBE, RUNNER, SEVERAL, STAGES, ProbeResult

CONTENDER = "paceline.tuner.contender:run_contender"


@dataclass(frozen=True)
class Bounds:
    """What the tuner's processes may take.

    Attributes:
        start_timeout_s: seconds until a contender is ready.
        slice_timeout_s: seconds for one slice.
        memory_bytes: what one contender's processes may hold.
    """

    start_timeout_s: float
    slice_timeout_s: float
    memory_bytes: int


class ProcessArena:
    """Runs contenders as processes of this machine.

    Args:
        runs: the run of each candidate.
        bounds: what a process may take.
        should_stop: asked several times a second; once true, whatever waits is interrupted.
        task: what a contender's process does.
    """

    def __init__(
        self,
        runs: Sequence[RunSpec],
        bounds: Bounds,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        task: str = CONTENDER,
    ) -> None:
        self._runs = runs
        self._bounds = bounds
        self._should_stop = should_stop
        self._task = task
        self._talks: dict[int, Conversation] = {}
        self._next = 0

    def now_s(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def open(self, candidate: int) -> Opened | Failed:
        """Start a contender and wait until it is ready."""
        if self._should_stop():  # an answer may come before anybody asks
            raise Interrupted
        run = self._runs[candidate]
        request = {"task": self._task, "spec": run.model_dump(mode="json")}
        threads = run.plan.learner_threads
        talk = Conversation(request, self._watch(self._bounds.start_timeout_s), thread_environment(threads or 1))
        self._next += 1
        number = self._next
        self._talks[number] = talk
        answer = self._answer(number, lambda: talk.answer(), while_starting=True)
        if isinstance(answer, Failed):
            return answer
        talk.watch = self._watch(self._bounds.slice_timeout_s)
        return Opened(number, int(answer.get("rss_bytes") or 0))

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        """Have a contender measure a slice."""
        if self._should_stop():
            raise Interrupted
        talk = self._talks[process]
        answer = self._answer(process, lambda: talk.ask({"seconds": seconds}), while_starting=False)
        if isinstance(answer, Failed):
            return answer
        return Measured(
            sps=answer["num_env_steps"] / answer["wall_s"],
            wall_s=answer["wall_s"],
            time_s=answer["time_s"],
            num_env_steps=answer["num_env_steps"],
            num_iterations=answer["num_iterations"],
            ledger=LedgerRecord.model_validate(answer["ledger"]),
            cores_busy=answer["cores_busy"],
            lag_max=answer["lag_max"],
            rss_bytes=int(answer.get("rss_bytes") or 0),
            peak_bytes=int(answer.get("peak_bytes") or 0),
        )

    def trace(self, process: int, iterations: int) -> dict[str, Any] | Failed:
        """Have a contender trace iterations; returns a trace as :mod:`paceline.measure.trace` makes it."""
        if self._should_stop():
            raise Interrupted
        talk = self._talks[process]
        answer = self._answer(process, lambda: talk.ask({"trace": iterations}), while_starting=False)
        if isinstance(answer, Failed):
            return answer
        trace: dict[str, Any] = answer["trace"]
        return trace

    def close(self, process: int) -> None:
        """Let a contender put its environments away, and end it."""
        talk = self._talks.pop(process, None)
        if self._should_stop():  # all of them will be closed: they may put things away at the same time
            for other in self._talks.values():
                other.hang_up()
        if talk is not None:
            talk.finish()

    def end(self) -> None:
        """End whatever is left, at once."""
        for talk in self._talks.values():
            talk.end()
        self._talks.clear()

    def _answer(self, number: int, ask: Callable[[], Event], *, while_starting: bool) -> Event | Failed:
        try:
            return ask()
        except AnswerFailed as failed:
            self._talks.pop(number).end()
            return _as_failed(failed.failure, while_starting=while_starting)
        except Stopped:
            self._talks.pop(number).end()  # it is in the middle of something, and would not hear that it may go
            raise Interrupted from None
        except BaseException:  # a second Ctrl-C
            self.end()
            raise

    def _watch(self, timeout_s: float) -> Watch:
        return Watch(
            timeout_s,
            self._bounds.memory_bytes,
            self._should_stop,
            whose="the tuner's",
            wait_longer="see whether the environment waits for something",
        )


def probe(
    spec: RunSpec,
    *,
    timeout_s: float,
    memory_bytes: int,
    stage_timeout_s: float = 30.0,
    options: Mapping[str, Any] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[str], None] = lambda what: None,
    task: str = PROBE,
) -> ProbeResult | Failed:
    """Measure the parts of a run in a fresh process; in another one, if the first died of what it can do without.

    Args:
        spec: the run.
        timeout_s: seconds that it may take.
        memory_bytes: what it may hold.
        stage_timeout_s: seconds for each thing that it can do without.
        options: further entries of the request, see :func:`paceline.tuner.probe.probe_run`.
        should_stop: asked several times a second.
        on_step: told what it is about.
        task: what the process does.

    Raises:
        Interrupted: it was stopped meanwhile.
    """
    end_s = time.monotonic() + timeout_s
    without: dict[str, str] = {}
    told: set[str] = set()

    def tell(what: str) -> None:
        if what not in told:
            told.add(what)
            on_step(what)

    while True:
        request = {"task": task, "spec": spec.model_dump(mode="json"), "without": without, **(options or {})}
        watch = Watch(timeout_s, memory_bytes, should_stop, whose="the tuner's")
        found, stage = _one_probe(request, watch, end_s, stage_timeout_s, tell)
        if isinstance(found, ProbeResult) or stage not in STAGES or stage in without or time.monotonic() >= end_s:
            return found
        without[stage] = f"{_WHAT_FAILED[stage]}: {found.message}"


_WHAT_FAILED = {
    SEVERAL: "a second environment in one process ends it",
    NATIVE: "native code ends the process",
    RUNNER: "it fails in a runner process",
}


def _one_probe(
    request: Mapping[str, Any], watch: Watch, end_s: float, stage_timeout_s: float, tell: Callable[[str], None]
) -> tuple[ProbeResult | Failed, str]:
    """Return what a probe's process has found, and the stage that it was in at last."""
    stage = ""
    talk = Conversation(request, watch, thread_environment(request["spec"]["plan"]["learner_threads"] or 1))
    try:
        while True:
            left_s = max(end_s - time.monotonic(), 0.1)
            talk.watch = replace(watch, timeout_s=min(left_s, stage_timeout_s) if stage in STAGES else left_s)
            event = talk.answer()
            if event["event"] == "probed":
                return ProbeResult.model_validate(event["result"]), stage
            stage = str(event.get("stage", ""))
            tell(str(event.get("what", "")))
    except AnswerFailed as failed:
        return _as_failed(failed.failure, while_starting=True), stage
    except Stopped:
        raise Interrupted from None
    finally:
        talk.end()


def _as_failed(failure: Failure, *, while_starting: bool) -> Failed:
    return Failed(failure.outcome, failure.message, failure.error_type, while_starting, failure.output)
