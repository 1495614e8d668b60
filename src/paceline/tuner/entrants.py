"""From a probe to the plans that enter the race: each with its run and with what is expected of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from paceline.errors import PlanError
from paceline.isolation.memory import size_text
from paceline.machine import Machine
from paceline.spec import Plan, PPOSpec, RunSpec
from paceline.tuner.candidates import CORES_TOLERANCE, Candidate, Pruned
from paceline.tuner.contender import WARM_S
from paceline.tuner.learners import LearnerKind, learner_kinds
from paceline.tuner.phases import PhaseCosts, predict
from paceline.tuner.probe import ProbeResult
from paceline.tuner.space import Setting, SizedPlan, all_plans
from paceline.tuner.spec import TuneSpec

LEAST_STEPS = {"ppo": 32, "a2c": 5, "a3c": 5, "impala": 1}
"""Steps of each environment in a batch; with fewer, advantages would hang on the value function's guesses alone."""
HOPELESS = 8.0
"""A plan that is expected to be this many times slower than the best is not in the race."""


@dataclass(frozen=True)
class Entrants:
    """Who takes part.

    Attributes:
        candidates: the plans.
        runs: the run of each.
        changes: of each what it changes of the learning, a phrase; empty where nothing.
        pruned: plans that do not take part, with the reason.
        baseline: index of the best plan in one process, as expected; what speed-ups are over.
        one_by_one: index of the plan of one runner with one environment, where there is one.
        learner_speeds: of each how fast its updates are taken to be, in units of the run's own learner.
    """

    candidates: tuple[Candidate, ...]
    runs: tuple[RunSpec, ...]
    changes: tuple[str, ...]
    pruned: tuple[Pruned, ...]
    baseline: int
    one_by_one: int | None
    learner_speeds: tuple[float, ...] = ()

    @property
    def baselines(self) -> tuple[int, ...]:
        """What the winner is held against."""
        return tuple(dict.fromkeys(index for index in (self.baseline, self.one_by_one) if index is not None))


def enter(
    spec: TuneSpec, probe: ProbeResult, machine: Machine, memory_bytes: int, *, hopeless: float = HOPELESS
) -> Entrants:
    """Return the plans that enter the race.

    Args:
        spec: what is tuned.
        probe: what the parts cost.
        machine: what it runs on.
        memory_bytes: what one plan's processes may hold.
        hopeless: a plan that is expected to be this many times slower than the best stays out.

    Raises:
        PlanError: no plan can be run.
    """
    base = probe.run
    setting = setting_of(base, probe, machine)
    costs = costs_of(probe, machine)
    plans, pruned = all_plans(setting, spec.axes)
    learners, unusable = learner_kinds(spec, base, machine)
    pruned += unusable
    candidates, runs, changes, speeds = [], [], [], []
    for sized, learner in itertools.product(plans, learners):
        run = learner.applied(run_of(base, sized))
        candidate = _candidate_of(sized, run, costs, learner)
        if candidate.memory_bytes > memory_bytes:
            held, limit = size_text(candidate.memory_bytes), size_text(memory_bytes)
            reason = f"its processes would hold about {held}, and the limit is {limit}"
            pruned.append(Pruned(candidate.name, reason, candidate.predicted_sps))
            continue
        if spec.max_cores is not None and candidate.cores > spec.max_cores + CORES_TOLERANCE:
            reason = f"it would keep about {candidate.cores:.1f} cores busy, and the limit is {spec.max_cores}"
            pruned.append(Pruned(candidate.name, reason))
            continue
        candidates.append(candidate)
        runs.append(run)
        speeds.append(learner.speed)
        asked = base.algo.batch_size
        changes.append("" if sized.batch_size == asked else f"batch_size {sized.batch_size} in place of {asked}")
    if not candidates:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in pruned[:3])
        raise PlanError(f"expected at least one plan that can be run, got none ({reasons or 'the axes leave none'})")
    kept, slow = _hopeful(candidates, hopeless)
    candidates, runs, changes, speeds = (  # type: ignore[assignment]
        [column[index] for index in kept] for column in (candidates, runs, changes, speeds)
    )
    return Entrants(
        tuple(candidates), tuple(runs), tuple(changes), (*pruned, *slow), _baseline(candidates),
        _one_by_one(candidates), tuple(speeds),
    )  # fmt: skip


def setting_of(base: RunSpec, probe: ProbeResult, machine: Machine) -> Setting:
    """Return what is fixed while plans vary."""
    algo, env = base.algo, probe.env
    batch = algo.batch_size or 1
    return Setting(
        algo=algo.name,
        batch_size=batch,
        num_minibatches=batch // (algo.minibatch_size or batch) if isinstance(algo, PPOSpec) else 1,
        least_steps=LEAST_STEPS[algo.name],
        whole_cores=machine.whole_cores,
        rollout_length=getattr(algo, "rollout_length", None),
        waits=env is not None and env.waits,
        threads_help=bool(env and env.releases_gil),
        native=None if probe.native == "yes" else probe.native,
        processes=None if probe.processes == "yes" else probe.processes,
        several=None if probe.several == "yes" else probe.several,
        native_threads=probe.native_threads,
    )


def costs_of(probe: ProbeResult, machine: Machine) -> PhaseCosts:
    """Return what the parts cost, as the phase model takes it."""
    if probe.env is None:
        raise PlanError("expected an environment that can be stepped by itself, got none; run `paceline bench` on it")
    return PhaseCosts(
        env=probe.env,
        acting_us=probe.acting_us,
        update_s=probe.update_s,
        cores=machine.usable_cores,
        native_us=probe.native_us,
        native_step_us=probe.native_step_us,
        env_bytes=probe.env_bytes,
        row_bytes=probe.row_bytes,
    )


def run_of(base: RunSpec, sized: SizedPlan) -> RunSpec:
    """Return the run ``base`` under a plan, with the batch that the plan's environments divide."""
    algo = base.algo
    changed: dict[str, int] = {"batch_size": sized.batch_size}
    if isinstance(algo, PPOSpec) and algo.minibatch_size and algo.batch_size:
        changed["minibatch_size"] = sized.batch_size // (algo.batch_size // algo.minibatch_size)
    if algo.name == "impala" and sized.plan.schedule != "async":
        changed["rollout_length"] = sized.batch_size // sized.plan.num_envs
    kept = base.plan.model_dump(include={"learner_threads", "runner_threads", "pin_cores", "device", "engine"})
    plan = Plan.model_validate({**sized.plan.model_dump(), **kept})
    return base.model_copy(update={"plan": plan, "algo": algo.model_copy(update=changed)})


def _candidate_of(sized: SizedPlan, run: RunSpec, costs: PhaseCosts, learner: LearnerKind) -> Candidate:
    updates = getattr(run.algo, "updates_per_iteration", None) or 1
    costs = replace(costs, update_s=costs.update_s / learner.speed)
    expected = predict(run.plan, costs, batch_size=sized.batch_size, updates_per_iteration=updates)
    # Where the learner is another than the one that was measured, what it takes is assumed.
    assumed = 1e-6 * expected.update_us * expected.sps if learner.mark else 0.0
    return Candidate(
        name=f"{sized.name}{learner.mark}",
        plan=run.plan,
        predicted_sps=expected.sps,
        cores=expected.cores,
        memory_bytes=expected.memory_bytes,
        start_s=expected.start_s + expected.iteration_s * (2 if expected.iteration_s < WARM_S else 1),
        iteration_s=expected.iteration_s,
        unknown=min(1.0, expected.unknown + assumed),
        together=expected.together,
    )


def _hopeful(candidates: Sequence[Candidate], times: float) -> tuple[list[int], list[Pruned]]:
    """Return the indices of plans that may win, baselines included, and the others with the reason."""
    best = max(candidates, key=lambda one: one.predicted_sps)
    spared = {_baseline(candidates), _one_by_one(candidates)}
    kept, hopeless = [], []
    for index, one in enumerate(candidates):
        if one.predicted_sps * times >= best.predicted_sps or index in spared:
            kept.append(index)
        else:
            hopeless.append(
                Pruned(
                    one.name,
                    f"expected to give {one.predicted_sps:,.0f} steps/s, less than 1/{times:g} of "
                    f"{best.name} ({best.predicted_sps:,.0f})",
                )
            )
    return kept, hopeless


def _baseline(candidates: Sequence[Candidate]) -> int:
    """Return the index of the best plan in one process; without one, of the one with the fewest runners."""
    fewest = min(one.plan.num_env_runners for one in candidates)
    fitting = [index for index, one in enumerate(candidates) if one.plan.num_env_runners == fewest]
    return max(fitting, key=lambda index: candidates[index].predicted_sps)


def _one_by_one(candidates: Sequence[Candidate]) -> int | None:
    fitting = [index for index, one in enumerate(candidates) if one.plan.label == "1x1"]
    return max(fitting, key=lambda index: candidates[index].predicted_sps, default=None)
