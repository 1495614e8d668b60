"""The scaling table: one row per grid point, aggregated over repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from paceline.analysis.bottleneck import Bottleneck
from paceline.analysis.scaling import Rating
from paceline.analysis.stats import Estimate
from paceline.measure.result import GpuSample, Outcome

Learning = Literal["stable", "collapsing", "nan", "unknown"]
Severity = Literal["info", "caution", "problem"]

MEAN_DIFFERS = 0.05
"""Beyond this relative difference of mean and median speed both are told, each with its name."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the reader must know about the data.

    Attributes:
        code: stable short name (``few-iterations``, ``noisy``, ``no-baseline``, ``mixed-steps``, ``no-gpu`` ..).
        text: one sentence.
        severity: ``info`` (a fact), ``caution`` (weakens the conclusions) or ``problem`` (a conclusion is missing).
        rows: labels of the rows concerned (empty: all).
    """

    code: str
    text: str
    severity: Severity = "caution"
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScalingRow:
    """One grid point, over all its repeats. Figures are None where nothing was measured (see ``outcome``).

    Attributes:
        label: ``RxE``, with the variant behind it where the sweep has more axes (``2x8 backend=shm``); unique in a
            table.
        num_env_runners: R (0: in the learner's process).
        num_envs_per_env_runner: E.
        num_envs: N = max(R, 1) * E.
        variant: other plan axes of the sweep, field -> value (empty for a plain R x E sweep).
        plan: the run's whole plan, as in ``plan.yaml``.
        outcome: ``ok`` where at least one repeat finished, else the most frequent failure.
        outcome_counts: outcome -> number of repeats.
        message: why it failed ("" where ok).
        num_repeats: repeats found, finished or not.
        num_iterations: measured iterations behind the figures (ok repeats only).
        steps_per_iteration: environment steps per iteration (median).
        time_per_iter_s: median seconds per iteration, with interval.
        sps: environment steps per second of wall time (median), with interval.
        mean_time_per_iter_s: all seconds of the counted iterations / their number.
        mean_sps: all environment steps of the counted iterations / all their seconds.
        cv: coefficient of variation of SPS over iterations (fraction).
        is_baseline: this row is the baseline.
        speedup: over the baseline, with interval where both have one.
        speedup_basis: ``time`` (same steps) or ``sps`` (batch sizes differ).
        efficiency_per_env: speedup / ideal, ideal = N / N_base.
        efficiency_per_core: speedup / (cores / cores of the baseline).
        cores: cores kept busy (measured) or planned: see ``cores_basis``.
        cores_basis: ``measured`` (CPU time / wall time of the process tree), ``planned`` (runners + learner) or
            ``none``.
        efficiency_loss: 1 - efficiency_per_env.
        gap_to_ideal: ideal speedup - speedup.
        karp_flatt: experimentally determined serial fraction, None for N = N_base.
        rating: of efficiency per env.
        rating_per_core: of efficiency per core.
        cpu_utilization: busy cores / usable cores (fraction), median over repeats.
        ram_bytes: peak memory of the process tree (PSS where known, else RSS).
        ram_fraction: ``ram_bytes`` / memory limit.
        gpus: last GPU reading of a repeat (empty: none).
        episode_return_mean: last mean return seen, averaged over repeats.
        learning: ``stable``, ``collapsing`` (returns fell far below their best), ``nan`` or ``unknown``.
        setup_s: start-up seconds, not part of SPS (median).
        compile_s: compilation seconds, not part of SPS (median).
        bottleneck: what holds this row back, None without a ledger.
    """

    label: str
    num_env_runners: int
    num_envs_per_env_runner: int
    num_envs: int
    outcome: Outcome
    variant: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    outcome_counts: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    num_repeats: int = 1
    num_iterations: int = 0
    steps_per_iteration: int | None = None
    time_per_iter_s: Estimate | None = None
    sps: Estimate | None = None
    mean_time_per_iter_s: float | None = None
    mean_sps: float | None = None
    cv: float | None = None
    is_baseline: bool = False
    speedup: Estimate | None = None
    speedup_basis: Literal["time", "sps"] = "time"
    efficiency_per_env: float | None = None
    efficiency_per_core: float | None = None
    cores: float | None = None
    cores_basis: Literal["measured", "planned", "none"] = "none"
    efficiency_loss: float | None = None
    gap_to_ideal: float | None = None
    karp_flatt: float | None = None
    rating: Rating | None = None
    rating_per_core: Rating | None = None
    cpu_utilization: float | None = None
    ram_bytes: int | None = None
    ram_fraction: float | None = None
    gpus: tuple[GpuSample, ...] = ()
    episode_return_mean: float | None = None
    learning: Learning = "unknown"
    setup_s: float | None = None
    compile_s: float | None = None
    bottleneck: Bottleneck | None = None

    @property
    def measured(self) -> bool:
        """Whether there are figures to rank this row by."""
        return self.sps is not None and self.speedup is not None

    @property
    def mean_differs(self) -> bool:
        """Whether mean and median speed are so far apart that one without the other would mislead."""
        return mean_differs(self.mean_sps, self.sps)


def mean_differs(mean: float | None, median: Estimate | None) -> bool:
    """Return whether a mean is so far from the median that one without the other would mislead."""
    return mean is not None and median is not None and abs(mean / median.value - 1.0) > MEAN_DIFFERS


@dataclass(frozen=True, slots=True)
class ScalingTable:
    """All rows of one workload (same environment and algorithm settings), ordered by variant, R, E.

    Attributes:
        workload: the axes that make this workload different from the file's others (empty: there is only one).
        rows: one per grid point, failed ones included.
        baseline: the row that speedups are over, None where nothing finished.
        baseline_rule: the rule that chose it, in words.
        notices: warnings about this table.
    """

    workload: Mapping[str, Any]
    rows: tuple[ScalingRow, ...]
    baseline: ScalingRow | None
    baseline_rule: str
    notices: tuple[Notice, ...] = ()

    @property
    def title(self) -> str:
        """``algo.num_epochs=4, ..``; "" where the file has one workload."""
        return workload_title(self.workload)

    @property
    def measured_rows(self) -> tuple[ScalingRow, ...]:
        """The rows that have figures."""
        return tuple(row for row in self.rows if row.measured)

    def row(self, label: str) -> ScalingRow:
        """Return the row of that label.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.label == label:
                return row
        raise KeyError(label)


def workload_title(workload: Mapping[str, Any]) -> str:
    """Return the axes of a workload in words: ``algo.num_epochs=4, env=..``; "" for the only workload of a file."""
    return ", ".join(f"{name}={value}" for name, value in workload.items())
