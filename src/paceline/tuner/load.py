"""How busy other programs kept the machine while plans were measured, and what that means for the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from paceline.measure.others import OthersMeter

LARGE = 0.15
"""Share of the usable cores from which others are worth a word."""
CHANGED = 0.2
"""Share of them by which others may differ from plan to plan, and no more."""
_QUIET_S = 0.4
_TICK_S = 0.05


class Load:
    """What others computed: before anything was started, and beside every slice.

    Args:
        cores: usable cores.
        meter: looks at them; default: one of this process's tree.

    Attributes:
        before: cores that others kept busy before anything was started; None where it is not known.
        beside: index of a plan -> the same, beside each of its slices.
    """

    def __init__(self, cores: float, meter: OthersMeter | None = None) -> None:
        self._cores = cores
        self._meter = meter or OthersMeter()
        self.before: float | None = None
        self.beside: dict[int, list[float]] = {}

    def look_before(self, should_stop: Callable[[], bool]) -> None:
        """Watch for a moment, while nothing of ours computes."""
        end_s = time.monotonic() + _QUIET_S
        while time.monotonic() < end_s and not should_stop():
            time.sleep(_TICK_S)
        self.before = self._meter.read()

    def forget(self) -> None:
        """Leave out what was since the last look."""
        self._meter.read()

    def note(self, plan: int) -> float | None:
        """Book what was since the last look, a slice of ``plan``, and return it."""
        cores = self._meter.read()
        if cores is not None:
            self.beside.setdefault(plan, []).append(cores)
        return cores

    @property
    def median(self) -> float | None:
        """Cores that others kept busy beside half of the slices or more; None where it is not known."""
        known = self._all()
        return float(np.median(known)) if known else None

    @property
    def most(self) -> float | None:
        """Cores that they kept busy at most."""
        return max(self._all(), default=None)

    def of(self, plan: int) -> float | None:
        """Return the median beside the slices of one plan; None where it is not known."""
        known = self.beside.get(plan)
        return float(np.median(known)) if known else None

    def opening(self) -> str:
        """Return one sentence on what was before; empty where that is little, or not known."""
        return self._busy_text(self.before, "keep") if self._is_large(self.before) else ""

    def cautions(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return what a reader of the answer should know, sentences; ``names`` are those of all plans."""
        median, most = self.median, self.most
        found = []
        if median is not None and most is not None and self._is_large(median):
            found.append(self._busy_text(median, "kept", f" (at most {most:.1f})"))
        by_plan = sorted((busy, plan) for plan in self.beside if (busy := self.of(plan)) is not None)
        if len(by_plan) > 1 and by_plan[-1][0] - by_plan[0][0] >= CHANGED * self._cores:
            (least, quiet), (largest, crowded) = by_plan[0], by_plan[-1]
            found.append(
                f"Plans were not measured under the same load: beside {names[crowded]} other programs kept "
                f"{largest:.1f} cores busy, beside {names[quiet]} {least:.1f}; close them and tune again."
            )
        return tuple(found)

    def _busy_text(self, cores: float | None, verb: str, more: str = "") -> str:
        return (
            f"Other programs {verb} {cores or 0.0:.1f} of {self._cores:g} cores busy{more}: results hold for a machine "
            f"that is as busy; close them and tune again for one that is not."
        )

    def _is_large(self, cores: float | None) -> bool:
        return cores is not None and cores >= LARGE * self._cores

    def _all(self) -> list[float]:
        return [cores for known in self.beside.values() for cores in known]
