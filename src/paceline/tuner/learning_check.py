"""Does what is faster also learn as well by the clock? A short paired comparison before it is recommended.

Both train with the same seeds and for the same wall time, each run in a fresh process, in turns (A B, B A, ..). What a
run has learned is its return at the end less its return at the beginning. With d the differences between the two by
seed, in units of what the reference learns on average, Student's t gives the interval of their mean, and

    as well      its lower bound is above -:data:`MARGIN`
    worse        its upper bound is below 0
    cannot tell  anything else; so is a reference that has learned nothing in this time

one-sided, with 95 %. It is a guard for the time that it was given, not a proof for all of training.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from paceline.analysis.learning import learning_curve
from paceline.isolation.child import Emit, Request
from paceline.isolation.conversation import AnswerFailed, Conversation, Stopped, Watch
from paceline.machine import thread_environment
from paceline.measure.result import Results, finite
from paceline.measure.store import load_results
from paceline.measure.tune_result import LearningAnswer, LearningCheck
from paceline.spec import Budget, RunSpec, build_spec
from paceline.tuner.arena import Interrupted

TASK = "paceline.tuner.learning_check:train_for_a_while"
SEEDS = (101, 102, 103)
MARGIN = 0.1
"""Less than this share of what the reference learns is no loss."""
CONFIDENCE = 0.95
_OVERHEAD_S = 120.0

Learned = tuple[float, float]
"""Mean return of the first episodes of a run, and of the last ones."""


def train_for_a_while(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Train the run ``request["spec"]`` into the folder ``request["out"]``; task of a fresh process."""
    from paceline.training.run import train

    train(build_spec(RunSpec, request["spec"], source="learning check"), out=request["out"])
    emit(finite({"event": "trained"}))


def check_learning(
    what: str,
    reference: RunSpec,
    challenger: RunSpec,
    *,
    minutes: float,
    memory_bytes: int,
    seeds: Sequence[int] = SEEDS,
    should_stop: Callable[[], bool] = lambda: False,
    on_line: Callable[[str], None] = lambda line: None,
    trained: Callable[[RunSpec, float], Learned | str] | None = None,
) -> LearningCheck:
    """Compare how two runs learn by the clock.

    Args:
        what: the difference, for people.
        reference: the run that was asked for.
        challenger: the one that changes what is learned.
        minutes: training of each of the two, all seeds together.
        memory_bytes: what a run may hold.
        seeds: of the pairs.
        should_stop: asked several times a second.
        on_line: told of every run.
        trained: trains a run for so many seconds and returns what it learned, or why it could not.

    Raises:
        Interrupted: it was stopped.
    """
    seconds = 60.0 * minutes / len(seeds)
    train_one = trained or (lambda run, seconds: _trained(run, seconds, memory_bytes, should_stop))
    learned: list[tuple[Learned, Learned]] = []
    for number, seed in enumerate(seeds):
        pair: dict[str, Learned] = {}
        order = [("reference", reference), ("challenger", challenger)]
        for who, run in order if number % 2 == 0 else order[::-1]:
            found = train_one(run.model_copy(update={"seed": seed}), seconds)
            if isinstance(found, str):
                return LearningCheck(what=what, answer="cannot tell", sentence=f"{what}: a run failed: {found}.")
            pair[who] = found
        learned.append((pair["reference"], pair["challenger"]))
        (_, before), (_, after) = learned[-1]
        on_line(f"seed {seed}: a return of {before:,.1f} after {seconds:.0f} s, {after:,.1f} with {_lower(what)}")
    return judged(what, learned, seconds)


def judged(what: str, learned: Sequence[tuple[Learned, Learned]], seconds: float) -> LearningCheck:
    """Return what pairs of runs, reference first, say.

    Args:
        what: the difference.
        learned: of each seed.
        seconds: of each run.
    """
    gains = np.array([[end - begin for begin, end in pair] for pair in learned])  # [seeds, 2]
    unit = float(gains[:, 0].mean())
    ends = [[pair[side][1] for pair in learned] for side in (0, 1)]
    means = [float(np.mean(side)) for side in ends]
    shown = f"a return of {means[1]:,.1f} against {means[0]:,.1f} after {seconds:.0f} s, {len(learned)} seeds"
    answer: LearningAnswer = "cannot tell"
    interval = None
    spread = float(gains[:, 0].std(ddof=1)) if len(learned) > 1 else math.inf
    if unit > 0.0 and unit > spread / math.sqrt(len(learned)):
        differences = (gains[:, 1] - gains[:, 0]) / unit
        middle = float(differences.mean())
        reach = float(student_t.ppf(CONFIDENCE, len(learned) - 1)) * float(differences.std(ddof=1))
        reach /= math.sqrt(len(learned))
        interval = (middle - reach, middle + reach)
        answer = "as well" if interval[0] > -MARGIN else "worse" if interval[1] < 0.0 else "cannot tell"
    told = {
        "as well": "it learns as well or better by the clock",
        "worse": "it learns worse by the clock",
        "cannot tell": "whether it learns as well cannot be told in this time",
    }[answer]
    return LearningCheck(
        what=what, answer=answer, returns=tuple((a, b) for a, b in zip(*ends, strict=True)), difference=interval,
        seconds=seconds, sentence=f"{what}: {told} ({shown}).",
    )  # fmt: skip


def _trained(run: RunSpec, seconds: float, memory_bytes: int, should_stop: Callable[[], bool]) -> Learned | str:
    """Train in a fresh process and return what was learned, or why that failed."""
    spec = run.model_copy(update={"budget": Budget(minutes=seconds / 60.0)})
    with tempfile.TemporaryDirectory(prefix="paceline-learning-") as folder:
        out = Path(folder) / "run"
        request: dict[str, Any] = {"task": TASK, "spec": spec.model_dump(mode="json"), "out": str(out)}
        watch = Watch(seconds + _OVERHEAD_S, memory_bytes, should_stop, whose="the learning check's")
        talk = Conversation(request, watch, thread_environment(run.plan.learner_threads or 1))
        try:
            talk.answer()
        except AnswerFailed as failed:
            return failed.failure.message
        except Stopped:
            raise Interrupted from None
        finally:
            talk.end()
        return _learned(load_results(out, Results))


def _learned(results: Results) -> Learned | str:
    curve = learning_curve(results.experiments[0].iterations)
    if curve is None or len(curve) < 2:
        return "it finished too few episodes"
    return float(curve.returns[0]), curve.final_return()


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
