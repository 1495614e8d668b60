"""PPO end to end against Stable-Baselines3: environment steps per second of training, compilation apart.

Every measurement is a fresh process that trains for a few iterations; the contenders take turns, so that whatever else
the machine does hits all of them alike. Same environment, batch, minibatch, epochs and network (MLP 2x64) everywhere.
SB3 runs with one torch thread and, in one process, with one per core as well; its first iteration is left out, as ours
is. Ours normalises observations and rewards, SB3 is spared that (its VecNormalize costs time).

    python -m benchmarks.train_vs_sb3 [--rounds 5] [--only big|small]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.record import RESULTS, describe, interleave, keep, ratios

ENV = "HalfCheetah-v5"


def measure(*arguments: str) -> float:
    """Run this file's worker in a fresh process and return its steps per second."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_vs_sb3", "--worker", *arguments],
        capture_output=True, text=True, check=False, timeout=900, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{arguments}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["sps"])


def paceline_worker(runners: int, envs: int, batch: int, minibatch: int, iterations: int) -> float:
    from paceline.spec import EnvSpec, Plan, PPOSpec, RunSpec
    from paceline.training.trial import run_trial

    spec = RunSpec(
        env=EnvSpec(id=ENV),
        algo=PPOSpec(batch_size=batch, minibatch_size=minibatch, num_epochs=10),
        plan=Plan(num_env_runners=runners, num_envs_per_env_runner=envs),
    )
    result = run_trial(
        spec, name="bench", repeat=0, iterations=iterations, warmup_iterations=1, on_iteration=lambda record: None
    )
    return statistics.median(record.sps for record in result.iterations)


def sb3_worker(kind: str, envs: int, batch: int, minibatch: int, iterations: int, threads: int) -> float:
    import time

    import gymnasium
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    class Clock(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.starts: list[float] = []

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            self.starts.append(time.perf_counter())

    torch.set_num_threads(threads)

    def build() -> gymnasium.Env:
        return gymnasium.make(ENV, disable_env_checker=True)

    vec = (DummyVecEnv if kind == "in-process" else SubprocVecEnv)([build] * envs)
    model = PPO("MlpPolicy", vec, n_steps=batch // envs, batch_size=minibatch, n_epochs=10, device="cpu", seed=0)
    clock = Clock()
    model.learn(batch * (iterations + 1), callback=clock)
    clock.starts.append(time.perf_counter())
    vec.close()
    return batch / statistics.median(b - a for a, b in zip(clock.starts[1:], clock.starts[2:], strict=False))


def worker(arguments: list[str]) -> None:
    library, *rest = arguments
    if library == "paceline":
        sps = paceline_worker(*(int(value) for value in rest))
    else:
        sps = sb3_worker(rest[0], *(int(value) for value in rest[1:]))
    print(json.dumps({"sps": sps}))


def contenders(scale: str) -> dict[str, Callable[[], float]]:
    """Return who competes: ``big`` is batch 16384 with 16 environments, ``small`` batch 2048 with one."""
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    if scale == "small":
        return {
            "paceline 0x1": lambda: measure("paceline", "0", "1", "2048", "64", "8"),
            "SB3 in-process, 1 thread": lambda: measure("sb3", "in-process", "1", "2048", "64", "5", "1"),
            "SB3 in-process, all threads": lambda: measure("sb3", "in-process", "1", "2048", "64", "5", cores),
        }
    return {
        "paceline 2x8": lambda: measure("paceline", "2", "8", "16384", "512", "6"),
        "paceline 0x16": lambda: measure("paceline", "0", "16", "16384", "512", "4"),
        "SB3 in-process, 1 thread": lambda: measure("sb3", "in-process", "16", "16384", "512", "3", "1"),
        "SB3 in-process, all threads": lambda: measure("sb3", "in-process", "16", "16384", "512", "3", cores),
        "SB3 subprocess, 1 thread": lambda: measure("sb3", "subprocess", "16", "16384", "512", "3", "1"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("big", "small"))
    parser.add_argument("--worker", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    path = RESULTS / "train_vs_sb3.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    figures = {scale: before[scale] for scale in ("big", "small") if scale in before}  # --only keeps the other
    for scale in ("big", "small") if arguments.only is None else (arguments.only,):
        samples = interleave(contenders(scale), arguments.rounds)
        ours = next(iter(samples))
        peers = {name: figures for name, figures in samples.items() if name.startswith("SB3")}
        fastest = [max(round_figures) for round_figures in zip(*peers.values(), strict=True)]
        ratio = ratios(samples[ours], fastest)
        figures[scale] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps_per_second": {name: describe(values) for name, values in samples.items()},
            "ratio_to_fastest_peer_per_round": ratio,
        }
        print(f"\n{scale}: {ours} {ratio['median']:.2f}x the faster SB3 ({ratio['min']:.2f} to {ratio['max']:.2f})\n")
    print(keep("train_vs_sb3", {"env": ENV, **figures}, ("stable-baselines3", "torch")))


if __name__ == "__main__":
    main()
