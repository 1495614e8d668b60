"""A trace of the plan that won a tuning, made in a fresh process once everything is decided."""

from __future__ import annotations

from paceline.measure.result import dump_json
from paceline.measure.store import RunFolder
from paceline.measure.trace import TRACE_FILE
from paceline.measure.tune_result import TuneResults
from paceline.tuner.arena import Failed
from paceline.tuner.processes import CONTENDER, Bounds, ProcessArena
from paceline.tuner.spec import TuneSpec
from paceline.tuner.tuned import run_of

ITERATIONS = 3
"""So many are traced, or fewer where these fill a trace."""


def trace_winner(
    folder: RunFolder, spec: TuneSpec, results: TuneResults, bounds: Bounds, *, task: str = CONTENDER
) -> TuneResults:
    """Leave a trace of the winner in ``folder``, as ``trace.json``; what is wrong with one does not cost the tuning.

    Args:
        folder: of the tuning.
        spec: what was asked.
        results: what was found.
        bounds: what the process may take.
        task: what it does.

    Returns:
        The results with a note that says where the trace is, or why there is none; written to ``folder``, too.
    """
    winner = results.tune.decision.winner
    if winner is None:
        return results
    arena = ProcessArena([run_of(spec, results, winner)], bounds, task=task)
    try:
        opened = arena.open(0)
        trace = opened if isinstance(opened, Failed) else arena.trace(opened.process, ITERATIONS)
    finally:
        arena.end()
    if isinstance(trace, Failed):
        note = f"No trace of {winner} could be made: {trace.message}"
    else:
        folder.write_text(TRACE_FILE, dump_json(trace))
        note = f"A trace of iterations of {winner} is in {TRACE_FILE}: open it at ui.perfetto.dev."
    tune = results.tune.model_copy(update={"notes": (*results.tune.notes, note)})
    results = results.model_copy(update={"tune": tune})
    folder.write_results(results)
    return results
