"""What every form of a bench's report agrees on: names, order, and how a figure is written."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.analysis.bench import PHASE_LABELS, BenchFindings, BenchRow, analyse_bench
from paceline.analysis.crossover import Contest, Crossing
from paceline.analysis.stats import Estimate
from paceline.measure.bench_result import AUTO, BENCH_PHASES, FREE_RUNNING, LOOP, BenchResults, EnvProfile, Spread
from paceline.report import formats


@dataclass(frozen=True)
class BenchInput:
    """A bench's results and what was found in them: all that its report is drawn from."""

    results: BenchResults
    findings: BenchFindings


def bench_input(results: BenchResults) -> BenchInput:
    """Return ``results`` with the findings made of them."""
    return BenchInput(results, analyse_bench(results))


def all_rows(findings: BenchFindings) -> list[BenchRow]:
    """Return vector environments and ceilings, size by size; of each size the ceilings first, then the fastest."""
    kinds = {FREE_RUNNING: 0, LOOP: 1}

    def place(row: BenchRow) -> tuple[int, int, float]:
        return row.num_envs, kinds.get(row.backend, 2), -row.sps.value if row.sps else 0.0

    return sorted((*findings.ceilings, *findings.rows), key=place)


def is_ceiling(row: BenchRow) -> bool:
    """Return whether ``row`` is what the others are held against."""
    return row.backend in (FREE_RUNNING, LOOP)


def row_text(row: BenchRow) -> str:
    """Name an execution: ``shm with 2 runners``, ``2 free processes (ceiling)``."""
    if row.backend == FREE_RUNNING:
        count = row.case.config.num_env_runners
        return "1 free process" if count == 1 else f"{count} free processes"
    if row.backend == LOOP:
        return "bare loop, in process"
    return f"{AUTO}: {row.words}" if row.backend == AUTO and row.measured else row.words


def spread_text(estimate: Estimate | None) -> str:
    """Write the half width of a 95% interval relative to its value: ``±1.2%``."""
    if estimate is None or estimate.interval is None or not estimate.value:
        return formats.MISSING
    return f"±{formats.percent((estimate.interval.high - estimate.interval.low) / 2 / estimate.value)}"


def value_text(estimate: Estimate | None) -> str:
    """Write an estimate's value as a large number."""
    return formats.integer(estimate.value if estimate else None)


def share_text(estimate: Estimate | None) -> str:
    """Write a share of the ceiling: ``86%``."""
    return formats.percent(estimate.value if estimate else None, 0)


def phase_shares(row: BenchRow) -> list[tuple[str, str, float]]:
    """Return (phase, label, share) of a row, in the order in which they are stacked."""
    return [(name, PHASE_LABELS[name], row.shares.get(name, 0.0)) for name in BENCH_PHASES]


def memory_cells(row: BenchRow) -> tuple[str, str, str]:
    """Return what a row holds: in all, per environment, per runner process."""
    memory = row.case.memory
    if memory is None:
        return formats.MISSING, formats.MISSING, formats.MISSING
    return (
        formats.size_bytes(memory.tree_bytes),
        formats.size_bytes(memory.bytes_per_env),
        formats.size_bytes(memory.bytes_per_runner),
    )


def growth_sentences(findings: BenchFindings) -> list[str]:
    """Say what one more environment costs in each execution."""
    return [
        f"{item.backend}: one more environment costs {formats.size_bytes(max(0.0, item.bytes_per_env))} (from "
        f"{item.low} to {item.high} environments)."
        for item in findings.growth
    ]


def setup_text(row: BenchRow) -> str:
    """Write how long a case took to be ready."""
    return formats.seconds(row.case.summary.setup_s if row.case.summary else None)


def env_facts(env: EnvProfile) -> list[tuple[str, str]]:
    """Return what is known of one environment by itself as (name, value) pairs."""
    return [
        ("step", _spread(env.step)),
        ("reset", _spread(env.reset)),
        ("computing", f"{formats.percent(env.cpu_share, 0)} of a step is CPU time"),
        ("building one", formats.seconds(env.build_s)),
        ("memory of one more", f"{formats.size_bytes(env.bytes_per_env)} in the same process"),
        ("process with one", formats.size_bytes(env.first_env_bytes)),
        ("observations", env.observation_space),
        ("actions", env.action_space),
    ]


def crossover_sentences(findings: BenchFindings) -> list[str]:
    """Say who is fastest where, who overtakes whom, and what ``auto`` made of it."""
    found = [*findings.leader_sentences, *(crossing.text for crossing in findings.crossings)]
    if len(findings.leaders) > 1 < len(findings.leader_sentences) and not findings.crossings:
        found.append("no execution was seen to overtake another between the sizes measured")
    if findings.auto:
        found.append(findings.auto)
    return [f"{text[0].upper()}{text[1:]}." if text.startswith(("cannot", "no ")) else f"{text}." for text in found]


CONTEST_HEADINGS = ("faster", "slower", "from N on", "by", "cannot tell at N")


def contest_cells(findings: BenchFindings) -> list[tuple[str, str, str, str, str]]:
    """Return the table of crossings under :data:`CONTEST_HEADINGS`: a row for every two executions, or crossing."""
    return [
        (
            item.faster,
            item.slower,
            _from_text(item),
            f"{formats.times(item.ratio.value)} at {item.size:,}" if item.decided else formats.MISSING,
            ", ".join(f"{size:,}" for size in item.undecided) or formats.MISSING,
        )
        for item in findings.contests
    ]


def _from_text(item: Contest) -> str:
    if item.crossing is not None:
        return f"{item.crossing.first:,} ({item.crossing.low:,} to {item.crossing.high:,})"
    return "no crossing" if item.decided else "cannot tell"


MOST_MARKED = 3
"""Crossings that are marked in a chart; the table has all."""


def marked_crossings(findings: BenchFindings) -> list[Crossing]:
    """Return the crossings to be marked in a chart, by size: first those that change who is fastest."""
    leading = {item.num_envs: item.names for item in findings.leaders}

    def rank(item: Crossing) -> tuple[int, float]:
        changes = (item.winner in leading.get(item.high, ())) + (item.loser in leading.get(item.low, ()))
        return -changes, item.at

    return sorted(sorted(findings.crossings, key=rank)[:MOST_MARKED], key=lambda item: item.at)


def crossing_label(item: Crossing) -> str:
    """Name a crossing in a chart: ``shm > serial: 25``."""
    return f"{item.winner} > {item.loser}: {item.first:,}"


def _spread(spread: Spread) -> str:
    cv = "" if spread.cv is None else f", varies by {formats.percent(spread.cv, 0)}"
    return (
        f"median {formats.seconds(spread.median_s)}, p95 {formats.seconds(spread.p95_s)}, p99 "
        f"{formats.seconds(spread.p99_s)}{cv} ({formats.plural(spread.count, 'sample')})"
    )
