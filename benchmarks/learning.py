"""How well every algorithm learns, sequentially and in parallel: a table over seeds, with intervals.

Sequential is everything in one process (A3C: one runner); parallel is two runner processes with the same number of
environments in all. Where a batch is not made of all environments, it is the batch that is the same: A3C has two
runners of as many environments as the one, and IMPALA in one process as many environments as a batch holds
trajectories. Hyperparameters of a pair are the same. Beside each pair stands the probability of improvement of the
parallel runs over the sequential ones (Agarwal et al. 2021): 0.5 is "as good", and ties count half.

Two figures a seed: the mean return of 100 evaluation episodes with the most probable actions, and of the last 100
training episodes, which is what CleanRL publishes. Every seed is a fresh process; a finished one is kept in
``benchmarks/results/learning.json``, and only what is missing there is run (``--again`` runs all of the chosen rows).

    python -m benchmarks.learning [--seeds 5] [--only cartpole-ppo halfcheetah ..] [--jobs 2] [--again] [--show]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.record import RESULTS, keep
from paceline.analysis.over_seeds import probability_of_improvement
from paceline.analysis.stats import estimate_mean, interquartile_mean

EVALUATION, TRAINING = "evaluation_return", "last_100_training_episodes"
PATH = RESULTS / "learning.json"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        options: of ``paceline train``.
        metric: what the goal speaks of.
        goal: what 4 of 5 seeds (CartPole) or the mean (HalfCheetah) should reach; None where nothing is set.
    """

    env: str
    options: tuple[str, ...]
    metric: str
    goal: float | None


def plan(runners: int, envs: int, *more: str) -> tuple[str, ...]:
    return ("--num-env-runners", str(runners), "--num-envs-per-env-runner", str(envs), *more)


def cartpole(algo: str, steps: int, how: tuple[str, ...]) -> Row:
    return Row("CartPole-v1", ("--algo", algo, "--total-steps", str(steps), *how), EVALUATION, 475.0)


def cheetah(config: str, goal: float | None, *more: str) -> Row:
    return Row("HalfCheetah-v5", ("--config", f"configs/{config}.yaml", *more), TRAINING, goal)


ROWS: dict[str, Row] = {
    "cartpole-ppo-sequential": cartpole("ppo", 150_000, plan(0, 8)),
    "cartpole-ppo-parallel": cartpole("ppo", 150_000, plan(2, 4)),
    "cartpole-a2c-sequential": cartpole("a2c", 500_000, plan(0, 8)),
    "cartpole-a2c-parallel": cartpole("a2c", 500_000, plan(2, 4)),
    "cartpole-a3c-sequential": cartpole("a3c", 500_000, plan(1, 8)),
    "cartpole-a3c-parallel": cartpole("a3c", 500_000, plan(2, 8)),
    "cartpole-impala-sequential": cartpole("impala", 500_000, plan(0, 8)),
    "cartpole-impala-parallel": cartpole("impala", 500_000, plan(2, 4)),
    "halfcheetah-ppo-1": cheetah("halfcheetah", 1200.0),
    "halfcheetah-ppo-sequential": cheetah("halfcheetah", 1200.0, *plan(0, 16)),
    "halfcheetah-ppo-parallel": cheetah("halfcheetah-16envs", 1200.0, "--inference", "runner"),
    # Its learning rate is steady, so half of the million steps are what a whole run has done by then.
    "halfcheetah-tuned": cheetah("halfcheetah-tuned", 3000.0, "--total-steps", "500000"),
    "halfcheetah-a2c-sequential": cheetah("halfcheetah-a2c", 700.0, "--backend", "serial", *plan(0, 8)),
    "halfcheetah-a2c-parallel": cheetah("halfcheetah-a2c", 700.0),
    "halfcheetah-a3c-sequential": cheetah("halfcheetah-a3c", None, *plan(1, 8)),
    "halfcheetah-a3c-parallel": cheetah("halfcheetah-a3c", None),
    "halfcheetah-impala-sequential": cheetah(
        "halfcheetah-impala", None, "--inference", "learner", "--schedule", "sync", *plan(0, 32)
    ),
    "halfcheetah-impala-parallel": cheetah("halfcheetah-impala", None),
}


def run_seed(row: Row, seed: int) -> dict[str, Any]:
    """Train once in a fresh process, then play 100 episodes."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        begin = time.perf_counter()
        command = [sys.executable, "-m", "paceline", "train", row.env, *row.options, "--seed", str(seed), "--out", out]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        wall_s = time.perf_counter() - begin
        evaluation = subprocess.run(
            [sys.executable, "-m", "paceline", "evaluate", out, "--episodes", "100", "--checkpoint", "last", "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        experiment = json.loads((Path(out) / "results.json").read_text())["experiments"][0]
        lags = [record["metrics"]["lag_mean"] for record in experiment["iterations"] if "lag_mean" in record["metrics"]]
        return {
            "seed": seed,
            EVALUATION: json.loads(evaluation.stdout)["return_mean"],
            TRAINING: last_episodes(experiment["iterations"], 100),
            "total_env_steps": experiment["iterations"][-1]["total_env_steps"],
            "lag_mean": sum(lags) / len(lags) if lags else None,
            "sps": experiment["summary"]["avg_sps"],
            "wall_s": wall_s,
        }


def last_episodes(iterations: list[dict[str, Any]], count: int) -> float:
    """Return the mean return of about the last ``count`` episodes, whole iterations at a time."""
    total, episodes = 0.0, 0
    for record in reversed(iterations):
        if record["num_episodes"]:
            total += record["episode_return_mean"] * record["num_episodes"]
            episodes += record["num_episodes"]
        if episodes >= count:
            break
    return total / max(episodes, 1)


def summary(seeds: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return mean, interval and interquartile mean over seeds."""
    values = [seed[key] for seed in seeds]
    mean = estimate_mean(values)
    interval = None if mean.interval is None else [mean.interval.low, mean.interval.high]
    return {"mean": mean.value, "ci95": interval, "interquartile_mean": interquartile_mean(values), "values": values}


def kept() -> dict[str, Any]:
    """Return the rows that there are."""
    rows: dict[str, Any] = json.loads(PATH.read_text())["rows"] if PATH.is_file() else {}
    return {name: row for name, row in rows.items() if name in ROWS}


def with_summaries(name: str, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(seeds, key=lambda seed: int(seed["seed"]))
    return {**asdict(ROWS[name]), **{key: summary(ordered, key) for key in (EVALUATION, TRAINING)}, "seeds": ordered}


def pairs(rows: dict[str, Any]) -> dict[str, Any]:
    """Return how the parallel rows compare with their sequential ones, where both are there."""
    found = {}
    for name in ROWS:
        twin = name.removesuffix("parallel") + "sequential"
        if name.endswith("-parallel") and name in rows and twin in rows:
            compared = {}
            for key in (EVALUATION, TRAINING):
                ours, theirs = rows[name][key]["values"], rows[twin][key]["values"]
                estimate = probability_of_improvement(ours, theirs)
                bounds = None if estimate.interval is None else [estimate.interval.low, estimate.interval.high]
                compared[key] = {
                    "probability_of_improvement": estimate.value,
                    "ci": bounds,
                    "difference_of_means": rows[name][key]["mean"] - rows[twin][key]["mean"],
                }
            found[name.removesuffix("-parallel")] = compared
    return found


def show(rows: dict[str, Any]) -> None:
    """Print the table."""

    def figure(of: dict[str, Any]) -> str:
        interval = f" ({of['ci95'][0]:,.0f} to {of['ci95'][1]:,.0f})" if of["ci95"] else ""
        return f"{of['mean']:,.0f}{interval} | {of['interquartile_mean']:,.0f}"

    print("\n| | seeds | last 100 training episodes | IQM | 100 evaluation episodes | IQM | goal |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in (name for name in ROWS if name in rows):
        row = rows[name]
        seeds, goal = row["seeds"], row["goal"]
        reached = "" if goal is None else f"{goal:,.0f}: {sum(s[row['metric']] >= goal for s in seeds)} seeds reach it"
        print(f"| {name} | {len(seeds)} | {figure(row[TRAINING])} | {figure(row[EVALUATION])} | {reached} |")
    print("\n| parallel over sequential | P(improvement), training | evaluation | difference of means, training |")
    print("|---|---:|---:|---:|")
    for name, compared in pairs(rows).items():
        chances = [compared[key] for key in (TRAINING, EVALUATION)]
        told = " | ".join(
            f"{one['probability_of_improvement']:.2f}"
            + (f" ({one['ci'][0]:.2f} to {one['ci'][1]:.2f})" if one["ci"] else "")
            for one in chances
        )
        print(f"| {name} | {told} | {chances[0]['difference_of_means']:+,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of rows' names")
    parser.add_argument("--jobs", type=int, default=1, help="seeds trained at once (changes SPS and lag)")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    parser.add_argument("--show", action="store_true", help="print the table and run nothing")
    arguments = parser.parse_args()
    chosen = [name for name in ROWS if any(name.startswith(beginning) for beginning in arguments.only)]
    rows = kept()
    finished = {name: [] if arguments.again else list(rows.get(name, {}).get("seeds", [])) for name in chosen}
    lock = Lock()

    def run(job: tuple[str, int]) -> None:
        name, seed = job
        told = {**run_seed(ROWS[name], seed), "jobs_at_once": arguments.jobs}
        with lock:
            finished[name].append(told)
            now = kept() | {name: with_summaries(name, finished[name])}
            keep("learning", {"rows": now, "parallel_over_sequential": pairs(now)})
            print(name, told, flush=True)

    if not arguments.show:
        there = {(name, seed["seed"]) for name, seeds in finished.items() for seed in seeds}
        jobs = [(name, seed) for name in chosen for seed in range(1, arguments.seeds + 1) if (name, seed) not in there]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(run, jobs))
    show(kept())


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the reader (`| head`) has gone
        main()
        sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
