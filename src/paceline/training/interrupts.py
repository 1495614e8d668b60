"""Ctrl-C, SIGTERM and a closed terminal during training: stop where nothing can be torn, save, leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from paceline.stop_signals import StopSignals

_IMPATIENT = 3
"""So many signals break off even a save: it may hang on a dead disk."""


class Interrupts(StopSignals):
    """Turns the signals into ``KeyboardInterrupt``.

    Within :meth:`allowed` it is raised at once, since an environment may never return. Elsewhere (records,
    checkpoints, results) it waits for the next :meth:`allowed`, so that no signal cuts a write in two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._allowed = False

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
