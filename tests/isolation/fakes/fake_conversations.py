"""Processes that misbehave when they are asked; tasks of :mod:`paceline.isolation.child`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable

from paceline.errors import OutOfMemoryError, UnsupportedSpaceError
from paceline.isolation.child import Emit, Request


def answer_twice(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    emit({"event": "ready"})
    for further in more:
        emit({"event": "window", "seconds": further["seconds"]})
    with open(request["put_away"], "w") as file:  # noqa: PTH123
        file.write("done")


def fail(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    kinds = {"bug": ZeroDivisionError("x"), "space": UnsupportedSpaceError("no Graph"), "memory": OutOfMemoryError("m")}
    raise kinds[request["kind"]]


def hang(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    threading.Event().wait()


def die(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    print("farewell", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
