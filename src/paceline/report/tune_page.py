"""``report.html`` of a tuning: the verdict, what to do with it, and how it was come by.

Every section is a function of its own that returns what the template prints, or nothing; the template leaves out
sections that have nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paceline._version import __version__
from paceline.analysis.table import Notice
from paceline.measure.race_log import RaceLog
from paceline.measure.tune_result import PlanStanding, TuneRecord, TuneResults
from paceline.report import formats, palette, tune_charts
from paceline.report import tune_view as look
from paceline.report.html import render_page
from paceline.report.page_parts import (
    Cell,
    Column,
    Fact,
    LegendItem,
    PhaseLine,
    PlanRow,
    StackedBars,
    TablePart,
)
from paceline.report.svg import Chart
from paceline.report.tune_charts import Lanes
from paceline.report.tune_text import bound_sentence, method_facts, reasons, tune_headline, winner_sentences

MOST_NAMES = 12
"""Plans of one reason that are named at once; the others are folded."""


@dataclass(frozen=True)
class TakePart:
    """What to do next: the command, and ``plan.yaml`` to copy ("" where the folder has none)."""

    name: str
    words: tuple[str, ...]
    command: str
    yaml: str


@dataclass(frozen=True)
class StepTable:
    """Where a step's time goes as a table: a column a plan, a row a phase; ``roles`` stand below the plans' names."""

    names: tuple[str, ...]
    roles: tuple[str, ...]
    rows: tuple[tuple[PhaseLine, tuple[str, ...]], ...]
    totals: tuple[str, ...]


@dataclass(frozen=True)
class StepPart:
    """The section on where a step's time goes."""

    sentences: tuple[str, ...]
    bars: StackedBars
    table: StepTable


@dataclass(frozen=True)
class LeftOutLine:
    """Plans that were left out for one reason; ``more`` names those that ``names`` does not."""

    state: str
    count: str
    reason: str
    names: str
    more: str


@dataclass(frozen=True)
class TunePage:
    """Everything that the template prints."""

    version: str
    env_id: str
    algo: str
    date: str
    verdict: str
    verdict_rest: str
    facts: tuple[Fact, ...]
    notices: tuple[Notice, ...]
    sentences: tuple[str, ...]
    take: TakePart | None
    speeds: Lanes | None
    table: TablePart | None
    unmeasured: TablePart | None
    left_out: tuple[LeftOutLine, ...]
    race: Lanes | None
    charts: tuple[tuple[Chart, tuple[LegendItem, ...]], ...]
    steps: StepPart | None
    what_ifs: tuple[tuple[str, str, str], ...]
    noise: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]


def render_tune_html(
    results: TuneResults, *, race: RaceLog | None = None, plan_yaml: str = "", run_file: str = ""
) -> str:
    """Return the HTML report of a tuning as text.

    Args:
        results: what was found.
        race: who was measured when, where that is known.
        plan_yaml: the text of ``plan.yaml``.
        run_file: where the whole run lies, as it was measured.
    """
    return render_page("tune.html.j2", build_tune_page(results, race=race, plan_yaml=plan_yaml, run_file=run_file))


def build_tune_page(
    results: TuneResults, *, race: RaceLog | None = None, plan_yaml: str = "", run_file: str = ""
) -> TunePage:
    """Return everything that the template prints; see :func:`render_tune_html`."""
    tune, info = results.tune, results.experiment_info
    verdict, rest = formats.first_sentence(formats.one_line(tune_headline(results)))
    charts = (tune_charts.agreement_chart(tune), tune_charts.frontier_chart(tune))
    return TunePage(
        version=__version__,
        env_id=info.env_id,
        algo=info.algo,
        date=formats.when(info.timestamp),
        verdict=verdict,
        verdict_rest=" ".join(part for part in (rest, bound_sentence(tune), *tune.verdict) if part),
        facts=_facts(tune),
        notices=_notices(results),
        sentences=tuple(reasons(tune)),
        take=_take(results, plan_yaml, run_file),
        speeds=tune_charts.speed_lanes(tune),
        table=_measured_table(tune),
        unmeasured=_unmeasured_table(tune),
        left_out=_left_out(tune),
        race=tune_charts.race_lanes(tune, race),
        charts=tuple(chart for chart in charts if chart is not None),
        steps=_steps(results),
        what_ifs=_what_ifs(tune),
        noise=tuple(look.noise_sentences(tune.noise)),
        parts=tuple(look.part_facts(tune.parts)),
        machine=tuple(method_facts(results)),
    )


def _facts(tune: TuneRecord) -> tuple[Fact, ...]:
    winner = look.standing_of(tune, tune.decision.winner)
    if winner is None:
        return ()
    facts = [Fact("steps per second", formats.integer(winner.sps), f"95%: {formats.interval(winner.sps_ci95)}")]
    baseline = tune.decision.baseline
    if winner.speedup is not None and baseline not in (None, winner.name):
        middle, low, high = winner.speedup
        facts.append(Fact(f"over {baseline}", formats.times(middle), f"95%: {low:.2f} to {high:.2f}"))
    sure = "certain enough" if tune.decision.certain else "with this probability"
    facts.append(Fact("how sure", look.chance_text(tune.decision.p_best), f"within 2% of the best {sure}"))
    if winner.cores:
        facts.append(Fact("cores kept busy", f"{winner.cores:.1f}", formats.size_bytes(winner.memory_bytes)))
    count = len(look.measured(tune))
    looked_at = f"{formats.plural(count, 'plan')} measured of {len(tune.plans)}"
    return (*facts, Fact("tuned for", formats.seconds(tune.wall_s), looked_at))


def _notices(results: TuneResults) -> tuple[Notice, ...]:
    """Return what weakens the answer."""
    tune, found = results.tune, []
    if not results.experiment_info.complete:
        found.append(Notice("stopped", "The tuning was stopped early: this is the best so far."))
    elif tune.decision.winner is not None and not tune.decision.tells:
        text = "Another plan may be better: tune for longer (--budget-minutes), on a quiet machine, to know more."
        found.append(Notice("cannot-tell", text))
    return tuple(found)


def _take(results: TuneResults, plan_yaml: str, run_file: str) -> TakePart | None:
    name = results.tune.decision.winner
    if name is None:
        return None
    return TakePart(name, tuple(winner_sentences(results.tune)), look.next_command(results, run_file), plan_yaml)


def _measured_table(tune: TuneRecord) -> TablePart | None:
    rows = look.measured(tune)
    if not rows:
        return None
    columns = (
        Column("plan", "backend or place of the policy, env runners x envs per runner", numeric=False),
        Column("steps/s", "as believed at the end, 95% interval beside it", sorted=True),
        Column("predicted", "before anything was measured"),
        Column("off by", "measured against predicted"),
        Column("speedup", "over the baseline, 95% interval beside it"),
        Column("P(best)", "probability that no plan is more than 2% better"),
        Column("cores", "kept busy"),
        Column("memory", "of all processes of the plan"),
        Column("slices", "measurements, and in how many processes"),
    )
    cells = tuple(
        PlanRow(one.name, one.changes, place, _roles(one, tune), False, _measured_cells(one))
        for place, one in enumerate(rows)
    )
    over = f" Speedups are over {tune.decision.baseline}." if tune.decision.baseline else ""
    return TablePart(f"{formats.plural(len(rows), 'plan')} measured, fastest first.{over}", columns, cells)


def _roles(one: PlanStanding, tune: TuneRecord) -> tuple[str, ...]:
    decision = tune.decision
    if one.name == decision.winner:
        return ("recommended",)
    roles = [("as good", one.name in decision.tied), ("baseline", one.name == decision.baseline)]
    return tuple(role for role, holds in roles if holds)


def _measured_cells(one: PlanStanding) -> tuple[Cell, ...]:
    off = one.sps / one.predicted_sps - 1.0 if one.sps and one.predicted_sps else None
    speedup = one.speedup
    return (
        Cell(formats.integer(one.sps), _key(one.sps), formats.interval(one.sps_ci95) if one.sps_ci95 else ""),
        Cell(formats.integer(one.predicted_sps), _key(one.predicted_sps)),
        Cell(formats.MISSING if off is None else f"{off:+.0%}", _key(off)),
        Cell(
            formats.times(speedup[0] if speedup else None),
            _key(speedup[0] if speedup else None),
            f"{speedup[1]:.2f} to {speedup[2]:.2f}" if speedup else "",
        ),
        Cell(formats.MISSING if one.p_tied is None else f"{one.p_tied:.2f}", _key(one.p_tied)),
        Cell(formats.MISSING if one.cores is None else f"{one.cores:.1f}", _key(one.cores)),
        Cell(formats.size_bytes(one.memory_bytes), _key(one.memory_bytes)),
        Cell(str(one.num_slices), str(one.num_slices), f"in {one.num_processes}"),
    )


def _unmeasured_table(tune: TuneRecord) -> TablePart | None:
    rows = [one for one in tune.plans if one.state != "measured" and one.predicted_sps]
    if not rows:
        return None
    rows.sort(key=lambda one: -(one.sps or 0.0))
    columns = (
        Column("plan", "backend or place of the policy, env runners x envs per runner", numeric=False),
        Column("steps/s believed", "at the end, from what was measured of others; 95% interval beside it", sorted=True),
        Column("predicted", "before anything was measured"),
        Column("P(best)", "probability that no plan is more than 2% better"),
        Column("cores", "expected to be kept busy"),
        Column("memory", "expected, of all processes"),
        Column("state", "what became of it", numeric=False),
    )
    cells = tuple(
        PlanRow(one.name, one.changes, place, (), one.state == "failed", _unmeasured_cells(one))
        for place, one in enumerate(rows)
    )
    return TablePart("What they were believed to give in the end, the fastest first.", columns, cells)


def _unmeasured_cells(one: PlanStanding) -> tuple[Cell, ...]:
    return (
        Cell(formats.integer(one.sps), _key(one.sps), formats.interval(one.sps_ci95) if one.sps_ci95 else ""),
        Cell(formats.integer(one.predicted_sps), _key(one.predicted_sps)),
        Cell(formats.MISSING if one.p_tied is None else f"{one.p_tied:.2f}", _key(one.p_tied)),
        Cell(formats.MISSING if one.cores is None else f"{one.cores:.1f}", _key(one.cores)),
        Cell(formats.size_bytes(one.memory_bytes), _key(one.memory_bytes)),
        Cell(one.state, one.state, numeric=False, outcome=one.state in ("failed", "ruled out")),
    )


def _key(value: float | None) -> str:
    return "" if value is None or not formats.known(value) else f"{value:.9g}"


def _left_out(tune: TuneRecord) -> tuple[LeftOutLine, ...]:
    lines = []
    for one in look.left_out(tune.plans):
        example = f" (the figures are those of {one.names[0]})" if one.likewise else ""
        shown, folded = one.names[:MOST_NAMES], one.names[MOST_NAMES:]
        count = formats.plural(len(one.names), "plan")
        lines.append(LeftOutLine(one.state, count, one.reason + example, ", ".join(shown), ", ".join(folded)))
    return tuple(lines)


def _steps(results: TuneResults) -> StepPart | None:
    """Put the ledgers of the winner, its baseline and the plan of one environment side by side, by the step."""
    times, bars = look.step_times(results), tune_charts.step_bars(results)
    if bars is None:
        return None
    rows = [
        (
            PhaseLine(palette.phase_class(phase), look.label_of(phase), palette.phase_style(phase).meaning),
            _figures([one.phases_us.get(phase, 0.0) for one in times]),
        )
        for phase in look.step_phases(times)
    ]
    laid = StepTable(
        tuple(one.name for one in times),
        tuple(", ".join(one.roles) for one in times),
        tuple(rows),
        _figures([one.total_us for one in times]),
    )
    return StepPart(tuple(look.step_sentences(times)), bars, laid)


def _figures(values: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{value:,.1f}" for value in values)


def _what_ifs(tune: TuneRecord) -> tuple[tuple[str, str, str], ...]:
    """Return what would change the winner's speed: what, by how much, and how that is known."""
    rows = []
    for one in tune.what_ifs:
        change = "" if one.change is None else f"{one.change:+.0%}"
        how = one.sentence.partition(": ")[2] if one.change is None else "predicted"
        if one.ci95 is not None:
            how = f"measured, {one.ci95[0]:+.0%} to {one.ci95[1]:+.0%}"
        if one.learns_differently and one.change is not None:
            how += "; it learns differently"
        rows.append((one.what, change, how))
    return (*rows, *((check.what, check.answer, check.sentence) for check in tune.learning_checks))
