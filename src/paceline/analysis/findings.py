"""Everything a report says, as one frozen object: :func:`analyse` makes it, ``report`` only draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from paceline.analysis.bottleneck import Bottleneck
from paceline.analysis.models import AmdahlFit, FittedCurve, ModelChoice, PhaseFit, UslFit
from paceline.analysis.recommend import Advice
from paceline.analysis.stats import Estimate
from paceline.analysis.table import Notice, ScalingTable
from paceline.measure.result import Outcome, Results


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """One iteration of a learning curve.

    Attributes:
        total_env_steps: environment steps since the run began.
        training_s: measured training seconds since the first measured iteration began.
        episode_return_mean: mean return of the episodes that ended in it, None where none ended.
        sps: environment steps per second of this iteration.
    """

    total_env_steps: int
    training_s: float
    episode_return_mean: float | None
    sps: float


@dataclass(frozen=True, slots=True)
class RunFinding:
    """One run (one repeat of one grid point): how it ended, how it went.

    Attributes:
        name: the run's name in the file.
        label: ``RxE``.
        outcome: how it ended.
        message: why, where it is not ok.
        sps: median with interval over iterations, None where no iteration finished.
        num_iterations: measured iterations.
        total_env_steps: environment steps at the end.
        curve: learning and throughput curve, one point per measured iteration.
        bottleneck: from the run's ledger, None without one.
    """

    name: str
    label: str
    outcome: Outcome
    message: str
    sps: Estimate | None
    num_iterations: int
    total_env_steps: int
    curve: tuple[LearningPoint, ...]
    bottleneck: Bottleneck | None


@dataclass(frozen=True, slots=True)
class ScalingModels:
    """The models of one table.

    Attributes:
        choice: held-out comparison of the three and the chosen one.
        amdahl: Amdahl's law over N, None with fewer than 2 points.
        usl: universal scalability law over N, None with fewer than 3 points.
        phase: phase model over (R, E), None with fewer than 3 usable points (R >= 1).
        curves: every fitted model drawn over the measured range, in speedup over the table's baseline.
        ideal: ideal speedup per num_envs of the table: ``(N, N / N_base)``, ordered by N.
    """

    choice: ModelChoice
    amdahl: AmdahlFit | None
    usl: UslFit | None
    phase: PhaseFit | None
    curves: tuple[FittedCurve, ...] = ()
    ideal: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadFindings:
    """All about one workload (same environment and algorithm settings, different plans).

    Attributes:
        headline: the verdict sentence of this workload.
        table: rows, baseline, notices.
        models: scaling models; None for a single row.
        advice: recommendations, top three, decision chart; None for a single row.
    """

    headline: str
    table: ScalingTable
    models: ScalingModels | None
    advice: Advice | None

    @property
    def winner(self) -> Bottleneck | None:
        """What holds the recommended row back (the only row, where there is one)."""
        row = self.advice.recommended if self.advice else None
        if row is None and len(self.table.rows) == 1:
            row = self.table.rows[0]
        return row.bottleneck if row else None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a results file says.

    Attributes:
        kind: ``train`` (one run: no scaling, only ledger verdict and learning curve), ``sweep`` or ``tune``.
        headline: the verdict, one or two sentences, to stand first.
        env_id: the environment.
        algo: the algorithm's name.
        workloads: at least one unless the file has no experiments; ``workloads[0]`` is the one with most rows.
        runs: every run of the file, in its order.
        notices: all warnings, of the file and of every table, worst first.
        method: how it was measured, one sentence per item.
        outcome_counts: outcome -> number of runs.
        machine: the machine's description as recorded.
        gpu: what is known of the GPU, one sentence ("No GPU: .." where there is none).
        complete: all planned trials are in the file.
    """

    kind: Literal["train", "sweep", "tune"]
    headline: str
    env_id: str
    algo: str
    workloads: tuple[WorkloadFindings, ...]
    runs: tuple[RunFinding, ...]
    notices: tuple[Notice, ...]
    method: tuple[str, ...]
    outcome_counts: Mapping[str, int]
    machine: Mapping[str, Any] = field(default_factory=dict)
    gpu: str = ""
    complete: bool = True

    @property
    def primary(self) -> WorkloadFindings | None:
        """The first workload, None where the file has no experiments."""
        return self.workloads[0] if self.workloads else None


def analyse(results: Results) -> Findings:
    """Work out everything a report needs from ``results``; never raises on failed or missing trials."""
    raise NotImplementedError
