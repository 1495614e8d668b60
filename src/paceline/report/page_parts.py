"""The small records of which the HTML page is made; the template reads nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.analysis.table import Notice
from paceline.report.svg import Chart


@dataclass(frozen=True)
class Fact:
    """A figure in large type, its name, and a small note under it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Kind:
    """The scenario that a card answers, with its colour and sign."""

    name: str
    color: str
    glyph: str


@dataclass(frozen=True)
class Card:
    """One recommended plan; scenarios that take the same plan share a card. ``label`` is "" where there is none."""

    kinds: tuple[Kind, ...]
    label: str
    variant: str
    state: str
    words: str
    recommended: bool
    figures: tuple[Fact, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    yaml: str


@dataclass(frozen=True)
class Column:
    """A column of the table of plans."""

    name: str
    title: str
    numeric: bool = True
    sorted: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the value it sorts by ("" sorts last), and how it stands out."""

    text: str
    sort: str = ""
    note: str = ""
    numeric: bool = True
    fill: str = ""
    ink: str = ""
    outcome: bool = False


@dataclass(frozen=True)
class PlanRow:
    """A row of the table of plans."""

    label: str
    variant: str
    order: int
    roles: tuple[str, ...]
    failed: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class SpeedBar:
    """A bar of steps per second; positions are in per cent of the longest."""

    label: str
    on: bool
    outcome: str = ""
    width: float = 0.0
    low: float = 0.0
    whisker: float = 0.0
    sps: str = ""
    time: str = ""


@dataclass(frozen=True)
class HeatCell:
    """A cell of the efficiency map; empty where the grid has no such plan."""

    text: str = ""
    rating: str = ""
    fill: str = ""
    ink: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class HeatRow:
    """A row of the efficiency map."""

    runners: int
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True)
class Heat:
    """The efficiency map: runners down, envs per runner across."""

    title: str
    envs: tuple[int, ...]
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True)
class LegendItem:
    """An entry of a chart's legend: a line, a region or a mark."""

    text: str
    style: str = ""
    color: str = ""
    path: str = ""
    line: bool = False
    region: bool = False


@dataclass(frozen=True)
class PhasePart:
    """One phase in a stacked bar."""

    key: str
    width: float
    title: str


@dataclass(frozen=True)
class LedgerBar:
    """One plan's stacked bar; ``text`` says it in words for a screen reader."""

    label: str
    on: bool
    parts: tuple[PhasePart, ...]
    verdict: str
    text: str


@dataclass(frozen=True)
class PhaseLine:
    """One line of the ledger table."""

    key: str
    label: str
    meaning: str
    share: str = ""
    seconds: str = ""
    gain: str = ""


@dataclass(frozen=True)
class LedgerDetail:
    """The ledger of one plan as a table."""

    label: str
    phases: tuple[PhaseLine, ...]
    total_share: str
    total_seconds: str


@dataclass(frozen=True)
class LedgerPart:
    """The section on where the time goes."""

    sentences: tuple[str, ...]
    legend: tuple[PhaseLine, ...]
    bars: tuple[LedgerBar, ...]
    detail: LedgerDetail | None
    caption: str = "Share of wall time, per plan"


@dataclass(frozen=True)
class Meter:
    """A share of a limit; ``width`` in per cent, None where only the text is known."""

    text: str
    width: float | None = None
    high: bool = False


@dataclass(frozen=True)
class ResourceRow:
    """What one plan used; ``gpu`` is None where no row of the table has a reading."""

    label: str
    on: bool
    cpu: Meter
    ram: Meter
    gpu: Meter | None


@dataclass(frozen=True)
class ModelRow:
    """One scaling model in the table of models."""

    name: str
    chosen: bool
    held_out: str
    fit: str
    points: int
    formula: str


@dataclass(frozen=True)
class ModelPart:
    """What is said of the scaling models."""

    reason: str
    rows: tuple[ModelRow, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class WorkloadPart:
    """Everything about one workload."""

    title: str
    headline: str
    cards: tuple[Card, ...]
    efficiency_note: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[PlanRow, ...]
    bars: tuple[SpeedBar, ...]
    any_whisker: bool
    name_width: int
    value_width: int
    hidden: str
    variant_names: str
    scaling: Chart | None
    scaling_legend: tuple[LegendItem, ...]
    heat: Heat | None
    decision: Chart | None
    decision_legend: tuple[LegendItem, ...]
    models: ModelPart | None
    curves: tuple[Chart, ...]
    ledger: LedgerPart
    resources: tuple[ResourceRow, ...]


@dataclass(frozen=True)
class TablePart:
    """A sortable table by itself, in the shape that the table macro reads."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[PlanRow, ...]


@dataclass(frozen=True)
class StackedBars:
    """Stacked bars by themselves, in the shape that the ledger macro reads; ``name_width`` in characters."""

    ledger: LedgerPart
    name_width: int


@dataclass(frozen=True)
class Failure:
    """A trial that did not finish, or finished unsteadily."""

    name: str
    outcome: str
    message: str


@dataclass(frozen=True)
class Page:
    """The whole page."""

    version: str
    env_id: str
    algo: str
    date: str
    verdict: str
    verdict_rest: str
    facts: tuple[Fact, ...]
    loud_notices: tuple[Notice, ...]
    notices: tuple[Notice, ...]
    workloads: tuple[WorkloadPart, ...]
    failures: tuple[Failure, ...]
    unsteady: tuple[Failure, ...]
    hardware: tuple[str, ...]
    method: tuple[str, ...]
    machine: tuple[tuple[str, str], ...]
    gpu: str
    settings: str
    several: bool
    train_command: str
