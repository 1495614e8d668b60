"""How well the tuner decides, on simulated machines whose truth is known.

200 random machines and environments, each with phase costs of its own: 1 to 64 cores, steps of 3 us to 20 ms that
compute or wait, all kinds of batches. The tuner predicts with costs that are off, by factors of their own for each kind
of plan, and measures through noise, bursts, drift, throttling and failures. Asked is

    regret     how much slower the chosen plan is than the best: goal 3 % at the median, 8 % at the 95th percentile
    coverage   how often the 95 % interval of the speed-up over the baseline holds the truth: goal 90 % of nominal
    A/A        how often it says that one plan is faster than another where all are alike: goal at most 5 %

    python -m benchmarks.tuner_simulation [--worlds 200] [--budget-minutes 5]
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.record import keep
from paceline.spec import Plan
from paceline.tuner.candidates import Candidate
from paceline.tuner.race import Rules, race
from paceline.tuner.simulated import SimulatedArena, Troubles, World
from paceline.tuner.space import Setting, all_plans

MODEL_SD, KIND_SD = 0.25, 0.15


@dataclass(frozen=True)
class Case:
    """One simulated machine, its plans and their true speeds."""

    world: World
    candidates: list[Candidate]
    truth: np.ndarray
    troubles: Troubles


def random_world(random: np.random.Generator) -> World:
    waits = random.random() < 0.3
    return World(
        cores=int(random.choice([1, 2, 4, 6, 8, 12, 16, 24, 32, 64])),
        env_us=float(np.exp(random.uniform(np.log(3), np.log(3000)))),
        wait_us=float(np.exp(random.uniform(np.log(200), np.log(20000)))) if waits else 0.0,
        cv=float(random.uniform(0.02, 1.0)),
        infer_us=float(np.exp(random.uniform(np.log(25), np.log(300)))),
        infer_each_us=float(np.exp(random.uniform(np.log(0.2), np.log(20)))),
        wake_us=float(np.exp(random.uniform(np.log(20), np.log(80)))),
        update_us=float(np.exp(random.uniform(np.log(2), np.log(200)))),
        batch_size=int(random.choice([1024, 2048, 4096, 16384])),
        native_gain=float(random.uniform(1.2, 4.0)) if random.random() < 0.3 and not waits else 0.0,
        env_bytes=float(np.exp(random.uniform(np.log(1e5), np.log(2e8)))),
        memory_bytes=float(random.choice([4, 16, 64])) * 2**30,
    )


def believed(world: World, random: np.random.Generator) -> World:
    """Return the world as a probe would have it: every cost is off by a factor."""
    names = ("env_us", "wait_us", "infer_us", "infer_each_us", "wake_us", "update_us")
    off = {name: getattr(world, name) * float(np.exp(random.normal(0, MODEL_SD))) for name in names}
    gain = max(world.native_gain * float(np.exp(random.normal(0, MODEL_SD))), 0.1) if world.native_gain else 0.0
    return replace(world, **off, native_gain=gain, cv=world.cv * float(np.exp(random.normal(0, MODEL_SD))))


def make_case(seed: int) -> Case:
    random = np.random.default_rng(seed)
    world = random_world(random)
    setting = Setting(
        algo="ppo", batch_size=world.batch_size, num_minibatches=4, least_steps=32, whole_cores=world.cores,
        waits=world.wait_us > world.env_us, threads_help=False, native=None if world.native_gain else "none",
    )  # fmt: skip
    plans, _ = all_plans(setting)
    guess = believed(world, random)
    kinds: dict[Any, float] = {}
    candidates, truth = [], []
    for sized in plans:
        plan = sized.plan
        kind = (plan.resolved_backend, plan.inference, plan.schedule)
        off = kinds.setdefault(kind, float(random.normal(0, KIND_SD)))
        predicted = guess.sps(plan) * math.exp(off)
        held = 4.5e8 + plan.num_env_runners * 8e7 + plan.num_envs * world.env_bytes
        candidates.append(
            Candidate(
                sized.name, plan, predicted, cores=min(world.cores, max(1, plan.num_env_runners)),
                memory_bytes=int(held), start_s=3.5 + 0.15 * plan.num_env_runners,
                iteration_s=world.batch_size / predicted,
            )
        )  # fmt: skip
        truth.append(world.sps(plan) * math.exp(float(random.normal(0, 0.02))))
    troubles = Troubles(
        noise=float(np.exp(random.uniform(np.log(0.005), np.log(0.08)))),
        process=float(np.exp(random.uniform(np.log(0.003), np.log(0.03)))),
        drift=float(random.uniform(0.0, 0.1)),
        throttle_at_s=float(random.uniform(30, 200)) if random.random() < 0.3 else None,
        burst_chance=float(random.uniform(0, 0.1)),
        broken=frozenset({("shm", "learner", "pipelined")}) if random.random() < 0.1 else frozenset(),
    )
    return Case(world, candidates, np.array(truth), troubles)


def baseline_of(candidates: list[Candidate]) -> int:
    """Return the index of the best plan in one process, as predicted."""
    serial = [index for index, one in enumerate(candidates) if one.plan.num_env_runners == 0]
    return max(serial, key=lambda index: candidates[index].predicted_sps)


def study(worlds: int, budget_s: float) -> dict[str, Any]:
    regrets, covered, ratios, confident_wrong, used, started, sizes = [], [], [], 0, [], [], []
    for seed in range(worlds):
        case = make_case(seed)
        fits = np.array(
            [
                one.memory_bytes <= case.world.memory_bytes and one.kind not in case.troubles.broken
                for one in case.candidates
            ]
        )
        arena = SimulatedArena(
            case.candidates, case.truth, case.troubles, memory_bytes=case.world.memory_bytes, seed=seed
        )
        baseline = baseline_of(case.candidates)
        outcome = race(arena, case.candidates, Rules(budget_s), baselines=(baseline,), seed=seed)
        decision = outcome.decision
        if decision.winner is None:
            regrets.append(1.0)
            continue
        best = case.truth[fits].max() if fits.any() else case.truth.max()
        regret = 1.0 - case.truth[decision.winner] / best
        regrets.append(regret)
        used.append(arena.now_s() / budget_s)
        started.append(len(outcome.measured))
        sizes.append(len(case.candidates))
        confident_wrong += int(decision.certain and regret > 0.03)
        standing = next((one for one in decision.standings if one.candidate == baseline), None)
        if standing and standing.measured and baseline != decision.winner:
            true = case.truth[baseline] / case.truth[decision.winner]
            covered.append(standing.ratio[1] <= true <= standing.ratio[2])
            ratios.append(standing.ratio[2] / standing.ratio[1] - 1.0)
    return {
        "worlds": worlds,
        "budget_s": budget_s,
        "regret_median": float(np.median(regrets)),
        "regret_p95": float(np.quantile(regrets, 0.95)),
        "regret_max": float(np.max(regrets)),
        "coverage_of_95": float(np.mean(covered)),
        "interval_width_median": float(np.median(ratios)),
        "certain_but_over_3_percent": confident_wrong,
        "share_of_budget": statistics.fmean(used),
        "plans_measured_median": float(np.median(started)),
        "plans_median": float(np.median(sizes)),
    }


def false_winners(worlds: int, budget_s: float) -> dict[str, Any]:
    """Let plans race that are all alike: how often is one said to be faster than another?"""
    said = claims = pairs = 0
    for seed in range(worlds):
        random = np.random.default_rng(10_000 + seed)
        candidates = [
            Candidate(f"shm 2x{each}", Plan(num_env_runners=2, num_envs_per_env_runner=each, backend="shm",
                      inference="learner", schedule="sync"), 10_000.0 * math.exp(float(random.normal(0, 0.1))))
            for each in (1, 2, 4, 8, 16)
        ]  # fmt: skip
        troubles = Troubles(
            noise=float(random.uniform(0.005, 0.08)), process=float(random.uniform(0.003, 0.03)),
            drift=float(random.uniform(0, 0.1)), burst_chance=float(random.uniform(0, 0.1)),
        )  # fmt: skip
        arena = SimulatedArena(candidates, [10_000.0] * 5, troubles, seed=seed)
        outcome = race(arena, candidates, Rules(budget_s), seed=seed)
        pairs += len(outcome.decision.compared)
        claims += len(outcome.decision.beaten)
        said += bool(outcome.decision.beaten)
    return {"worlds": worlds, "false_winner_races": said / worlds, "false_winner_pairs": claims / max(pairs, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--budget-minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    budget_s = 60.0 * arguments.budget_minutes
    found = {"races": study(arguments.worlds, budget_s), "alike": false_winners(arguments.worlds, budget_s)}
    for part, figures in found.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:30} {value:.4g}")
    keep("tuner_simulation", found)


if __name__ == "__main__":
    main()
