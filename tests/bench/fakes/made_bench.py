"""Results of benches that were never run, with known speeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paceline.bench.cases import Case
from paceline.bench.outcome import CaseRecord, bench_case
from paceline.bench.spec import BenchSpec
from paceline.machine import Machine, detect_machine
from paceline.measure.bench_result import AUTO, FREE_RUNNING, LOOP, BenchResults, EnvProfile, Spread
from paceline.measure.result import ExperimentInfo

Speed = Callable[[int], float]
NOISE = (1.0, 1.004, 0.997, 1.002, 0.999, 1.001)
LAWS: Mapping[str, Speed] = {
    LOOP: lambda n: 20_000.0,
    FREE_RUNNING: lambda n: 20_000.0 * min(n, 2),
    "serial": lambda n: 19_000.0,
    "shm": lambda n: 3_800.0 * n**0.5,  # equal to serial at 25
}
SPREAD = Spread(count=100, mean_s=50e-6, median_s=49e-6, p95_s=60e-6, p99_s=80e-6, cv=0.1)
PROFILE = EnvProfile(
    build_s=0.01,
    step=SPREAD,
    reset=SPREAD,
    cpu_share=0.99,
    empty_bytes=30_000_000,
    first_env_bytes=40_000_000,
    bytes_per_env=1_000_000,
    observation_space="Box(17,)",
    action_space="Box(6,)",
)


def shares_of(backend: str) -> dict[str, float]:
    if backend == "serial":
        return {"env_step": 0.97, "straggler": 0.0, "wakeup": 0.0, "transfer": 0.01, "unattributed": 0.02}
    return {"env_step": 0.7, "straggler": 0.12, "wakeup": 0.08, "transfer": 0.06, "unattributed": 0.04}


def made_record(case: Case, speed: float, noise: Sequence[float] = NOISE) -> CaseRecord:
    record = CaseRecord(case)
    held = 30_000_000 + 1_000_000 * case.num_envs + 20_000_000 * case.num_env_runners
    record.ready = {
        "setup_s": 0.5,
        "warmup_s": 0.1,
        "num_env_runners": case.num_env_runners,
        "rss_bytes": 2 * held,
        "num_processes": 1 + case.num_env_runners,
        "memory": {
            "tree_bytes": held,
            "empty_bytes": 30_000_000,
            "bytes_per_env": (held - 30_000_000) / case.num_envs,
            "bytes_per_runner": 21_000_000.0 if case.num_env_runners else None,
            "method": "made up",
        },
        "autoreset_mode": "same_step",
    }
    for number, factor in enumerate(noise):
        steps, wall_s = 6000, 6000 / (speed * factor)
        phases = {name: share * wall_s for name, share in shares_of(case.backend).items()}
        record.add_window(number, {"num_env_steps": steps, "wall_s": wall_s, "phases": phases, "cpu_s": 1.5 * wall_s})
    return record


def made_bench(
    sizes: Sequence[int] = (1, 8, 64),
    laws: Mapping[str, Speed] = LAWS,
    *,
    failed: Mapping[str, tuple[str, str]] | None = None,
    noise: Sequence[float] = NOISE,
    complete: bool = True,
    profile: EnvProfile | None = PROFILE,
    machine: Machine | None = None,
    chosen: Mapping[int, tuple[str, int]] | None = None,
    **settings: Any,
) -> BenchResults:
    """Return results in which each execution follows its law of ``num_envs``.

    Args:
        failed: name -> outcome, message.
        chosen: by size, the backend and the runners that ``auto`` chose.
    """
    spec = BenchSpec(
        env={"id": "Made<b>-v0"}, backends=tuple(name for name in laws if name not in (LOOP, FREE_RUNNING)),
        num_envs=tuple(sizes), **settings,
    )  # fmt: skip
    machine = machine or detect_machine()
    records = []
    for size in sizes:
        for name, law in laws.items():
            case = Case(name, size, 0 if name in ("serial", LOOP) else min(2, size))
            outcome = (failed or {}).get(case.name)
            record = CaseRecord(case) if outcome else made_record(case, law(size), noise)
            if name == AUTO and record.ready is not None:
                backend, runners = (chosen or {})[size]
                record.ready = {**record.ready, "backend": backend, "num_env_runners": runners}
            if outcome:
                record.end(*outcome)  # type: ignore[arg-type]
            records.append(record)
    rounds = {record.case.name: record.sps_by_round for record in records}
    cases = [(record.case, bench_case(spec, record, rounds, machine)) for record in records]
    return BenchResults(
        experiment_info=ExperimentInfo(
            total_experiments=sum(not case.is_ceiling for case, _ in cases), timestamp="2026-11-20T10:00:00+00:00",
            kind="bench", paceline_version="0.1.0", command="paceline bench Made-v0", env_id=spec.env.id,
            machine=machine.as_dict(), complete=complete,
        ),
        experiments=tuple(result for case, result in cases if not case.is_ceiling),
        ceilings=tuple(result for case, result in cases if case.is_ceiling),
        env=profile,
        settings=spec.model_dump(mode="json"),
    )  # fmt: skip
