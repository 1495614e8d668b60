"""How ``shm`` scales with its runners: the same environments in 1, 2, 4, 8 and 16 processes.

For machines with many cores; with two it measures 1 and 2 (or what ``--runners`` says: rows with more runners than
cores are marked). For each number of runners the ceiling is measured beside it in the same rounds: as many processes
that step their share of the environments in turn and never wait for each other. Speedup and efficiency are over one
runner, round by round; the ceiling's own speedup says how much of the loss is the machine's (shared caches, clock rate,
other programs).

    python -m benchmarks.vector_scaling [--env busy1000us busy100us halfcheetah] [--runners 1 2 4 8 16] [--num-envs 64]
    python -m benchmarks.vector_scaling --show          # the tables of what was kept, to be pasted into docs/
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, keep
from benchmarks.vector_contenders import Contender
from benchmarks.vector_rounds import Comparison, Goal, measure, summarise
from paceline.machine import detect_machine

ENVS = {
    "busy1000us": "synthetic:busy?us=1000",
    "busy100us": "synthetic:busy?us=100",
    "halfcheetah": "HalfCheetah-v5",
}
MOST_RUNNERS = 16
GOALS = {("busy1000us", 16): 13.0}
"""Speedup that is wanted, by environment and runners."""
WINDOW_S = 1.0


def default_runners(usable_cores: float) -> list[int]:
    """Return the powers of two up to the usable cores, 2 at least and 16 at most."""
    most = min(MOST_RUNNERS, max(2, int(usable_cores)))
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def shm_name(runners: int) -> str:
    return f"shm, {runners} runner{'s' * (runners > 1)}"


def free_name(runners: int) -> str:
    return f"{runners} free process{'es' * (runners > 1)}"


def comparison_of(name: str, num_envs: int, runners: list[int]) -> Comparison:
    """Return who is measured on one environment: ``shm`` and the ceiling for each number of runners."""
    env = ENVS[name]
    contenders: list[Contender] = []
    goals: list[Goal] = []
    for count in runners:
        options = {"backend": "shm", "num_env_runners": count, "autoreset_mode": "same_step", "infos": "none"}
        contenders += [
            Contender(shm_name(count), "paceline", env, num_envs, "send", options),
            Contender(free_name(count), "free", env, num_envs, options={"num_processes": count}),
        ]
        goals += [
            Goal((shm_name(count),), (shm_name(runners[0]),), GOALS.get((name, count)), "speedup"),
            Goal((free_name(count),), (free_name(runners[0]),), None, "speedup of the ceiling"),
            Goal((shm_name(count),), (free_name(count),), None, "share of the ceiling"),
        ]
    title = f"{env}, {num_envs} envs, shm by send/recv"
    return Comparison(name, title, tuple(contenders), tuple(goals), WINDOW_S)


def table(kept: Mapping[str, Any]) -> str:
    """Return the Markdown table of one environment."""
    runners, usable = kept["runners"], kept["machine"]["usable_cores"]
    firsts = shm_name(runners[0]), free_name(runners[0])
    found = {(row["ours"], row["what"]): row for row in kept["ratios"]}
    lines = [
        f"**{kept['title']}** ({kept['machine']['cpu_model']}, {usable:g} usable cores, {kept['date'][:10]}; "
        f"{kept['rounds_used']} rounds of {kept['rounds']})",
        "",
        "| runners | steps/s | speedup | quartiles | efficiency | ceiling, steps/s | its speedup | share of it |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for count in runners:
        if any(name not in kept["contenders"] for name in (shm_name(count), free_name(count), *firsts)):
            lines.append(f"| {count} | not possible | | | | | | |")
            continue
        ours = found[shm_name(count), "speedup"]
        ceiling, share = (
            found[free_name(count), "speedup of the ceiling"],
            found[shm_name(count), "share of the ceiling"],
        )
        mark = " (more than cores)" if count > usable else ""
        efficiency = ours["median"] / (count / runners[0])
        lines.append(
            f"| {count}{mark} | {kept['contenders'][shm_name(count)]['median']:,.0f} | {ours['median']:.2f} "
            f"| {ours['quartile_1']:.2f} to {ours['quartile_3']:.2f} | {efficiency:.0%} "
            f"| {kept['contenders'][free_name(count)]['median']:,.0f} | {ceiling['median']:.2f} "
            f"| {share['median']:.0%} |"
        )
    lines += [f"\n{name}: {why}." for name, why in kept["not_possible"].items()]
    for row in kept["ratios"]:
        if row["goal"] is not None:
            lines.append(f"\nGoal: {row['what']} of {row['goal']:g} with {row['ours']}: {row['verdict']}.")
    return "\n".join(lines) + "\n"


def file_of(name: str) -> str:
    return f"vector_scaling_{name}"


def main() -> None:
    usable_cores = detect_machine().usable_cores
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=list(ENVS), default=list(ENVS))
    parser.add_argument("--runners", nargs="+", type=int, default=default_runners(usable_cores))
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two short rounds; nothing is kept unless --out is given")
    parser.add_argument("--show", action="store_true", help="measure nothing, print the tables of what was kept")
    parser.add_argument("--out", type=Path, help="folder for the results (default: benchmarks/results)")
    options = parser.parse_args()
    runners = sorted(set(options.runners))
    if runners[0] < 1 or runners[-1] > options.num_envs:
        parser.error(f"expected --runners from 1 to --num-envs {options.num_envs}, got {runners}")
    if not options.show:
        for name in options.env:
            comparison = comparison_of(name, options.num_envs, runners)
            rounds, window_s = (2, 0.2) if options.quick else (options.rounds, comparison.window_s)
            figures = summarise(comparison, measure(comparison, rounds, window_s))
            figures |= {"runners": runners, "num_envs": options.num_envs, "window_s": window_s}
            if not options.quick or options.out:
                print(keep("vector_scaling", figures, file=file_of(name), out=options.out))
            else:
                machine = {"cpu_model": detect_machine().cpu_model, "usable_cores": usable_cores}
                print("\n" + table({**figures, "machine": machine, "date": "not kept"}))
    for name in options.env:
        path = (options.out or RESULTS) / f"{file_of(name)}.json"
        if path.is_file() and (options.show or not options.quick or options.out):
            print("\n" + table(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
