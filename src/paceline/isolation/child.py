"""The inside of a fresh process: reads requests, does what they ask, writes events.

Started by :mod:`paceline.isolation.process` as ``python -P -m paceline.isolation.child EVENTS_FD PARENT_PID``. Requests
come as lines of JSON on standard input; the answer goes, one JSON object a line, to the file descriptor that is named
on the command line, so that nothing an environment prints can be taken for it. ``task`` of the first request names the
function that does the work (``package.module:function``, see :class:`Task`); further requests are handed on to it. What
goes wrong is an event as well:

    {"event": "failed", "outcome": .., "error_type": .., "message": .., "traceback": ..}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from types import FrameType
from typing import Any, Protocol, TextIO

from paceline.errors import EnvTimeoutError, NonFiniteLossError, OutOfMemoryError, PacelineError, SpecError
from paceline.measure.result import Outcome
from paceline.process_death import die_with_parent

Request = Mapping[str, Any]
Emit = Callable[[Mapping[str, Any]], None]


XLA_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""What errors of XLA's allocator say."""


class Task(Protocol):
    """What a fresh process does."""

    def __call__(self, request: Request, emit: Emit, more: Iterable[Request]) -> None:
        """Do what ``request`` asks and what further ones ask; write events by ``emit``."""


class Stopped(BaseException):
    """The caller asked this process to stop; unwinds so that runners and shared memory are put away."""


def answer(request: Request, emit: Emit, more: Iterable[Request] = ()) -> int:
    """Do what ``request`` asks, emit its events and return the process's exit status."""
    try:
        task: Task = load_entry_point(request["task"])
        task(request, emit, more)
    except Stopped:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        raise
    except BaseException as error:
        emit(failure_event(error))
        return 1
    return 0


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


def main(argv: list[str]) -> int:
    """Run the task that standard input names."""
    events_fd, parent_pid = int(argv[0]), int(argv[1])
    die_with_parent(parent_pid, exit_status=1)
    os.set_inheritable(events_fd, False)
    with os.fdopen(os.dup(0), encoding="utf-8") as requests:  # a descriptor that nothing it starts inherits
        return _serve(requests, events_fd)


def _serve(requests: TextIO, events_fd: int) -> int:
    line = requests.readline()
    if not line:
        return 1  # the caller died before it asked for anything
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
            return answer(request, emit, _parsed(requests))
        except BrokenPipeError:
            return 1


def _parsed(requests: TextIO) -> Iterator[Request]:
    for line in requests:
        yield json.loads(line)


def _restore_python_path(value: str | None) -> None:
    """Give back the user's ``PYTHONPATH``; the one of this process only carried the caller's ``sys.path`` over."""
    if value is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
