"""PPO end to end against Stable-Baselines3 and RLlib: environment steps per second of training, compilation apart.

Every measurement is a fresh process that trains for a few iterations; the contenders take turns, so that whatever else
the machine does hits all of them alike. Same environment, batch, minibatch, epochs and network (MLP 2x64) everywhere.
The first iteration is left out of everybody's figures. Each peer gets what is fastest for it among its usual settings:
SB3 in one process, with one torch thread and with one per core, and in subprocesses; RLlib (new API stack) with 1x1,
2x1 and 2x8 runners and environments. Ours normalises observations and rewards; SB3 is spared that (its VecNormalize
costs time), and so is RLlib.

Beside our figures stands their share of the bound that the run's own ledger implies: environments perfectly spread over
the cores, and nothing else but acting and the update, one after the other.

RLlib pins another Gymnasium, so it has a virtual environment of its own: ``make bench-rllib`` makes it, and
``--rllib-python`` names its interpreter. Without one, RLlib is left out, and the result says so.

    python -m benchmarks.train_vs_peers [--rounds 5] [--only big|small] [--rllib-python .venv-rllib/bin/python]
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
from functools import partial
from pathlib import Path

from benchmarks.record import RESULTS, describe, interleave, keep, ratios
from paceline.vector.runners.placement import usable_cores

ENV = "HalfCheetah-v5"
WORKER = (sys.executable, "-m", "benchmarks.train_vs_peers", "--worker")
RLLIB_PYTHON = Path(".venv-rllib/bin/python")


class Paceline:
    """Trains in a fresh process; notes its share of the bound at each call.

    Args:
        arguments: of :func:`paceline_worker`.
    """

    def __init__(self, *arguments: str) -> None:
        self._command = [*WORKER, "paceline", *arguments]
        self.shares_of_bound: list[float] = []

    def __call__(self) -> float:
        """Return steps per second."""
        told = told_by(self._command)
        self.shares_of_bound.append(told["share_of_bound"])
        return told["sps"]


def sb3(*arguments: str) -> float:
    """Return steps per second of :func:`sb3_worker` in a fresh process."""
    return told_by([*WORKER, "sb3", *arguments])["sps"]


def rllib(python: Path, runners: str, envs: str, *size: str) -> float:
    """Return steps per second of RLlib in a fresh process."""
    script = str(Path(__file__).with_name("rllib_worker.py"))
    return told_by([str(python), script, ENV, runners, envs, *size])["sps"]


def told_by(command: list[str]) -> dict[str, float]:
    """Run a command and return its last line, which is JSON."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=environment)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def paceline_worker(plan: str, batch: int, minibatch: int, iterations: int) -> dict[str, float]:
    from paceline.measure.ledger import ENV_STEP, INFERENCE, LEARNER_UPDATE
    from paceline.measure.result import LedgerRecord
    from paceline.spec import EnvSpec, Plan, PPOSpec, RunSpec
    from paceline.training.trial import run_trial

    spec = RunSpec(
        env=EnvSpec(id=ENV),
        algo=PPOSpec(batch_size=batch, minibatch_size=minibatch, num_epochs=10),
        plan=Plan(**json.loads(plan)),
    )
    result = run_trial(
        spec, name="bench", repeat=0, iterations=iterations, warmup_iterations=1, on_iteration=lambda record: None
    )
    processes, cores = max(1, spec.plan.num_env_runners), len(usable_cores())

    def share_of_bound(ledger: LedgerRecord) -> float:
        phases = ledger.phases
        bound_s = phases[ENV_STEP] * processes / cores + phases[INFERENCE] + phases[LEARNER_UPDATE]
        return bound_s / ledger.wall_s

    return {
        "sps": statistics.median(record.sps for record in result.iterations),
        "share_of_bound": statistics.median(share_of_bound(record.ledger) for record in result.iterations),
    }


def sb3_worker(kind: str, envs: int, batch: int, minibatch: int, iterations: int, threads: int) -> dict[str, float]:
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
    seconds = statistics.median(b - a for a, b in zip(clock.starts[1:], clock.starts[2:], strict=False))
    return {"sps": batch / seconds}


def worker(arguments: list[str]) -> None:
    library, first, *rest = arguments
    numbers = [int(value) for value in rest]
    print(json.dumps(paceline_worker(first, *numbers) if library == "paceline" else sb3_worker(first, *numbers)))


def plan(runners: int, envs: int, **more: str) -> str:
    return json.dumps({"num_env_runners": runners, "num_envs_per_env_runner": envs, **more})


def contenders(scale: str, rllib_python: Path | None) -> dict[str, Callable[[], float]]:
    """Return who competes: ``big`` is batch 16384 with 16 environments or more, ``small`` batch 2048 with one."""
    cores = str(len(usable_cores()))
    if scale == "small":
        return {
            "paceline 0x1": Paceline(plan(0, 1), "2048", "64", "8"),
            "SB3 in-process, 1 thread": partial(sb3, "in-process", "1", "2048", "64", "5", "1"),
            "SB3 in-process, all threads": partial(sb3, "in-process", "1", "2048", "64", "5", cores),
        }
    size = ("16384", "512")
    found: dict[str, Callable[[], float]] = {
        "paceline native 2x32": Paceline(plan(2, 32, backend="native"), *size, "6"),
        "paceline native 2x64": Paceline(plan(2, 64, backend="native"), *size, "6"),
        "paceline shm 2x8": Paceline(plan(2, 8), *size, "6"),
        "paceline shm 2x32": Paceline(plan(2, 32), *size, "6"),
        "paceline runners 2x8": Paceline(plan(2, 8, inference="runner"), *size, "6"),
        "paceline runners 2x32": Paceline(plan(2, 32, inference="runner"), *size, "6"),
        "paceline 0x16": Paceline(plan(0, 16), *size, "4"),
        "SB3 in-process, 1 thread": partial(sb3, "in-process", "16", *size, "3", "1"),
        "SB3 in-process, all threads": partial(sb3, "in-process", "16", *size, "3", cores),
        "SB3 subprocess, 1 thread": partial(sb3, "subprocess", "16", *size, "3", "1"),
    }
    if rllib_python is not None:
        for shape in (("1", "1"), ("2", "1"), ("2", "8")):
            found[f"RLlib {'x'.join(shape)}"] = partial(rllib, rllib_python, *shape, *size, "2")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("big", "small"))
    parser.add_argument("--rllib-python", type=Path, default=RLLIB_PYTHON if RLLIB_PYTHON.exists() else None)
    parser.add_argument("--worker", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    path = RESULTS / "train_vs_peers.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    figures = {scale: before[scale] for scale in ("big", "small") if scale in before}  # --only keeps the other
    for scale in ("big", "small") if arguments.only is None else (arguments.only,):
        competing = contenders(scale, arguments.rllib_python)
        samples = interleave(competing, arguments.rounds)
        medians = {name: statistics.median(values) for name, values in samples.items()}
        ours = max((name for name in samples if name.startswith("paceline")), key=medians.__getitem__)
        against = {}
        for peer in ("SB3", "RLlib"):
            of_peer = [values for name, values in samples.items() if name.startswith(peer)]
            if of_peer:
                against[peer] = ratios(samples[ours], [max(figures) for figures in zip(*of_peer, strict=True)])
        figures[scale] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps_per_second": {name: describe(values) for name, values in samples.items()},
            "best_of_ours": ours,
            "share_of_ledger_bound": {
                name: describe(one.shares_of_bound) for name, one in competing.items() if isinstance(one, Paceline)
            },
            "ratio_to_fastest_of_peer_per_round": against,
            "left_out": [] if "RLlib" in against or scale == "small" else ["RLlib: no interpreter that has it"],
        }
        for peer, ratio in against.items():
            spread = f"{ratio['min']:.2f} to {ratio['max']:.2f}"
            print(f"\n{scale}: {ours} {ratio['median']:.2f}x the fastest {peer} ({spread})")
    print(keep("train_vs_peers", {"env": ENV, **figures}, ("stable-baselines3", "torch")))


if __name__ == "__main__":
    main()
