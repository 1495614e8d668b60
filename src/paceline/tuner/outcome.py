"""From a race to what is written down: how every plan stands, the figures of those measured, and ``plan.yaml``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from paceline.measure.result import ExperimentConfig, IterationRecord, LedgerRecord, RunResult
from paceline.measure.throughput import summarize, total_ledger
from paceline.measure.tune_result import (
    MAY_BE_AS_FAST,
    NoiseFloor,
    PlanStanding,
    TuneDecision,
    TuneRecord,
    TuneResults,
)
from paceline.tuner.afterwards import Afterwards
from paceline.tuner.arena import Measured
from paceline.tuner.belief import DRIFT_TAU_S, Belief
from paceline.tuner.cache import source_hash
from paceline.tuner.candidates import Pruned
from paceline.tuner.cautions import leak_cautions, leaks_of, time_cautions
from paceline.tuner.decision import Standing
from paceline.tuner.entrants import Entrants
from paceline.tuner.load import Load
from paceline.tuner.phases import PhaseCosts
from paceline.tuner.probe import ProbeResult
from paceline.tuner.race import Outcome
from paceline.tuner.spec import TuneSpec
from paceline.tuner.verdict import verdict_of

_LONG_ENOUGH_S = DRIFT_TAU_S / 2
"""What slices within less time than this say of drift is what was assumed."""


def record_of(
    spec: TuneSpec,
    found: ProbeResult,
    entrants: Entrants,
    outcome: Outcome,
    wall_s: float,
    *,
    costs: PhaseCosts,
    load: Load,
    memory_bytes: int,
    afterwards: Afterwards,
) -> TuneRecord:
    """Return what is kept of a tuning.

    Args:
        spec: what was tuned.
        found: what the parts cost.
        entrants: who took part.
        outcome: what the race has found.
        wall_s: seconds that it took.
        costs: of the parts, as the phase model takes them.
        load: what other programs did meanwhile.
        memory_bytes: what a run may hold.
        afterwards: what was asked of the winner.
    """
    bound, *sentences = _verdict(entrants, outcome, costs) or ("",)
    decision = outcome.decision
    names = [one.name for one in entrants.candidates]
    baseline = _baseline(entrants, outcome)
    return TuneRecord(
        objective=spec.objective,
        budget_s=60.0 * spec.budget_minutes,
        wall_s=wall_s,
        parts=_parts(found),
        plans=_standings(entrants, outcome, baseline, load),
        noise=_noise(outcome, load),
        decision=TuneDecision(
            winner=None if decision.winner is None else names[decision.winner],
            runner_up=None if decision.runner_up is None else names[decision.runner_up],
            fastest=None if decision.fastest is None else names[decision.fastest],
            tied=tuple(names[index] for index in decision.tied),
            beaten=tuple(names[index] for index in decision.beaten),
            p_best=decision.p_best,
            tells=decision.tells,
            certain=decision.certain,
            baseline=None if baseline is None else names[baseline],
            stopped=outcome.stopped,
        ),
        bound=bound,
        verdict=tuple(sentences),
        what_ifs=afterwards.what_ifs,
        learning_checks=afterwards.learning_checks,
        recommended=afterwards.recommended,
        notes=(
            *load.cautions(names),
            *time_cautions(entrants, outcome, wall_s),
            *afterwards.left_out,
            *leak_cautions(found.run, entrants, outcome, memory_bytes),
        ),
        env_source=source_hash(spec.base.env),
    )


def experiments_of(entrants: Entrants, outcome: Outcome) -> tuple[RunResult, ...]:
    """Return the measured plans in the form of a sweep's trials: a slice is an iteration."""
    return tuple(
        _experiment(entrants, index, slices, outcome.rss_bytes.get(index, 0))
        for index, slices in sorted(outcome.measured.items())
    )


def plan_text(results: TuneResults) -> str:
    """Return the text of ``plan.yaml``: the winner's plan and, as comments, what it was measured on."""
    tune, info = results.tune, results.experiment_info
    winner = next(one for one in tune.plans if one.name == tune.decision.winner)
    lines = [f"# {winner.name}: {winner.sps or 0:,.0f} steps/s", f"# {info.env_id}, {info.algo}"]
    if winner.batch_size:
        lines.append(f"# batch size {winner.batch_size}")
    if tune.recommended is not None:
        one = tune.recommended
        lines.append(f"# found to learn as well, {one.change:+.0%}: {one.options}")
    lines += [f"# machine {info.machine_fingerprint}", f"# {info.timestamp}"]
    text: str = yaml.safe_dump({"plan": dict(winner.plan)}, sort_keys=False, allow_unicode=True)
    return "\n".join(" ".join(line.split()) for line in lines) + "\n" + text


def _baseline(entrants: Entrants, outcome: Outcome) -> int | None:
    """Return the index of what speed-ups are over: the best plan in one process, where it was measured."""
    measured = [index for index in entrants.baselines if index in outcome.measured]
    serial = [index for index in outcome.measured if entrants.candidates[index].plan.num_env_runners == 0]
    mean = outcome.belief.mean
    return max(serial, key=lambda index: mean[index]) if serial else next(iter(measured), None)


def _standings(entrants: Entrants, outcome: Outcome, baseline: int | None, load: Load) -> tuple[PlanStanding, ...]:
    by_index = {one.candidate: one for one in outcome.decision.standings}
    speedups = _speedups(outcome.belief, baseline)
    leaks = leaks_of(outcome)
    rows = [
        _standing(entrants, outcome, index, by_index.get(index), speedups).model_copy(
            update={"leak_bytes_per_step": leaks.get(index), "others_cores": load.of(index)}
        )
        for index in range(len(entrants.candidates))
    ]
    rows.sort(key=lambda one: (one.state != "measured", -(one.sps or 0.0)))
    gone = [PlanStanding(name=one.name, state="impossible", reason=one.reason) for one in entrants.pruned]
    return (*rows, *gone)


def _standing(
    entrants: Entrants,
    outcome: Outcome,
    index: int,
    standing: Standing | None,
    speedups: Sequence[tuple[float, float, float]] | None,
) -> PlanStanding:
    one, run = entrants.candidates[index], entrants.runs[index]
    slices = outcome.measured.get(index, [])
    fields: dict[str, Any] = {
        "name": one.name,
        "plan": run.plan.model_dump(mode="json"),
        "batch_size": run.algo.batch_size,
        "changes": entrants.changes[index],
        "predicted_sps": one.predicted_sps,
        "cores": _busy(slices) or one.cores,
        "memory_bytes": outcome.rss_bytes.get(index) or one.memory_bytes,
        "num_slices": len(slices),
        "num_processes": len({piece.process for piece in outcome.belief.slices if piece.candidate == index}),
    }
    if index in outcome.failures:
        failed = outcome.failures[index]
        return PlanStanding(**fields, state="failed", reason=failed.message)
    if index in outcome.skipped:
        return PlanStanding(**fields, state="ruled out", reason=outcome.skipped[index].reason)
    if standing is not None:
        fields |= {"sps": standing.sps, "sps_ci95": standing.sps_ci95, "p_best": standing.p_best,
                   "p_tied": standing.p_tied}  # fmt: skip
    if not slices:
        reason = "it would have had to be much faster than expected to win"
        if outcome.decision.winner is None:
            reason = "nothing had been measured when it ended"
        elif standing is not None and standing.p_tied >= MAY_BE_AS_FAST:
            reason = "no time was left to measure; perhaps as fast as the winner"
        return PlanStanding(**fields, state="not measured", reason=reason)
    return PlanStanding(**fields, state="measured", speedup=None if speedups is None else speedups[index])


def _speedups(belief: Belief, baseline: int | None) -> list[tuple[float, float, float]] | None:
    """Return of every plan the speed-up over the baseline: median and 95 % interval."""
    if baseline is None:
        return None
    drawn = belief.sample(4000, np.random.default_rng(1))
    low, middle, high = np.exp(np.quantile(drawn - drawn[:, [baseline]], (0.025, 0.5, 0.975), axis=0))
    return [(float(m), float(a), float(b)) for m, a, b in zip(middle, low, high, strict=True)]


def _busy(slices: Sequence[Measured]) -> float | None:
    known = [one.cores_busy for one in slices if one.cores_busy is not None]
    return float(np.median(known)) if known else None


def _noise(outcome: Outcome, load: Load) -> NoiseFloor | None:
    belief = outcome.belief
    if not belief.slices:
        return None
    difference = None
    if outcome.aa is not None:
        means = [
            np.mean([piece.log_sps for piece in belief.slices if piece.process == process]) for process in outcome.aa
        ]
        difference = abs(math.expm1(float(means[1] - means[0])))
    processes = {piece.process: piece.candidate for piece in belief.slices}
    times_s = [piece.time_s for piece in belief.slices]
    twice = len(set(processes.values())) < len(processes)
    return NoiseFloor(
        slice_sd=belief.noise_sd(), process_sd=belief.process_sd() if twice else None,
        drift_sd=belief.drift_sd() if max(times_s) - min(times_s) >= _LONG_ENOUGH_S else None,
        aa_difference=difference, others_cores=load.before, others_median=load.median, others_most=load.most,
    )  # fmt: skip


def _verdict(entrants: Entrants, outcome: Outcome, costs: PhaseCosts) -> tuple[str, ...]:
    """Return what holds the winner back: its name, and two sentences; nothing without a winner."""
    winner = outcome.decision.winner
    if winner is None:
        return ()
    slices = outcome.measured[winner]
    standing = next(one for one in outcome.decision.standings if one.candidate == winner)
    unfit = [one for one in entrants.pruned if one.predicted_sps]
    failed = [entrants.candidates[index] for index, one in outcome.failures.items() if one.outcome == "oom"]
    if failed:
        least = min(one.memory_bytes for one in failed)
        skipped = [entrants.candidates[index] for index in outcome.skipped]
        unfit += [Pruned(one.name, "", one.predicted_sps) for one in (*failed, *skipped) if one.memory_bytes >= least]
    return verdict_of(
        entrants.candidates[winner], standing.sps, _ledger(slices), costs,
        batch_size=entrants.runs[winner].algo.batch_size or 1, iterations=sum(one.num_iterations for one in slices),
        too_large=tuple(unfit),
    )  # fmt: skip


def _ledger(slices: Sequence[Measured]) -> LedgerRecord | None:
    known = [one.ledger for one in slices if one.ledger is not None]
    if not known:
        return None
    phases: dict[str, float] = {}
    for ledger in known:
        for name, seconds in ledger.phases.items():
            phases[name] = phases.get(name, 0.0) + seconds
    return LedgerRecord(wall_s=math.fsum(ledger.wall_s for ledger in known), phases=phases)


def _parts(found: ProbeResult) -> dict[str, Any]:
    return found.model_dump(mode="json", exclude={"run"})


def _experiment(entrants: Entrants, index: int, slices: Sequence[Measured], rss_bytes: int) -> RunResult:
    one, run = entrants.candidates[index], entrants.runs[index]
    records = []
    total = 0
    for number, piece in enumerate(slices):
        total += piece.num_env_steps
        ledger = piece.ledger or LedgerRecord(wall_s=piece.wall_s, phases={})
        records.append(
            IterationRecord(
                iteration=number, wall_s=piece.wall_s, num_env_steps=piece.num_env_steps, sps=piece.sps,
                total_env_steps=total, ledger=ledger,
            )
        )  # fmt: skip
    plan = run.plan
    return RunResult(
        name=one.name,
        config=ExperimentConfig(
            num_env_runners=plan.num_env_runners,
            num_envs_per_env_runner=plan.num_envs_per_env_runner,
            total_envs=plan.num_envs,
        ),
        outcome="ok",
        seed=run.seed,
        env_id=run.env.id,
        plan=plan.model_dump(mode="json"),
        algo=run.algo.model_dump(mode="json"),
        summary=summarize(records, batch_size=run.algo.batch_size or 0, num_envs=plan.num_envs),
        iterations=tuple(records),
        ledger=total_ledger(records),
        deterministic=plan.schedule != "async",
    )
