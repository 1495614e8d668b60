"""What a sweep has done in fresh processes: tasks of :mod:`paceline.isolation.child`.

:func:`run_trial` runs one trial, with the events

    {"event": "iteration", "record": {..IterationRecord..}}                       as each iteration finishes
    {"event": "result", "result": {..RunResult..}}                                last

and :func:`resolve_runs` fills in the open fields of runs, ``{"event": "resolved", "run": {..RunSpec..}}`` each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from paceline.isolation.child import Emit, Request, load_entry_point
from paceline.measure.result import IterationRecord, RunResult, finite
from paceline.spec import RunSpec, build_spec

TRIAL = "paceline.sweep.child:run_trial"
RESOLVE = "paceline.sweep.child:resolve_runs"
"""The tasks, as a request names them."""


class EntryPoint(Protocol):
    """What runs a trial; :func:`paceline.training.trial.run_trial` is the real one."""

    def __call__(
        self,
        spec: RunSpec,
        *,
        name: str,
        repeat: int,
        iterations: int,
        warmup_iterations: int,
        on_iteration: Callable[[IterationRecord], None],
    ) -> RunResult:
        """Run ``spec`` and report every measured iteration as it finishes."""


def run_trial(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Run one trial.

    Args:
        request: ``entry_point`` (``package.module:function``), ``spec``, ``name``, ``repeat``, ``iterations`` and
            ``warmup_iterations``.
        emit: writes one event.
        more: not asked for.
    """

    def on_iteration(record: IterationRecord) -> None:
        emit({"event": "iteration", "record": finite(record.model_dump(mode="json"))})

    entry_point: EntryPoint = load_entry_point(request["entry_point"])
    result = entry_point(
        build_spec(RunSpec, request["spec"], source=request["name"]),
        name=request["name"],
        repeat=request["repeat"],
        iterations=request["iterations"],
        warmup_iterations=request["warmup_iterations"],
        on_iteration=on_iteration,
    )
    emit({"event": "result", "result": finite(result.model_dump(mode="json"))})


def resolve_runs(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Fill in the open fields of ``request["runs"]``, each by ``request["entry_point"]``."""
    resolve: Callable[[RunSpec], RunSpec] = load_entry_point(request["entry_point"])
    for data in request["runs"]:
        emit({"event": "resolved", "run": resolve(build_spec(RunSpec, data)).model_dump(mode="json")})
