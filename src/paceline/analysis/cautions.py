"""What a reader must know before believing a table: too few, too noisy, missing, not comparable."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from paceline.analysis.stats import MIN_SAMPLES
from paceline.analysis.table import Notice, ScalingRow, ScalingTable
from paceline.measure.ledger import UNATTRIBUTED

NOISY_CV = 0.10
"""Above this coefficient of variation of SPS a row is called noisy."""
KARP_FLATT_SPREAD = 0.1
"""Above this spread of the Karp-Flatt metric over a table, Amdahl's law with one serial fraction is not the story."""
MUCH_UNATTRIBUTED = 20.0
"""Above this percentage of wall time without a phase, a ledger verdict is doubtful."""
TOLD_RESTARTS = 3
"""Of so many replaced environments or runners a report says what happened."""

_SEVERITIES = ("problem", "caution", "info")


def worst_first(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Return ``notices`` ordered problem, caution, info; equal ones keep their order, duplicates go."""
    return tuple(sorted(dict.fromkeys(notices), key=lambda notice: _SEVERITIES.index(notice.severity)))


def table_notices(table: ScalingTable, *, restarts: int = 0) -> tuple[Notice, ...]:
    """Return what weakens the conclusions of ``table``, worst first.

    Args:
        table: the rows.
        restarts: environments and runners that are known to have been replaced while they were measured.
    """
    if not table.rows:
        return ()
    notices = [
        *_outcome_notices(table),
        *_sample_notices(table, restarts),
        *_comparison_notices(table),
        *_row_notices(table),
    ]
    return worst_first(notices)


def restart_notices(restarts: Sequence[str]) -> list[Notice]:
    """Return how many environments and runners a training run replaced, and what was said of the first of them."""
    if not restarts:
        return []
    told = [shorten(text, 300, placeholder=" ..").rstrip(".") for text in restarts[:TOLD_RESTARTS]]
    more = len(restarts) - len(told)
    rest = f"; and {more} more, which progress.jsonl tells of" if more else ""
    text = f"{replaced(len(restarts))} replaced on the way: {'; '.join(told)}{rest}."
    return [Notice("restarts", f"{text[0].upper()}{text[1:]}", "caution")]


def replaced(count: int) -> str:
    """Write ``one environment or runner was``, ``3 environments or runners were``."""
    return "one environment or runner was" if count == 1 else f"{count:,} environments or runners were"


def _outcome_notices(table: ScalingTable) -> list[Notice]:
    notices = []
    if not table.measured_rows:
        notices.append(
            Notice("nothing-measured", "No plan finished an iteration; there is nothing to compare.", "problem")
        )
    failed = [row for row in table.rows if not row.measured]
    if failed:
        names = ", ".join(f"{row.label} ({row.outcome})" for row in failed)
        notices.append(
            Notice(
                "failed-rows",
                f"{len(failed)} of {len(table.rows)} plans left nothing to compare: {names}.",
                "problem",
                _labels(failed),
            )
        )
    partly = [row for row in table.measured_rows if set(row.outcome_counts) - {"ok"}]
    if partly:
        names = ", ".join(f"{row.label} ({_counted(row)})" for row in partly)
        notices.append(Notice("partly-failed", f"Not every repeat ended well: {names}.", "caution", _labels(partly)))
    return notices


def _sample_notices(table: ScalingTable, restarts: int) -> list[Notice]:
    notices = []
    measured = table.measured_rows
    few = [row for row in measured if row.num_iterations < MIN_SAMPLES]
    if few:
        notices.append(
            Notice(
                "few-iterations",
                f"{_these(few, table)} measured in fewer than {MIN_SAMPLES} iterations, too few for an interval: "
                f"whether one plan is faster than another cannot be told; use --iterations 5 or more.",
                "caution",
                _labels(few),
            )
        )
    noisy = [row for row in measured if row.cv is not None and row.cv > NOISY_CV]
    if noisy:
        names = ", ".join(f"{row.label} ({row.cv:.0%})" for row in noisy if row.cv is not None)
        why = "something else may have used the machine"
        if restarts:
            why = f"{replaced(restarts)} replaced meanwhile, which takes time and is a likely reason"
        notices.append(
            Notice(
                "noisy",
                f"SPS varies by more than {NOISY_CV:.0%} from iteration to iteration in {names}; {why}.",
                "caution",
                _labels(noisy),
            )
        )
    if len(measured) > 1 and all(row.num_repeats == 1 for row in measured):
        notices.append(
            Notice(
                "one-repeat",
                "Each plan ran once: the intervals say how steady a run is, not how much one run differs from the "
                "next; use --repeats 3 to know.",
                "info",
            )
        )
    return notices


def _comparison_notices(table: ScalingTable) -> list[Notice]:
    notices: list[Notice] = []
    base, measured = table.baseline, table.measured_rows
    if base is None or len(table.rows) == 1:
        return notices
    if base.num_envs > 1:
        notices.append(
            Notice(
                "no-single-env",
                f"No plan with one environment was measured: speedups are over {base.label}, and the ideal speedup of "
                f"N environments is N/{base.num_envs}.",
                "caution",
            )
        )
    mixed = [row for row in measured if row.speedup_basis == "sps"]
    if mixed:
        notices.append(
            Notice(
                "mixed-steps",
                f"{_these(mixed, table)} measured with another number of steps per iteration than the baseline "
                f"({base.steps_per_iteration}); a speedup by time would be wrong and is refused, these are by SPS.",
                "caution",
                _labels(mixed),
            )
        )
    serial = [row.karp_flatt for row in measured if row.karp_flatt is not None]
    if len(serial) >= 3 and max(serial) - min(serial) > KARP_FLATT_SPREAD:
        notices.append(
            Notice(
                "karp-flatt",
                f"The serial fraction of single plans (Karp-Flatt) goes from {min(serial):.2f} to {max(serial):.2f}: "
                f"one serial fraction does not describe them all.",
                "info",
            )
        )
    slower = [row for row in measured if row.num_envs > base.num_envs and row.speedup and row.speedup.value < 1.0]
    if slower:
        names = ", ".join(row.label for row in slower)
        notices.append(
            Notice(
                "slower-than-baseline",
                f"Slower than {base.label} with more environments: {names}.",
                "info",
                _labels(slower),
            )
        )
    return notices


def _row_notices(table: ScalingTable) -> list[Notice]:
    notices = []
    unexplained = [row for row in table.rows if _unattributed(row) > MUCH_UNATTRIBUTED]
    if unexplained:
        names = ", ".join(f"{row.label} ({_unattributed(row):.0f} %)" for row in unexplained)
        notices.append(
            Notice(
                "unattributed",
                f"Much wall time has no phase, so verdicts are doubtful: {names}.",
                "caution",
                _labels(unexplained),
            )
        )
    unstable = [row for row in table.rows if row.learning in ("collapsing", "nan")]
    if unstable:
        names = ", ".join(f"{row.label} ({row.learning})" for row in unstable)
        notices.append(Notice("learning", f"Learning was not stable in {names}.", "caution", _labels(unstable)))
    return notices


def _unattributed(row: ScalingRow) -> float:
    shares = row.bottleneck.shares if row.bottleneck else ()
    return sum(share.percent for share in shares if share.phase == UNATTRIBUTED)


def _labels(rows: Sequence[ScalingRow]) -> tuple[str, ...]:
    return tuple(row.label for row in rows)


def _these(rows: Sequence[ScalingRow], table: ScalingTable) -> str:
    if len(rows) == len(table.measured_rows) > 1:
        return "All plans were"
    return ", ".join(_labels(rows)) + (" was" if len(rows) == 1 else " were")


def _counted(row: ScalingRow) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in row.outcome_counts.items())
