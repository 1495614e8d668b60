"""What the text, the picture and the page of a tuning agree on: words, groups, and where a step's time goes."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paceline.analysis.bottleneck import PHASE_LABELS, phase_shares
from paceline.measure.ledger import OTHER, UNATTRIBUTED
from paceline.measure.result import RunResult
from paceline.measure.tune_result import MAY_BE_AS_FAST, NoiseFloor, PlanStanding, TuneRecord, TuneResults
from paceline.report import formats, view

NEARLY_THE_SAME = 0.05
"""Plans whose speeds are within this share of each other: it hardly matters which of them is taken."""


_MUCH_DRIFT = 0.1
_SPENT_IN = {OTHER: "other work", UNATTRIBUTED: "time that no phase claimed"}
_SCHEDULES = {"pipelined": "one half steps while the policy acts for the other", "async": "nobody waits for anybody"}


def standing_of(tune: TuneRecord, name: str | None) -> PlanStanding | None:
    """Return how the plan called ``name`` stands."""
    return next((one for one in tune.plans if one.name == name), None)


def measured(tune: TuneRecord) -> list[PlanStanding]:
    """Return the plans that were measured, in the order of the results."""
    return [one for one in tune.plans if one.state == "measured"]


def shown_plans(tune: TuneRecord, most: int) -> list[PlanStanding]:
    """Return the plans that are drawn by name: those measured, then those that were predicted to be the fastest."""
    others = [one for one in tune.plans if one.state != "measured" and one.predicted_sps]
    others.sort(key=lambda one: -(one.predicted_sps or 0.0))
    return [*measured(tune), *others][:most]


def rivals(tune: TuneRecord) -> list[PlanStanding]:
    """Return the plans that were not measured and may be as fast as the winner, the likeliest first."""
    found = [one for one in tune.plans if one.state == "not measured" and (one.p_tied or 0.0) >= MAY_BE_AS_FAST]
    return sorted(found, key=lambda one: -(one.p_tied or 0.0))


def chance_text(probability: float) -> str:
    """Write a probability; one that rounds to nothing is not written as nothing."""
    return f"{probability:.2f}" if probability >= 0.01 else "less than 0.01"


def plan_words(plan: Mapping[str, Any]) -> str:
    """Say a plan in words: ``2 runner processes with 16 envs each, 32 in all; ..``; "" for a plan that is not whole."""
    runners, envs = plan.get("num_env_runners"), plan.get("num_envs_per_env_runner")
    if not isinstance(runners, int) or not isinstance(envs, int):
        return ""
    backend = plan.get("backend")
    words = [view.group_words(runners, envs, "thread" if backend in ("native", "thread") else "process")]
    if backend == "native":
        words.append("stepped in native code")
    if plan.get("inference") == "runner":
        words.append("a copy of the policy in every runner")
    words.append(_SCHEDULES.get(str(plan.get("schedule")), ""))
    return "; ".join(word for word in words if word)


def next_command(results: TuneResults, run_file: str = "") -> str:
    """Return the command that trains with the winner.

    Args:
        results: of the tuning.
        run_file: the whole run as it was measured; without one the command names ``plan.yaml`` in the folder.
    """
    if run_file:
        return shlex.join(["paceline", "train", "--config", run_file])
    return shlex.join(["paceline", "train", results.experiment_info.env_id, "--plan", "plan.yaml"])


def run_of(results: TuneResults, name: str | None) -> RunResult | None:
    """Return what was measured of the plan called ``name``."""
    return next((run for run in results.experiments if run.name == name), None)


@dataclass(frozen=True)
class LeftOut:
    """Plans that were not measured for one reason.

    Attributes:
        state: what became of them.
        reason: why; of plans whose reasons differ in their figures alone, that of the first.
        names: what they are called.
        likewise: whether the figures differ.
    """

    state: str
    reason: str
    names: tuple[str, ...]
    likewise: bool = False


def left_out(plans: Iterable[PlanStanding]) -> list[LeftOut]:
    """Group the plans that were not measured by what became of them and why; figures do not make another reason."""
    groups: dict[tuple[str, str], list[PlanStanding]] = {}
    for one in plans:
        if one.state != "measured":
            groups.setdefault((one.state, re.sub(r"\d[\d,.]*", "#", one.reason)), []).append(one)
    return [
        LeftOut(
            state,
            same[0].reason,
            tuple(one.name for one in same),
            likewise=len({one.reason for one in same}) > 1,
        )
        for (state, _), same in groups.items()
    ]


def prediction_errors(tune: TuneRecord) -> list[float]:
    """Return of each measured plan by which share it was faster than expected (-0.1: 10 % slower)."""
    return [one.sps / one.predicted_sps - 1.0 for one in measured(tune) if one.sps and one.predicted_sps]


def prediction_sentence(tune: TuneRecord) -> str:
    """Say how far the speeds that were expected before measuring were off; "" where nothing was measured."""
    errors = prediction_errors(tune)
    if not errors:
        return ""
    if len(errors) == 1:
        return f"The plan turned out {_off(errors[0])} than predicted before it was measured."
    middle = float(np.median(np.abs(errors)))
    return (
        f"Predictions made before measuring were {middle:.0%} off (median of {len(errors)} plans): plans turned out "
        f"from {_off(min(errors))} to {_off(max(errors))} than predicted."
    )


def _off(error: float) -> str:
    return f"{abs(error):.0%} {'slower' if error < 0 else 'faster'}"


@dataclass(frozen=True)
class StepTime:
    """Where the time of one environment step goes.

    Attributes:
        name: the plan.
        role: ``winner``, ``baseline``, ``one environment``.
        phases_us: microseconds of wall time by phase; they add up to ``total_us``.
        total_us: microseconds from one step to the next, of all environments together.
    """

    name: str
    roles: tuple[str, ...]
    phases_us: Mapping[str, float]
    total_us: float


def step_times(results: TuneResults) -> list[StepTime]:
    """Return the ledgers of the winner, its baseline and the plan of one environment by the step, each plan once."""
    decision = results.tune.decision
    single = next((run.name for run in results.experiments if run.config.total_envs == 1), None)
    roles: dict[str, list[str]] = {}
    for name, role in ((decision.winner, "winner"), (decision.baseline, "baseline"), (single, "one environment")):
        if name is not None:
            roles.setdefault(name, []).append(role)
    found = []
    for name, called in roles.items():
        run = run_of(results, name)
        steps = sum(record.num_env_steps for record in run.iterations) if run is not None else 0
        if run is None or run.ledger is None or steps <= 0:
            continue
        shares = {share.phase: 1e6 * share.seconds / steps for share in phase_shares(run.ledger)}
        if shares:
            found.append(StepTime(name, tuple(called), shares, math.fsum(shares.values())))
    return found


def step_phases(times: Sequence[StepTime]) -> list[str]:
    """Return the phases that are visible in any of ``times``, in the ledger's order."""
    known = [*PHASE_LABELS, *(phase for one in times for phase in one.phases_us if phase not in PHASE_LABELS)]
    return [
        phase
        for phase in dict.fromkeys(known)
        if any(one.phases_us.get(phase, 0.0) >= 0.001 * one.total_us for one in times)
    ]


def step_sentences(times: Sequence[StepTime]) -> list[str]:
    """Say what the winner's plan buys over each of the others, by the step."""
    winner = next((one for one in times if "winner" in one.roles), None)
    if winner is None:
        return []
    return [_bought(winner, other) for other in times if other is not winner]


def _bought(winner: StepTime, other: StepTime) -> str:
    phases = step_phases([winner, other])
    less = {phase: other.phases_us.get(phase, 0.0) - winner.phases_us.get(phase, 0.0) for phase in phases}
    ordered = sorted(phases, key=lambda phase: -round(abs(less[phase]), 3))[:3]
    told = [
        f"{microseconds(abs(less[phase]))} {'less' if less[phase] > 0 else 'more'} in "
        f"{_SPENT_IN.get(phase) or label_of(phase)}"
        for phase in ordered
        if abs(less[phase]) >= 0.02 * other.total_us
    ]
    sentence = (
        f"A step takes {winner.name} {microseconds(winner.total_us)} and {other.name} {microseconds(other.total_us)}"
    )
    return f"{sentence}: {', '.join(told)}." if told else f"{sentence}."


def label_of(phase: str) -> str:
    """Return a phase's name for people."""
    return PHASE_LABELS.get(phase, phase.replace("_", " "))


def microseconds(value: float) -> str:
    """Write microseconds in their natural unit."""
    return formats.seconds(1e-6 * value)


def frontier(plans: Sequence[PlanStanding]) -> list[PlanStanding]:
    """Return the plans that no other one beats both in speed and in cores, fewest cores first."""
    found: list[PlanStanding] = []
    for one in sorted(plans, key=lambda one: (one.cores or 0.0, -(one.sps or 0.0))):
        if not found or (one.sps or 0.0) > (found[-1].sps or 0.0):
            found.append(one)
    return found


def noise_sentences(noise: NoiseFloor | None) -> list[str]:
    """Say how much the machine differs from itself."""
    if noise is None:
        return []
    differs = [f"from slice to slice of one process by {noise.slice_sd:.1%}"]
    if noise.process_sd is not None:
        differs.append(f"from process to process of one plan by {noise.process_sd:.1%}")
    if noise.drift_sd is not None:
        much = " (that is much: on a quiet machine the same budget tells more)" if noise.drift_sd >= _MUCH_DRIFT else ""
        differs.append(f"with time by {noise.drift_sd:.1%}{much}")
    sentences = [f"Speed differs {', '.join(differs)} (standard deviations)."]
    if noise.aa_difference is not None:
        sentences.append(f"Two processes of the same plan, measured in turns, differed by {noise.aa_difference:.1%}.")
    if noise.others_cores is not None:
        sentences.append(f"Other programs kept {noise.others_cores:.1f} cores busy when it began.")
    if noise.others_median is not None and noise.others_most is not None:
        sentences.append(
            f"Beside the slices they kept {noise.others_median:.1f} cores busy (median), at most "
            f"{noise.others_most:.1f}."
        )
    return sentences


def part_facts(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the parts cost as (part, cost) pairs."""
    facts = []
    env = parts.get("env")
    if env:
        facts.append(("a step of the environment", _step_cost(env["mean_us"], env["cpu_us"])))
        facts.append(("a reset", microseconds(env["reset_us"])))
    if env and env.get("waiting_share", 0.0) >= 0.5 and env.get("releases_gil") is not None:
        runs = "run" if env["releases_gil"] else "cannot run"
        facts.append(("waiting", f"{env['waiting_share']:.0%} of a step; other Python threads {runs} meanwhile"))
    facts += [
        (what, parts[name])
        for name, what in (("several", "one to a process"), ("processes", "no runner processes"))
        if parts.get(name, "yes") != "yes"
    ]
    if parts.get("native_us") is not None:
        whole = f", beside {microseconds(parts['native_step_us'])} for all" if parts.get("native_step_us") else ""
        facts.append(("a step in native code", f"{parts['native_us']:.1f} us for each environment{whole}"))
    facts += [
        (f"acting for {formats.plural(size, 'environment')}", microseconds(us))
        for size, us in parts.get("acting_us", ())
    ]
    if parts.get("update_s"):
        facts.append(("an update", formats.seconds(parts["update_s"])))
    if parts.get("compile_s"):
        facts.append(("compiling, once a process", formats.seconds(parts["compile_s"])))
    if parts.get("env_bytes"):
        facts.append(("memory of one more environment", formats.size_bytes(parts["env_bytes"])))
    return facts


def _step_cost(mean_us: float, cpu_us: float) -> str:
    """Say how long a step takes; its CPU time is measured by a coarser clock, and may come out a little longer."""
    if cpu_us >= 0.9 * mean_us:
        return f"{microseconds(mean_us)}, all of it computing"
    return f"{microseconds(mean_us)}, of which {microseconds(cpu_us)} computing and the rest waiting"
