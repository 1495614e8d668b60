"""How a tuning's race went, read from its ``progress.jsonl``: who was measured when, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.measure.result import finite
from paceline.measure.store import load_progress


@dataclass(frozen=True, slots=True)
class RaceSlice:
    """One measurement of one plan.

    Attributes:
        plan: its name.
        begin_s: when it began, seconds after the tuning did.
        end_s: when it ended.
        sps: steps per second; None where that was not recorded.
    """

    plan: str
    begin_s: float
    end_s: float
    sps: float | None = None


@dataclass(frozen=True, slots=True)
class RaceLog:
    """A race from beginning to end.

    Attributes:
        slices: the measurements, in order.
        begin_s: when plans began to be raced, seconds after the tuning did; before that it looked at the parts.
        confirm_s: when the finalists began to be measured again, in fresh processes; None where it did not come to it.
    """

    slices: tuple[RaceSlice, ...]
    begin_s: float = 0.0
    confirm_s: float | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """The plans, in the order in which they were first measured."""
        return tuple(dict.fromkeys(one.plan for one in self.slices))


def load_race(folder: Path) -> RaceLog | None:
    """Read how the race in ``folder`` went.

    Returns:
        The race; None where the folder tells of none, as that of an answer which was measured earlier.

    Raises:
        ResultsError: ``progress.jsonl`` cannot be read.
    """
    slices: list[RaceSlice] = []
    begin_s, confirm_s = 0.0, None
    for line in load_progress(folder):
        at_s = _number(line, "at_s")
        if at_s is None:
            continue
        if line.get("kind") == "phase" and line.get("note") == "race":
            begin_s = at_s
        elif line.get("kind") == "phase" and line.get("note") == "confirm":
            confirm_s = at_s
        elif line.get("kind") == "measured" and isinstance(line.get("plan"), str):
            wall_s = _number(line, "wall_s") or 0.0
            slices.append(RaceSlice(line["plan"], max(at_s - wall_s, 0.0), at_s, _number(line, "sps")))
    return RaceLog(tuple(slices), begin_s, confirm_s) if slices else None


def _number(line: Mapping[str, Any], key: str) -> float | None:
    value = finite(line.get(key))
    return float(value) if isinstance(value, int | float) else None
