"""Ctrl-C, SIGTERM and SIGHUP during a sweep: the first asks it to stop and save, the second leaves at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP (the terminal was closed) into a flag for the length of a ``with`` block.

    A signal must not cut a write of ``progress.jsonl`` or ``results.json`` in two, so the first only sets
    :attr:`requested`, which the sweep looks at several times a second; the second raises ``KeyboardInterrupt`` on the
    spot. A SIGHUP that is ignored stays so: that is how ``nohup`` keeps a sweep running. Outside the main thread,
    where Python allows no signal handlers, nothing is changed.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
