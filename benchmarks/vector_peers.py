"""Vector stepping against peers: environment steps per second with random actions, without a learner.

Every contender is a fresh process that is set up once; then they take turns, round after round (A B C, C B A, ..). What
counts is the ratio within a round, with its spread; absolute figures of different runs must not be compared.

    python -m benchmarks.vector_peers                                  # all comparisons, about 25 minutes
    python -m benchmarks.vector_peers --scenario halfcheetah16 crowded --rounds 15
    python -m benchmarks.vector_peers --quick                          # does everything once; keeps nothing
    python -m benchmarks.vector_peers --show                           # the tables of what was kept

The **ceiling** is R processes that step environments and never wait for each other, in the same R as the contender's
runners. A share of the ceiling refers to *the same work*: each process steps its N/R environments in turn, so that it
touches as much memory as the contender does. *One environment each* is the other ceiling: R environments in all, which
stay in the caches; it is shown as well. **Bare lockstep** (`benchmarks/vector_bare.py`) is R processes that wake each
other by eventfds at every step and do nothing else: how near lockstep can come to the ceiling, whoever does it.

Peers get their best fair setting: AsyncVectorEnv with shared memory and without copies, Stable-Baselines3 without
Monitor, EnvPool with as many threads as we get and float64 actions, as its space asks for. Nobody's reset rows count as
steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, keep
from benchmarks.vector_contenders import Contender
from benchmarks.vector_rounds import Comparison, Goal, measure, summarise, tables

CHEETAH = "HalfCheetah-v5"
BUSY = "synthetic:busy?us={}"
SLEEP = "synthetic:sleep?us=2000"
SLEEP_TAIL = "synthetic:sleep?us=2000&sigma=1"
TRAINING: dict[str, Any] = {"autoreset_mode": "same_step", "infos": "none"}
FIRST_READY = 8
"""Rows of a first-ready batch of 32 environments: small enough not to wait for the tail, large enough for a policy."""
CROWD = (1, 2, 4, 8)
"""Runners for each runner of ``--num-env-runners``, in the comparison with more runners than cores."""

ASYNC, SB3, ENVPOOL = "AsyncVectorEnv", "SB3 SubprocVecEnv", "EnvPool"
BARE = "bare lockstep"
SHM_WAYS = ("shm step()", "shm step(), no infos", "shm send/recv")
NATIVE_WAYS = ("native step()", "native send/recv")
SLOW_WINDOW_S = 1.0


def ours(name: str, env: str, num_envs: int, backend: str, *, path: str = "step", **options: Any) -> Contender:
    return Contender(name, "paceline", env, num_envs, path, {"backend": backend, **options})


def shm(env: str, num_envs: int, runners: int) -> tuple[Contender, ...]:
    """Return the ways to use ``shm``: as Gymnasium's, without infos, and as a trainer does."""
    common: dict[str, Any] = {"num_env_runners": runners}
    return (
        ours(SHM_WAYS[0], env, num_envs, "shm", **common),
        ours(SHM_WAYS[1], env, num_envs, "shm", **common, infos="none"),
        ours(SHM_WAYS[2], env, num_envs, "shm", path="send", **common, **TRAINING),
    )


def async_vector(env: str, num_envs: int) -> Contender:
    return Contender(ASYNC, "gymnasium", env, num_envs, options={"kind": "async", "shared_memory": True, "copy": False})


def sb3(env: str, num_envs: int) -> Contender:
    return Contender(SB3, "sb3", env, num_envs)


def free(env: str, num_envs: int, runners: int) -> Contender:
    return Contender(same_work(num_envs, runners), "free", env, num_envs, options={"num_processes": runners})


def bare(num_envs: int, runners: int, env: str) -> Contender:
    return Contender(BARE, "bare", env, num_envs, options={"num_processes": runners})


def free_one_each(env: str, runners: int) -> Contender:
    return Contender(one_each(runners), "free", env, runners, options={"num_processes": runners})


def same_work(num_envs: int, runners: int) -> str:
    """Return the name of the ceiling that shares refer to."""
    share = num_envs // runners
    return f"{runners} free processes, {share} env{'s' * (share > 1)} each"


def one_each(runners: int) -> str:
    """Return the name of the ceiling whose environments stay in the caches."""
    return same_work(runners, runners)


def of_ceilings(ways: tuple[str, ...], num_envs: int, runners: int, share: float) -> tuple[Goal, ...]:
    """Return the goal against the ceiling of the same work, and the share of the other one."""
    return (
        Goal(ways, (same_work(num_envs, runners),), share, "share of the ceiling"),
        Goal(ways, (one_each(runners),), None, "share of the lighter ceiling"),
    )


def of_bare(ways: tuple[str, ...], num_envs: int, runners: int) -> tuple[Goal, ...]:
    """Return what lockstep costs whoever does it, and what we add."""
    return (
        Goal((BARE,), (same_work(num_envs, runners),), None, "share of the ceiling"),
        Goal(ways, (BARE,), None, "share of bare lockstep"),
    )


def half_cheetah(num_envs: int, runners: int) -> Comparison:
    """Compare with everybody on MuJoCo."""
    threads: dict[str, Any] = {"num_env_runners": runners}
    half = "shm recv, first half ready"
    native = (
        ours(NATIVE_WAYS[0], CHEETAH, num_envs, "native", **threads),
        ours(NATIVE_WAYS[1], CHEETAH, num_envs, "native", path="send", **threads, **TRAINING),
    )
    contenders = (
        *shm(CHEETAH, num_envs, runners),
        async_vector(CHEETAH, num_envs),
        sb3(CHEETAH, num_envs),
        free(CHEETAH, num_envs, runners),
        free_one_each(CHEETAH, runners),
        bare(num_envs, runners, CHEETAH),
        ours(half, CHEETAH, num_envs, "shm", path="send", batch_size=num_envs // 2, **threads, **TRAINING),
        *native,
        Contender(ENVPOOL, "envpool", CHEETAH, num_envs, options={"num_threads": runners}),
        ours("serial step()", CHEETAH, num_envs, "serial"),
        Contender("SyncVectorEnv", "gymnasium", CHEETAH, num_envs, options={"kind": "sync", "copy": False}),
        ours("auto step()", CHEETAH, num_envs, "auto"),
    )
    is_large = num_envs >= 64
    goals = (
        Goal(SHM_WAYS, (ASYNC,), None if is_large else 3.5, "over Gymnasium"),
        Goal(SHM_WAYS, (SB3,), None if is_large else 4.0, "over Stable-Baselines3"),
        *of_ceilings(SHM_WAYS, num_envs, runners, 0.9 if is_large else 0.8),
        Goal(NATIVE_WAYS, (ENVPOOL,), 0.95 if is_large else None, "over EnvPool"),
        Goal(("auto step()",), ("SyncVectorEnv",), None, "over Gymnasium's loop"),
        Goal((half,), (same_work(num_envs, runners),), None, "share of the ceiling"),
        *of_bare(SHM_WAYS, num_envs, runners),
    )
    return Comparison(f"halfcheetah{num_envs}", f"{CHEETAH}, {num_envs} envs, {runners} runners", contenders, goals)


def busy(us: int, num_envs: int, runners: int, share: float) -> Comparison:
    """Compare on an environment that computes for a known time."""
    env = BUSY.format(us)
    return Comparison(
        f"busy{us}us_{num_envs}",
        f"{us} us busy, {num_envs} envs, {runners} runners",
        (
            *shm(env, num_envs, runners),
            async_vector(env, num_envs),
            free(env, num_envs, runners),
            free_one_each(env, runners),
            bare(num_envs, runners, env),
        ),
        (
            *of_ceilings(SHM_WAYS, num_envs, runners, share),
            *of_bare(SHM_WAYS, num_envs, runners),
            Goal(SHM_WAYS, (ASYNC,), None, "over Gymnasium"),
        ),
        0.4 if us < 1000 else SLOW_WINDOW_S,
    )


def cartpole_auto(runners: int) -> Comparison:
    """Compare where processes do not pay: each way with the peer that copies, or does not, as it does."""
    env, num_envs = "CartPole-v1", 16
    sync = {
        name: {"kind": "sync", "copy": copy}
        for name, copy in (("SyncVectorEnv", True), ("SyncVectorEnv, views", False))
    }
    return Comparison(
        "cartpole16",
        f"{env}, {num_envs} envs, auto",
        (
            ours("auto step()", env, num_envs, "auto"),
            Contender("SyncVectorEnv", "gymnasium", env, num_envs, options=sync["SyncVectorEnv"]),
            ours("auto step(), views", env, num_envs, "auto", copy=False),
            Contender("SyncVectorEnv, views", "gymnasium", env, num_envs, options=sync["SyncVectorEnv, views"]),
            ours("auto send/recv", env, num_envs, "auto", path="send", **TRAINING),
            ours("shm step()", env, num_envs, "shm", num_env_runners=runners),
        ),
        (
            Goal(("auto step()",), ("SyncVectorEnv",), 1.0, "both copy"),
            Goal(("auto step(), views",), ("SyncVectorEnv, views",), 1.0, "neither copies"),
            Goal(("auto step()",), ("shm step()",), None, "over processes"),
        ),
    )


def cartpole_shm(runners: int) -> Comparison:
    """Compare where the overhead is everything."""
    env, num_envs = "CartPole-v1", 64
    return Comparison(
        "cartpole64",
        f"{env}, {num_envs} envs, {runners} runners",
        (*shm(env, num_envs, runners), async_vector(env, num_envs), free(env, num_envs, runners)),
        (
            Goal(SHM_WAYS, (ASYNC,), 7.0, "over Gymnasium"),
            Goal(SHM_WAYS, (same_work(num_envs, runners),), None, "share of the ceiling"),
        ),
    )


def sleep() -> Comparison:
    """Compare on environments that wait, all for as long."""
    num = 32
    ways = ("shm step()", "shm send/recv")
    thread = ours("thread step()", SLEEP, num, "thread", num_env_runners=num)
    common: dict[str, Any] = {"num_env_runners": num}
    return Comparison(
        "sleep32",
        "2 ms sleep, 32 envs, 32 runners",
        (
            ours(ways[0], SLEEP, num, "shm", **common),
            ours(ways[1], SLEEP, num, "shm", path="send", **common, **TRAINING),
            thread,
            async_vector(SLEEP, num),
            free(SLEEP, num, num),
            bare(num, num, SLEEP),
        ),
        (
            Goal((*ways, thread.name), (same_work(num, num),), 0.85, "share of the ceiling"),
            *of_bare(ways, num, num),
            Goal((*ways, thread.name), (ASYNC,), None, "over Gymnasium"),
        ),
        SLOW_WINDOW_S,
    )


def sleep_tail() -> Comparison:
    """Compare on environments that wait, some much longer than others: the first ready come first."""
    num = 32
    way = f"shm recv, first {FIRST_READY} ready"
    thread = f"thread recv, first {FIRST_READY} ready"
    common = {"num_env_runners": num, "batch_size": FIRST_READY, **TRAINING}
    return Comparison(
        "sleep32_tail",
        f"2 ms sleep, lognormal with sigma 1, 32 envs, 32 runners, batches of {FIRST_READY}",
        (
            ours(way, SLEEP_TAIL, num, "shm", path="send", **common),
            ours(thread, SLEEP_TAIL, num, "thread", path="send", **common),
            ours("shm step()", SLEEP_TAIL, num, "shm", num_env_runners=num),
            async_vector(SLEEP_TAIL, num),
            sb3(SLEEP_TAIL, num),
            free(SLEEP_TAIL, num, num),
        ),
        (
            Goal((way, thread), (ASYNC,), 3.5, "over Gymnasium"),
            Goal((way, thread), (same_work(num, num),), 0.7, "share of the ceiling"),
            Goal(("shm step()",), (ASYNC,), None, "lockstep with the slowest, both"),
        ),
        2 * SLOW_WINDOW_S,
    )


def sizes(runners: int) -> Comparison:
    """Compare 200 environments with 20, per environment step."""
    contenders, goals = [], []
    for env in (CHEETAH, BUSY.format(100), "CartPole-v1"):
        few, many = (f"{env}, {num_envs} envs" for num_envs in (20, 200))
        contenders += [
            ours(name, env, num_envs, "shm", path="send", num_env_runners=runners, **TRAINING)
            for name, num_envs in ((few, 20), (many, 200))
        ]
        goals.append(Goal((many,), (few,), round(1 / 1.1, 3), "per step at most 10 % slower"))
    return Comparison("sizes", f"200 envs against 20, {runners} runners, send/recv", tuple(contenders), tuple(goals))


def crowded(runners: int) -> Comparison:
    """Compare numbers of runners up to many more than cores."""
    env, num_envs = BUSY.format(100), 64
    names = {runners * factor: f"{runners * factor} runners" for factor in CROWD}
    return Comparison(
        "crowded",
        f"100 us busy, {num_envs} envs, more runners than cores, step()",
        tuple(ours(name, env, num_envs, "shm", num_env_runners=min(count, num_envs)) for count, name in names.items()),
        (Goal(tuple(names.values()), tuple(names.values()), 0.8, "share of the round's best"),),
    )


COMPARISONS: dict[str, Callable[[int], Comparison]] = {
    "halfcheetah16": lambda runners: half_cheetah(16, runners),
    "halfcheetah64": lambda runners: half_cheetah(64, runners),
    "busy100us_16": lambda runners: busy(100, 16, runners, 0.92),
    "busy100us_64": lambda runners: busy(100, 64, runners, 0.92),
    "busy1000us_16": lambda runners: busy(1000, 16, runners, 0.96),
    "busy1000us_64": lambda runners: busy(1000, 64, runners, 0.96),
    "cartpole16": cartpole_auto,
    "cartpole64": cartpole_shm,
    "sleep32": lambda runners: sleep(),
    "sleep32_tail": lambda runners: sleep_tail(),
    "sizes": sizes,
    "crowded": crowded,
}


def file_of(scenario: str) -> str:
    return f"vector_peers_{scenario}"


def show(folder: Path, scenarios: list[str]) -> None:
    """Print the tables of what was kept."""
    for scenario in scenarios:
        path = folder / f"{file_of(scenario)}.json"
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            print(f"{tables(kept)}\n`{kept['command']}`, {kept['date']}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", nargs="+", choices=list(COMPARISONS), default=list(COMPARISONS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--num-env-runners", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two short rounds; nothing is kept unless --out is given")
    parser.add_argument("--show", action="store_true", help="measure nothing, print the tables of what was kept")
    parser.add_argument("--out", type=Path, help="folder for the results (default: benchmarks/results)")
    options = parser.parse_args()
    if options.show:
        show(options.out or RESULTS, options.scenario)
        return
    printed = []
    failed = []
    for scenario in options.scenario:
        comparison = COMPARISONS[scenario](options.num_env_runners)
        rounds, window_s = (2, 0.1) if options.quick else (options.rounds, comparison.window_s)
        begin_s = time.perf_counter()
        print(f"{comparison.title}: {len(comparison.contenders)} contenders", flush=True)
        summary = summarise(comparison, measure(comparison, rounds, window_s))
        print(f"{time.perf_counter() - begin_s:.0f} s")
        if not options.quick or options.out:
            figures = {"num_env_runners": options.num_env_runners, "window_s": window_s, **summary}
            print(
                keep("vector_peers", figures, ("stable-baselines3", "envpool"), file=file_of(scenario), out=options.out)
            )
        printed.append(tables(summary))
        failed += [
            f"{scenario}: {contender.name}: {summary['not_possible'][contender.name]}"
            for contender in comparison.contenders
            if contender.name in summary["not_possible"] and contender.library in ("paceline", "free", "bare")
        ]
    print("\n" + "\n".join(printed))
    if failed:  # a peer may be missing here, but not we
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
