"""What a person sees while a tuning runs: the plans that race on a terminal, plain lines elsewhere.

It is drawn by the tuner's own thread: a table between slices, the time that is left once a second.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paceline.tuner.decision import Decision, Weights, decide, weights_of
from paceline.tuner.entrants import Entrants
from paceline.tuner.probe import ProbeResult
from paceline.tuner.race import Event, Outcome, as_measured
from paceline.tuner.spec import TuneSpec
from paceline.tuner.tune import Display

PLAIN_EVERY_S = 5.0
REDRAW_S = 1.0
_MOST_ROWS = 12


class _Race:
    """What both displays know of a race."""

    def __init__(self) -> None:
        self.entrants: Entrants | None = None
        self.weights = Weights()
        self.outcome: Outcome | None = None
        self.now = ""
        self.left_s = 0.0

    def name(self, index: int) -> str:
        assert self.entrants is not None
        return self.entrants.candidates[index].name

    def decision(self) -> Decision | None:
        """Return what would be decided now; None while nothing is measured."""
        if self.entrants is None or self.outcome is None or not self.outcome.belief.slices:
            return None
        return decide(
            self.outcome.belief,
            as_measured(self.entrants.candidates, self.outcome),
            self.outcome.eligible,
            self.weights,
            np.random.default_rng(0),
        )

    def best_so_far(self, decision: Decision | None) -> str:
        """Return the best plan so far and how sure that is."""
        if decision is None or decision.winner is None:
            return "nothing measured yet"
        sps = next(one.sps for one in decision.standings if one.candidate == decision.winner)
        return (
            f"best so far {self.name(decision.winner)}, {sps:,.0f} steps/s; stop now: P(best) = {decision.p_best:.2f}"
        )


class PlainDisplay:
    """One line for whatever begins or fails, and one every few seconds while plans race.

    Args:
        stream: where lines go; default: standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._race = _Race()
        self._last_s = -math.inf

    def begin(self, spec: TuneSpec) -> None:
        """Tell what is tuned."""
        self._race.weights = weights_of(spec.objective)
        self.message(opening_text(spec))

    def probing(self, what: str) -> None:
        """Tell what is looked at."""
        self.message(f"looking at {what}")

    def entered(self, entrants: Entrants, found: ProbeResult) -> None:
        """Tell how many plans take part."""
        self._race.entrants = entrants
        self.message(entered_text(entrants, found))

    def event(self, event: Event, outcome: Outcome) -> None:
        """Tell of failures at once, and of the race now and then."""
        self._race.outcome = outcome
        if event.what == "phase" and event.note == "confirm":
            self.message("measuring the finalists again, in fresh processes")
        elif event.failed is not None and event.candidate is not None:
            self.message(f"{self._race.name(event.candidate)}: {event.failed.outcome}: {event.failed.message}")
        elif event.measured is not None and event.candidate is not None:
            now_s = time.monotonic()
            if now_s - self._last_s >= PLAIN_EVERY_S:
                self._last_s = now_s
                best = self._race.best_so_far(self._race.decision())
                self.message(
                    f"{self._race.name(event.candidate)} {event.measured.sps:,.0f} steps/s; {best}; "
                    f"{clock_text(self._race.left_s)} left"
                )

    def message(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream, flush=True)

    def tick(self, left_s: float) -> None:
        """Note the time that is left."""
        self._race.left_s = left_s

    def end(self) -> None:
        """Do nothing; every line is already out."""


class LiveDisplay:
    """A table of the plans that race, the best first, redrawn in place.

    Args:
        console: an interactive terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._race = _Race()
        self._decision: Decision | None = None
        self._drawn_s = -math.inf

    def begin(self, spec: TuneSpec) -> None:
        """Tell what is tuned and start drawing."""
        self._race.weights = weights_of(spec.objective)
        self.message(opening_text(spec))
        self._live.start()

    def probing(self, what: str) -> None:
        """Show what is looked at."""
        self._race.now = f"looking at {what}"
        self._draw()

    def entered(self, entrants: Entrants, found: ProbeResult) -> None:
        """Tell how many plans take part."""
        self._race.entrants = entrants
        self.message(entered_text(entrants, found))

    def event(self, event: Event, outcome: Outcome) -> None:
        """Show what happens."""
        race = self._race
        race.outcome = outcome
        if event.what == "phase":
            race.now = "racing" if event.note == "race" else "measuring the finalists again, in fresh processes"
        elif event.failed is not None and event.candidate is not None:
            self.message(f"{race.name(event.candidate)}: {event.failed.outcome}: {event.failed.message}")
        elif event.measured is not None and event.candidate is not None:
            race.now = f"{race.name(event.candidate)} {event.measured.sps:,.0f} steps/s"
            self._decision = race.decision()
            self._draw()

    def message(self, text: str) -> None:
        """Print above the table."""
        self._console.print(text, highlight=False, markup=False)

    def tick(self, left_s: float) -> None:
        """Redraw every :data:`REDRAW_S`."""
        self._race.left_s = left_s
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            self._draw()

    def end(self) -> None:
        """Stop drawing; the report follows."""
        self._live.stop()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        foot = Text(f"{self._race.now}; {clock_text(self._race.left_s)} left", style="dim")
        best = Text(self._race.best_so_far(self._decision), style="bold")
        self._live.update(Group(self._table(), best, foot) if self._decision else foot, refresh=True)

    def _table(self) -> Table:
        assert self._decision is not None
        table = Table(box=None, pad_edge=False)
        table.add_column("plan")
        for name in ("steps/s", "95%", "P(best)", "slices"):
            table.add_column(name, justify="right")
        measured = {} if self._race.outcome is None else self._race.outcome.measured
        for one in [one for one in self._decision.standings if one.measured][:_MOST_ROWS]:
            low, high = one.sps_ci95
            table.add_row(
                self._race.name(one.candidate), f"{one.sps:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{one.p_tied:.2f}",
                str(len(measured.get(one.candidate, ()))),
            )  # fmt: skip
        return table


def make_display(stream: TextIO | None = None) -> Display:
    """Return the display that suits ``stream`` (standard output by default)."""
    console = Console(file=stream)
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(stream)


def opening_text(spec: TuneSpec) -> str:
    """Return one line on what is going to be tuned."""
    return (
        f"tuning {spec.base.algo.name} on {spec.base.env.id}: the {spec.objective} plan for this machine, within "
        f"{spec.budget_minutes:g} min"
    )


def entered_text(entrants: Entrants, found: ProbeResult) -> str:
    """Return one line on what a probe has found and who takes part."""
    best = max(entrants.candidates, key=lambda one: one.predicted_sps)
    env = "" if found.env is None else f"a step takes {found.env.mean_us:,.0f} us; "
    left_out = f", left out: {len(entrants.pruned)} (the report says why)" if entrants.pruned else ""
    taking_part = f"plans that take part: {len(entrants.candidates)}{left_out}"
    return (
        f"{env}an update {1e3 * found.update_s:,.1f} ms; {taking_part}; expected to be the fastest: {best.name}, "
        f"{best.predicted_sps:,.0f} steps/s"
    )


def clock_text(seconds: float) -> str:
    """Return a time as minutes and seconds."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
