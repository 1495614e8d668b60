"""Does the tuner find the best plan? It tunes, then every plan is measured, then the best of both meet again.

On five environments (benchmarks/tuner_envs.py), with PPO:

    tune     `paceline tune` within a budget, with nothing in its cache
    grid     every plan that can be run, in a fresh process each, round after round (first to last, last to first)
    finals   the chosen plan and the best of the grid, in fresh processes in turns: the best of many noisy figures is
             too good by chance, so that it is measured again before it is held against the chosen one

Goals: the chosen plan within 5 % of the best, in at most 20 % of the grid's time.

    python -m benchmarks.tuner_grid [--budget-minutes 1.5] [--rounds 2] [--only cheetah cartpole busy tail image]
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import describe, interleave, keep
from benchmarks.tuner_envs import TUNED
from paceline.machine import detect_machine
from paceline.measure.tune_result import TuneResults
from paceline.spec import RunSpec, build_spec
from paceline.tuner.arena import Failed
from paceline.tuner.cache import Cache
from paceline.tuner.entrants import Entrants, enter
from paceline.tuner.processes import Bounds, ProcessArena, probe
from paceline.tuner.spec import TuneSpec
from paceline.tuner.tune import tune

GOAL, GOAL_OF_TIME = 0.05, 0.20
SLICE_S, SLICES = 1.0, 2
FINALISTS, FINAL_SLICES = 3, 4
BOUNDS = Bounds(120.0, 120.0, 2**40)


def run_spec(name: str) -> RunSpec:
    env, algo = TUNED[name]
    return build_spec(RunSpec, {"env": {"id": env}, "algo": {"name": "ppo", **algo}}, source=name)


def tuned(spec: RunSpec, budget_minutes: float) -> tuple[TuneResults, float]:
    """Tune with an empty cache; return the answer and the seconds that it took."""
    begin_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = tune(
            TuneSpec(base=spec, budget_minutes=budget_minutes), Path(folder) / "tuned",
            cache=Cache(Path(folder) / "cache"), again=True,
        )  # fmt: skip
    return results, time.monotonic() - begin_s


def all_entrants(spec: RunSpec) -> Entrants:
    """Return every plan that can be run, however slow it is expected to be."""
    found = probe(spec, timeout_s=300.0, memory_bytes=2**40)
    if isinstance(found, Failed):
        raise SystemExit(f"{spec.env.id}: {found.message}")
    machine = detect_machine()
    return enter(TuneSpec(base=spec), found, machine, machine.memory_limit_bytes, hopeless=math.inf)


def measure(arena: ProcessArena, index: int, slices: int) -> float:
    """Return steps per second of a plan in a fresh process; 0 where it cannot be run."""
    opened = arena.open(index)
    if isinstance(opened, Failed):
        return 0.0
    steps, wall_s = 0, 0.0
    for _ in range(slices):
        found = arena.measure(opened.process, SLICE_S)
        if isinstance(found, Failed):
            return 0.0
        steps, wall_s = steps + found.num_env_steps, wall_s + found.wall_s
    arena.close(opened.process)
    return steps / wall_s


def case(name: str, budget_minutes: float, rounds: int, final_rounds: int) -> dict[str, Any]:
    spec = run_spec(name)
    results, tune_s = tuned(spec, budget_minutes)
    chosen = results.tune.decision.winner
    entrants = all_entrants(spec)
    names = [one.name for one in entrants.candidates]
    if chosen not in names:
        raise SystemExit(f"{name}: chose {chosen}, which is not among the plans that a second probe allows")
    print(f"{name}: chose {chosen} in {tune_s:.0f} s; now {len(names)} plans, {rounds} rounds", flush=True)
    arena = ProcessArena(entrants.runs, BOUNDS)
    begin_s = time.monotonic()
    grid = interleave(
        {one: lambda index=index: measure(arena, index, SLICES) for index, one in enumerate(names)}, rounds,
        say=lambda text: None,
    )  # fmt: skip
    grid_s = time.monotonic() - begin_s
    order = sorted(names, key=lambda one: -statistics.median(grid[one]))
    finalists = [one for one in dict.fromkeys([str(chosen), *order]) if one in names][: FINALISTS + 1]
    finals = interleave(
        {one: lambda one=one: measure(arena, names.index(one), FINAL_SLICES) for one in finalists}, final_rounds,
        say=lambda text: None,
    )  # fmt: skip
    arena.end()
    medians = {one: statistics.median(values) for one, values in finals.items()}
    best = max(medians, key=medians.__getitem__)
    regret = 1.0 - medians[str(chosen)] / medians[best]
    for one in order[:8]:
        print(f"  {one:28} {statistics.median(grid[one]):12,.0f}")
    print(
        f"  chosen {chosen} {medians[str(chosen)]:,.0f}, best {best} {medians[best]:,.0f}: {regret:.1%} slower (goal "
        f"{GOAL:.0%}); {tune_s:.0f} s of {grid_s:.0f} s: {tune_s / grid_s:.0%} (goal {GOAL_OF_TIME:.0%})",
        flush=True,
    )
    return {
        "env": spec.env.id,
        "plans": len(names),
        "chosen": chosen,
        "p_best": results.tune.decision.p_best,
        "bound": results.tune.bound,
        "best": best,
        "regret": regret,
        "tune_s": tune_s,
        "grid_s": grid_s,
        "share_of_time": tune_s / grid_s,
        "predicted": {one.name: one.predicted_sps for one in entrants.candidates},
        "grid": {one: describe(values) for one, values in grid.items()},
        "finals": {one: describe(values) for one, values in finals.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--budget-minutes", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--final-rounds", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=tuple(TUNED))
    arguments = parser.parse_args()
    for name in arguments.only or TUNED:
        figures = case(name, arguments.budget_minutes, arguments.rounds, arguments.final_rounds)
        print(keep("tuner_grid", {"goal": GOAL, "goal_of_time": GOAL_OF_TIME, **figures}, file=f"tuner_grid_{name}"))


if __name__ == "__main__":
    main()
