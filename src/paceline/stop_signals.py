"""Ctrl-C, SIGTERM and a closed terminal: who handles them for a while, and who did before."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from types import FrameType, TracebackType
from typing import Any, Self


class StopSignals(ABC):
    """Handles SIGINT, SIGTERM and SIGHUP for the length of a ``with`` block.

    A SIGHUP that is ignored stays so: that is how ``nohup`` keeps a run going. Outside the main thread, where Python
    allows no signal handlers, nothing is changed.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
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

    @abstractmethod
    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Do what a signal asks for."""
