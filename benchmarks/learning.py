"""How well PPO learns: a table over seeds, with intervals.

    CartPole-v1, 150,000 steps                   100 evaluation episodes, most probable actions
    HalfCheetah-v5, 1,000,000 steps, 1 env       CleanRL's hyperparameters; last 100 training episodes
    HalfCheetah-v5, 1,000,000 steps, 16 envs     the same batch, from 16 environments

CleanRL publishes the mean training return of the last 100 episodes, so that is what is compared; 100 evaluation
episodes with the most probable actions stand beside it. Rows run one after the other; a finished row is kept.

    python -m benchmarks.learning [--seeds 5] [--only cartpole|halfcheetah-1|halfcheetah-16] [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, keep
from paceline.analysis.stats import estimate_mean, interquartile_mean

ROWS: dict[str, dict[str, Any]] = {
    "cartpole": {
        "env": "CartPole-v1",
        "options": ["--total-steps", "150000", "--num-env-runners", "0", "--num-envs-per-env-runner", "8"],
    },
    "halfcheetah-1": {
        "env": "HalfCheetah-v5",
        "options": ["--config", "configs/halfcheetah.yaml"],
    },
    "halfcheetah-16": {
        "env": "HalfCheetah-v5",
        "options": ["--config", "configs/halfcheetah.yaml", "--num-envs-per-env-runner", "16"],
    },
}


def run_seed(row: str, seed: int) -> dict[str, Any]:
    """Train once in a fresh process, then play 100 episodes."""
    spec = ROWS[row]
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        begin = time.perf_counter()
        command = [sys.executable, "-m", "paceline", "train", spec["env"], *spec["options"], "--seed", str(seed)]
        done = subprocess.run([*command, "--out", out], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        wall_s = time.perf_counter() - begin
        evaluation = subprocess.run(
            [sys.executable, "-m", "paceline", "evaluate", out, "--episodes", "100", "--checkpoint", "last", "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        experiment = json.loads((Path(out) / "results.json").read_text())["experiments"][0]
        shown = {
            "seed": seed,
            "evaluation_return": json.loads(evaluation.stdout)["return_mean"],
            "last_100_training_episodes": last_episodes(experiment["iterations"], 100),
            "sps": experiment["summary"]["avg_sps"],
            "wall_s": wall_s,
        }
        print(row, shown, flush=True)
        return shown


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=tuple(ROWS))
    parser.add_argument("--jobs", type=int, default=1, help="seeds trained at once (changes the SPS, not the learning)")
    arguments = parser.parse_args()
    for row in ROWS if arguments.only is None else (arguments.only,):
        with ThreadPoolExecutor(arguments.jobs) as pool:
            seeds = list(pool.map(lambda seed, row=row: run_seed(row, seed), range(1, arguments.seeds + 1)))
        path = RESULTS / "learning.json"  # read anew: another process may have finished another row meanwhile
        rows = json.loads(path.read_text())["rows"] if path.is_file() else {}
        rows[row] = {
            **ROWS[row],
            "evaluation_return": summary(seeds, "evaluation_return"),
            "last_100_training_episodes": summary(seeds, "last_100_training_episodes"),
            "seeds": seeds,
        }
        keep("learning", {"rows": rows})
        for key in ("evaluation_return", "last_100_training_episodes"):
            print(row, key, json.dumps(rows[row][key]))


if __name__ == "__main__":
    main()
