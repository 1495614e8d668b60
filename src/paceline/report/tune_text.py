"""``report.txt`` of a tuning: the verdict first, then who was measured, who was not and why, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.measure.tune_result import PlanStanding, TuneRecord, TuneResults
from paceline.report import formats, view
from paceline.report import tune_view as look
from paceline.report.text_table import Column, heading, paragraph, table

_MOST_ROWS = 15


def tune_headline(results: TuneResults) -> str:
    """Return the first line of the report: which plan to take, how much faster it is, and how sure that is."""
    tune = results.tune
    decision = tune.decision
    winner = look.standing_of(tune, decision.winner)
    if winner is None:
        return "Cannot tell which plan to take: none could be measured."
    speed = f"{formats.integer(winner.sps)} steps/s{_over_baseline(tune, winner)}"
    within = f"within 2% of the best with probability {look.chance_text(decision.p_best)}"
    if not decision.tells:
        best = "the fastest" if tune.objective == "fastest" else f"the best ({tune.objective})"
        after = f"{formats.seconds(tune.wall_s)} and {formats.plural(len(look.measured(tune)), 'measured plan')}"
        return (
            f"Take {winner.name} for now: {speed}. Which plan is {best} cannot be told after {after}: it is {within}."
        )
    return f"Take {winner.name}: {speed}{'' if decision.certain else f' ({within})'}."


def render_tune_text(results: TuneResults, *, run_file: str = "") -> str:
    """Return the text report.

    Args:
        results: what was found.
        run_file: where the whole run lies, as it was measured.
    """
    tune = results.tune
    lines = paragraph(tune_headline(results), indent=0)
    for sentence in (*winner_sentences(tune), bound_sentence(tune), *tune.verdict, *reasons(tune)):
        if sentence:
            lines += paragraph(sentence)
    if tune.decision.winner is not None:
        lines += paragraph(f"Next: {look.next_command(results, run_file)}")
    lines += _what_if_section(tune)
    lines += _measured_section(tune)
    lines += _step_section(results)
    lines += _rest_section(tune)
    lines += _noise_section(tune)
    lines += _parts_section(tune)
    lines += heading("How it was measured")
    for name, value in method_facts(results):
        lines += paragraph(f"{name}: {value}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def method_facts(results: TuneResults) -> list[tuple[str, str]]:
    """Return what was tuned for, with which command, and on which machine, as (name, value) pairs."""
    tune, info = results.tune, results.experiment_info
    facts = [
        ("environment", info.env_id),
        ("algorithm", info.algo),
        ("objective", tune.objective),
        ("time", f"{formats.seconds(tune.wall_s)} of {formats.seconds(tune.budget_s)}"),
        ("command", info.command),
        ("date", formats.when(info.timestamp)),
        ("paceline", info.paceline_version),
        *view.machine_facts(info.machine, ""),
        ("fingerprint", info.machine_fingerprint),
    ]
    return [(name, value) for name, value in facts if value]


def _over_baseline(tune: TuneRecord, winner: PlanStanding) -> str:
    baseline = tune.decision.baseline
    if winner.speedup is None or baseline is None or baseline == winner.name:
        return ", the best in one process" if baseline == winner.name else ""
    middle, low, high = winner.speedup
    return f", {formats.times(middle)} ({low:.2f} to {high:.2f}) the speed of {baseline}"


def bound_sentence(tune: TuneRecord) -> str:
    """Say in a word what holds the winner back; empty where that is not known."""
    return f"It is {tune.bound}." if tune.bound else ""


def winner_sentences(tune: TuneRecord) -> list[str]:
    """Say in words what the winner's name stands for, and what of the learning it changes."""
    winner = look.standing_of(tune, tune.decision.winner)
    words = look.plan_words(winner.plan) if winner is not None else ""
    if winner is None or not words:
        return []
    changes = f" It changes the learning: {winner.changes}." if winner.changes else ""
    return [f"{winner.name} is {words}.{changes}"]


def reasons(tune: TuneRecord) -> list[str]:
    """Say what the winner is as good as, faster than, and what may yet be faster."""
    decision = tune.decision
    sentences = []
    others = [name for name in decision.tied if name != decision.winner]
    if others:
        needs = "it needs less" if decision.fastest != decision.winner else "none of them needs less"
        sentences.append(f"As good, as far as can be told: {', '.join(others)}; {needs}.")
        sentences += _hardly_matters(tune)
    if decision.beaten:
        sentences.append(f"Faster, with 95%, than {', '.join(decision.beaten)}.")
    if not decision.certain:
        sentences += _not_certain(tune)
    return [*sentences, *_learning(tune), *tune.notes]


def _learning(tune: TuneRecord) -> list[str]:
    """Say what is faster but learns differently, and whether it was found to learn as well."""
    if tune.recommended is not None:
        one = tune.recommended
        told = f"{one.what[0].lower()}{one.what[1:]}: {one.change:+.0%}"
        return [f"With it, {told}; it was found to learn as well. Train with {one.options}."]
    faster = [one for one in tune.what_ifs if one.learns_differently and one.ci95 is not None and one.ci95[0] > 0.0]
    if not faster or tune.learning_checks:
        return []
    best = max(faster, key=lambda one: one.change or 0.0)
    return [
        f"{best.what}: {best.change or 0.0:+.0%}, but it learns differently and is not recommended unverified; "
        f"--verify-learning trains with and without it."
    ]


def _what_if_section(tune: TuneRecord) -> list[str]:
    if not tune.what_ifs:
        return []
    lines = heading("What would change it")
    sentences = [one.sentence for one in tune.what_ifs] + [one.sentence for one in tune.learning_checks]
    return lines + [line for sentence in sentences for line in paragraph(sentence, bullet="- ")]


def _hardly_matters(tune: TuneRecord) -> list[str]:
    """Say so where the plans that cannot be told apart are nearly equally fast."""
    tied = [look.standing_of(tune, name) for name in tune.decision.tied]
    speeds = [one.sps for one in tied if one is not None and one.sps]
    if len(speeds) < 2 or max(speeds) > min(speeds) * (1.0 + look.NEARLY_THE_SAME):
        return []
    spread = max(max(speeds) / min(speeds) - 1.0, 0.01)
    return [f"Their speeds are within {spread:.0%} of each other: which of them is taken hardly matters."]


def _not_certain(tune: TuneRecord) -> list[str]:
    found = look.rivals(tune)
    sentences = []
    if found:
        named = [f"{one.name} ({one.p_tied or 0.0:.2f})" for one in found]
        sentences.append(f"Not measured, and perhaps as fast (with which probability): {_few(named)}.")
    ended = {
        "budget": "The time was up before it was certain: with a larger budget (--budget-minutes) more would be known.",
        "sure": "No other measurement fitted into the time: with a larger budget (--budget-minutes) more would be "
        "known."
        if found
        else "",
        "interrupted": "It was stopped early: this is the best so far.",
    }
    return [sentence for sentence in (*sentences, ended.get(tune.decision.stopped, "")) if sentence]


def _measured_section(tune: TuneRecord) -> list[str]:
    rows = look.measured(tune)
    if not rows:
        return []
    columns = [
        Column("", "<"), Column("plan", "<", wrap=24), Column("steps/s"), Column("95%"), Column("speedup"),
        Column("predicted"), Column("P(best)"), Column("cores"), Column("memory"), Column("slices"),
    ]  # fmt: skip
    cells = [
        [
            _mark(one.name, tune),
            one.name,
            formats.integer(one.sps),
            _range(one.sps_ci95),
            "-" if one.speedup is None else formats.times(one.speedup[0]),
            formats.integer(one.predicted_sps),
            "-" if one.p_tied is None else f"{one.p_tied:.2f}",
            "-" if one.cores is None else f"{one.cores:.1f}",
            formats.size_bytes(one.memory_bytes),
            f"{one.num_slices} in {one.num_processes}",
        ]
        for one in rows
    ]
    over = "; b what speedups are over" if tune.decision.baseline else ""
    legend = f"* the winner{over}"
    told = (
        "P(best): probability that no plan is more than 2% better. Slices: measurements, and in how many processes. "
        f"{look.prediction_sentence(tune)}"
    )
    return [*heading("Measured, fastest first"), *table(columns, cells), "", *paragraph(legend), *paragraph(told)]


def _mark(name: str, tune: TuneRecord) -> str:
    return ("*" if name == tune.decision.winner else "") + ("b" if name == tune.decision.baseline else "")


def _range(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{formats.integer(interval[0])} to {formats.integer(interval[1])}"


def _step_section(results: TuneResults) -> list[str]:
    """Put the ledgers of the winner, its baseline and the plan of one environment side by side, by the step."""
    times = look.step_times(results)
    if not times:
        return []
    columns = [Column("microseconds a step", "<"), *(Column(one.name) for one in times)]
    rows = [
        [look.label_of(phase), *(f"{one.phases_us.get(phase, 0.0):.1f}" for one in times)]
        for phase in look.step_phases(times)
    ]
    rows.append(["total", *(f"{one.total_us:.1f}" for one in times)])
    lines = [*heading("Where the time of a step goes"), *table(columns, rows)]
    for sentence in look.step_sentences(times):
        lines += ["", *paragraph(sentence)]
    return lines


def _rest_section(tune: TuneRecord) -> list[str]:
    """Say of every plan that was not measured why."""
    groups = look.left_out(tune.plans)
    if not groups:
        return []
    lines = heading("Not measured")
    for one in groups[:_MOST_ROWS]:
        example = f" (figures of {one.names[0]})" if one.likewise else ""
        lines += paragraph(f"{_few(one.names)}: {one.state}: {one.reason}{example}", hang=2)
    if len(groups) > _MOST_ROWS:
        lines += paragraph(f"and {len(groups) - _MOST_ROWS} other reasons, see results.json")
    return lines


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def _noise_section(tune: TuneRecord) -> list[str]:
    sentences = look.noise_sentences(tune.noise)
    if not sentences:
        return []
    lines = heading("How much this machine differs from itself")
    return lines + [line for sentence in sentences for line in paragraph(sentence, bullet="- ")]


def _parts_section(tune: TuneRecord) -> list[str]:
    lines = heading("What the parts cost")
    return lines + [
        line for part, cost in look.part_facts(tune.parts) for line in paragraph(f"{part}: {cost}", bullet="- ")
    ]
