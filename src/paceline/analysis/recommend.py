"""Which plan to take: three scenarios, top three, guards, and "cannot tell".

How a plan is chosen in a scenario:

1. Rows that were measured and whose learning did not end in NaN; of these the rows that meet the scenario's thresholds.
   Where none does, the nearest one, and it is said that none qualifies.
2. Guards. RAM below 80 % and stable learning protect the run itself: a row that violates them is passed over wherever
   another row is left. CPU below 80 % protects whatever else the machine does: frugal and balanced pass over rows that
   violate it where they can; *fastest* does not, because a training run that leaves cores idle is not the fastest (on
   two cores every fast plan violates it), but its reason names the fastest plan that passes. No guard ever leaves the
   user without an answer; what the chosen row violates stands in ``guard_notes``.
3. The fastest of what is left. Rows that cannot be told from it (overlapping intervals) and are at most 5 % slower
count as
   tied, and of tied rows the one with fewest cores, then least memory, then fewest environments is taken. All rows that
   cannot be told from the choice are named in ``contenders``.

Efficiency is per environment by default (speedup / N, as the published experiment has it) or per core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from paceline.analysis.stats import distinguishable
from paceline.analysis.table import ScalingRow, ScalingTable

ScenarioName = Literal["frugal", "balanced", "fastest"]
EfficiencyBasis = Literal["env", "core"]

CPU_GUARD = 0.8
RAM_GUARD = 0.8
TIED_WITHIN = 0.05
"""Rows that cannot be told apart are tied if they are at most this much slower than the fastest."""
RECOMMENDED_CORE_EFFICIENCY = 0.6
"""The recommended plan is the fastest whose measured efficiency per core is at least this."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What somebody wants of a plan.

    Attributes:
        name: ``frugal``, ``balanced`` or ``fastest``.
        min_efficiency: least efficiency (fraction).
        min_speedup: least speedup.
        wish: the wish in words (``efficiency >= 60% and speedup >= 2.5``).
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

    efficiency_basis: EfficiencyBasis
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


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("frugal", 0.8, 0.0, "efficiency >= 80%"),
    Scenario("balanced", 0.6, 2.5, "efficiency >= 60% and speedup >= 2.5"),
    Scenario("fastest", 0.0, 0.0, "the largest speedup"),
)
"""The three scenarios, in the order of reports."""


def recommend(table: ScalingTable, *, efficiency: EfficiencyBasis = "env") -> Advice:
    """Choose a plan for each scenario; see the module's text for the rules.

    Args:
        table: rows to choose from; rows without figures are ignored.
        efficiency: ``env``: speedup / environments; ``core``: speedup / cores, both relative to the baseline.
    """
    rows = [row for row in table.measured_rows if row.learning != "nan"]
    answers = tuple(_recommend(scenario, rows, efficiency) for scenario in SCENARIOS)
    points = tuple(
        ChartPoint(
            label=row.label,
            speedup=_speedup(row),
            efficiency=efficiency_of(row, efficiency),
            scenarios=tuple(scenario.name for scenario in SCENARIOS if _qualifies(row, scenario, efficiency)),
            chosen_by=tuple(answer.scenario.name for answer in answers if answer.row is row),
            passes_guards=not guard_violations(row),
        )
        for row in rows
    )
    return Advice(
        recommendations=answers,
        top=_top_three(rows, answers, efficiency),
        chart=DecisionChart(efficiency, points, SCENARIOS),
        efficiency_note=_efficiency_note(rows, efficiency),
    )


def efficiency_of(row: ScalingRow, basis: EfficiencyBasis) -> float:
    """Return the row's efficiency as a fraction; 0.0 where it has none."""
    value = row.efficiency_per_env if basis == "env" else row.efficiency_per_core
    return value or 0.0


def guard_violations(row: ScalingRow) -> tuple[str, ...]:
    """Return the guards that the row is known to violate: ``cpu``, ``ram``, ``learning``."""
    violated = []
    if row.cpu_utilization is not None and row.cpu_utilization >= CPU_GUARD:
        violated.append("cpu")
    if row.ram_fraction is not None and row.ram_fraction >= RAM_GUARD:
        violated.append("ram")
    if row.learning in ("collapsing", "nan"):
        violated.append("learning")
    return tuple(violated)


def _recommend(scenario: Scenario, rows: Sequence[ScalingRow], basis: EfficiencyBasis) -> Recommendation:
    if not rows:
        return Recommendation(
            scenario, None, False, "No plan was measured, so there is nothing to recommend.", certain=False
        )
    qualifying = [row for row in rows if _qualifies(row, scenario, basis)]
    if not qualifying:
        nearest = min(_safe(rows), key=lambda row: (_shortfall(row, scenario, basis), -_speedup(row)))
        reason = f"None qualifies for {scenario.wish}; nearest is {nearest.label}: {_figures(nearest, basis)}."
        return _answer(scenario, nearest, False, reason, ())
    safe = _safe(qualifying)
    pool = safe if scenario.name == "fastest" else _prefer(safe, lambda row: not guard_violations(row))
    row, tied = _fastest_of(pool)
    contenders = tuple(other.label for other in pool if other is not row and _cannot_tell(row, other))
    return _answer(scenario, row, True, _reason(scenario, row, qualifying, tied, basis), contenders)


def _answer(
    scenario: Scenario, row: ScalingRow, qualifies: bool, reason: str, contenders: tuple[str, ...]
) -> Recommendation:
    violated = guard_violations(row)
    measured = row.sps is not None and row.sps.interval is not None
    return Recommendation(
        scenario=scenario,
        row=row,
        qualifies=qualifies,
        reason=reason,
        guard_notes=_guard_notes(row),
        passes_guards=not violated,
        contenders=contenders,
        certain=qualifies and measured and not contenders,
    )


def _qualifies(row: ScalingRow, scenario: Scenario, basis: EfficiencyBasis) -> bool:
    # A measured 0.7999999 that is 0.8 on paper must not fail by rounding.
    slack = 1e-9
    return (
        efficiency_of(row, basis) >= scenario.min_efficiency - slack and _speedup(row) >= scenario.min_speedup - slack
    )


def _shortfall(row: ScalingRow, scenario: Scenario, basis: EfficiencyBasis) -> float:
    """Return how far the row misses the thresholds, as the sum of the missing fractions."""
    missing = 0.0
    if scenario.min_efficiency:
        missing += max(0.0, 1.0 - efficiency_of(row, basis) / scenario.min_efficiency)
    if scenario.min_speedup:
        missing += max(0.0, 1.0 - _speedup(row) / scenario.min_speedup)
    return missing


def _prefer(rows: Sequence[ScalingRow], wanted: Callable[[ScalingRow], bool]) -> list[ScalingRow]:
    """Return the rows that are ``wanted``, or all where none is."""
    return [row for row in rows if wanted(row)] or list(rows)


def _safe(rows: Sequence[ScalingRow]) -> list[ScalingRow]:
    """Return the rows that violate neither the RAM nor the learning guard, or all where every one does."""
    return _prefer(rows, lambda row: not {"ram", "learning"} & set(guard_violations(row)))


def _fastest_of(rows: Sequence[ScalingRow]) -> tuple[ScalingRow, tuple[ScalingRow, ...]]:
    """Return the cheapest of the rows tied with the fastest, and the faster ones that it was preferred to."""
    fastest = max(rows, key=_speedup)
    tied = [
        row
        for row in rows
        if row is fastest or (_speedup(row) >= (1.0 - TIED_WITHIN) * _speedup(fastest) and _cannot_tell(fastest, row))
    ]
    chosen = min(tied, key=_cost)
    return chosen, tuple(row for row in tied if row is not chosen)


def _cost(row: ScalingRow) -> tuple[float, ...]:
    """Order tied rows: guards, cores, runners, memory, environments; figures rounded to what is a difference at all."""
    return (
        len(guard_violations(row)),
        round(4.0 * (row.cores or 0.0)) / 4.0,
        row.num_env_runners,
        round((row.ram_bytes or 0) / 2**26),
        row.num_envs,
        -_speedup(row),
    )


def _cannot_tell(first: ScalingRow, second: ScalingRow) -> bool:
    """Return whether both rows have intervals of SPS and these overlap."""
    return first.sps is not None and second.sps is not None and distinguishable(first.sps, second.sps) is False


def _speedup(row: ScalingRow) -> float:
    return row.speedup.value if row.speedup else 0.0


def _figures(row: ScalingRow, basis: EfficiencyBasis) -> str:
    per = "env" if basis == "env" else "core"
    return f"speedup {_speedup(row):.2f}, efficiency {efficiency_of(row, basis):.1%} per {per}"


def _reason(
    scenario: Scenario,
    row: ScalingRow,
    qualifying: Sequence[ScalingRow],
    tied: Sequence[ScalingRow],
    basis: EfficiencyBasis,
) -> str:
    if scenario.name == "fastest":
        reason = f"{row.label} has the largest speedup: {_figures(row, basis)}."
    else:
        count = f"{len(qualifying)} plans" if len(qualifying) > 1 else "only this plan"
        meets = "meet" if len(qualifying) > 1 else "meets"
        reason = f"{row.label} is the fastest with {scenario.wish} ({count} {meets} it): {_figures(row, basis)}."
        if row.is_baseline:
            reason += " It is the baseline itself: no parallel plan that was measured is this efficient."
    if tied:
        names = ", ".join(other.label for other in tied)
        reason += f" It is taken before {names}: within {TIED_WITHIN:.0%}, not to be told apart, and it needs less."
    faster = [other for other in qualifying if _speedup(other) > _speedup(row) and other not in tied]
    if faster:
        best = max(faster, key=_speedup)
        reason += f" {best.label} is faster ({_speedup(best):.2f}) but {_violated(best)}."
    passing = [other for other in qualifying if not guard_violations(other)]
    if scenario.name == "fastest" and guard_violations(row) and passing:
        best = max(passing, key=_speedup)
        reason += f" The fastest plan that keeps all guards is {best.label} ({_speedup(best):.2f})."
    return reason


def _violated(row: ScalingRow) -> str:
    texts = {
        "cpu": f"keeps the CPU above {CPU_GUARD:.0%}",
        "ram": f"needs more than {RAM_GUARD:.0%} of the memory",
        "learning": "its learning was not stable",
    }
    return " and ".join(texts[name] for name in guard_violations(row)) or "costs more"


def _guard_notes(row: ScalingRow) -> tuple[str, ...]:
    notes = []
    violated = guard_violations(row)
    if "cpu" in violated:
        notes.append(
            f"CPU {row.cpu_utilization:.0%} is above {CPU_GUARD:.0%}: little is left for anything else on this machine."
        )
    if "ram" in violated:
        notes.append(
            f"RAM {row.ram_fraction:.0%} of the limit is above {RAM_GUARD:.0%}: the run may be ended for memory."
        )
    if "learning" in violated:
        notes.append(
            "Returns fell far below their best during the trial: speed is worth nothing if learning collapses."
        )
    unknown = [name for name, value in (("CPU", row.cpu_utilization), ("RAM", row.ram_fraction)) if value is None]
    if unknown:
        notes.append(f"{' and '.join(unknown)} use was not measured, so its guard could not be checked.")
    return tuple(notes)


def _top_three(
    rows: Sequence[ScalingRow], answers: Sequence[Recommendation], basis: EfficiencyBasis
) -> tuple[TopPick, ...]:
    fastest = next((answer for answer in answers if answer.scenario.name == "fastest"), None)
    if fastest is None or fastest.row is None:
        return ()
    recommended = _recommended(rows, answers, fastest)
    # Rows that are no faster than the baseline would win by their single environment alone.
    gaining = [row for row in rows if _speedup(row) > 1.0 and not row.is_baseline]
    efficient = max(gaining or _baselines(rows), key=lambda row: (efficiency_of(row, basis), _speedup(row)))
    return (
        TopPick("fastest", fastest.row, fastest.reason),
        recommended,
        TopPick(
            "most efficient",
            efficient,
            f"{efficient.label} has the best efficiency of the plans that gain anything: {_figures(efficient, basis)}."
            if gaining
            else f"No plan is faster than the baseline {efficient.label}.",
        ),
    )


def _baselines(rows: Sequence[ScalingRow]) -> list[ScalingRow]:
    return _prefer(rows, lambda row: row.is_baseline)


def _recommended(rows: Sequence[ScalingRow], answers: Sequence[Recommendation], fastest: Recommendation) -> TopPick:
    """Choose what to take if nothing else is known.

    The machine's scarce good is its cores, not environments: the fastest plan that keeps memory and learning safe and
    does not waste cores. Where cores were not measured, the balanced scenario stands in, and the fastest plan after
    that.
    """
    assert fastest.row is not None
    busy = [
        row
        for row in _safe(rows)
        if row.cores_basis == "measured" and efficiency_of(row, "core") >= RECOMMENDED_CORE_EFFICIENCY
    ]
    if busy:
        row, tied = _fastest_of(busy)
        reason = (
            f"{row.label} is the fastest plan whose cores are well used: {_figures(row, 'core')} "
            f"({row.cores:.1f} cores busy)."
        )
        if tied:
            reason += f" Cannot tell it from {', '.join(other.label for other in tied)}; it needs less."
        return TopPick("recommended", row, reason)
    balanced = next((answer for answer in answers if answer.scenario.name == "balanced"), None)
    if balanced is not None and balanced.row is not None and balanced.qualifies:
        return TopPick("recommended", balanced.row, balanced.reason)
    return TopPick("recommended", fastest.row, fastest.reason)


def _efficiency_note(rows: Sequence[ScalingRow], basis: EfficiencyBasis) -> str:
    if basis == "core":
        return (
            "Efficiency here is per core: speedup / cores kept busy, both relative to the baseline. Above 100% the "
            "same core time makes more steps, as when one inference call serves many environments."
        )
    note = (
        "Efficiency here is per environment: speedup / number of environments. Environments of one runner step one "
        "after another on one core, so this counts environments that share a core as if each had its own."
    )
    poor = [row for row in rows if row.rating == "inefficient"]
    if not poor:
        return note
    best = max(rows, key=lambda row: efficiency_of(row, "core"))
    return (
        f"{note} {len(poor)} of {len(rows)} plans rate inefficient by it; per core the best is {best.label} with "
        f"{efficiency_of(best, 'core'):.0%}."
    )
