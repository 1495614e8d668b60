"""``compare.txt``: the verdict on training runs, and every figure behind it, in 100 columns."""

from __future__ import annotations

from collections.abc import Iterable

from paceline.analysis.duel import return_text
from paceline.analysis.standings import Standings
from paceline.report import compare_view as look
from paceline.report import formats
from paceline.report.text_table import Column, heading, paragraph, table

NAME = Column("contender", "<", wrap=26)


def render_compare_text(found: Standings) -> str:
    """Return the text report of a comparison.

    Args:
        found: what was found.
    """
    lines = paragraph(found.headline, indent=0)
    loud = [notice for notice in found.notices if notice.severity == "problem"]
    lines += _bullets(f"{notice.severity}: {notice.text}" for notice in loud)
    lines += _learning_section(found)
    lines += _duel_section(found)
    lines += _speed_section(found)
    lines += _time_section(found)
    lines += _difference_section(found)
    lines += heading("Warnings and notes")
    lines += _bullets(f"{notice.severity}: {notice.text}" for notice in found.notices if notice not in loud)
    lines += heading("How it was compared")
    lines += _bullets(found.method)
    lines += heading("Runs")
    for folder, what in look.run_lines(found):
        lines += paragraph(f"{folder}: {what}", hang=2)
    for name, value in look.machine_facts(found):
        lines += paragraph(f"{name}: {value}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _bullets(sentences: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for sentence in sentences:
        lines += paragraph(sentence, bullet="- ")
    return lines


def _learning_section(found: Standings) -> list[str]:
    goal = return_text(found.threshold) if found.threshold is not None else "it"
    columns = [
        NAME, Column("seeds"), Column("steps"), Column("final return"), Column("95%"), Column(f"steps to {goal}"),
        Column(f"time to {goal}"),
    ]  # fmt: skip
    rows = [
        [
            look.contender_name(standing),
            look.seeds_text(standing.contender),
            formats.compact(standing.total_env_steps),
            look.return_cell(standing.final_return.value if standing.final_return else None),
            look.bounds_text(standing.final_return),
            *look.mark_cells(standing.mark),
        ]
        for standing in found.standings
    ]
    notes = [look.threshold_sentence(found)]
    reasons: dict[str, list[str]] = {}
    for standing in found.standings:
        if standing.final_return is not None and standing.final_return.reason:
            reasons.setdefault(standing.final_return.reason, []).append(look.contender_name(standing))
    notes += [f"{', '.join(names)}: {reason}." for reason, names in reasons.items()]
    return heading("What was learnt") + table(columns, rows) + [line for note in notes for line in paragraph(note)]


def _duel_section(found: Standings) -> list[str]:
    if not found.duels:
        return []
    columns = [NAME, Column("speed"), Column("time to the return"), Column("probability of improvement")]
    rows = [
        [
            formats.one_line(item.challenger),
            look.ratio_text(item.sps_ratio),
            look.ratio_text(item.seconds_ratio),
            look.chance_text(item),
        ]
        for item in found.duels
    ]
    lines = heading(f"Against {look.contender_name(found.standings[0])}") + table(columns, rows)
    return lines + _bullets(found.sentences)


def _speed_section(found: Standings) -> list[str]:
    columns = [
        NAME, Column("steps/s"), Column("95%"), Column("policy lag"), Column("cores busy"), Column("peak memory"),
        Column("restarts"),
    ]  # fmt: skip
    rows = [
        [
            look.contender_name(standing),
            formats.integer(standing.sps.value if standing.sps else None),
            look.spread_text(standing.sps),
            look.lag_text(standing.lag),
            look.cpu_text(standing),
            formats.size_bytes(standing.peak_memory_bytes),
            str(standing.restarts),
        ]
        for standing in found.standings
    ]
    return heading("Speed, CPU and memory") + table(columns, rows)


_SHORT = {
    "environment steps": "env steps", "waiting for runners": "waiting", "learner update": "learner",
    "unattributed": "unattrib.",
}  # fmt: skip


def _time_section(found: Standings) -> list[str]:
    phases = look.drawn_phases(found)
    if not phases:
        return []
    columns = [NAME, *(Column(_SHORT.get(label, label)) for _, label in phases)]
    shown = [item for item in found.standings if item.shares]
    rows = [
        [look.contender_name(item), *(f"{look.percent_of(item, phase):.1f}%" for phase, _ in phases)] for item in shown
    ]
    held = ", ".join(f"{look.contender_name(item)} {item.bottleneck.verdict}" for item in shown if item.bottleneck)
    return heading("Where the time goes") + table(columns, rows) + paragraph(f"What holds them back: {held}.")


def _difference_section(found: Standings) -> list[str]:
    if not found.differences:
        return []
    lines = heading("What differs")
    names = [look.contender_name(standing) for standing in found.standings]
    for item in found.differences:
        values = "; ".join(f"{name} {value}" for name, value in zip(names, item.values, strict=True))
        lines += paragraph(f"{item.field}: {values}", hang=2)
    return lines
