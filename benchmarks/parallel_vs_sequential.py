"""Parallel against sequential training with the same algorithm, and asynchronous against synchronous.

    busy        an environment that computes for 1 ms
    cheetah     HalfCheetah-v5
    tail        2 ms of sleep with a heavy tail (lognormal, sigma 1): who waits for the slowest?

Every measurement is a fresh process that trains for a few iterations after one that does not count. The contenders of
a case take turns, round after round (A B C, C B A, ..), and ratios are taken within a round. Hyperparameters of a case
are the same for all of its contenders of one algorithm; the number of environments is, too, but for A3C, whose
gradients are one runner's: there each runner has the same number, and the sequential one is a single runner.

    python -m benchmarks.parallel_vs_sequential [--rounds 5] [--only busy-ppo cheetah-impala ..]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.record import describe, interleave, keep, ratios

ENVS = {"busy": "synthetic:busy?us=1000", "cheetah": "HalfCheetah-v5", "tail": "synthetic:sleep?ms=2&sigma=1"}
PPO = {"name": "ppo", "batch_size": 2048, "minibatch_size": 256, "num_epochs": 4}
A2C = {"name": "a2c", "batch_size": 128, "updates_per_iteration": 16}
IMPALA = {"name": "impala", "batch_size": 320, "rollout_length": 20, "updates_per_iteration": 8}
A3C = {"name": "a3c", "batch_size": 64, "updates_per_iteration": 32}


def plan(runners: int, envs: int, **more: Any) -> dict[str, Any]:
    return {"num_env_runners": runners, "num_envs_per_env_runner": envs, **more}


PARALLEL = {
    "2x8, policy in the learner": plan(2, 8),
    "2x8, policy in the runners": plan(2, 8, inference="runner", schedule="sync"),
    "2x8, pipelined": plan(2, 8, schedule="pipelined"),
}
ALGORITHMS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "ppo": (PPO, {"sequential": plan(0, 16), **PARALLEL}),
    "a2c": (A2C, {"sequential": plan(0, 16), **PARALLEL}),
    "impala": (IMPALA, {"sequential": plan(0, 16), "2x8, asynchronous": plan(2, 8)}),
    "a3c": (A3C, {"sequential": plan(1, 8), "2x8, asynchronous": plan(2, 8)}),
}
GOALS = {"busy": 1.75, "cheetah": 1.0, "tail": 2.5}


def cases() -> dict[str, tuple[str, dict[str, tuple[dict[str, Any], dict[str, Any]]], float]]:
    """Return the contenders of each case, the one that the others are held against first, and the goal."""
    found: dict[str, Any] = {}
    for env in ("busy", "cheetah"):
        for name, (algo, plans) in ALGORITHMS.items():
            found[f"{env}-{name}"] = (ENVS[env], {who: (algo, how) for who, how in plans.items()}, GOALS[env])
    found["tail-impala"] = (
        ENVS["tail"],
        {
            "PPO 32x1, policy in the learner": (PPO, plan(32, 1)),
            "PPO 16x2, policy in the runners": (PPO, plan(16, 2, inference="runner", schedule="sync")),
            "IMPALA 16x2, asynchronous": (IMPALA, plan(16, 2)),
            "IMPALA 32x1, asynchronous": (IMPALA, plan(32, 1)),
        },
        GOALS["tail"],
    )
    return found


def worker(text: str) -> None:
    from paceline.spec import RunSpec, build_spec
    from paceline.training.trial import run_trial

    given = json.loads(text)
    spec = build_spec(RunSpec, given["spec"])
    result = run_trial(
        spec, name="bench", repeat=0, iterations=given["iterations"], warmup_iterations=1,
        on_iteration=lambda record: None,
    )  # fmt: skip
    steps = sum(record.num_env_steps for record in result.iterations)
    print(json.dumps({"sps": steps / sum(record.wall_s for record in result.iterations)}))


def measure(env: str, algo: dict[str, Any], how: dict[str, Any], iterations: int) -> float:
    """Train for a few iterations in a fresh process and return steps per second."""
    given = {"spec": {"env": {"id": env}, "algo": algo, "plan": how}, "iterations": iterations}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.parallel_vs_sequential", "--worker", json.dumps(given)],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{algo['name']} {how}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["sps"])


def timed(env: str, algo: dict[str, Any], how: dict[str, Any]) -> Callable[[], float]:
    iterations = {"synthetic:busy?us=1000": 2}.get(env, 4)
    return lambda: measure(env, algo, how, iterations)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=tuple(cases()))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    for name, (env, contenders, goal) in cases().items():
        if arguments.only and name not in arguments.only:
            continue
        print(f"\n{name}: {env}")
        samples = interleave({who: timed(env, *what) for who, what in contenders.items()}, arguments.rounds)
        first, *others = samples
        against = {who: ratios(samples[who], samples[first]) for who in others}
        for who, ratio in against.items():
            print(f"{who}: {ratio['median']:.2f}x {first} ({ratio['min']:.2f} to {ratio['max']:.2f}), goal {goal:g}x")
        figures = {
            "env": env,
            "goal": goal,
            "baseline": first,
            "contenders": {who: {"algo": algo, "plan": how} for who, (algo, how) in contenders.items()},
            "steps_per_second": {who: describe(values) for who, values in samples.items()},
            "ratio_to_baseline_per_round": against,
            "best": max(others, key=lambda who: statistics.median(samples[who])),
        }
        print(keep("parallel_vs_sequential", figures, file=f"parallel_vs_sequential_{name}"))


if __name__ == "__main__":
    main()
