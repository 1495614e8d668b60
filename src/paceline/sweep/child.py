"""The inside of a trial's process: reads one request, runs it, writes events.

Started by :mod:`paceline.sweep.process` as ``python -P -m paceline.sweep.child EVENTS_FD PARENT_PID``. The request
comes as one line of JSON on standard input; the answer goes, one JSON object a line, to the file descriptor that is
named on the command line, so that nothing an environment prints can be taken for it:

    {"event": "iteration", "record": {..IterationRecord..}}                       as each iteration finishes
    {"event": "result", "result": {..RunResult..}}                                last, or
    {"event": "failed", "outcome": .., "error_type": .., "message": .., "traceback": ..}

``task`` of the request is ``trial`` (run one) or ``resolve`` (fill in the open fields of runs, one event each:
``{"event": "resolved", "run": {..RunSpec..}}``).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FrameType
from typing import Any, Protocol

from paceline.errors import EnvTimeoutError, NonFiniteLossError, OutOfMemoryError, PacelineError, SpecError
from paceline.measure.result import IterationRecord, Outcome, RunResult, finite
from paceline.spec import RunSpec, build_spec

Emit = Callable[[Mapping[str, Any]], None]

_PR_SET_PDEATHSIG = 1

XLA_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""What errors of XLA's allocator say."""


class EntryPoint(Protocol):
    """What runs a trial; :func:`paceline.training.trial.run_trial` is the real one."""

    def __call__(
        self,
        spec: RunSpec,
        *,
        name: str,
        repeat: int,
        iterations: int,
        warmup_iterations: int,
        on_iteration: Callable[[IterationRecord], None],
    ) -> RunResult:
        """Run ``spec`` and report every measured iteration as it finishes."""


class Stopped(BaseException):
    """The sweep asked this process to stop; unwinds so that runners and shared memory are put away."""


def answer(request: Mapping[str, Any], emit: Emit) -> int:
    """Do what ``request`` asks, emit its events and return the process's exit status."""
    try:
        TASKS[request["task"]](request, emit)
    except Stopped:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        raise
    except BaseException as error:
        emit(failure_event(error))
        return 1
    return 0


def run_trial(request: Mapping[str, Any], emit: Emit) -> None:
    """Run one trial.

    Args:
        request: ``entry_point`` (``package.module:function``), ``spec``, ``name``, ``repeat``, ``iterations`` and
            ``warmup_iterations``.
        emit: writes one event.
    """

    def on_iteration(record: IterationRecord) -> None:
        emit({"event": "iteration", "record": finite(record.model_dump(mode="json"))})

    entry_point: EntryPoint = load_entry_point(request["entry_point"])
    result = entry_point(
        build_spec(RunSpec, request["spec"], source=request["name"]),
        name=request["name"],
        repeat=request["repeat"],
        iterations=request["iterations"],
        warmup_iterations=request["warmup_iterations"],
        on_iteration=on_iteration,
    )
    emit({"event": "result", "result": finite(result.model_dump(mode="json"))})


def resolve_runs(request: Mapping[str, Any], emit: Emit) -> None:
    """Fill in the open fields of ``request["runs"]``, each by ``request["entry_point"]``."""
    resolve: Callable[[RunSpec], RunSpec] = load_entry_point(request["entry_point"])
    for data in request["runs"]:
        emit({"event": "resolved", "run": resolve(build_spec(RunSpec, data)).model_dump(mode="json")})


TASKS: Mapping[str, Callable[[Mapping[str, Any], Emit], None]] = {"trial": run_trial, "resolve": resolve_runs}


def failure_event(error: BaseException) -> dict[str, Any]:
    """Describe ``error`` as a ``failed`` event."""
    text = " ".join(str(error).split())
    if not isinstance(error, PacelineError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            text += f" (at {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"  # noqa: PTH119
    inner = getattr(error, "original_traceback", "")
    return {
        "event": "failed",
        "outcome": outcome_of(error),
        "error_type": type(error).__name__,
        "message": text,
        "traceback": "".join(traceback.format_exception(error)) + (f"\nIn the environment:\n{inner}" if inner else ""),
    }


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome that ``error`` stands for."""
    if isinstance(error, NonFiniteLossError):
        return "nan"
    if isinstance(error, EnvTimeoutError):
        return "timeout"
    if isinstance(error, MemoryError | OutOfMemoryError) or XLA_OUT_OF_MEMORY in str(error):
        return "oom"
    return "crash"


def load_entry_point(dotted: str) -> Any:
    """Import ``package.module:function``.

    Raises:
        SpecError: there is no such module or function.
    """
    module_name, _, function_name = dotted.partition(":")
    try:
        return getattr(import_module(module_name), function_name)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise SpecError(f"expected an entry point package.module:function, got {dotted!r} ({error})") from None


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux), and stop now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def main(argv: list[str]) -> int:
    """Run the one request that standard input holds."""
    events_fd, parent_pid = int(argv[0]), int(argv[1])
    die_with_parent(parent_pid)
    os.set_inheritable(events_fd, False)
    line = sys.stdin.readline()
    if not line:
        return 1  # the sweep died before it asked for anything
    request = json.loads(line)
    _restore_python_path(request.get("python_path"))
    with open(os.devnull) as null:  # noqa: PTH123
        os.dup2(null.fileno(), 0)  # an environment that waits for a key press gets end-of-file

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    with os.fdopen(events_fd, "w", encoding="utf-8") as events:

        def emit(event: Mapping[str, Any]) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        try:
            return answer(request, emit)
        except BrokenPipeError:
            return 1


def _restore_python_path(value: str | None) -> None:
    """Give back the user's ``PYTHONPATH``; the one of this process only carried the sweep's ``sys.path`` over."""
    if value is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
