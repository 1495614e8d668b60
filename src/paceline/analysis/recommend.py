"""Which plan to take: three scenarios, top three, guards, and "cannot tell"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paceline.analysis.table import ScalingRow

ScenarioName = Literal["frugal", "balanced", "fastest"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What somebody wants of a plan.

    Attributes:
        name: ``frugal``, ``balanced`` or ``fastest``.
        min_efficiency: least efficiency (fraction).
        min_speedup: least speedup.
        wish: the wish in words (``efficiency >= 60 % and speedup >= 2.5``).
    """

    name: ScenarioName
    min_efficiency: float
    min_speedup: float
    wish: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer for one scenario.

    Attributes:
        scenario: what was asked for.
        row: the plan to take; where none qualifies, the nearest; None only when nothing was measured.
        qualifies: ``row`` meets the scenario's thresholds.
        reason: one or two sentences: why this row, or "none qualifies, nearest is ..".
        guard_notes: what the row violates (CPU, RAM, learning); empty where it passes.
        passes_guards: CPU < 80 %, RAM < 80 % and learning stable (an unknown figure passes, with a note).
        contenders: labels that cannot be told apart from ``row`` (overlapping intervals); empty where clear.
        certain: the choice is clear of its contenders.
    """

    scenario: Scenario
    row: ScalingRow | None
    qualifies: bool
    reason: str
    guard_notes: tuple[str, ...] = ()
    passes_guards: bool = True
    contenders: tuple[str, ...] = ()
    certain: bool = True


@dataclass(frozen=True, slots=True)
class TopPick:
    """One of the top three: ``fastest``, ``recommended`` or ``most efficient``."""

    title: Literal["fastest", "recommended", "most efficient"]
    row: ScalingRow
    reason: str


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One row in the efficiency x speedup plane.

    Attributes:
        label: the row's label.
        speedup: y axis.
        efficiency: x axis, a fraction (may exceed 1).
        scenarios: scenarios whose thresholds the row meets.
        chosen_by: scenarios that recommend this row.
        passes_guards: as in :class:`Recommendation`.
    """

    label: str
    speedup: float
    efficiency: float
    scenarios: tuple[ScenarioName, ...]
    chosen_by: tuple[ScenarioName, ...]
    passes_guards: bool


@dataclass(frozen=True, slots=True)
class DecisionChart:
    """Data of the decision chart: points, and the scenarios' thresholds as lines.

    Attributes:
        efficiency_basis: which efficiency the x axis and the scenarios use: ``env`` or ``core``.
        points: measured rows.
        scenarios: thresholds to draw (fraction, speedup).
    """

    efficiency_basis: Literal["env", "core"]
    points: tuple[ChartPoint, ...]
    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """Everything :func:`recommend` answers.

    Attributes:
        recommendations: frugal, balanced, fastest, in this order, by ``efficiency_basis``.
        top: fastest, recommended, most efficient (fewer where nothing was measured).
        chart: the decision chart's data.
        efficiency_note: which efficiency was used and what it means on this machine (one or two sentences).
    """

    recommendations: tuple[Recommendation, ...]
    top: tuple[TopPick, ...]
    chart: DecisionChart
    efficiency_note: str

    @property
    def recommended(self) -> ScalingRow | None:
        """The plan to take if nothing else is known, None where nothing was measured."""
        return next((pick.row for pick in self.top if pick.title == "recommended"), None)
