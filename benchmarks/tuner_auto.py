"""Is `--plan auto` worth it? Training under the plan that it chooses, against serial and the naive parallel plan.

    serial     all environments in the learner's process
    naive      as many runner processes as cores, the policy in the learner
    auto       what `paceline train --plan auto` chooses in a minute

Serial and naive have 8 environments for each process; all have the same batch. `paceline train --plan auto` really runs
once, for the plan; then the three train in turns, in fresh processes, round after round.

    python -m benchmarks.tuner_auto [--rounds 4] [--seconds 8] [--only cheetah cartpole busy tail image]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import describe, interleave, keep, ratios
from benchmarks.tuner_envs import TUNED
from benchmarks.tuner_grid import BOUNDS, run_spec
from paceline.machine import detect_machine
from paceline.spec import Plan, RunSpec, build_spec
from paceline.tuner.arena import Failed
from paceline.tuner.processes import ProcessArena

ENVS_EACH = 8


def auto(name: str) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Train with ``--plan auto`` once; return the plan, the algorithm and the seconds before training began."""
    env, algo = TUNED[name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        given = [part for key, value in algo.items() for part in (f"--{key.replace('_', '-')}", str(value))]
        begin_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "paceline", "train", env, "--plan", "auto", "--minutes", "0.02", "--out", str(out),
             *given],
            env={**os.environ, "XDG_CACHE_HOME": folder}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr[-2000:]}")
        took_s = time.monotonic() - begin_s
        run = json.loads((out / "results.json").read_text())["experiments"][0]
        return run["plan"], run["algo"], took_s


def measure(spec: RunSpec, seconds: float) -> float:
    arena = ProcessArena([spec], BOUNDS)
    opened = arena.open(0)
    if isinstance(opened, Failed):
        raise SystemExit(f"{spec.env.id}, {spec.plan.label}: {opened.message}")
    found = arena.measure(opened.process, seconds)
    if isinstance(found, Failed):
        raise SystemExit(f"{spec.env.id}, {spec.plan.label}: {found.message}")
    arena.close(opened.process)
    return found.sps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=tuple(TUNED))
    arguments = parser.parse_args()
    cores = detect_machine().whole_cores
    for name in arguments.only or TUNED:
        base = run_spec(name)
        plan, algo, took_s = auto(name)
        specs = {}
        for who, how in {
            "auto": plan,
            "serial": {"num_env_runners": 0, "num_envs_per_env_runner": ENVS_EACH, "backend": "serial"},
            "naive": {"num_env_runners": cores, "num_envs_per_env_runner": ENVS_EACH, "backend": "shm"},
        }.items():
            data = {**base.model_dump(mode="json"), "plan": how, "algo": algo}
            spec = build_spec(RunSpec, data, source=who)
            kind = {"inference": "learner", "schedule": "sync"} if who != "auto" else {}
            specs[who] = spec.model_copy(update={"plan": Plan.model_validate({**spec.plan.model_dump(), **kind})})
        samples = interleave(
            {who: lambda spec=spec: measure(spec, arguments.seconds) for who, spec in specs.items()},
            arguments.rounds, say=lambda text: None,
        )  # fmt: skip
        against = {who: ratios(samples["auto"], samples[who]) for who in ("serial", "naive")}
        chosen = f"{plan['backend']} {plan['num_env_runners']}x{plan['num_envs_per_env_runner']}"
        print(f"{name}: auto {chosen}, policy in the {plan['inference']}, after {took_s:.0f} s")
        for who, ratio in against.items():
            print(
                f"  {statistics.median(samples['auto']):,.0f} steps/s: {ratio['median']:.2f}x {who} "
                f"({ratio['min']:.2f} to {ratio['max']:.2f})", flush=True,
            )  # fmt: skip
        figures = {
            "env": base.env.id, "plan": plan, "algo": algo, "until_training_s": took_s,
            "steps_per_second": {who: describe(values) for who, values in samples.items()},
            "auto_over": against,
        }  # fmt: skip
        print(keep("tuner_auto", figures, file=f"tuner_auto_{name}"))


if __name__ == "__main__":
    main()
