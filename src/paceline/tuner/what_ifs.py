"""What would change if one thing were different: asked of the winner, measured beside it where time allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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
from paceline.tuner.space import Setting, SizedPlan, sized_plan

SLICE_S = 1.0
_TURNS = 2
SLICES = 2 * _TURNS
"""Of one question, the winner's included."""
_LEARNER_SHARE = 0.2
"""Less of a step's time than this is not worth a question about the learner."""


@dataclass(frozen=True)
class Question:
    """One thing that could be different.

    Attributes:
        what: the thing, as the beginning of a sentence.
        factor: by how much the speed is expected to change, as a ratio.
        run: how to measure it; None where this machine cannot.
        candidate: index of the plan that it is, where it takes part in the race.
        learns_differently: whether the batch is learnt from in another way.
    """

    what: str
    factor: float
    run: RunSpec | None = None
    candidate: int | None = None
    learns_differently: bool = False


def questions(entrants: Entrants, winner: int, found: ProbeResult, machine: Machine) -> list[Question]:
    """Return what is worth asking of the winner, the most telling first."""
    costs = costs_of(found, machine)
    asked = list(_of_the_plan(entrants, winner, found.run, costs, setting_of(found.run, found, machine)))
    asked += _of_the_learner(entrants, winner, costs)
    asked += _of_the_world(entrants, winner, costs, machine.whole_cores)
    return asked


def _of_the_plan(
    entrants: Entrants, winner: int, base: RunSpec, costs: PhaseCosts, setting: Setting
) -> Iterator[Question]:
    run = entrants.runs[winner]
    runners, each = run.plan.num_env_runners, run.plan.num_envs_per_env_runner
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
        other = run_of(base, sized)
        same = [index for index, one in enumerate(entrants.candidates) if one.name == sized.name]
        yield Question(f"{what} ({sized.name})", _factor(run, other, costs), other, same[0] if same else None)


def _of_the_learner(entrants: Entrants, winner: int, costs: PhaseCosts) -> Iterator[Question]:
    run = entrants.runs[winner]
    algo, sps = run.algo, entrants.candidates[winner].predicted_sps
    share = costs.update_s / (algo.batch_size or 1) * sps
    if share < _LEARNER_SHARE or not isinstance(algo, PPOSpec):
        return
    total = 1.0 / (1.0 - share / 2.0)
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
            f"Twice the minibatch ({2 * size} in place of {size})", math.sqrt(total),
            run.model_copy(update={"algo": changed}), learns_differently=True,
        )  # fmt: skip


def _half(epochs: int) -> str:
    return "Half" if epochs % 2 == 0 else "About half"


def _of_the_world(entrants: Entrants, winner: int, costs: PhaseCosts, whole_cores: int) -> Iterator[Question]:
    """Yield what no measurement on this machine can answer."""
    run = entrants.runs[winner]
    env = costs.env
    quick = replace(env, mean_us=env.mean_us / 2, cpu_us=env.cpu_us / 2, step_us=env.step_us / 2)
    native = None if costs.native_us is None else costs.native_us / 2
    yield Question(
        "An environment twice as fast", _factor(run, run, costs, replace(costs, env=quick, native_us=native))
    )
    if run.plan.num_env_runners and not env.waits:
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
        left_s: seconds that are left.
        cost_s: seconds that one measurement takes, its start included.
    """
    raced = {piece.candidate for piece in belief.slices}
    runs = [question.run for question in asked if question.run is not None and question.candidate not in raced]
    measured: dict[str, tuple[float, float, float]] = {}
    if runs and left_s() > 2 * cost_s:
        arena = open_arena([winner_run, *runs])
        try:
            measured = _measure(arena, asked, raced, belief, left_s, cost_s)
        finally:
            _end(arena)
    found = []
    for question in asked:
        known = measured.get(question.what)
        if known is None and question.candidate in raced:
            known = _believed(belief, int(question.candidate or 0), winner)
        found.append(_told(question, known))
    return tuple(found)


def _end(arena: Arena) -> None:
    end = getattr(arena, "end", None)
    if end is not None:
        end()


def _measure(
    arena: Arena,
    asked: Sequence[Question],
    raced: set[int],
    belief: Belief,
    left_s: Callable[[], float],
    cost_s: float,
) -> dict[str, tuple[float, float, float]]:
    """Measure one question after another, in turns with the winner, as long as there is time."""
    found: dict[str, tuple[float, float, float]] = {}
    winner = arena.open(0)
    if isinstance(winner, Failed):
        return found
    number = 0
    try:
        for question in asked:
            if question.run is None or question.candidate in raced:
                continue
            number += 1
            if left_s() < cost_s:
                break
            other = arena.open(number)
            if isinstance(other, Failed):
                continue
            gaps = _gaps(arena, winner.process, other.process)
            arena.close(other.process)
            if gaps is None:
                break
            spread = math.sqrt(2.0 * belief.process_sd() ** 2 + 2.0 * belief.noise_sd() ** 2 / len(gaps))
            middle = float(np.mean(gaps))
            low, high = middle - 1.96 * spread, middle + 1.96 * spread
            found[question.what] = (math.expm1(middle), math.expm1(low), math.expm1(high))
    except Interrupted:
        pass
    return found


def _gaps(arena: Arena, winner: int, other: int) -> list[float] | None:
    """Return the logarithms of how many times as fast the other one is, turn by turn; None where one failed."""
    gaps = []
    for turn in range(_TURNS):
        order = (winner, other) if turn % 2 == 0 else (other, winner)
        speeds = {}
        for process in order:
            measured = arena.measure(process, SLICE_S)
            if isinstance(measured, Failed):
                return None
            speeds[process] = measured.sps
        gaps.append(math.log(speeds[other] / speeds[winner]))
    return gaps


def _believed(belief: Belief, other: int, winner: int) -> tuple[float, float, float]:
    drawn = belief.sample(2000, np.random.default_rng(2))
    low, middle, high = np.expm1(np.quantile(drawn[:, other] - drawn[:, winner], (0.025, 0.5, 0.975)))
    return float(middle), float(low), float(high)


def _told(question: Question, known: tuple[float, float, float] | None) -> WhatIf:
    change = question.factor - 1.0 if known is None else known[0]
    how = "predicted, not measured" if known is None else f"measured, {known[1]:+.0%} to {known[2]:+.0%} with 95%"
    but = "; it learns differently" if question.learns_differently else ""
    return WhatIf(
        what=question.what,
        change=change,
        ci95=None if known is None else (known[1], known[2]),
        measured=known is not None,
        learns_differently=question.learns_differently,
        sentence=f"{question.what}: {change:+.0%} ({how}){but}.",
    )
