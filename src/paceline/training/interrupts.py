"""Ctrl-C, SIGTERM and a closed terminal during training: stop where nothing can be torn, save, leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_IMPATIENT = 3
"""So many signals break off even a save: it may hang on a dead disk."""


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into ``KeyboardInterrupt``, for the length of a ``with`` block.

    Within :meth:`allowed` it is raised at once, since an environment may never return. Elsewhere (records,
    checkpoints, results) it waits for the next :meth:`allowed`, so that no signal cuts a write in two. Outside the main
    thread, where Python allows no signal handlers, nothing is changed.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self._allowed = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers; a SIGHUP that ``nohup`` turned off stays off."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal raise ``KeyboardInterrupt`` within the block, and one that came before it right now."""
        self._allowed = True
        try:
            if self.count:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._allowed or self.count >= _IMPATIENT:
            self._allowed = False
            raise KeyboardInterrupt
