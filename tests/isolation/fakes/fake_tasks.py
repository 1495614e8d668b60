"""Tasks for :mod:`paceline.isolation.child`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from paceline.isolation.child import Emit, Request


def echo(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    emit({"event": "said", "word": request["word"]})
    for further in more:
        emit({"event": "said", "word": further["word"]})
    emit({"event": "over"})


def leave(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    print("goodbye", flush=True)
    os._exit(request["status"])
