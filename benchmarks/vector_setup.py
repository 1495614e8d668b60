"""What a vector environment takes before the first step: seconds, processes, memory.

Every figure is of a fresh process that makes one vector environment and resets it. Seconds are from the call to
``make_vec`` (paceline imported, nothing else) to the end of the first ``reset``; those of peers likewise, from the
import of their module. Memory is what the kernel tells of each runner, the largest one: resident (RSS; pages that
processes share count in each), proportional (PSS; a page that n processes map counts 1/n in each), private (what would
be freed if it ended).

    python -m benchmarks.vector_setup [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.record import describe, interleave, keep
from benchmarks.vector_contenders import Contender, set_up
from paceline.isolation.child import Emit, Request
from paceline.isolation.process import FreshProcess
from paceline.machine import thread_environment
from paceline.measure.monitor import descendants

TASK = "benchmarks.vector_setup:look"
MIB = 2**20
CHEETAH, CARTPOLE, NUMPY_ENV = "HalfCheetah-v5", "CartPole-v1", "synthetic:busy"
SETUP_GOAL_S = 3.0
RUNNER_GOAL_BYTES = 80e6
HEAVY = ("jaxlib", "torch", "matplotlib", "mujoco", "scipy")
"""Libraries of which a runner is asked whether it has them loaded."""


@dataclass(frozen=True)
class Case:
    """One vector environment to set up, and what is wanted of it."""

    contender: Contender
    goal_s: float | None = None
    goal_runner_bytes: float | None = None


def shm(name: str, env: str, num_envs: int, runners: int, **options: Any) -> Contender:
    return Contender(name, "paceline", env, num_envs, options={"backend": "shm", "num_env_runners": runners, **options})


def cases() -> list[Case]:
    """Return what is set up."""
    peers = {"kind": "async", "shared_memory": True}
    return [
        Case(shm("64 HalfCheetah, 2 runners", CHEETAH, 64, 2), SETUP_GOAL_S),
        Case(shm("64 HalfCheetah, 2 runners, spawn", CHEETAH, 64, 2, start_method="spawn"), SETUP_GOAL_S),
        Case(shm("64 HalfCheetah, 2 runners, forkserver", CHEETAH, 64, 2, start_method="forkserver"), SETUP_GOAL_S),
        Case(Contender("64 HalfCheetah, native, 2 threads", "paceline", CHEETAH, 64,
                       options={"backend": "native", "num_env_runners": 2})),
        Case(Contender("64 HalfCheetah, AsyncVectorEnv", "gymnasium", CHEETAH, 64, options=peers)),
        Case(shm("16 HalfCheetah, 2 runners", CHEETAH, 16, 2)),
        Case(shm("32 CartPole, 32 runners", CARTPOLE, 32, 32)),
        Case(shm("32 CartPole, 32 runners, spawn", CARTPOLE, 32, 32, start_method="spawn")),
        Case(Contender("32 CartPole, AsyncVectorEnv", "gymnasium", CARTPOLE, 32, options=peers)),
        Case(shm("2 NumPy envs, 2 runners", NUMPY_ENV, 2, 2), None, RUNNER_GOAL_BYTES),
        Case(shm("2 NumPy envs, 2 runners, spawn", NUMPY_ENV, 2, 2, start_method="spawn"), None, RUNNER_GOAL_BYTES),
        Case(shm("400 NumPy envs, 2 runners", NUMPY_ENV, 400, 2), None, RUNNER_GOAL_BYTES),
    ]  # fmt: skip


GROWTH = {
    "HalfCheetah in 2 shm runners": ("16 HalfCheetah, 2 runners", "64 HalfCheetah, 2 runners"),
    "NumPy env in 2 shm runners": ("2 NumPy envs, 2 runners", "400 NumPy envs, 2 runners"),
}
"""Cases from whose difference the memory of one more environment is told."""


def look(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Set one vector environment up and tell what it took; a task of :mod:`paceline.isolation.child`."""
    import paceline.vector.make  # noqa: F401  # what a program has loaded before it calls make_vec

    begin_s = time.perf_counter()
    subject = set_up(request)
    setup_s = time.perf_counter() - begin_s
    try:
        runners = list(subject.facts.get("runner_pids", ()))
        found: dict[str, Any] = {
            "setup_s": setup_s,
            "tree_pss_bytes": sum(memory_of(pid)["pss"] for pid in descendants([os.getpid()])),
            "num_processes": len(descendants([os.getpid()])),
        }
        if runners:
            told = [memory_of(pid) for pid in runners]
            found |= {f"runner_{kind}_bytes": max(row[kind] for row in told) for kind in ("rss", "pss", "private")}
            found |= {"runners_private_bytes": sum(row["private"] for row in told)}
            found |= {"loaded": sorted({name for pid in runners for name in loaded_by(pid)})}
        emit({"event": "looked", **found})
    finally:
        subject.close()


def memory_of(pid: int) -> dict[str, int]:
    """Return a process's resident, proportional and private memory in bytes (Linux)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return {"rss": 0, "pss": 0, "private": 0}
    rows = [line.split() for line in text.splitlines()[1:]]
    told = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}
    return {"rss": told["Rss"], "pss": told["Pss"], "private": told["Private_Clean"] + told["Private_Dirty"]}


def loaded_by(pid: int) -> set[str]:
    """Return which of :data:`HEAVY` a process has mapped (Linux)."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {name for name in HEAVY if f"/{name}/" in maps}


def set_up_once(contender: Contender) -> Mapping[str, Any]:
    """Return what :func:`look` tells, from a fresh process."""
    request = {**contender.request(), "task": TASK}
    process = FreshProcess(request, {**thread_environment(1), "PYTHONWARNINGS": "ignore"})
    try:
        while True:
            events = process.events(300.0)
            if process.returncode is not None:
                events += process.last_events()
            for event in events:
                if event["event"] != "looked":
                    raise SystemExit(f"{contender.name}: {event['message']}")
                return event
            if process.returncode is not None:
                raise SystemExit(f"{contender.name}: exit {process.returncode}{process.last_words}")
    finally:
        process.end()


def summarise(found: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return medians with all samples, and the memory of one more environment."""
    rows: dict[str, Any] = {}
    for case in cases():
        looked = found[case.contender.name]
        kinds = [key for key, value in looked[0].items() if isinstance(value, int | float)]
        rows[case.contender.name] = {
            **{kind: describe([look[kind] for look in looked]) for kind in kinds},
            "loaded_by_runners": looked[0].get("loaded"),
            "num_envs": case.contender.num_envs,
            "goal_s": case.goal_s,
            "goal_runner_bytes": case.goal_runner_bytes,
        }
    growth = {}
    for what, (few, many) in GROWTH.items():
        more = rows[many]["num_envs"] - rows[few]["num_envs"]
        held = [rows[name]["runners_private_bytes"]["median"] for name in (few, many)]
        growth[what] = (held[1] - held[0]) / more
    return {"cases": rows, "bytes_of_one_more_env": growth}


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown tables."""
    lines = [
        "| | set up and reset, s | goal | processes | a runner: RSS | PSS | private | goal | loaded by runners |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, row in figures["cases"].items():
        seconds = row["setup_s"]
        goal_s = "" if row["goal_s"] is None else f"{row['goal_s']:g}"
        goal = "" if row["goal_runner_bytes"] is None else f"{row['goal_runner_bytes'] / MIB:.0f} MiB"
        sizes = [
            f"{row[kind]['median'] / MIB:.0f} MiB" if kind in row else ""
            for kind in ("runner_rss_bytes", "runner_pss_bytes", "runner_private_bytes")
        ]
        loaded = row["loaded_by_runners"]
        lines.append(
            f"| {name} | **{seconds['median']:.2f}** ({seconds['min']:.2f} to {seconds['max']:.2f}) | {goal_s} "
            f"| {row['num_processes']['median']:.0f} | {' | '.join(sizes)} | {goal} "
            f"| {'' if loaded is None else ', '.join(loaded) or 'none of ' + ', '.join(HEAVY)} |"
        )
    lines += ["", "| one more environment | KiB |", "|---|---:|"]
    lines += [f"| {what} | {size / 1024:,.0f} |" for what, size in figures["bytes_of_one_more_env"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round; nothing is kept unless --out is given")
    parser.add_argument("--out", type=Path, help="folder for the result (default: benchmarks/results)")
    options = parser.parse_args()
    found: dict[str, list[Mapping[str, Any]]] = {case.contender.name: [] for case in cases()}

    def once(contender: Contender) -> float:
        found[contender.name].append(set_up_once(contender))
        return float(found[contender.name][-1]["setup_s"])

    turns = {case.contender.name: partial(once, case.contender) for case in cases()}
    interleave(turns, 1 if options.quick else options.rounds)
    figures = summarise(found)
    if not options.quick or options.out:
        print(keep("vector_setup", figures, out=options.out))
    print("\n" + table(figures))


if __name__ == "__main__":
    main()
