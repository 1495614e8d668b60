"""Contenders in turn, round after round, and what their figures say: the parent's side of the vector benchmarks.

All contenders of a comparison are set up first and then wait, blocked, for their turn: only one of them runs at a time.
A ratio is taken within a round, where whatever else the machine did hit both sides alike; of the ratios the median
counts. What other programs took of the machine is recorded beside every round. It includes what a contender burns that
is not on turn, so that one which spins while it waits shows up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from os import getpid
from typing import Any, Literal

import psutil

from benchmarks.record import interleave
from benchmarks.vector_contenders import Contender
from paceline.analysis.stats import estimate_median, quartiles
from paceline.isolation.process import FreshProcess, silent_exit_text
from paceline.machine import thread_environment
from paceline.measure.monitor import cpu_clock_s, descendants

QUIET_SHARE = 0.05
"""Rounds in which other programs took more of the machine than this are told apart."""
FEWEST_QUIET_ROUNDS = 5
_SET_UP_S = 300.0
_MOST_S = 120.0

Verdict = Literal["met", "short", "cannot tell", "not measured", ""]


class Impossible(Exception):
    """A contender cannot be had here: its library is not installed, or it refuses the environment."""


class Host:
    """The process of one contender.

    Args:
        contender: which.

    Raises:
        Impossible: it cannot be set up.
    """

    def __init__(self, contender: Contender) -> None:
        self.name = contender.name
        self._process = FreshProcess(
            contender.request(), {**thread_environment(1), "PYTHONWARNINGS": "ignore"}, conversation=True
        )
        try:
            ready = self._answer(_SET_UP_S)
        except BaseException:
            self._process.end()
            raise
        self.facts = {"setup_s": ready["setup_s"], **ready["facts"]}
        self.pids = sorted(descendants([self._process.pid]))

    def measure(self, seconds: float) -> float:
        """Return steps per second over a window of about ``seconds``."""
        self._process.ask({"seconds": seconds})
        window = self._answer(_MOST_S)
        return float(window["num_env_steps"] / window["wall_s"])

    def cpu_s(self) -> float:
        """Return the CPU time of its processes so far."""
        return sum(cpu_clock_s(pid) or 0.0 for pid in self.pids)

    def close(self) -> None:
        """Let it put everything away, then end what is left."""
        self._process.hang_up()
        deadline_s = time.monotonic() + 10.0
        while self._process.returncode is None and time.monotonic() < deadline_s:
            self._process.events(0.1)
        self._process.end()

    def _answer(self, limit_s: float) -> Mapping[str, Any]:
        deadline_s = time.monotonic() + limit_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            found = self._process.events(left_s)
            if self._process.returncode is not None:
                found += self._process.last_events()
            for event in found:
                if event["event"] == "failed":
                    raise Impossible(event["message"])
                return event
            if self._process.returncode is not None:
                raise Impossible(silent_exit_text(self._process, "its"))
        raise Impossible(f"did not answer within {limit_s:g} s")


class Neighbours:
    """Tells how much of the machine programs use that are not on turn."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_count() or 1

    @contextmanager
    def watch(self, host: Host, shares: list[float]) -> Iterator[None]:
        """Append their share of all cores' time during the body, in which ``host`` is on turn."""
        before = self._read(host)
        yield
        wall_s, busy_s, ours_s = (now - then for now, then in zip(self._read(host), before, strict=True))
        shares.append(min(1.0, max(0.0, busy_s - ours_s) / (wall_s * self._cores)))

    def _read(self, host: Host) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return time.perf_counter(), sum(times[:8]) - idle, host.cpu_s() + (cpu_clock_s(getpid()) or 0.0)


@dataclass(frozen=True)
class Goal:
    """A ratio that is wanted.

    Attributes:
        ours: contenders whose ratio is taken, each by itself.
        against: divides; of several the fastest of each round.
        at_least: the ratio that is wanted; None: told for comparison.
        what: the goal in words.
    """

    ours: tuple[str, ...]
    against: tuple[str, ...]
    at_least: float | None
    what: str


@dataclass(frozen=True)
class Comparison:
    """Contenders that are measured in the same rounds, and what is wanted of them.

    Attributes:
        name: short, for the command line and the file.
        title: one line.
        contenders: who.
        goals: ratios.
        window_s: seconds of one turn.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...]
    window_s: float = 0.4


@dataclass
class Rounds:
    """What was measured.

    Attributes:
        samples: steps per second of each contender, one a round.
        shares: what other programs took of the machine, one a round.
        facts: what each contender told of itself.
        missing: contenders that could not be set up, and why.
    """

    samples: dict[str, list[float]]
    shares: list[float]
    facts: dict[str, dict[str, Any]]
    missing: dict[str, str] = field(default_factory=dict)


def measure(comparison: Comparison, rounds: int, window_s: float, say: Callable[[str], None] = print) -> Rounds:
    """Set up every contender, measure them in turn, and put them away."""
    hosts: list[Host] = []
    missing: dict[str, str] = {}
    shares: dict[str, list[float]] = {}
    neighbours = Neighbours()
    try:
        for contender in comparison.contenders:
            try:
                hosts.append(Host(contender))
            except Impossible as error:
                missing[contender.name] = str(error)
                say(f"not possible: {contender.name}: {error}")

        def turn(host: Host) -> float:
            with neighbours.watch(host, shares.setdefault(host.name, [])):
                return host.measure(window_s)

        samples = interleave({host.name: partial(turn, host) for host in hosts}, rounds, say=say)
    finally:
        for host in reversed(hosts):
            host.close()
    per_round = [sum(found) / len(found) for found in zip(*shares.values(), strict=True)]
    return Rounds(samples, per_round, {host.name: host.facts for host in hosts}, missing)


def summarise(comparison: Comparison, measured: Rounds) -> dict[str, Any]:
    """Return everything that is kept of a comparison, as plain data.

    Figures are of the quiet rounds where there are enough, else of all; ``rounds_used`` says which.
    """
    quiet = [index for index, share in enumerate(measured.shares) if share <= QUIET_SHARE]
    use_quiet = len(quiet) >= FEWEST_QUIET_ROUNDS
    used = quiet if use_quiet else list(range(len(measured.shares)))
    chosen = {name: [values[index] for index in used] for name, values in measured.samples.items()}
    return {
        "title": comparison.title,
        "rounds": len(measured.shares),
        "quiet_rounds": len(quiet),
        "rounds_used": "quiet" if use_quiet else "all",
        "share_of_other_programs": [round(share, 4) for share in measured.shares],
        "contenders": {
            name: {**_spread(values), "samples": measured.samples[name], **_lasting(measured.facts[name])}
            for name, values in chosen.items()
        },
        "not_possible": measured.missing,
        "ratios": [row for goal in comparison.goals for row in _ratio_rows(goal, chosen)],
    }


def _lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is true of the next run as well."""
    return {key: value for key, value in facts.items() if key != "runner_pids"}


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = quartiles(values)
    return {"median": middle, "quartile_1": low, "quartile_3": high, "min": min(values), "max": max(values)}


def _ratio_rows(goal: Goal, samples: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    against = [samples[name] for name in goal.against if name in samples]
    rows = []
    for name in goal.ours:
        row: dict[str, Any] = {
            "what": goal.what,
            "ours": name,
            "against": " | ".join(goal.against),
            "goal": goal.at_least,
        }
        if name not in samples or not against:
            rows.append({**row, "verdict": "not measured"})
            continue
        best = [max(figures) for figures in zip(*against, strict=True)]
        per_round = [ours / theirs for ours, theirs in zip(samples[name], best, strict=True)]
        estimate = estimate_median(per_round)
        interval = estimate.interval
        row |= {**_spread(per_round), "interval": [interval.low, interval.high] if interval else None}
        rows.append({**row, "verdict": verdict(row, goal.at_least)})
    return rows


def verdict(row: Mapping[str, Any], goal: float | None) -> Verdict:
    """Say whether a ratio reaches its goal: the whole interval must lie on one side of it."""
    if goal is None:
        return ""
    if row["interval"] is None:
        return "cannot tell"
    low, high = row["interval"]
    return "met" if low >= goal else "short" if high < goal else "cannot tell"


def tables(summary: Mapping[str, Any]) -> str:
    """Return a comparison as two Markdown tables."""
    used = summary["quiet_rounds"] if summary["rounds_used"] == "quiet" else summary["rounds"]
    busiest = max(summary["share_of_other_programs"], default=0.0)
    lines = [
        f"**{summary['title']}**: {used} of {summary['rounds']} rounds ({summary['rounds_used']}; other programs took "
        f"up to {busiest:.0%} of the machine)",
        "",
        "| | steps/s | quartiles |",
        "|---|---:|---:|",
    ]
    for name, row in summary["contenders"].items():
        lines.append(f"| {name} | {row['median']:,.0f} | {row['quartile_1']:,.0f} to {row['quartile_3']:,.0f} |")
    lines += [f"| {name} | not possible | {why} |" for name, why in summary["not_possible"].items()]
    lines += [
        "",
        "| ratio, round by round | median | quartiles | interval | goal | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in summary["ratios"]:
        goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
        head = f"| {row['ours']} / {row['against'].replace(' | ', ' or ')} ({row['what']})"
        if row["verdict"] == "not measured":
            lines.append(f"{head} | | | | {goal} | not measured |")
            continue
        between = "" if row["interval"] is None else f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}"
        lines.append(
            f"{head} | **{row['median']:.2f}** | {row['quartile_1']:.2f} to {row['quartile_3']:.2f} | {between} "
            f"| {goal} | {row['verdict']} |"
        )
    return "\n".join(lines) + "\n"
