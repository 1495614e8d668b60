"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere.

A display must not disturb what is being measured. The live table is drawn when something happens and every two seconds
besides, by the sweep's own thread, not ten times a second by one of its own.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paceline.measure.result import IterationRecord, RunResult, Summary
from paceline.sweep.grid import GUESSED_SETUP_S, GUESSED_SPS, SweepPlan, Trial, remaining_s

REDRAW_S = 2.0
"""How often the live table is drawn when nothing happens."""
MIN_REDRAW_S = 0.5
"""How often it is drawn at most."""

MEASURED = ("ok", "unsteady")
"""Outcomes whose speed counts."""

_STYLES = {"ok": "green", "unsteady": "yellow", "running": "bold cyan", "waiting": "dim", "interrupted": "yellow"}


class Display(Protocol):
    """What a sweep tells of itself while it runs."""

    def begin(self, plan: SweepPlan, done: Mapping[str, RunResult]) -> None:
        """Show the plan; ``done`` holds the trials that an earlier start finished, by key."""

    def trial_started(self, trial: Trial) -> None:
        """Show that ``trial`` starts."""

    def iteration(self, trial: Trial, record: IterationRecord) -> None:
        """Show a finished iteration."""

    def trial_finished(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Show how ``trial`` went; it took ``wall_s`` seconds in all."""

    def message(self, text: str) -> None:
        """Show one sentence."""

    def tick(self) -> None:
        """Show that time passes; called several times a second."""

    def end(self) -> None:
        """Put the display away."""


class Standings:
    """Who has finished, who is fastest, how long the rest takes: the part that all displays share.

    Args:
        plan: the sweep.
        done: trials that were finished before, by key.
        clock: monotonic seconds.
    """

    def __init__(
        self, plan: SweepPlan, done: Mapping[str, RunResult], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.plan = plan
        self.results: dict[str, RunResult] = dict(done)
        self.current: Trial | None = None
        self.iterations: list[IterationRecord] = []
        self._clock = clock
        self._started_s = clock()
        self._wall_s: dict[str, list[float]] = {}
        for trial in plan.trials:
            earlier = done.get(trial.key)
            if earlier and earlier.summary and earlier.outcome in MEASURED:
                self._wall_s.setdefault(trial.name, []).append(_took_s(earlier.summary))

    def start(self, trial: Trial) -> None:
        """Note that ``trial`` starts."""
        self.current, self.iterations, self._started_s = trial, [], self._clock()

    def finish(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Note how ``trial`` went."""
        self.results[trial.key] = result
        if result.outcome in MEASURED:  # one that died early says nothing of how long the others take
            self._wall_s.setdefault(trial.name, []).append(wall_s)
        self.current, self.iterations = None, []

    @property
    def num_done(self) -> int:
        """How many trials are finished; an interrupted one is not."""
        return len(self.plan.trials) - len(self._left)

    @property
    def best(self) -> tuple[str, float] | None:
        """Name and SPS of the fastest point so far, by the median over its repeats; ``None`` before the first."""
        sps: dict[str, list[float]] = {}
        for trial in self.plan.trials:
            result = self.results.get(trial.key)
            if result and result.summary and result.outcome in MEASURED:
                sps.setdefault(trial.name, []).append(result.summary.avg_sps)
        if not sps:
            return None
        return max(((name, statistics.median(values)) for name, values in sps.items()), key=lambda item: item[1])

    @property
    def remaining_s(self) -> float:
        """Seconds until the sweep ends, from the trials that have finished."""
        total = remaining_s([trial for trial in self._left if trial is not self.current], self._wall_s)
        if self.current:
            total += max(0.0, remaining_s([self.current], self._wall_s) - (self._clock() - self._started_s))
        return total

    @property
    def _left(self) -> list[Trial]:
        results = self.results
        return [
            trial
            for trial in self.plan.trials
            if trial.key not in results or results[trial.key].outcome == "interrupted"
        ]

    @property
    def eta_text(self) -> str:
        """What is left, in words; a guess says so."""
        if self.num_done == len(self.plan.trials):
            return "nothing left to run"
        text = f"about {duration_text(self.remaining_s)} left"
        return text if self.knows_speed else text + " (a guess at first)"

    @property
    def knows_speed(self) -> bool:
        """Whether a trial has finished, so that times are more than a guess."""
        return bool(self._wall_s)

    @property
    def best_text(self) -> str:
        """The fastest point so far, in words."""
        return f"best so far {self.best[0]} ({self.best[1]:,.0f} SPS)" if self.best else "none measured yet"


class SilentDisplay:
    """Shows nothing."""

    def begin(self, plan: SweepPlan, done: Mapping[str, RunResult]) -> None:
        """Show nothing."""

    def trial_started(self, trial: Trial) -> None:
        """Show nothing."""

    def iteration(self, trial: Trial, record: IterationRecord) -> None:
        """Show nothing."""

    def trial_finished(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""


class PlainDisplay:
    """One line for everything that happens: for logs, pipes and terminals that cannot move the cursor."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._standings: Standings | None = None

    def begin(self, plan: SweepPlan, done: Mapping[str, RunResult]) -> None:
        """Print the plan."""
        self._standings = Standings(plan, done)
        self._print(opening_text(plan, self._standings))

    def trial_started(self, trial: Trial) -> None:
        """Print that ``trial`` starts."""
        self._known.start(trial)
        self._print(f"{self._place(trial)} started")

    def iteration(self, trial: Trial, record: IterationRecord) -> None:
        """Print a finished iteration."""
        self._known.iterations.append(record)
        count = len(self._known.iterations)
        self._print(
            f"{self._place(trial)} iteration {count}/{trial.iterations}: {record.sps:,.0f} SPS, {record.wall_s:.2f} s"
        )

    def trial_finished(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Print how ``trial`` went, the best so far and what is left."""
        place = self._place(trial)
        self._known.finish(trial, result, wall_s)
        tail = f"{self._known.best_text}; {self._known.eta_text}"
        self._print(f"{place} {verdict_text(result)}; {tail}")

    def message(self, text: str) -> None:
        """Print ``text``."""
        self._print(text)

    def tick(self) -> None:
        """Print nothing."""

    def end(self) -> None:
        """Print nothing."""

    @property
    def _known(self) -> Standings:
        if self._standings is None:
            raise RuntimeError("expected begin() to be called first; call it with the plan")
        return self._standings

    def _place(self, trial: Trial) -> str:
        known = self._known
        number = known.num_done + (trial.key not in known.results)
        return f"[{number}/{len(known.plan.trials)}] {trial_text(trial, known.plan)}:"

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveDisplay:
    """A table of the trials that redraws itself in place, with the best so far and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._standings: Standings | None = None
        self._live: Live | None = None
        self._drawn_s = 0.0

    def begin(self, plan: SweepPlan, done: Mapping[str, RunResult]) -> None:
        """Draw the table for the first time."""
        self._standings = Standings(plan, done)
        self._console.print(opening_text(plan, self._standings), highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="ellipsis")
        self._live.start()
        self._draw(0.0)

    def trial_started(self, trial: Trial) -> None:
        """Draw ``trial`` as running."""
        if self._standings:
            self._standings.start(trial)
        self._draw(0.0)

    def iteration(self, trial: Trial, record: IterationRecord) -> None:
        """Draw the new speed."""
        if self._standings:
            self._standings.iterations.append(record)
        self._draw(MIN_REDRAW_S)

    def trial_finished(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Draw how ``trial`` went; what went wrong is kept above the table."""
        if self._standings:
            self._standings.finish(trial, result, wall_s)
            if result.outcome != "ok":
                self.message(f"{trial_text(trial, self._standings.plan)}: {verdict_text(result)}")
        self._draw(0.0)

    def message(self, text: str) -> None:
        """Print ``text`` above the table."""
        self._console.print(text, highlight=False, markup=False)

    def tick(self) -> None:
        """Redraw every :data:`REDRAW_S`."""
        self._draw(REDRAW_S)

    def end(self) -> None:
        """Leave the last table on the screen and give the terminal back."""
        if self._live:
            if self._standings:  # all of it: it may scroll now
                self._live.vertical_overflow = "visible"
                self._live.update(render(self._standings, max_rows=len(self._standings.plan.trials)), refresh=True)
            self._live.stop()
            self._live = None

    def _draw(self, min_age_s: float) -> None:
        now_s = time.monotonic()
        if self._live and self._standings and now_s - self._drawn_s >= min_age_s:
            self._drawn_s = now_s
            self._live.update(render(self._standings, max_rows=max(5, self._console.height - 8)), refresh=True)


def make_display(stream: TextIO | None = None) -> Display:
    """Return the display that suits ``stream`` (default: standard output); rich honours ``NO_COLOR``."""
    console = Console(file=stream) if stream else Console()
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(stream)


def render(standings: Standings, *, max_rows: int) -> Group:
    """Draw the standings: at most ``max_rows`` trials around the running one, and two lines below."""
    plan = standings.plan
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("iterations", justify="right")
    table.add_column("SPS", justify="right")
    table.add_column("s/iteration", justify="right")
    rows = list(plan.trials)
    running = next((row for row, trial in enumerate(rows) if trial is standings.current), standings.num_done)
    first = max(0, min(running - max_rows // 2, len(rows) - max_rows))
    for trial in rows[first : first + max_rows]:
        table.add_row(*_row(trial, standings))
    hidden = len(rows) - len(rows[first : first + max_rows])
    done = f"{standings.num_done}/{len(rows)} done" + (f", {hidden} trials not shown" if hidden else "")
    return Group(
        table,
        Text(f"{done} · {standings.eta_text}", style="bold"),
        Text(standings.best_text, style="bold"),
    )


def opening_text(plan: SweepPlan, standings: Standings) -> str:
    """Return the line that a sweep begins with, and its notes and cautions."""
    batch = f", batch size {plan.batch_size:,}" if plan.batch_size else ""
    done = f", {standings.num_done} of them done before" if standings.num_done else ""
    lines = [
        f"Sweep of {plan.sweep.base.env.id}: {len(plan.trials)} trials of {plan.sweep.iterations} iterations{batch}"
        f"{done}; {standings.eta_text}"
    ]
    return "\n".join(lines + plan_remarks(plan))


def plan_remarks(plan: SweepPlan) -> list[str]:
    """Return what there is to say about a plan, a line each: notes, cautions, skipped points."""
    by_reason: dict[str, list[str]] = {}
    for point in plan.skipped:
        by_reason.setdefault(point.reason, []).append(point.name)
    return [
        *(f"Note: {note}." for note in plan.notes),
        *(f"Caution: {caution}." for caution in plan.cautions),
        *(f"Skipped {', '.join(names)}: {reason}." for reason, names in by_reason.items()),
    ]


def dry_run_text(plan: SweepPlan, done: Mapping[str, RunResult] | None = None) -> str:
    """Return what a dry run prints: the trials in order, what is skipped and why, the expected time.

    Args:
        plan: the sweep.
        done: trials that are finished already, by key.
    """
    standings = Standings(plan, done or {})
    left = [trial for trial in plan.trials if trial.key not in standings.results]
    width = max(len("trial"), *(len(trial_text(trial, plan)) for trial in plan.trials))
    lines = [
        f"{plan.sweep.base.env.id}: {len(left)} trials to run, {plan.sweep.warmup_iterations} + "
        f"{plan.sweep.iterations} iterations each (warm-up + measured)",
        "",
        f"  order  {'trial':<{width}}  runners  envs each  envs  backend  batch size  minibatch",
    ]
    for trial in left:
        run, algo = trial.spec.plan, trial.spec.algo
        lines.append(
            f"  {trial.index + 1:>5}  {trial_text(trial, plan):<{width}}  {run.num_env_runners:>7}  "
            f"{run.num_envs_per_env_runner:>9}  {run.num_envs:>4}  {run.resolved_backend:<7}  {algo.batch_size:>10}  "
            f"{getattr(algo, 'minibatch_size', algo.batch_size):>9}"
        )
    lines += ["", *plan_remarks(plan)]
    if not left or standings.knows_speed:
        lines.append(f"Expected time: {standings.eta_text}.")
    else:
        lines.append(
            f"Expected time: about {duration_text(standings.remaining_s)}, a guess before anything has run "
            f"({GUESSED_SETUP_S:.0f} s to start a trial, then {GUESSED_SPS:,.0f} steps/s); the sweep corrects it as "
            f"trials finish."
        )
    return "\n".join(lines)


def verdict_text(result: RunResult) -> str:
    """Return how a trial went, in one line."""
    speed = f"{result.summary.avg_sps:,.0f} SPS" if result.summary else "no iteration finished"
    reason = f" ({result.message})" if result.message else ""
    return f"{result.outcome}, {speed}{reason}"


def trial_text(trial: Trial, plan: SweepPlan) -> str:
    """Return the trial's name, with its repeat where there are several."""
    return f"{trial.name} ({trial.repeat + 1}/{plan.sweep.repeats})" if plan.sweep.repeats > 1 else trial.name


def duration_text(seconds: float) -> str:
    """Return seconds as a person says them: ``45 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _took_s(summary: Summary) -> float:
    """Return about how long a trial took, start to end, from what it wrote down."""
    return summary.setup_s + summary.compile_s + summary.warmup_s + summary.total_training_time_s


def _row(trial: Trial, standings: Standings) -> tuple[Text, ...]:
    name = trial_text(trial, standings.plan)
    result = standings.results.get(trial.key)
    if trial is standings.current:
        last = standings.iterations[-1] if standings.iterations else None
        count = f"{len(standings.iterations)}/{trial.iterations}"
        cells = ("running", count, f"{last.sps:,.0f}" if last else "", f"{last.wall_s:.2f}" if last else "")
    elif result is None:
        cells = ("waiting", "", "", "")
    else:
        summary = result.summary
        cells = (
            result.outcome,
            f"{len(result.iterations)}/{trial.iterations}",
            f"{summary.avg_sps:,.0f}" if summary else "",
            f"{summary.avg_time_per_iter_s:.2f}" if summary else "",
        )
    style = _STYLES.get(cells[0], "red")
    return (Text(name), Text(cells[0], style=style), *(Text(cell) for cell in cells[1:]))
