"""What holds a run back, read from its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bound = Literal[
    "env-bound", "IPC-bound", "inference-bound", "transfer-bound", "learner-bound", "memory-bound",
    "overhead-bound", "balanced", "unknown",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PhaseShare:
    """One phase of the ledger.

    Attributes:
        phase: ledger name (``env_step`` ..; see :mod:`paceline.measure.ledger`).
        label: the name for people (``environments step``).
        seconds: seconds per iteration.
        percent: share of wall time; the shares of a bottleneck add up to 100.
        speedup_if_removed: 1/(1-share), the upper bound of what a perfect removal of the phase would give.
    """

    phase: str
    label: str
    seconds: float
    percent: float
    speedup_if_removed: float


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What bounds a run.

    Attributes:
        verdict: the bound.
        sentences: two sentences that a person understands: what holds the run back, what removing it could give.
        shares: every phase, largest first; percents add up to 100.
        limiting_phase: ledger name of the phase behind the verdict, "" where unknown.
        speedup_if_removed: upper bound of the gain, 1/(1-share); 1.0 where unknown.
        advice: what to try first (one sentence).
        processor: which processor limits: ``cpu``, ``gpu``, ``neither`` or ``unknown`` (no GPU figures).
    """

    verdict: Bound
    sentences: tuple[str, str]
    shares: tuple[PhaseShare, ...]
    limiting_phase: str
    speedup_if_removed: float
    advice: str
    processor: Literal["cpu", "gpu", "neither", "unknown"] = "unknown"
