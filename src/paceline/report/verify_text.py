"""What a verification says: one of four words and why, whether the plan still wins, and what is no longer as it was."""

from __future__ import annotations

import shlex
from pathlib import Path

from paceline.measure.verify_result import Interval, VerifiedPlan, VerifyRecord
from paceline.report import formats
from paceline.report.text_table import heading, paragraph


def verify_headline(record: VerifyRecord) -> str:
    """Return the sentence that begins with the answer and says why."""
    winner = record.winner
    now = winner.sps or (winner.recorded_sps,) * 3
    speed = f"{record.answer}: {winner.name} gives {formats.integer(now[0])} steps/s"
    if record.change is None:
        return (
            f"{speed} here, and the {formats.integer(winner.recorded_sps)} recorded are of another machine: speeds of "
            f"two machines do not tell whether anything has changed."
        )
    beside = f"{speed}, {_times(record.change)} the {formats.integer(winner.recorded_sps)} recorded"
    if record.answer in ("SLOWER", "FASTER"):
        return f"{beside}: a change of more than {record.margin:.0%}, and more than noise explains."
    if record.answer == "SAME":
        return f"{beside}: no change of more than {record.margin:.0%} that noise would not explain."
    return (
        f"{beside}: this machine differs too much from itself to tell; even a change of {record.resolution:.0%} may be "
        f"noise, or be hidden by it."
    )


def render_verify_text(record: VerifyRecord, folder: Path) -> str:
    """Return the text for a terminal.

    Args:
        record: what was found.
        folder: of the tuning, for the advice.
    """
    lines = [*paragraph(verify_headline(record), indent=0), *_rest(record, folder)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def verify_section(record: VerifyRecord, folder: Path) -> list[str]:
    """Return the lines of a tuning's report on its last verification."""
    begin = heading(f"Measured again on {formats.when(record.timestamp)}")
    return [*begin, *paragraph(verify_headline(record)), *_rest(record, folder)]


def _rest(record: VerifyRecord, folder: Path) -> list[str]:
    """Return the lines below the first sentence."""
    lines = [line for sentence in _sentences(record) for line in paragraph(sentence)]
    if advice := _advice(record):
        command = f"paceline tune --config {shlex.quote(str(folder / 'spec.yaml'))} --again"
        lines += [*paragraph(f"{advice}; tune again:"), f"    {command}"]
    return lines


def _sentences(record: VerifyRecord) -> list[str]:
    others = record.plans[1:]
    sentences = [_beside(plan) for plan in others if plan.ratio is not None]
    sentences += [
        f"{plan.name}, the {plan.role}, could not be measured: {plan.failure}" for plan in others if plan.failure
    ]
    if not others:
        sentences.append("The tuning measured no other plan that it could be held against.")
    sentences += record.differences
    sentences.append(_how(record))
    if not record.complete:
        sentences.append("It was stopped early: this is what is known so far.")
    return sentences


def _beside(plan: VerifiedPlan) -> str:
    """Say how the winner stands beside another plan, now and as recorded."""
    assert plan.ratio is not None
    _, low, high = plan.ratio
    before = plan.recorded_ratio
    if high < 1.0 and before is not None and before[0] < 1.0:
        return (
            f"It is {_times(plan.ratio)} the speed of {plan.name}, the {plan.role}{_was(before)}: as then, it is not "
            f"the fastest, but needs less."
        )
    if high < 1.0:
        return f"It no longer wins: {_times(plan.ratio)} the speed of {plan.name}, the {plan.role}{_was(before)}."
    if low <= 1.0:
        return (
            f"Whether it is faster than {plan.name}, the {plan.role}, cannot be told: {_times(plan.ratio)} its "
            f"speed{_was(before)}."
        )
    if before is not None and (high < before[1] or low > before[2]):
        more = "less" if high < before[1] else "more"
        return f"It is still {_times(plan.ratio)} the speed of {plan.name}, {more} than the {_times(before)} recorded."
    return f"It is still {_times(plan.ratio)} the speed of {plan.name}{_was(before)}."


def _was(recorded: Interval | None) -> str:
    return "" if recorded is None else f" (recorded: {formats.times(recorded[0])})"


def _advice(record: VerifyRecord) -> str:
    """Return why to tune again; empty where there is no reason."""
    others = record.plans[1:]
    for plan in others:
        was_slower = plan.recorded_ratio is not None and plan.recorded_ratio[0] < 1.0
        if plan.ratio is not None and plan.ratio[2] < 1.0 and not was_slower:
            return f"{plan.name} is faster now"
    lost = [
        plan.name
        for plan in others
        if plan.ratio is not None and plan.ratio[1] <= 1.0 and plan.recorded_ratio and plan.recorded_ratio[1] > 1.0
    ]
    if lost:
        return f"The advantage over {lost[0]} is no longer certain"
    return "" if record.same_machine else "Another plan may be the fastest on this machine"


def _how(record: VerifyRecord) -> str:
    counts = [
        f"{formats.plural(len(plan.slices), 'slice')} of {plan.name} in {_processes(plan)}"
        for plan in record.plans
        if plan.slices
    ]
    return f"Measured in turns, {formats.seconds(record.wall_s)}: {', '.join(counts)}."


def _processes(plan: VerifiedPlan) -> str:
    count = len({piece.process for piece in plan.slices})
    return "1 fresh process" if count == 1 else f"{count} fresh processes"


def _times(ratio: Interval) -> str:
    middle, low, high = ratio
    return f"{formats.times(middle)} ({low:.2f} to {high:.2f})"
