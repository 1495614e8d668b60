"""Ctrl-C, SIGTERM and SIGHUP during a sweep: the first asks it to stop and save, the second leaves at once."""

from __future__ import annotations

from types import FrameType

from paceline.stop_signals import StopSignals


class Interrupts(StopSignals):
    """Turns the signals into a flag.

    A signal must not cut a write of ``progress.jsonl`` or ``results.json`` in two, so the first only sets
    :attr:`requested`, which the sweep looks at several times a second; the second raises ``KeyboardInterrupt`` on the
    spot.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
