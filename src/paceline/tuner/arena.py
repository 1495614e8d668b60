"""Where plans are measured: what a race asks of it, whether its processes are real or simulated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from paceline.measure.result import LedgerRecord, Outcome


@dataclass(frozen=True)
class Opened:
    """A process that has built, compiled and warmed up a plan.

    Attributes:
        process: its number; no other process of the arena ever had it.
        rss_bytes: what its processes hold; 0 where it is not known.
    """

    process: int
    rss_bytes: int = 0


@dataclass(frozen=True)
class Measured:
    """What a slice of measurement gave.

    Attributes:
        sps: steps per second of wall time.
        wall_s: seconds measured.
        time_s: middle of the slice on the arena's clock.
        num_env_steps: steps taken.
        num_iterations: iterations that it consisted of.
        ledger: where the time went; None where it is not known.
        cores_busy: CPU seconds of the process tree per second of wall time; None where it is not known.
        lag_max: the largest lag of a fragment, in updates; None where nothing lags.
        rss_bytes: resident memory of all its processes at the end; 0 where it is not known.
        peak_bytes: what they held at most, shared pages counted once; 0 where it is not known.
    """

    sps: float
    wall_s: float
    time_s: float
    num_env_steps: int = 0
    num_iterations: int = 1
    ledger: LedgerRecord | None = None
    cores_busy: float | None = None
    lag_max: float | None = None
    rss_bytes: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Failed:
    """Why a plan gave nothing.

    Attributes:
        outcome: the word for it: ``oom``, ``crash`` ..
        message: one sentence.
        error_type: class name of the exception, if there was one.
        while_starting: it had not been measured yet.
        output: the end of what it printed.
    """

    outcome: Outcome
    message: str
    error_type: str = ""
    while_starting: bool = True
    output: str = field(default="", repr=False)


class Interrupted(Exception):
    """The user asked to stop, or the time is up, while something was measured."""


class Arena(Protocol):
    """Runs plans in processes that wait when they are not measured."""

    def now_s(self) -> float:
        """Return the time of its clock, which never goes back."""

    def open(self, candidate: int) -> Opened | Failed:
        """Start a process for a plan, until it is ready to be measured.

        Raises:
            Interrupted: it was stopped meanwhile; nothing of the process is left.
        """

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        """Measure whole iterations for at least about ``seconds``; a process that failed is gone.

        Raises:
            Interrupted: it was stopped meanwhile.
        """

    def close(self, process: int) -> None:
        """End a process; one that is gone already is passed over."""

    def end(self) -> None:
        """End whatever is left, at once."""
