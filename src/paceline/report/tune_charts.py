"""The pictures of a tuning's page, as data: plans as predicted and measured, the race, agreement, frontier, ledgers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paceline.measure.race_log import RaceLog
from paceline.measure.tune_result import PlanStanding, TuneRecord, TuneResults
from paceline.report import formats, palette
from paceline.report import tune_view as look
from paceline.report.charts import time_unit
from paceline.report.geometry import nice_ticks
from paceline.report.page_parts import LedgerBar, LedgerPart, LegendItem, PhaseLine, PhasePart, StackedBars
from paceline.report.svg import Axis, Chart, Line, Mark, draw, marker_path

MOST_LANES = 24
"""Plans that are drawn by name; the tables hold all."""
NAME_CHARS = 26


@dataclass(frozen=True)
class LaneTick:
    """A tick of the scale below the lanes; ``at`` in per cent of their width."""

    at: float
    text: str


@dataclass(frozen=True)
class Span:
    """Something drawn on a lane from ``at`` on, ``width`` long, both in per cent; ``kind`` is its CSS class."""

    kind: str
    at: float
    width: float
    title: str


@dataclass(frozen=True)
class Lane:
    """One plan's line in a picture of lanes; ``text`` says it in words, ``value`` is the figure at its end."""

    label: str
    kind: str
    spans: tuple[Span, ...]
    value: str
    text: str


@dataclass(frozen=True)
class Lanes:
    """A picture of one line a plan over a common scale.

    Attributes:
        caption: what it shows.
        lanes: the lines.
        ticks: of the scale.
        step: distance of two ticks, per cent.
        name_width: characters that names take.
        value_width: characters that values take.
        legend: what the signs mean, as (CSS class, words).
        note: what else to know.
    """

    caption: str
    lanes: tuple[Lane, ...]
    ticks: tuple[LaneTick, ...]
    step: float
    name_width: int
    value_width: int
    legend: tuple[tuple[str, str], ...]
    note: str = ""


def speed_lanes(tune: TuneRecord) -> Lanes | None:
    """Draw every plan's speed as predicted and as measured, or as believed where it was not measured."""
    plans = look.shown_plans(tune, MOST_LANES)
    tops = [value for one in plans for value in (one.predicted_sps, one.sps, (one.sps_ci95 or (0.0, 0.0))[1]) if value]
    if not tops:
        return None
    ticks, step = _scale(max(tops), formats.compact)
    whole = step * (len(ticks) - 1)
    lanes = tuple(_speed_lane(one, one.name == tune.decision.winner, whole) for one in plans)
    hidden = sum(1 for one in tune.plans if one.predicted_sps) - len(plans)
    legend = [("was", "predicted before measuring"), ("dot", "measured"), ("ci", "where it lies with 95%")]
    if any(lane.kind != "measured" for lane in lanes):
        legend.append(("belief", "not measured: where it was believed to lie with 95%"))
    more = f"{formats.plural(hidden, 'more plan')} in the tables." if hidden > 0 else ""
    return _lanes("Steps per second of every plan", lanes, ticks, legend, more)


def _speed_lane(one: PlanStanding, winner: bool, whole: float) -> Lane:
    done = one.state == "measured" and one.sps is not None
    between = formats.interval(one.sps_ci95)
    spans = []
    if one.sps_ci95 is not None:
        low, high = one.sps_ci95
        words = f"{'measured' if done else 'believed'}: {between} steps/s with 95%"
        spans.append(Span("ci" if done else "belief", _percent(low, whole), _percent(high - low, whole), words))
    if one.predicted_sps:
        words = f"predicted: {formats.integer(one.predicted_sps)} steps/s"
        spans.append(Span("was", _percent(one.predicted_sps, whole), 0.0, words))
    if done:
        spans.append(Span("dot", _percent(one.sps or 0.0, whole), 0.0, f"measured: {formats.integer(one.sps)} steps/s"))
    kind = "winner" if winner else "measured" if done else "unmeasured"
    value = formats.integer(one.sps) if done else "–" if one.state == "not measured" else one.state
    text = f"{one.name}: {'; '.join(span.title for span in spans)}" + ("" if done else f"; {one.state}")
    return Lane(one.name, kind, tuple(spans), value, text)


def race_lanes(tune: TuneRecord, race: RaceLog | None) -> Lanes | None:
    """Draw who was measured when and for how long, in the order in which plans were first measured."""
    if race is None:
        return None
    unit, divisor = time_unit(max(one.end_s for one in race.slices))
    ticks, step = _scale(max(one.end_s for one in race.slices) / divisor, "{:g}".format)
    whole = step * (len(ticks) - 1) * divisor
    processes = {one.name: one.num_processes for one in tune.plans}
    lanes = []
    for name in race.order:
        own = [one for one in race.slices if one.plan == name]
        spans = tuple(
            Span(
                "again" if race.confirm_s is not None and one.begin_s >= race.confirm_s else "slice",
                _percent(one.begin_s, whole),
                max(_percent(one.end_s - one.begin_s, whole), 0.5),
                f"{formats.integer(one.sps)} steps/s in {formats.seconds(one.end_s - one.begin_s)}",
            )
            for one in own
        )
        took = formats.seconds(sum(one.end_s - one.begin_s for one in own))
        kind = "winner" if name == tune.decision.winner else "measured"
        value = f"{len(own)} in {processes.get(name, 0)}"
        lanes.append(Lane(name, kind, spans, value, f"{name}: {took} in slices (processes): {value}"))
    legend = [("slice", "a slice in which the plan was measured")]
    if any(span.kind == "again" for lane in lanes for span in lane.spans):
        legend.append(("again", "measured again, in a fresh process"))
    note = f"Across: {unit} since the tuning began. At the right: slices, and in how many processes. Between slices "
    note += "processes start, and before the first one the environment, the policy and the learner are looked at."
    return _lanes("Who was measured when, in order", tuple(lanes), ticks, legend, note)


def _lanes(
    caption: str,
    lanes: tuple[Lane, ...],
    ticks: Sequence[LaneTick],
    legend: Iterable[tuple[str, str]],
    note: str,
) -> Lanes:
    return Lanes(
        caption,
        lanes,
        tuple(ticks),
        ticks[1].at,
        min(max(len(lane.label) for lane in lanes), NAME_CHARS) + 1,
        max(len(lane.value) for lane in lanes),
        tuple(legend),
        note,
    )


def _scale(high: float, write: object) -> tuple[list[LaneTick], float]:
    values = nice_ticks(0.0, high, 4)
    return [LaneTick(_percent(value, values[-1]), write(value)) for value in values], values[1]  # type: ignore[operator]


def _percent(value: float, whole: float) -> float:
    return round(100.0 * value / whole, 2)


def agreement_chart(tune: TuneRecord) -> tuple[Chart, tuple[LegendItem, ...]] | None:
    """Draw measured against predicted speed; what lies on the diagonal was predicted rightly."""
    known = [one for one in look.measured(tune) if one.sps and one.predicted_sps]
    if not known:
        return None
    top = max(max(one.sps or 0.0, one.predicted_sps or 0.0, (one.sps_ci95 or (0.0, 0.0))[1]) for one in known)
    axis = Axis("predicted steps/s", 0.0, top, write=formats.compact, target=4)
    end = axis.ticks()[-1]
    marks = [
        Mark(
            one.predicted_sps or 0.0,
            one.sps or 0.0,
            *_sign(one, tune),
            title=f"{one.name}: predicted {formats.integer(one.predicted_sps)}, measured {formats.integer(one.sps)}",
            low=one.sps_ci95[0] if one.sps_ci95 else None,
            high=one.sps_ci95[1] if one.sps_ci95 else None,
        )
        for one in known
    ]
    diagonal = Line([(0.0, 0.0), (end, end)], style="line ideal")
    chart = draw(
        "Predicted against measured",
        look.prediction_sentence(tune),
        axis,
        Axis("measured steps/s", 0.0, top, write=formats.compact, target=4),
        lines=[diagonal],
        marks=marks,
    )
    return chart, (*_signs(tune), LegendItem("as predicted", style="line ideal", line=True))


def frontier_chart(tune: TuneRecord) -> tuple[Chart, tuple[LegendItem, ...]] | None:
    """Draw speed against cores kept busy, and the plans that nothing beats in both."""
    known = [one for one in look.measured(tune) if one.sps and one.cores]
    if not known:
        return None
    edge = look.frontier(known)
    marks = [
        Mark(
            one.cores or 0.0,
            one.sps or 0.0,
            *_sign(one, tune),
            title=f"{one.name}: {formats.integer(one.sps)} steps/s with {one.cores:.1f} cores and "
            f"{formats.size_bytes(one.memory_bytes)}",
            label=one.name if one in edge else "",
        )
        for one in known
    ]
    chart = draw(
        "Speed against cores kept busy",
        f"Nothing that was measured is faster with fewer cores than {', '.join(one.name for one in edge)}.",
        Axis("cores kept busy", 0.0, 1.1 * max(one.cores or 0.0 for one in known), target=4),
        Axis("steps/s", 0.0, max(one.sps or 0.0 for one in known), write=formats.compact, target=4),
        lines=[Line([(one.cores or 0.0, one.sps or 0.0) for one in edge], style="line model")],
        marks=marks,
    )
    border = LegendItem("nothing is faster with fewer cores", style="line model", line=True)
    return chart, (*_signs(tune), *([border] if len(edge) > 1 else []))


def _sign(one: PlanStanding, tune: TuneRecord) -> tuple[str, str]:
    return ("D", palette.VERMILION) if one.name == tune.decision.winner else ("o", palette.BLUE)


def _signs(tune: TuneRecord) -> tuple[LegendItem, ...]:
    winner = LegendItem("the winner", color=palette.VERMILION, path=marker_path("D", 13, 7, 5))
    others = LegendItem("other plans", color=palette.BLUE, path=marker_path("o", 13, 7, 5))
    return (winner, others) if tune.decision.winner is not None else (others,)


def step_bars(results: TuneResults) -> StackedBars | None:
    """Draw where the time of a step goes, a bar a plan; a shorter bar is a faster plan."""
    times = look.step_times(results)
    if not times:
        return None
    phases = look.step_phases(times)
    longest = max(one.total_us for one in times)
    bars = tuple(
        LedgerBar(
            one.name,
            "winner" in one.roles,
            tuple(
                PhasePart(
                    palette.phase_class(phase),
                    _percent(one.phases_us[phase], longest),
                    f"{look.label_of(phase)} {look.microseconds(one.phases_us[phase])}",
                )
                for phase in phases
                if one.phases_us.get(phase)
            ),
            look.microseconds(one.total_us),
            f"{one.name}: "
            + ", ".join(f"{look.label_of(p)} {look.microseconds(one.phases_us.get(p, 0.0))}" for p in phases),
        )
        for one in times
    )
    legend = tuple(
        PhaseLine(palette.phase_class(phase), look.label_of(phase), palette.phase_style(phase).meaning)
        for phase in phases
    )
    width = min(max(len(one.name) for one in times), NAME_CHARS) + 1
    caption = "Wall time of the learner's process from one environment step to the next; shorter is faster"
    return StackedBars(LedgerPart((), legend, bars, None, caption), width)
