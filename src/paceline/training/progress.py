"""What a person sees while a run trains: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live

from paceline.spec import RunSpec
from paceline.training.dashboard import Dashboard
from paceline.training.status import Status, describe, status_line

_PLAIN_LINE_EVERY_S = 2.0


class Display(Protocol):
    """What :func:`paceline.training.run.train` tells while it works."""

    def begin(self, spec: RunSpec) -> None:
        """Announce the run."""

    def message(self, text: str) -> None:
        """Say one thing."""

    def iteration(self, status: Status) -> None:
        """Show a finished iteration."""

    def end(self) -> None:
        """Put the display away."""


class SilentDisplay:
    """Shows nothing; for use as a library."""

    def begin(self, spec: RunSpec) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def iteration(self, status: Status) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class PlainDisplay:
    """One line per iteration, at most one every two seconds; for logs and pipes.

    Args:
        stream: where lines go; default: standard output.
        clock_s: a monotonic clock.
    """

    def __init__(self, stream: TextIO | None = None, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stdout
        self._clock_s = clock_s
        self._last_s = -math.inf

    def begin(self, spec: RunSpec) -> None:
        """Announce the run."""
        self._say(describe(spec))

    def message(self, text: str) -> None:
        """Say one thing."""
        self._say(text)

    def iteration(self, status: Status) -> None:
        """Print a line, unless the last one is too recent; the budget's last iteration is always told."""
        now_s = self._clock_s()
        if now_s - self._last_s < _PLAIN_LINE_EVERY_S and status.progress < 1.0:
            return
        self._last_s = now_s
        self._say(status_line(status))

    def end(self) -> None:
        """Do nothing; every line is already out."""

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveDisplay:
    """A panel that is redrawn in place, see :mod:`paceline.training.dashboard`.

    Args:
        console: an interactive terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._dashboard = Dashboard(ascii_only=not console.encoding.startswith("utf"))

    def begin(self, spec: RunSpec) -> None:
        """Announce the run and start drawing."""
        self._console.print(describe(spec), highlight=False, markup=False)
        self._live.start()

    def message(self, text: str) -> None:
        """Print above the panel."""
        self._console.print(text, highlight=False, markup=False)

    def iteration(self, status: Status) -> None:
        """Redraw the panel."""
        self._live.update(self._dashboard.draw(status))

    def end(self) -> None:
        """Stop drawing; the last panel stays."""
        self._live.stop()


def display_for(console: Console) -> Display:
    """Return the display that suits ``console``, which writes to standard output; rich honours ``NO_COLOR``."""
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay()
