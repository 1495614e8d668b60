"""What a person sees while a bench runs: a table that fills on a terminal, plain lines elsewhere.

A display must not disturb what is being measured: it is drawn between windows, by the bench's own thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paceline.bench.cases import Case
from paceline.bench.spec import BenchSpec
from paceline.measure.bench_result import EnvProfile

REDRAW_S = 1.0
"""How often the live table is drawn when nothing happens."""


@dataclass(frozen=True)
class Forecast:
    """How far a bench is.

    Attributes:
        windows_done: measured windows.
        windows_planned: of the cases that have not failed.
        left_s: seconds until it ends.
    """

    windows_done: int
    windows_planned: int
    left_s: float

    @property
    def text(self) -> str:
        """The forecast in words."""
        return f"{self.windows_done}/{self.windows_planned} windows, about {_duration(self.left_s)} left"


class Display(Protocol):
    """What a bench tells of itself while it runs."""

    def begin(self, spec: BenchSpec, cases: Sequence[Case]) -> None:
        """Show what is going to be measured."""

    def profile(self, profile: EnvProfile) -> None:
        """Show what one environment by itself does."""

    def setting_up(self, case: Case) -> None:
        """Show that ``case`` is being built."""

    def ready(self, case: Case, setup_s: float, forecast: Forecast) -> None:
        """Show that ``case`` is ready to be measured."""

    def window(self, case: Case, number: int, sps: float, forecast: Forecast) -> None:
        """Show a measured window of round ``number``."""

    def failed(self, case: Case, outcome: str, message: str) -> None:
        """Show that ``case`` ended early."""

    def message(self, text: str) -> None:
        """Show one sentence."""

    def tick(self) -> None:
        """Show that time passes; called several times a second."""

    def end(self) -> None:
        """Put the display away."""


class PlainDisplay:
    """One line for everything that happens but single windows, of which one line a round is enough."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._round = -1
        self._best: tuple[float, str] = (0.0, "")
        self._sps: dict[str, list[float]] = {}

    def begin(self, spec: BenchSpec, cases: Sequence[Case]) -> None:
        """Print what is going to be measured."""
        self.message(opening_text(spec, cases))

    def profile(self, profile: EnvProfile) -> None:
        """Print the time of one step."""
        self.message(profile_text(profile))

    def setting_up(self, case: Case) -> None:
        """Print nothing: the line follows when it is ready."""

    def ready(self, case: Case, setup_s: float, forecast: Forecast) -> None:
        """Print that ``case`` is ready."""
        self._round = -1
        self.message(f"{case.name}: ready in {setup_s:.2f} s; {forecast.text}")

    def window(self, case: Case, number: int, sps: float, forecast: Forecast) -> None:
        """Print a line when a round begins, and keep the speed."""
        if number != self._round:
            self._round = number
            best = f"; best so far {self._best[1]} ({self._best[0]:,.0f} steps/s)" if self._best[1] else ""
            self.message(f"round {number + 1}: {forecast.text}{best}")
        self._sps.setdefault(case.name, []).append(sps)
        if not case.is_ceiling:
            self._best = max(self._best, (statistics.median(self._sps[case.name]), case.name))

    def failed(self, case: Case, outcome: str, message: str) -> None:
        """Print how ``case`` ended."""
        self.message(f"{case.name}: {outcome} ({message})")

    def message(self, text: str) -> None:
        """Print ``text``."""
        print(text, file=self._stream, flush=True)

    def tick(self) -> None:
        """Print nothing."""

    def end(self) -> None:
        """Print nothing."""


class LiveDisplay:
    """A table, sizes down and executions across, whose cells fill with medians.

    Args:
        console: an interactive terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._cases: list[Case] = []
        self._cells: dict[str, str] = {}
        self._sps: dict[str, list[float]] = {}
        self._foot = "starting"
        self._drawn_s = 0.0

    def begin(self, spec: BenchSpec, cases: Sequence[Case]) -> None:
        """Draw the empty table."""
        self._cases = list(cases)
        self._console.print(opening_text(spec, cases), highlight=False, markup=False)
        self._live.start()
        self._draw()

    def profile(self, profile: EnvProfile) -> None:
        """Print the time of one step above the table."""
        self.message(profile_text(profile))

    def setting_up(self, case: Case) -> None:
        """Mark the cell."""
        self._cells[case.name] = "setting up"
        self._draw()

    def ready(self, case: Case, setup_s: float, forecast: Forecast) -> None:
        """Mark the cell."""
        self._cells[case.name] = "ready"
        self._foot = forecast.text
        self._draw()

    def window(self, case: Case, number: int, sps: float, forecast: Forecast) -> None:
        """Write the median so far into the cell."""
        self._sps.setdefault(case.name, []).append(sps)
        self._cells[case.name] = f"{statistics.median(self._sps[case.name]):,.0f}"
        self._foot = f"round {number + 1}; {forecast.text}"
        self._draw()

    def failed(self, case: Case, outcome: str, message: str) -> None:
        """Write the outcome into the cell and the reason above the table."""
        self._cells[case.name] = outcome
        self.message(f"{case.name}: {outcome} ({message})")
        self._draw()

    def message(self, text: str) -> None:
        """Print ``text`` above the table."""
        self._console.print(text, highlight=False, markup=False)

    def tick(self) -> None:
        """Redraw every :data:`REDRAW_S`."""
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            self._draw()

    def end(self) -> None:
        """Give the terminal back; the report follows and holds the figures."""
        self._live.stop()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        self._live.update(Group(self._table(), Text(self._foot, style="bold")), refresh=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("envs", justify="right")
        names = list(dict.fromkeys(case.backend for case in self._cases))
        for name in names:
            table.add_column(name, justify="right")
        by_size: dict[int, dict[str, str]] = {}
        for case in self._cases:
            by_size.setdefault(case.num_envs, {})[case.backend] = self._cells.get(case.name, "·")
        for size, cells in by_size.items():
            table.add_row(str(size), *(_styled(cells.get(name, "")) for name in names))
        return table


class EnduringDisplay:
    """Passes everything on; one that nobody can read any more (a closed terminal) does not end the bench.

    Args:
        display: the one that shows.
    """

    def __init__(self, display: Display) -> None:
        self._display = display

    def __getattr__(self, name: str) -> Callable[..., None]:
        shown: Callable[..., None] = getattr(self._display, name)

        def show(*arguments: object) -> None:
            with suppress(OSError):
                shown(*arguments)

        return show


def make_display(stream: TextIO | None = None) -> Display:
    """Return the display that suits ``stream`` (default: standard output); rich honours ``NO_COLOR``."""
    console = Console(file=stream) if stream else Console()
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(stream)


def opening_text(spec: BenchSpec, cases: Sequence[Case]) -> str:
    """Return the line that a bench begins with."""
    sizes = ", ".join(map(str, spec.num_envs))
    return (
        f"Bench of {spec.env.id}: {', '.join(spec.backends)} with {sizes} environments, {spec.rounds} windows of "
        f"{spec.seconds:g} s each, {len(cases)} cases with their ceilings"
    )


def profile_text(profile: EnvProfile) -> str:
    """Return what one environment by itself does, in a line."""
    step = profile.step
    return (
        f"One environment: {1e6 * step.median_s:,.4g} us a step (95th percentile {1e6 * step.p95_s:,.4g} us), reset "
        f"{1e3 * profile.reset.median_s:,.3g} ms, built in {profile.build_s:.2f} s"
    )


def _styled(cell: str) -> Text:
    style = {"·": "dim", "setting up": "cyan", "ready": "cyan"}.get(cell)
    return Text(cell, style=style or ("" if cell[:1].isdigit() else "red"))


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
