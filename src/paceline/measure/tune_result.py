"""What ``results.json`` holds of a tuning: a sweep's file, and beside it what was predicted, raced and decided."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paceline.measure.result import Record, Results

MAY_BE_AS_FAST = 0.05
"""From this probability of being as good as the best, a plan that was not measured is one that may yet win."""

PlanState = Literal["measured", "failed", "ruled out", "not measured", "impossible"]


class PlanStanding(Record):
    """How one plan stands at the end.

    Attributes:
        name: what it is called.
        state: what became of it; ``ruled out``: by the failure of another or by a bound; ``impossible``: it cannot be.
        reason: one sentence where it was not measured.
        plan: the plan; empty where it is impossible.
        batch_size: of its runs.
        changes: what of the learning it changes, one phrase; empty where nothing.
        predicted_sps: what the phase model expected before anything was measured.
        sps: steps per second as believed at the end.
        sps_ci95: where it lies with 95 %.
        speedup: over the chosen plan's baseline, with its 95 % interval.
        p_best: probability that no plan is better.
        p_tied: probability that none is better by more than a tie.
        cores: kept busy, as measured, or else as expected.
        memory_bytes: held by all of its processes, as measured, or else as expected.
        num_slices: slices that were measured.
        num_processes: processes that they were measured in.
        leak_bytes_per_step: by how much its processes grow with each step; None where they do not, or it is not known.
        others_cores: cores that other programs kept busy beside its slices (median); None where it is not known.
    """

    name: str
    state: PlanState
    reason: str = ""
    plan: dict[str, Any] = Field(default_factory=dict)
    batch_size: int | None = None
    changes: str = ""
    predicted_sps: float | None = None
    sps: float | None = None
    sps_ci95: tuple[float, float] | None = None
    speedup: tuple[float, float, float] | None = None
    p_best: float | None = None
    p_tied: float | None = None
    cores: float | None = None
    memory_bytes: int | None = None
    num_slices: int = 0
    num_processes: int = 0
    leak_bytes_per_step: float | None = None
    others_cores: float | None = None


class NoiseFloor(Record):
    """How much this machine differs from itself; standard deviations of log SPS (0.01 is 1 %).

    Attributes:
        slice_sd: from slice to slice of one process.
        process_sd: from process to process of one plan; None where no plan was measured in two.
        drift_sd: of what all plans share and what changes with time; None where too little time passed to tell.
        aa_difference: of the two processes of the A/A pair, as a share; None where there was none.
        others_cores: cores that other programs kept busy before anything was started; None where it is not known.
        others_median: the same beside half of the slices or more.
        others_most: the same at most.
    """

    slice_sd: float
    process_sd: float | None = None
    drift_sd: float | None = None
    aa_difference: float | None = None
    others_cores: float | None = None
    others_median: float | None = None
    others_most: float | None = None


class TuneDecision(Record):
    """What was decided; plans by name.

    Attributes:
        winner: the plan to take; None where nothing could be measured.
        runner_up: the next best.
        fastest: the plan of the greatest worth, where another that is tied with it costs less and was taken.
        tied: plans that are as good as far as can be told.
        beaten: plans that the winner is said to be faster than.
        p_best: probability that no plan is better than the winner by more than a tie.
        tells: False: "cannot tell".
        certain: with 95 %.
        baseline: what speedups are over.
        stopped: what ended the race: ``sure``, ``budget``, ``interrupted`` or ``nothing`` (could be measured).
    """

    winner: str | None
    runner_up: str | None = None
    fastest: str | None = None
    tied: tuple[str, ...] = ()
    beaten: tuple[str, ...] = ()
    p_best: float = 0.0
    tells: bool = False
    certain: bool = False
    baseline: str | None = None
    stopped: str = "nothing"


class WhatIf(Record):
    """What would change if one thing were different.

    Attributes:
        what: the thing.
        change: of the winner's speed, as a share: 0.31 is 31 % faster; None where nobody can say.
        ci95: where that lies with 95 %; None where it was not measured.
        measured: False: it is what the phase model predicts.
        learns_differently: whether the batch would be learnt from in another way.
        sentence: all of it, for people.
    """

    what: str
    change: float | None = None
    ci95: tuple[float, float] | None = None
    measured: bool = False
    learns_differently: bool = False
    sentence: str


LearningAnswer = Literal["as well", "worse", "cannot tell"]


class LearningCheck(Record):
    """Whether something that changes what is learned also learns as well by the clock.

    Attributes:
        what: the change.
        answer: what the comparison says.
        returns: of each seed the return at the end, of the run as asked for and of the changed one.
        difference: 95 % interval (each side) of what the changed one learns more, in units of what the other learns.
        seconds: of training of each run.
        sentence: all of it, for people.
    """

    what: str
    answer: LearningAnswer
    returns: tuple[tuple[float, float], ...] = ()
    difference: tuple[float, float] | None = None
    seconds: float = 0.0
    sentence: str


class Recommended(Record):
    """A change of what is learned that was verified, and is recommended with the winner's plan.

    Attributes:
        what: the change.
        change: of the winner's speed, as a share.
        algo: the algorithm with it.
        options: of ``paceline train``, beside ``--plan plan.yaml``.
    """

    what: str
    change: float
    algo: dict[str, Any]
    options: str


class TuneRecord(Record):
    """A tuning.

    Attributes:
        objective: what was wanted, by name.
        budget_s: seconds that were allowed.
        wall_s: seconds that it took.
        parts: what the parts cost: phase -> microseconds or seconds, see :mod:`paceline.tuner.probe`.
        plans: of every plan how it stands, the best first.
        noise: how much the machine differs from itself; None where nothing was measured.
        decision: what was decided.
        bound: what holds the winner back, one word: ``env-bound``, ``learner-bound`` .. ; empty where it is not known.
        verdict: what that means, two sentences.
        what_ifs: what one change or another would give.
        learning_checks: comparisons of what learns differently with what was asked for.
        recommended: what learns differently, is faster, and was found to learn as well; None where there is nothing.
        env_source: hash of the file that the environment's code is in; empty where that is not known.
        notes: what a reader should know.
    """

    objective: str
    budget_s: float
    wall_s: float
    parts: dict[str, Any] = Field(default_factory=dict)
    plans: tuple[PlanStanding, ...] = ()
    noise: NoiseFloor | None = None
    decision: TuneDecision
    bound: str = ""
    verdict: tuple[str, ...] = ()
    what_ifs: tuple[WhatIf, ...] = ()
    learning_checks: tuple[LearningCheck, ...] = ()
    recommended: Recommended | None = None
    env_source: str = ""
    notes: tuple[str, ...] = ()


class TuneResults(Results):
    """The content of a tuning's ``results.json``."""

    tune: TuneRecord
