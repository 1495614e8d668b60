"""What would change if one thing were different: asked of the winner, measured beside it where time allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ValidationError

from paceline.errors import PlanError
from paceline.machine import Machine
from paceline.measure.tune_result import WhatIf
from paceline.spec import Plan, PPOSpec, RunSpec
from paceline.tuner.arena import Arena, Failed, Interrupted
from paceline.tuner.belief import Belief
from paceline.tuner.entrants import Entrants, costs_of, run_of, setting_of
from paceline.tuner.phases import PhaseCosts, predict
from paceline.tuner.probe import ProbeResult
from paceline.tuner.space import Setting, SizedPlan, envs_in_process, sized_plan

SLICE_S = 1.0
Interval = tuple[float, float, float]
"""Median and 95 % interval."""
_TURNS = 2
SLICES = 2 * _TURNS
"""Of one question, the winner's included."""
_MOST_SHARE = 0.95
_LEARNER_SHARE = 0.2
"""Less of a step's time than this is not worth a question about the learner."""


@dataclass(frozen=True)
class Question:
    """One thing that could be different.

    Attributes:
        what: the thing, as the beginning of a sentence.
        factor: by how much the speed is expected to change, as a ratio; None where nobody can say.
        run: how to measure it; None where this machine cannot.
        candidate: index of the plan that it is, where it takes part in the race.
        learns_differently: whether the batch is learnt from in another way.
        requested: the user asked for it by value.
    """

    what: str
    factor: float | None
    run: RunSpec | None = None
    candidate: int | None = None
    learns_differently: bool = False
    requested: bool = False


def questions(
    entrants: Entrants,
    winner: int,
    found: ProbeResult,
    machine: Machine,
    *,
    gone: Collection[int] = (),
    max_cores: int | None = None,
) -> list[Question]:
    """Return what is worth asking of the winner, the most telling first.

    Args:
        entrants: who took part.
        winner: index of the winner.
        found: what the parts cost.
        machine: what it runs on.
        gone: indices of plans that failed or were ruled out.
        max_cores: that a plan may have.
    """
    costs = costs_of(found, machine)
    if entrants.learner_speeds:
        costs = replace(costs, update_s=costs.update_s / entrants.learner_speeds[winner])
    setting = setting_of(found.run, found, machine)
    asked = [
        one
        for one in _of_the_plan(entrants, winner, found.run, costs, setting)
        if one.candidate not in gone
        and (one.run is None or max_cores is None or one.run.plan.num_env_runners <= max_cores)
    ]
    asked += _of_the_learner(entrants, winner, costs)
    asked += _of_the_world(entrants, winner, costs, machine.whole_cores, setting.native_threads)
    return asked


def _of_the_plan(
    entrants: Entrants, winner: int, base: RunSpec, costs: PhaseCosts, setting: Setting
) -> Iterator[Question]:
    run = entrants.runs[winner]
    runners, each = run.plan.num_env_runners, run.plan.num_envs_per_env_runner
    own = {name: getattr(run.plan, name) for name in ("learner_threads", "device")}
    base = base.model_copy(update={"plan": base.plan.model_copy(update=own)})
    widest = setting.native_threads if run.plan.resolved_backend == "native" else None
    changes = {"Twice the environments" + (" in each runner" if runners else ""): {"num_envs_per_env_runner": 2 * each}}
    if runners:
        changes = {"One more runner": {"num_env_runners": runners + 1}, **changes}
    for what, changed in changes.items():
        try:
            plan = Plan.model_validate({**run.plan.model_dump(), **changed}).for_algorithm(setting.algo)
        except (ValidationError, PlanError):
            continue
        sized = sized_plan(setting, plan)
        if not isinstance(sized, SizedPlan):
            continue  # no batch near this one is made of whole steps of all of them
        crowded = setting.several is not None and run.plan.resolved_backend != "native" and envs_in_process(plan) > 1
        if crowded or (widest is not None and plan.num_env_runners > widest):
            continue
        other = run_of(base, sized)
        same = [index for index, one in enumerate(entrants.runs) if one.plan == other.plan and one.algo == other.algo]
        yield Question(f"{what} ({sized.name})", _factor(run, other, costs), other, same[0] if same else None)


def _of_the_learner(entrants: Entrants, winner: int, costs: PhaseCosts) -> Iterator[Question]:
    run = entrants.runs[winner]
    algo, sps = run.algo, entrants.candidates[winner].predicted_sps
    share = min(_MOST_SHARE, costs.update_s / (algo.batch_size or 1) * sps)
    if share < _LEARNER_SHARE or not isinstance(algo, PPOSpec):
        return
    if algo.num_epochs and algo.num_epochs > 1:
        fewer = max(1, algo.num_epochs // 2)
        gain = 1.0 / (1.0 - share * (1.0 - fewer / algo.num_epochs))
        changed = algo.model_copy(update={"num_epochs": fewer})
        yield Question(
            f"{_half(algo.num_epochs)} the epochs ({fewer} in place of {algo.num_epochs})", gain,
            run.model_copy(update={"algo": changed}), learns_differently=True,
        )  # fmt: skip
    size, batch = algo.minibatch_size, algo.batch_size
    if size and batch and batch % (2 * size) == 0:
        changed = algo.model_copy(update={"minibatch_size": 2 * size})
        yield Question(
            f"Twice the minibatch ({2 * size} in place of {size})", None,
            run.model_copy(update={"algo": changed}), learns_differently=True,
        )  # fmt: skip


def _half(epochs: int) -> str:
    return "Half" if epochs % 2 == 0 else "About half"


def _of_the_world(
    entrants: Entrants, winner: int, costs: PhaseCosts, whole_cores: int, native_threads: int | None
) -> Iterator[Question]:
    """Yield what no measurement on this machine can answer."""
    run = entrants.runs[winner]
    env = costs.env
    quick = replace(env, mean_us=env.mean_us / 2, cpu_us=env.cpu_us / 2, step_us=env.step_us / 2)
    native = None if costs.native_us is None else costs.native_us / 2
    yield Question(
        "An environment twice as fast", _factor(run, run, costs, replace(costs, env=quick, native_us=native))
    )
    widest = native_threads if run.plan.resolved_backend == "native" else None
    if run.plan.num_env_runners and not env.waits and (widest is None or widest > run.plan.num_env_runners):
        plan = run.plan.model_copy(update={"num_env_runners": 2 * run.plan.num_env_runners})
        doubled = replace(costs, cores=2 * costs.cores)
        factor = _factor(run, run.model_copy(update={"plan": plan}), costs, doubled)
        yield Question(f"Twice the cores ({2 * whole_cores}), with twice the runners", factor)


def _factor(run: RunSpec, other: RunSpec, costs: PhaseCosts, other_costs: PhaseCosts | None = None) -> float:
    before = predict(run.plan, costs, batch_size=run.algo.batch_size or 1).sps
    return predict(other.plan, other_costs or costs, batch_size=other.algo.batch_size or 1).sps / before


def answer(
    asked: Sequence[Question],
    winner_run: RunSpec,
    belief: Belief,
    winner: int,
    open_arena: Callable[[Sequence[RunSpec]], Arena],
    left_s: Callable[[], float],
    cost_s: float,
) -> tuple[WhatIf, ...]:
    """Answer questions: from what the race measured, else by a measurement beside the winner, else by the model.

    Args:
        asked: the questions, those worth most first.
        winner_run: what they are about.
        belief: what the race has found.
        winner: index of the winner in it.
        open_arena: makes an arena for these runs.
        left_s: seconds that are left; what was requested by value is measured whatever is left.
        cost_s: seconds that one measurement takes, its start included.
    """
    raced = {piece.candidate for piece in belief.slices}
    open_ones = [one for one in asked if one.run is not None and one.candidate not in raced]
    found: dict[str, Interval | Failed] = {}
    if any(one.requested for one in open_ones) or (open_ones and left_s() > 2 * cost_s):
        arena = open_arena([winner_run, *(one.run for one in open_ones if one.run is not None)])
        try:
            _measure(arena, open_ones, belief, lambda: left_s() >= cost_s, found)
        except Interrupted:
            pass  # what was measured until then is known
        finally:
            arena.end()
    for question in asked:
        if question.candidate in raced:
            found[question.what] = _believed(belief, int(question.candidate or 0), winner)
    return tuple(_told(question, found.get(question.what)) for question in asked)


def _measure(
    arena: Arena,
    asked: Sequence[Question],
    belief: Belief,
    in_time: Callable[[], bool],
    found: dict[str, Interval | Failed],
) -> None:
    """Measure one question after another, in turns with the winner, into ``found``."""
    winner = arena.open(0)
    if isinstance(winner, Failed):
        return
    for number, question in enumerate(asked, 1):
        if not question.requested and not in_time():
            continue
        other = arena.open(number)
        if isinstance(other, Failed):
            found[question.what] = other
            continue
        gaps = _gaps(arena, winner.process, other.process)
        if isinstance(gaps, Failed):
            found[question.what] = gaps
            continue
        arena.close(other.process)
        if not gaps:
            return  # the winner is gone
        spread = math.sqrt(2.0 * belief.process_sd() ** 2 + 2.0 * belief.noise_sd() ** 2 / len(gaps))
        middle = float(np.mean(gaps))
        low, high = middle - 1.96 * spread, middle + 1.96 * spread
        found[question.what] = (math.expm1(middle), math.expm1(low), math.expm1(high))


def _gaps(arena: Arena, winner: int, other: int) -> list[float] | Failed:
    """Return the logarithms of how many times as fast the other one is, turn by turn.

    Where the other one fails, its failure; where the winner does, nothing.
    """
    gaps = []
    for turn in range(_TURNS):
        order = (winner, other) if turn % 2 == 0 else (other, winner)
        speeds = {}
        for process in order:
            measured = arena.measure(process, SLICE_S)
            if isinstance(measured, Failed):
                return measured if process == other else []
            speeds[process] = measured.sps
        gaps.append(math.log(speeds[other] / speeds[winner]))
    return gaps


def _believed(belief: Belief, other: int, winner: int) -> Interval:
    drawn = belief.sample(2000, np.random.default_rng(2))
    low, middle, high = np.expm1(np.quantile(drawn[:, other] - drawn[:, winner], (0.025, 0.5, 0.975)))
    return float(middle), float(low), float(high)


def _told(question: Question, known: Interval | Failed | None) -> WhatIf:
    but = "; it learns differently" if question.learns_differently else ""
    change = None if question.factor is None else question.factor - 1.0
    interval = None
    if isinstance(known, Failed):
        change, how = None, f"it cannot be run: {known.message}"
    elif known is not None:
        change, interval = known[0], (known[1], known[2])
        how = f"measured, {known[1]:+.0%} to {known[2]:+.0%} with 95%"
    else:
        how = "predicted, not measured" if change is not None else "not measured, and not predicted"
    figure = f"{question.what}: {how}" if change is None else f"{question.what}: {change:+.0%} ({how})"
    return WhatIf(
        what=question.what,
        change=change,
        ci95=interval,
        measured=interval is not None,
        learns_differently=question.learns_differently,
        sentence=f"{figure}{but}.",
    )
