"""A display that nobody reads any more (a closed terminal, a pager that has ended) does not end the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from paceline.measure.result import IterationRecord, RunResult
from paceline.sweep.display import Display
from paceline.sweep.grid import SweepPlan, Trial


class EnduringDisplay:
    """Passes everything on to another display, whether it can be written or not.

    Upon SIGHUP the terminal is gone, yet the sweep has still to save what it measured, and writing there raises
    ``OSError``.

    Args:
        display: the one that shows.
    """

    def __init__(self, display: Display) -> None:
        self._display = display

    def begin(self, plan: SweepPlan, done: Mapping[str, RunResult]) -> None:
        """Show what is going to run."""
        with suppress(OSError):
            self._display.begin(plan, done)

    def trial_started(self, trial: Trial) -> None:
        """Show that ``trial`` starts."""
        with suppress(OSError):
            self._display.trial_started(trial)

    def iteration(self, trial: Trial, record: IterationRecord) -> None:
        """Show a finished iteration."""
        with suppress(OSError):
            self._display.iteration(trial, record)

    def trial_finished(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Show how ``trial`` went."""
        with suppress(OSError):
            self._display.trial_finished(trial, result, wall_s)

    def message(self, text: str) -> None:
        """Show ``text``."""
        with suppress(OSError):
            self._display.message(text)

    def tick(self) -> None:
        """Let time go by."""
        with suppress(OSError):
            self._display.tick()

    def end(self) -> None:
        """Show no more."""
        with suppress(OSError):
            self._display.end()
