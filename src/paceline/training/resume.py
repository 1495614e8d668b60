"""What a resumed run must share with the run that it continues, and what it takes over from it."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

from pydantic import ValidationError

from paceline.errors import PlanError, ResultsError
from paceline.measure.result import IterationRecord
from paceline.measure.store import RunFolder
from paceline.spec import Budget, NetworkSpec, RunSpec, build_spec
from paceline.training.checkpoint import Checkpoint


def check_same_run(checkpoint: Checkpoint, spec: RunSpec) -> None:
    """Refuse to continue a run as another one; plan, budget and learning rate may change, open fields may be anything.

    Raises:
        ResultsError: environment, algorithm, seed, network, optimiser or what is normalised differ.
    """
    before = _spec_of(checkpoint)
    for name, old, new in (
        ("env.id", before.env.id, spec.env.id),
        ("env.kwargs", before.env.kwargs, spec.env.kwargs),
        ("algo.name", before.algo.name, spec.algo.name),
        ("seed", before.seed, spec.seed),
        *(
            # These decide which arrays an update carries along: without them there is nothing to go on from.
            (f"algo.{field}", getattr(before.algo, field, None), getattr(spec.algo, field, None))
            for field in ("optimizer", "normalize_observations", "normalize_rewards")
        ),
        *(
            (f"algo.network.{field}", getattr(before.algo.network, field), getattr(spec.algo.network, field))
            for field in NetworkSpec.model_fields
        ),
    ):
        if new is not None and old != new:
            raise ResultsError(
                f"cannot resume: expected {name} {old!r} as the run has had so far, got {new!r}; use another --out for "
                f"a new run"
            )


def check_budget_is_left(
    budget: Budget, steps_per_iteration: int, total_env_steps: int, num_iterations: int, wall_s: float
) -> None:
    """Refuse to continue a run that is complete: its results would be replaced by nothing.

    Args:
        budget: the resumed run's budget.
        steps_per_iteration: environment steps of one iteration.
        total_env_steps: environment steps so far.
        num_iterations: iterations so far.
        wall_s: seconds that it has trained so far.

    Raises:
        PlanError: the budget is spent.
    """
    larger = f"--total-steps {2 * total_env_steps}"
    for name, done, limit, example in (
        ("total_steps", total_env_steps, budget.planned_env_steps(steps_per_iteration), larger),
        ("iterations", num_iterations, budget.iterations, larger),
        ("minutes", wall_s / 60, budget.minutes, f"--minutes {math.ceil(wall_s / 30)}"),
    ):
        if limit is not None and done >= limit:
            shown = f"{done:.2f}" if isinstance(done, float) else done
            given = getattr(budget, name)
            got = f"{given} ({limit} in whole iterations)" if given > done else given
            raise PlanError(
                f"cannot resume: expected a budget beyond the {shown} {name} that the run has done, got {got}; "
                f"give a larger one (for example {example})"
            )


def trained_s(checkpoint: Checkpoint) -> float:
    """Return how many seconds a run had trained when it was saved; 0 where its checkpoint does not tell."""
    return float(checkpoint.meta.get("wall_s", 0.0))


def resumption(spec: RunSpec, previous: Checkpoint | None) -> dict[str, Any]:
    """Return the line of ``progress.jsonl`` that says where a run goes on, and what its figures depend on from there.

    Args:
        spec: the resumed run, filled in.
        previous: the checkpoint that it goes on from; None: it begins again.
    """
    return {
        "kind": "resumed",
        "iteration": 0 if previous is None else _num_iterations(previous),
        "setting": _setting(spec),
        "setting_before": None if previous is None else _setting(_spec_of(previous)),
    }


def earlier_records(folder: RunFolder, previous: Checkpoint | None, spec: RunSpec) -> list[IterationRecord]:
    """Return the iterations of a resumed run that its checkpoint holds; those after it are run again.

    Figures of another plan or batch size do not belong into one mean: such iterations, and whatever came before them,
    stay in ``progress.jsonl`` only.
    """
    if previous is None:
        return []
    lines = folder.read_progress()
    resumptions = [line for line in lines if line.get("kind") == "resumed"]
    setting = resumptions[0].get("setting_before") if resumptions else _setting(_spec_of(previous))
    found: list[tuple[IterationRecord, Any]] = []
    for line in lines:
        if line.get("kind") == "resumed":
            setting = line.get("setting")
            _drop_from(found, line.get("iteration", 0))
        elif line.get("kind") == "iteration":
            with contextlib.suppress(ValidationError):
                record = IterationRecord.model_validate(line)
                _drop_from(found, record.iteration)
                found.append((record, setting))
    _drop_from(found, _num_iterations(previous))
    last_setting = itertools.takewhile(lambda pair: pair[1] == _setting(spec), reversed(found))
    return [record for record, _ in last_setting][::-1]


def _drop_from(found: list[tuple[IterationRecord, Any]], iteration: int) -> None:
    """Drop what a run that was killed did beyond its checkpoint; it was done again, and the later ones count."""
    while found and found[-1][0].iteration >= iteration:
        found.pop()


def _setting(spec: RunSpec) -> dict[str, Any]:
    """Return what an iteration's figures depend on and a resumption may change, as plain data."""
    return {"plan": spec.plan.model_dump(mode="json"), "batch_size": spec.algo.batch_size}


def _num_iterations(checkpoint: Checkpoint) -> int:
    return int(checkpoint.meta.get("num_iterations", checkpoint.meta["num_updates"]))


def _spec_of(checkpoint: Checkpoint) -> RunSpec:
    return build_spec(RunSpec, checkpoint.meta.get("spec", {}), source=str(checkpoint.path))
