"""What every form of a comparison of training runs agrees on: columns, how a figure is written, the data as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

from paceline.analysis.contenders import Contender, budget_text
from paceline.analysis.duel import Duel, Mark, return_text
from paceline.analysis.over_seeds import seeds_of_both
from paceline.analysis.standings import Band, Lag, Standing, Standings
from paceline.analysis.stats import Estimate
from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.report import formats, view


def contender_name(standing: Standing) -> str:
    """Return a contender's name on one line: it may have been given on the command line."""
    return formats.one_line(standing.name)


def lettered(found: Standings, fits: Callable[[str], bool]) -> tuple[Standings, list[tuple[str, str]]]:
    """Return ``found`` with a letter for every name that is too long to stand beside a panel or in a table.

    Args:
        found: what was found.
        fits: whether a name can stand as it is.

    Returns:
        It, with letters for names everywhere (A for the first contender, B for the second ..), and each letter with
        the name that it stands for.
    """
    names = [contender_name(standing) for standing in found.standings]
    short = {name: name if fits(name) else _letter(index, names) for index, name in enumerate(names)}
    longest_first = sorted(names, key=len, reverse=True)  # one name may begin another

    def say(text: str) -> str:
        text = formats.one_line(text)
        for name in longest_first:
            if short[name] != name:
                text = text.replace(name, short[name])
        return text

    standings = [
        replace(each, contender=replace(each.contender, name=short[name]))
        for each, name in zip(found.standings, names, strict=True)
    ]
    shown = replace(
        found,
        headline=say(found.headline),
        sentences=tuple(map(say, found.sentences)),
        standings=tuple(standings),
        duels=tuple(
            replace(duel, challenger=say(duel.challenger), reference=say(duel.reference)) for duel in found.duels
        ),
        notices=tuple(replace(notice, text=say(notice.text)) for notice in found.notices),
        method=tuple(map(say, found.method)),
    )
    return shown, [(letter, name) for name, letter in short.items() if letter != name]


def _letter(index: int, names: Collection[str]) -> str:
    """Return A, B, .. Z, AA, AB, ..; a contender may be called so already: then with a stroke."""
    letters, left = "", index + 1
    while left:
        left, last = divmod(left - 1, 26)
        letters = chr(ord("A") + last) + letters
    while letters in names:
        letters += "'"
    return letters


def verdict_parts(found: Standings) -> tuple[str, str]:
    """Return the verdict up to its first semicolon, which can stand in large type, and the rest of it."""
    first, _, rest = formats.one_line(found.headline).partition("; ")
    return (f"{first}.", f"{rest[0].upper()}{rest[1:]}") if rest else (first, "")


def seeds_text(contender: Contender) -> str:
    """Say how many seeds, and which where that is short: ``3 (0 to 2)``, ``2 (1, 7)``, ``6``."""
    which = which_seeds(contender)
    return f"{len(contender.seeds)} ({which})" if which else f"{len(contender.seeds)}"


def which_seeds(contender: Contender) -> str:
    """Say which seeds: ``0 to 4``, ``1, 7``; "" where that would be long."""
    seeds = sorted(contender.seeds)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) if len(seeds) <= 5 else ""


def return_cell(value: float | None) -> str:
    """Write a return, ``–`` where there is none."""
    return formats.MISSING if value is None else return_text(value)


def bounds_text(estimate: Estimate | None) -> str:
    """Write an interval of returns: ``431 to 489``."""
    if estimate is None or estimate.interval is None:
        return formats.MISSING
    bounds = estimate.interval
    return f"{return_text(bounds.low)} to {return_text(bounds.high)}"


def spread_text(estimate: Estimate | None) -> str:
    """Write an interval of large numbers: ``7,301 to 7,612``."""
    bounds = estimate.interval if estimate else None
    return formats.interval((bounds.low, bounds.high)) if bounds else formats.MISSING


def ratio_text(estimate: Estimate | None) -> str:
    """Write a ratio with its interval: ``1.90x (1.81 to 2.02)``."""
    if estimate is None:
        return formats.MISSING
    bounds = estimate.interval
    between = f" ({bounds.low:.2f} to {bounds.high:.2f})" if bounds else " (no interval)"
    return formats.times(estimate.value) + between


def chance_text(item: Duel) -> str:
    """Write a probability of improvement with its interval: ``0.55 (0.30 to 0.80)``.

    Without an interval there is no figure: that of one seed each is 0 or 1, which would look like certainty.
    """
    if item.improvement is None:
        return formats.MISSING
    bounds = item.improvement.interval
    if bounds is None:
        return f"{seeds_of_both(*item.seeds)}: cannot be told"
    return f"{item.improvement.value:.2f} ({bounds.low:.2f} to {bounds.high:.2f})"


def mark_cells(mark: Mark | None) -> tuple[str, str]:
    """Write steps and seconds to the common return; how many runs got there where not all did."""
    if mark is None:
        return formats.MISSING, formats.MISSING
    if mark.steps_median is None or mark.seconds_median is None:
        return f"{len(mark.steps)} of {mark.num_runs} runs", formats.MISSING
    return formats.compact(mark.steps_median.value), formats.seconds(mark.seconds_median.value)


def lag_text(lag: Lag | None) -> str:
    """Write lowest, mean and highest policy lag: ``1.0 (0.9 to 3.0)``."""
    return formats.MISSING if lag is None else f"{lag.mean:.1f} ({lag.lowest:.1f} to {lag.highest:.1f})"


def cpu_text(standing: Standing) -> str:
    """Write cores kept busy, and their share: ``1.6 (82%)``."""
    if standing.cores_used is None:
        return formats.MISSING
    return f"{standing.cores_used:.2f} ({formats.percent(standing.cpu_utilization, 0)})"


def drawn_phases(found: Standings, least_percent: float = 0.05) -> list[tuple[str, str]]:
    """Return (phase, label) of every phase that is visible for any contender, in the order of the ledger."""
    seen = {
        share.phase: share.label for each in found.standings for share in each.shares if share.percent >= least_percent
    }
    order = (*PHASES, UNATTRIBUTED)
    return sorted(seen.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(PHASES) - 0.5)


def percent_of(standing: Standing, phase: str) -> float:
    """Return a phase's share of wall time, per cent."""
    return next((share.percent for share in standing.shares if share.phase == phase), 0.0)


def threshold_sentence(found: Standings) -> str:
    """Say which return is timed and why that one."""
    if found.threshold is None:
        return f"{found.threshold_rule[0].upper()}{found.threshold_rule[1:]}."
    smooth = f"running mean of the last {formats.plural(found.window, 'episode')}"
    return f"The common return is {return_text(found.threshold)}: {found.threshold_rule} ({smooth})."


def first_machine(found: Standings) -> Mapping[str, Any]:
    """Return the description of the machine of the first run."""
    return found.standings[0].contender.runs[0].info.machine


def run_lines(found: Standings) -> list[tuple[str, str]]:
    """Return (folder, what it is) of every run."""
    lines = []
    for standing in found.standings:
        for run in standing.contender.runs:
            ended = run.result.iterations[-1].total_env_steps
            parts = [
                contender_name(standing), f"seed {run.result.seed}", budget_text(run.budget),
                f"{ended:,} steps", run.result.outcome, formats.when(run.info.timestamp),
            ]  # fmt: skip
            lines.append((formats.one_line(str(run.folder)), ", ".join(part for part in parts if part)))
    return lines


def machine_facts(found: Standings) -> list[tuple[str, str]]:
    """Return what is known of the machine of the first run; the notices say so where others ran elsewhere."""
    return view.machine_facts(first_machine(found), "")


def comparison_data(found: Standings) -> dict[str, Any]:
    """Return everything that was found, as plain data."""
    return {
        "verdict": found.headline,
        "sentences": list(found.sentences),
        "env_id": found.env_id,
        "threshold": {"return": found.threshold, "rule": found.threshold_rule},
        "window_episodes": found.window,
        "compared_at_steps": found.horizon,
        "contenders": [_contender_data(standing) for standing in found.standings],
        "comparisons": [_duel_data(item) for item in found.duels],
        "differences": [
            {"field": item.field, "values": dict(zip([s.name for s in found.standings], item.values, strict=True))}
            for item in found.differences
        ],
        "notices": [asdict(notice) for notice in found.notices],
        "method": list(found.method),
    }


def _contender_data(standing: Standing) -> dict[str, Any]:
    mark = standing.mark
    return {
        "name": standing.name,
        "seeds": list(standing.contender.seeds),
        "runs": [str(run.folder) for run in standing.contender.runs],
        "outcomes": [run.result.outcome for run in standing.contender.runs],
        "total_env_steps": standing.total_env_steps,
        "training_s": standing.training_s,
        "final_returns": list(standing.finals),
        "final_return_iqm": _estimate_data(standing.final_return),
        "steps_to_threshold": _mark_data(mark, mark.steps, mark.steps_median) if mark else None,
        "seconds_to_threshold": _mark_data(mark, mark.seconds, mark.seconds_median) if mark else None,
        "sps": _estimate_data(standing.sps),
        "policy_lag": asdict(standing.lag) if standing.lag else None,
        "ledger_shares": {share.phase: share.percent / 100 for share in standing.shares},
        "cores_used": standing.cores_used,
        "cpu_utilization": standing.cpu_utilization,
        "peak_memory_bytes": standing.peak_memory_bytes,
        "restarts": standing.restarts,
        "curve_by_steps": _band_data(standing.by_steps),
        "curve_by_seconds": _band_data(standing.by_seconds),
    }


def _duel_data(item: Duel) -> dict[str, Any]:
    return {
        "contender": item.challenger,
        "over": item.reference,
        "machines": item.machines,
        "sps_ratio": _estimate_data(item.sps_ratio),
        "speed": item.speed,
        "same_algo": item.same_algo,
        "seconds_to_threshold_ratio": _estimate_data(item.seconds_ratio),
        "seconds_to_threshold": item.time,
        "probability_of_improvement": _estimate_data(item.improvement),
        "by_chance": item.by_chance,
        "learns": item.learnt,
    }


def _mark_data(mark: Mark, values: tuple[float, ...], median: Estimate | None) -> dict[str, Any]:
    return {"reached": len(values), "of": mark.num_runs, "runs": list(values), "median": _estimate_data(median)}


def _estimate_data(estimate: Estimate | None) -> dict[str, Any] | None:
    return asdict(estimate) if estimate else None


def _band_data(band: Band | None) -> dict[str, Any] | None:
    return asdict(band) if band else None
