"""How a trial ended, as a ``RunResult``, where its process could not say so itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.measure.result import IterationRecord, Outcome, RunResult
from paceline.measure.throughput import check_steadiness, summarize, total_ledger
from paceline.sweep.grid import Trial


@dataclass(frozen=True)
class Ending:
    """Why a trial ended without a result of its own.

    Attributes:
        outcome: the word for it.
        message: one sentence: what happened, with figures, and what to do.
        error_type: class name of the exception that was raised in the trial, if one was.
        traceback: its traceback text.
    """

    outcome: Outcome
    message: str
    error_type: str = ""
    traceback: str = ""


def stamped(trial: Trial, result: RunResult) -> RunResult:
    """Return ``result`` under the name, repeat, seed and place in the grid that ``trial`` gave it."""
    return result.model_copy(
        update={"name": trial.name, "repeat": trial.repeat, "seed": trial.spec.seed, "config": trial.config}
    )


def judged(result: RunResult) -> RunResult:
    """Return ``result``, marked ``unsteady`` where it went well but its iterations were too unlike to be trusted."""
    if result.outcome != "ok" or not result.iterations:
        return result
    steadiness = check_steadiness(
        [record.num_env_steps for record in result.iterations], [record.wall_s for record in result.iterations]
    )
    if not steadiness.unsteady:
        return result
    return result.model_copy(update={"outcome": "unsteady", "message": steadiness.reason})


def result_of(trial: Trial, ending: Ending, iterations: Sequence[IterationRecord], *, setup_s: float) -> RunResult:
    """Return the result of a trial that ended early: what finished is kept and summed up.

    Args:
        trial: what was asked for.
        ending: why it ended.
        iterations: the measured iterations that finished.
        setup_s: wall seconds from the start of the process to the start of the first measured iteration; compilation
            and warm-up are in it, since only the trial itself could have told them apart.
    """
    spec = trial.spec
    return RunResult(
        name=trial.name,
        config=trial.config,
        outcome=ending.outcome,
        message=ending.message,
        repeat=trial.repeat,
        seed=spec.seed,
        env_id=spec.env.id,
        plan=spec.plan.model_dump(mode="json"),
        algo=spec.algo.model_dump(mode="json"),
        summary=summarize(
            iterations,
            batch_size=spec.algo.batch_size or 0,
            num_envs=spec.plan.num_envs,
            warmup_iterations=trial.warmup_iterations,
            setup_s=setup_s,
        ),
        iterations=tuple(iterations),
        ledger=total_ledger(iterations),
        resources=iterations[-1].resources if iterations else None,
    )
