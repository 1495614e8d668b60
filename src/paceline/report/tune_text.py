"""``report.txt`` of a tuning: the verdict first, then who was measured, who was not and why, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.measure.tune_result import PlanStanding, TuneRecord, TuneResults
from paceline.report import formats, view
from paceline.report.text_table import Column, heading, paragraph, table

_MOST_ROWS = 15


def tune_headline(results: TuneResults) -> str:
    """Return the first line of the report: which plan to take, how much faster it is, and how sure that is."""
    tune = results.tune
    decision = tune.decision
    winner = _plan(tune, decision.winner)
    if winner is None:
        return "Cannot tell which plan to take: none could be measured."
    speed = f"{formats.integer(winner.sps)} steps/s"
    over = _over_baseline(tune, winner)
    if not decision.tells:
        return (
            f"Cannot tell which plan is the fastest in {formats.seconds(tune.wall_s)}: {winner.name} leads with "
            f"{speed}{over}, and is within 2% of the best with probability {decision.p_best:.2f}."
        )
    sure = "" if decision.certain else f" (within 2% of the best with probability {decision.p_best:.2f})"
    return f"Take {winner.name}: {speed}{over}{sure}."


def render_tune_text(results: TuneResults) -> str:
    """Return the text report."""
    tune = results.tune
    lines = paragraph(tune_headline(results), indent=0)
    for sentence in (*tune.verdict, *_reasons(tune)):
        lines += paragraph(sentence)
    lines += _measured_section(tune)
    lines += _rest_section(tune)
    lines += _noise_section(tune)
    lines += _parts_section(tune)
    info = results.experiment_info
    facts = [
        ("objective", tune.objective),
        ("time", f"{formats.seconds(tune.wall_s)} of {formats.seconds(tune.budget_s)}"),
        ("command", info.command),
        ("date", formats.when(info.timestamp)),
        ("paceline", info.paceline_version),
    ]
    lines += heading("How it was measured")
    for name, value in [*facts, *view.machine_facts(info.machine, "")]:
        if value:
            lines += paragraph(f"{name}: {value}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _plan(tune: TuneRecord, name: str | None) -> PlanStanding | None:
    return next((one for one in tune.plans if one.name == name), None)


def _over_baseline(tune: TuneRecord, winner: PlanStanding) -> str:
    baseline = tune.decision.baseline
    if winner.speedup is None or baseline is None or baseline == winner.name:
        return ", the best in one process" if baseline == winner.name else ""
    middle, low, high = winner.speedup
    return f", {formats.times(middle)} ({low:.2f} to {high:.2f}) the speed of {baseline}"


def _reasons(tune: TuneRecord) -> list[str]:
    decision = tune.decision
    sentences = []
    others = [name for name in decision.tied if name != decision.winner]
    if others:
        needs = "it needs less" if decision.fastest != decision.winner else "none of them needs less"
        sentences.append(f"As good, as far as can be told: {', '.join(others)}; {needs}.")
    if decision.beaten:
        sentences.append(f"Faster, with 95%, than {', '.join(decision.beaten)}.")
    ended = {
        "budget": "The time was up before it was certain: with a larger budget more would be known.",
        "interrupted": "It was stopped early: this is the best so far.",
    }
    if decision.stopped in ended and not decision.certain:
        sentences.append(ended[decision.stopped])
    return [*sentences, *tune.notes]


def _measured_section(tune: TuneRecord) -> list[str]:
    rows = [one for one in tune.plans if one.state == "measured"]
    if not rows:
        return []
    columns = [
        Column("", "<"), Column("plan", "<", wrap=24), Column("steps/s"), Column("95%"), Column("speedup"),
        Column("expected"), Column("P(best)"), Column("cores"), Column("memory"), Column("slices"),
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
    legend = f"* the winner   b what speedups are over{'' if tune.decision.baseline else ' (not measured)'}"
    told = "P(best): that no plan is more than 2% better. Slices: in how many processes. Expected: before measuring."
    return [*heading("Measured, fastest first"), *table(columns, cells), "", *paragraph(legend), *paragraph(told)]


def _mark(name: str, tune: TuneRecord) -> str:
    return ("*" if name == tune.decision.winner else "") + ("b" if name == tune.decision.baseline else "")


def _range(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{formats.integer(interval[0])} to {formats.integer(interval[1])}"


def _rest_section(tune: TuneRecord) -> list[str]:
    """Say of every plan that was not measured why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in tune.plans:
        if one.state != "measured":
            reasons.setdefault((one.state, one.reason), []).append(one.name)
    if not reasons:
        return []
    lines = heading("Not measured")
    for (state, reason), names in list(reasons.items())[:_MOST_ROWS]:
        lines += paragraph(f"{_few(names)}: {state}: {reason}", hang=2)
    if len(reasons) > _MOST_ROWS:
        lines += paragraph(f"and {len(reasons) - _MOST_ROWS} other reasons, see results.json")
    return lines


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def _noise_section(tune: TuneRecord) -> list[str]:
    noise = tune.noise
    if noise is None:
        return []
    sentences = [
        f"From slice to slice of one process speed differs by {noise.slice_sd:.1%}, from process to process of one "
        f"plan by {noise.process_sd:.1%}, and with time by {noise.drift_sd:.1%} (standard deviations)."
    ]
    if noise.aa_difference is not None:
        sentences.append(f"Two processes of the same plan, measured in turns, differed by {noise.aa_difference:.1%}.")
    if noise.others_cores is not None:
        sentences.append(f"Other programs kept {noise.others_cores:.1f} cores busy when it began.")
    if noise.others_median is not None and noise.others_most is not None:
        sentences.append(
            f"Beside the slices they kept {noise.others_median:.1f} cores busy (median), at most "
            f"{noise.others_most:.1f}."
        )
    lines = heading("How much this machine differs from itself")
    return lines + [line for sentence in sentences for line in paragraph(sentence, bullet="- ")]


def _parts_section(tune: TuneRecord) -> list[str]:
    parts = tune.parts
    lines = heading("What the parts cost")
    env = parts.get("env")
    sentences = []
    if env:
        sentences.append(
            f"a step of the environment {env['mean_us']:,.0f} us, {env['cpu_us']:,.0f} us of it computing; a reset "
            f"{env['reset_us']:,.0f} us"
        )
    if env and env.get("waiting_share", 0.0) >= 0.5 and env.get("releases_gil") is not None:
        sentences.append(
            f"it waits for {env['waiting_share']:.0%} of a step, and other Python threads "
            f"{'run' if env['releases_gil'] else 'cannot run'} meanwhile"
        )
    sentences += [
        f"{what}: {parts[name]}"
        for name, what in (("several", "one to a process"), ("processes", "no runner processes"))
        if parts.get(name, "yes") != "yes"
    ]
    if parts.get("native_us"):
        sentences.append(f"a step in native code {parts['native_us']:,.0f} us of computing")
    sentences += [f"acting for {size} environments {us:,.0f} us" for size, us in parts.get("acting_us", ())]
    if parts.get("update_s"):
        sentences.append(f"an update {1e3 * parts['update_s']:,.1f} ms")
    return lines + [line for sentence in sentences for line in paragraph(sentence, bullet="- ")]
