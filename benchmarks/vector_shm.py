"""Vector stepping against peers: how many environment steps per second, without a learner.

Every contender is set up once; then they take turns, round after round, so that whatever else the machine does hits all
of them alike. What counts is the ratio within a round; absolute figures of different runs must not be compared.

Rounds in which other programs took more than a twentieth of the machine are told apart, by the kernel's count of busy
time less that of our own processes. Figures are given for all rounds and for the quiet ones.

    python benchmarks/vector_shm.py [--env ID] [--num-envs 16] [--num-env-runners 2] [--rounds 15] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import psutil
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from paceline import __version__
from paceline.envs import env_factory
from paceline.machine import detect_machine
from paceline.vector.make import make_vec

ROUND_S = 0.4
MOST_FOR_NEIGHBOURS = 0.05
Round = Callable[[float], float]
"""Runs for about so many seconds and returns environment steps per second."""


def batches(space: gymnasium.Space[Any]) -> list[Any]:
    space.seed(0)
    return [space.sample() for _ in range(64)]


def step_round(env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> Round:
    """Rounds of ``step``, as any user of Gymnasium's interface calls it."""
    actions = batches(env.action_space)
    env.reset(seed=0)

    def run(seconds: float) -> float:
        count, begin = 0, time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            for batch in actions[:16]:
                env.step(batch)
            count += 16
        return count * env.num_envs / (now - begin)

    return run


def send_recv_round(env: Any) -> Round:
    """Rounds of ``send`` and ``recv``, as paceline's trainer calls it."""
    actions = batches(env.action_space)
    env.reset(seed=0)

    def run(seconds: float) -> float:
        count, begin = 0, time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            for batch in actions[:16]:
                env.send(batch)
                env.recv()
            count += 16
        return count * env.num_envs / (now - begin)

    return run


def free_runner(env_id: str, pipe: Connection) -> None:
    """Step one environment as fast as it goes, for as long as the pipe says."""
    env = env_factory(env_id)()
    actions = batches(env.action_space)
    env.reset(seed=0)
    pipe.send("ready")
    while (seconds := pipe.recv()) > 0:
        count, begin = 0, time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            for action in actions:
                *_, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
            count += len(actions)
        pipe.send(count / (now - begin))


class Ceiling:
    """Processes that step one environment each and never wait for each other: no vector environment can be faster."""

    def __init__(self, env_id: str, num_processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for _ in range(num_processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=free_runner, args=(env_id, theirs), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)
        for pipe in self.pipes:
            pipe.recv()

    def run(self, seconds: float) -> float:
        """Run all for ``seconds`` and return their environment steps per second, added up."""
        for pipe in self.pipes:
            pipe.send(seconds)
        return float(sum(pipe.recv() for pipe in self.pipes))

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(0)
            process.join()


def summarise(samples: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, quartiles and the median of the ratios within each round."""
    summary: dict[str, Any] = {}
    for name, values in samples.items():
        low, _, high = statistics.quantiles(values, n=4)
        summary[name] = {"median_sps": statistics.median(values), "quartiles_sps": [low, high], "samples_sps": values}
    best = samples["paceline shm, training path"]
    for other in samples:
        ratios = [ours / theirs for ours, theirs in zip(best, samples[other], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        summary[other]["training_path_over_this"] = {"median": statistics.median(ratios), "quartiles": [low, high]}
    drop_in = samples["paceline shm, step()"]
    ratios = [ours / theirs for ours, theirs in zip(drop_in, samples["Gymnasium AsyncVectorEnv"], strict=True)]
    summary["paceline shm, step()"]["over_gymnasium_async"] = statistics.median(ratios)
    return summary


class Neighbours:
    """Tells how much of the machine other programs use."""

    def __init__(self) -> None:
        self.last = self._read()

    def share(self) -> float:
        """Return their share of all cores' time since the last call."""
        before, self.last = self.last, self._read()
        wall, busy, ours = (now - then for now, then in zip(self.last, before, strict=True))
        return max(0.0, busy - ours) / (wall * (psutil.cpu_count() or 1))

    def _read(self) -> tuple[float, float, float]:
        machine = psutil.cpu_times()
        me = psutil.Process()
        times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return time.perf_counter(), sum(machine[:8]) - idle, sum(item.user + item.system for item in times)


def show(title: str, summary: dict[str, Any]) -> None:
    print(title)
    for name, row in summary.items():
        low, high = row["quartiles_sps"]
        ratio = row["training_path_over_this"]["median"]
        print(f"  {name:34s} {row['median_sps']:10,.0f} SPS ({low:,.0f} to {high:,.0f})  x {ratio:.2f}")
    print(f"  step() over AsyncVectorEnv: {summary['paceline shm, step()']['over_gymnasium_async']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--num-env-runners", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    env_id, num_envs, num_runners = options.env, options.num_envs, options.num_env_runners

    factory = env_factory(env_id)
    training = {"autoreset_mode": "same_step", "infos": "none"}
    shm = {"backend": "shm", "num_env_runners": num_runners}
    vectors = {
        "Gymnasium AsyncVectorEnv": AsyncVectorEnv([factory] * num_envs, shared_memory=True),
        "Gymnasium SyncVectorEnv": SyncVectorEnv([factory] * num_envs),
        "paceline serial, step()": make_vec(env_id, num_envs, backend="serial"),
        "paceline shm, step()": make_vec(env_id, num_envs, **shm),
        "paceline serial, training path": make_vec(env_id, num_envs, backend="serial", **training),
        "paceline shm, training path": make_vec(env_id, num_envs, **shm, **training),
    }
    ceiling = Ceiling(env_id, num_runners)
    rounds: dict[str, Round] = {
        name: send_recv_round(env) if "training" in name else step_round(env) for name, env in vectors.items()
    }
    rounds[f"{num_runners} free-running processes"] = ceiling.run
    samples: dict[str, list[float]] = {name: [] for name in rounds}
    for run in rounds.values():
        run(0.1)
    shares: list[float] = []
    neighbours = Neighbours()
    for number in range(options.rounds):
        for name in list(rounds)[:: 1 if number % 2 else -1]:  # turn the order round, so that neighbours change sides
            samples[name].append(rounds[name](ROUND_S))
        shares.append(neighbours.share())
    for env in vectors.values():
        env.close()
    ceiling.close()

    is_quiet = [share <= MOST_FOR_NEIGHBOURS for share in shares]
    quiet = {name: [v for v, kept in zip(values, is_quiet, strict=True) if kept] for name, values in samples.items()}
    num_quiet = sum(is_quiet)
    summaries = {"all_rounds": summarise(samples), "quiet_rounds": summarise(quiet) if num_quiet > 1 else None}
    result = {
        "benchmark": "vector_shm",
        "env": env_id,
        "num_envs": num_envs,
        "num_env_runners": num_runners,
        "rounds": options.rounds,
        "round_s": ROUND_S,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "benchmarks/vector_shm.py", *sys.argv[1:]]),
        "paceline_version": __version__,
        "machine": detect_machine().as_dict(),
        "num_quiet_rounds": num_quiet,
        "share_of_other_programs": shares,
        **summaries,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"vector_shm_{env_id.split(':')[-1].split('?')[0]}_{num_envs}.json"
    path.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    show(f"all {options.rounds} rounds", summaries["all_rounds"])
    if summaries["quiet_rounds"]:
        show(f"the {num_quiet} quiet rounds", summaries["quiet_rounds"])
    else:
        print("too few quiet rounds: the machine was busy with other work, so do not quote these figures")


if __name__ == "__main__":
    main()
