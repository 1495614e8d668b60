"""What a person sees while a run trains: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import IterationRecord
from paceline.spec import RunSpec

_PLAIN_LINE_EVERY_S = 2.0


@dataclass(frozen=True)
class Status:
    """How a run stands after an iteration.

    Attributes:
        record: the iteration.
        recent_return: mean return of the last episodes, or None before the first one ended.
        best_return: the highest ``recent_return`` so far.
        progress: share of the budget that is spent.
        elapsed_s: seconds since this process began to train.
        remaining_s: seconds that are left at the pace so far.
    """

    record: IterationRecord
    recent_return: float | None
    best_return: float | None
    progress: float
    elapsed_s: float
    remaining_s: float


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
    """A panel that is redrawn in place: progress, speed, return, where time goes.

    Args:
        console: an interactive terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def begin(self, spec: RunSpec) -> None:
        """Announce the run and start drawing."""
        self._console.print(describe(spec), highlight=False, markup=False)
        self._live.start()

    def message(self, text: str) -> None:
        """Print above the panel."""
        self._console.print(text, highlight=False, markup=False)

    def iteration(self, status: Status) -> None:
        """Redraw the panel."""
        spent = min(status.progress, 1.0)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=spent, width=40), Text(f"{spent:.0%}"))
        self._live.update(Group(bar, Text(status_line(status)), Text(ledger_line(status.record))))

    def end(self) -> None:
        """Stop drawing; the last panel stays."""
        self._live.stop()


def display_for(console: Console) -> Display:
    """Return the display that suits ``console``, which writes to standard output; rich honours ``NO_COLOR``."""
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay()


def describe(spec: RunSpec) -> str:
    """Return one line on what is about to run."""
    plan = spec.plan
    where = (
        f"{plan.num_env_runners} runners x {plan.num_envs_per_env_runner} envs ({plan.resolved_backend})"
        if plan.num_env_runners
        else f"{plan.num_envs} envs in the learner's process"
    )
    if plan.inference == "runner":
        where += ", a policy in each"
    if plan.schedule not in ("auto", "sync"):
        where += f", {plan.schedule}"
    budget = spec.budget
    if budget.total_steps is not None:
        until = f"{budget.total_steps:,} steps"
    elif budget.minutes is not None:
        until = f"{budget.minutes:g} min"
    else:
        until = f"{budget.iterations} iterations"
    return (
        f"training {spec.algo.name} on {spec.env.id}: {where}, batch {spec.algo.batch_size}, {until}, seed {spec.seed}"
    )


def status_line(status: Status) -> str:
    """Return steps, speed, return, lag (where policies can lag) and remaining time in one line."""
    record = status.record
    recent, best = ("-" if value is None else f"{value:,.1f}" for value in (status.recent_return, status.best_return))
    lag = f"lag {record.metrics['lag_mean']:.1f}  " if "lag_mean" in record.metrics else ""
    return (
        f"iteration {record.iteration + 1}  steps {record.total_env_steps:,}  SPS {record.sps:,.0f}  "
        f"return {recent} (best {best})  {lag}elapsed {format_duration(status.elapsed_s)}  "
        f"ETA {format_duration(status.remaining_s)}"
    )


def ledger_line(record: IterationRecord) -> str:
    """Return the shares of the iteration's wall time, largest first."""
    phases = record.ledger.phases
    names = sorted((*PHASES, UNATTRIBUTED), key=lambda name: -phases.get(name, 0.0))
    parts = [
        f"{name.replace('_', ' ')} {phases.get(name, 0.0) / record.wall_s:.0%}"
        for name in names
        if phases.get(name, 0.0) / record.wall_s >= 0.005
    ]
    return "time: " + ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Return ``1h02m``, ``3m20s`` or ``5s``."""
    whole = round(max(0.0, seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
