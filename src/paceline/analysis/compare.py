"""Two results files beside each other: which plans became faster, slower, stayed the same, or cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from paceline.analysis.cautions import worst_first
from paceline.analysis.rows import row_label, scaling_tables, throughput_samples, usable_runs, workload_runs
from paceline.analysis.stats import Estimate, estimate_ratio, order
from paceline.analysis.table import Notice, ScalingRow, workload_title
from paceline.errors import RequestError
from paceline.measure.result import Results

Change = Literal["FASTER", "SLOWER", "SAME", "CANNOT TELL", "MISSING"]

_CHANGES: dict[str, Change] = {"higher": "FASTER", "lower": "SLOWER", "same": "SAME", "cannot tell": "CANNOT TELL"}


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One plan in both files.

    Attributes:
        label: the plan, with its workload where the files have several.
        change: of the second file over the first; ``MISSING`` where one of them has no figures for it.
        ratio: SPS of the second / SPS of the first, with interval; None where missing.
        first: the row of the first file, None where it has no such plan.
        second: the row of the second file, None where it has no such plan.
    """

    label: str
    change: Change
    ratio: Estimate | None
    first: ScalingRow | None
    second: ScalingRow | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What :func:`compare` answers.

    Attributes:
        headline: one sentence.
        rows: every plan of either file, in the first file's order.
        notices: what weakens the comparison (another machine, other settings), worst first.
        same_machine: both files carry the same machine fingerprint.
    """

    headline: str
    rows: tuple[ComparedRow, ...]
    notices: tuple[Notice, ...]
    same_machine: bool


def compare(first: Results, second: Results, *, allow_other_machine: bool = False) -> Comparison:
    """Compare the throughput of every plan that both files measured: second over first. Others are listed as missing.

    Runs in two files were not interleaved, so a drift of the machine between them looks like a change; the notices say
    so.

    Args:
        first: the reference.
        second: what is compared with it.
        allow_other_machine: compare figures of different machines all the same, with a warning.

    Raises:
        RequestError: the files have no environment in common, or are of different machines and that was not allowed.
    """
    notices = _checked(first, second, allow_other_machine)
    ours, theirs = _rows(first), _rows(second)
    compared = tuple(_compare_row(label, ours.get(label), theirs.get(label)) for label in {**ours, **theirs})
    if not any(row.ratio for row in compared):
        notices.append(Notice("no-common-plan", "The two files have no measured plan in common.", "problem"))
    return Comparison(_headline(compared), compared, tuple(worst_first(notices)), _same_machine(first, second))


def _checked(first: Results, second: Results, allow_other_machine: bool) -> list[Notice]:
    envs = [{run.env_id for run in results.experiments} for results in (first, second)]
    if envs[0] and envs[1] and not envs[0] & envs[1]:
        raise RequestError(
            f"expected two results of the same environment, got {_names(envs[0])} and {_names(envs[1])}; steps of "
            f"different environments cannot be compared"
        )
    notices = []
    if not _same_machine(first, second):
        if not allow_other_machine:
            raise RequestError(
                f"expected two results of the same machine, got fingerprints {_fingerprint(first)} and "
                f"{_fingerprint(second)}; allow it explicitly to compare machines instead of programs"
            )
        notices.append(
            Notice("other-machine", "The two files are of different machines: differences may be theirs.", "caution")
        )
    sizes = [results.experiment_info.batch_size for results in (first, second)]
    if sizes[0] != sizes[1]:
        notices.append(Notice("mixed-steps", f"The batch sizes differ ({sizes[0]} and {sizes[1]}).", "caution"))
    versions = [results.experiment_info.paceline_version for results in (first, second)]
    if versions[0] != versions[1]:
        notices.append(Notice("versions", f"Measured by paceline {versions[0]} and {versions[1]}.", "info"))
    notices.append(
        Notice(
            "not-interleaved",
            "The files were measured at different times; a machine that drifted between them looks like a change.",
            "info",
        )
    )
    return notices


def _compare_row(label: str, first: _Side | None, second: _Side | None) -> ComparedRow:
    rows = (first.row if first else None, second.row if second else None)
    if first is None or second is None or not first.samples or not second.samples:
        return ComparedRow(label, "MISSING", None, *rows)
    ratio = estimate_ratio(second.samples, first.samples)
    return ComparedRow(label, _CHANGES[order(ratio)], ratio, *rows)


@dataclass(frozen=True, slots=True)
class _Side:
    row: ScalingRow
    samples: list[list[float]]


def _rows(results: Results) -> dict[str, _Side]:
    tables = {table.title: table for table in scaling_tables(results)}
    sides = {}
    for workload, runs in workload_runs(results):
        title = workload_title(workload)
        for row in tables[title].rows:
            _, counted = usable_runs([run for run in runs if row_label(run) == row.label])
            label = f"{row.label} ({title})" if title else row.label
            sides[label] = _Side(row, throughput_samples(counted))
    return sides


def _headline(rows: tuple[ComparedRow, ...]) -> str:
    common = [row for row in rows if row.ratio is not None]
    if not common:
        return "Nothing can be compared: no plan was measured in both."
    counts: Mapping[str, int] = {change: sum(row.change == change for row in common) for change in _CHANGES.values()}
    told = ", ".join(f"{count} {change.lower()}" for change, count in counts.items() if count)
    best = max(common, key=lambda row: row.second.sps.value if row.second and row.second.sps else 0.0)
    assert best.ratio is not None
    span = f" [{best.ratio.interval.low:.2f}, {best.ratio.interval.high:.2f}]" if best.ratio.interval else ""
    return (
        f"Of {len(common)} plans in both: {told}. The second's fastest plan, {best.label}, runs at "
        f"{best.ratio.value:.2f}x{span} the first's SPS: {best.change}."
    )


def _same_machine(first: Results, second: Results) -> bool:
    mine, other = first.experiment_info.machine_fingerprint, second.experiment_info.machine_fingerprint
    return bool(mine) and mine == other


def _fingerprint(results: Results) -> str:
    return results.experiment_info.machine_fingerprint or "(none)"


def _names(values: set[Any]) -> str:
    return ", ".join(sorted(map(str, values)))
