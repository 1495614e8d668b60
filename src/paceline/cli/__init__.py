"""The command line. Imports of what a command needs happen inside it, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from paceline.cli.parser import parse
from paceline.errors import OutputError, PacelineError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 bad request, 130 stopped by the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    former = _stop_on_signals()
    try:
        arguments = _parse(words)
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except PacelineError as error:
        return _fail(error, debug=debug)
    except KeyboardInterrupt as stop:
        print("; ".join(["stopped", *map(str, stop.args)]), file=sys.stderr)  # a command may say what is saved
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is wrong.
        _drop_output()
        return 0
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _drop_output()  # what is still to be flushed would fail as well
            text = f"expected room for what is written, got: {error}; free some space, or send the output elsewhere"
            return _fail(OutputError(text), debug=debug)
        print(
            f"paceline: error: {type(error).__name__}: {error}; this is a bug in paceline, run again with --debug for "
            f"the traceback",
            file=sys.stderr,
        )
        return 1
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _parse(words: list[str]) -> argparse.Namespace:
    try:
        return parse(words)
    except SystemExit:
        sys.stdout.flush()  # here, not at the interpreter's exit, so that a reader that has gone is no error
        raise


def _stop_on_signals() -> dict[signal.Signals, Any]:
    """Have SIGINT and SIGTERM raise ``KeyboardInterrupt``; return the handlers that were there.

    SIGINT too: a shell script's background job is started with it ignored, and ``kill -INT`` must work there.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    former = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    return {number: handler for number, handler in former.items() if handler is not None}


def _drop_output() -> None:
    """Keep Python from complaining about standard output when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: PacelineError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
        original = getattr(error, "original_traceback", "")
        if original and not any(original.rstrip() in note for note in getattr(error, "__notes__", ())):
            print(original, file=sys.stderr)
    print(f"paceline: error: {error}", file=sys.stderr)
    return error.exit_status


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
