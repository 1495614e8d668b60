"""How a run stands after an iteration, in a line or two."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import IterationRecord
from paceline.spec import RunSpec


@dataclass(frozen=True)
class Status:
    """How a run stands after an iteration.

    Attributes:
        record: the iteration.
        recent_return: mean return of the last episodes, or None before the first one ended.
        best_return: the highest ``recent_return`` so far.
        progress: share of the budget that is spent.
        elapsed_s: seconds since this process began to train.
        remaining_s: seconds that are left at the pace so far.
    """

    record: IterationRecord
    recent_return: float | None
    best_return: float | None
    progress: float
    elapsed_s: float
    remaining_s: float


def describe(spec: RunSpec) -> str:
    """Return one line on what is about to run."""
    plan = spec.plan
    where = (
        f"{plan.num_env_runners} runners x {plan.num_envs_per_env_runner} envs ({plan.resolved_backend})"
        if plan.num_env_runners
        else f"{plan.num_envs} {'env' if plan.num_envs == 1 else 'envs'} in the learner's process"
    )
    if plan.inference == "runner":
        where += ", each with a copy of the policy"
    if plan.schedule not in ("auto", "sync"):
        where += {"pipelined": ", pipelined", "async": ", asynchronous (not deterministic)"}[plan.schedule]
    budget = spec.budget
    if budget.total_steps is not None:
        planned = budget.planned_env_steps(spec.algo.steps_per_iteration or 1)
        until = f"{planned:,} steps"
        if planned != budget.total_steps:
            until += f" ({budget.total_steps:,} in whole iterations of {spec.algo.steps_per_iteration:,})"
    elif budget.minutes is not None:
        until = f"{budget.minutes:g} min"
    else:
        until = f"{budget.iterations} iterations"
    return (
        f"training {spec.algo.name} on {spec.env.id}: {where}, batch {spec.algo.batch_size}, {until}, seed {spec.seed}"
    )


def status_line(status: Status) -> str:
    """Return steps, speed, return, lag (where policies can lag) and remaining time in one line."""
    record = status.record
    recent, best = ("-" if value is None else f"{value:,.1f}" for value in (status.recent_return, status.best_return))
    lag = f"lag {record.metrics['lag_mean']:.1f}  " if "lag_mean" in record.metrics else ""
    return (
        f"iteration {record.iteration + 1}  steps {record.total_env_steps:,}  SPS {record.sps:,.0f}  "
        f"return {recent} (best {best})  {lag}elapsed {format_duration(status.elapsed_s)}  "
        f"ETA {format_duration(status.remaining_s)}"
    )


def ledger_line(record: IterationRecord) -> str:
    """Return the shares of the iteration's wall time, largest first."""
    phases = record.ledger.phases
    names = sorted((*PHASES, UNATTRIBUTED), key=lambda name: -phases.get(name, 0.0))
    parts = [
        f"{name.replace('_', ' ')} {phases.get(name, 0.0) / record.wall_s:.0%}"
        for name in names
        if phases.get(name, 0.0) / record.wall_s >= 0.005
    ]
    return "time: " + ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Return ``1h02m``, ``3m20s`` or ``5s``."""
    whole = round(max(0.0, seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
