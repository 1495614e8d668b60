"""What is known of a case while it runs, and what becomes of it in the results file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline.analysis.crossover import Rounds, paired_ratio
from paceline.analysis.stats import Estimate, estimate_median
from paceline.bench.cases import Case
from paceline.bench.spec import BenchSpec
from paceline.isolation.process import Event
from paceline.machine import Machine
from paceline.measure.bench_result import FREE_RUNNING, BenchCase, HeldMemory
from paceline.measure.result import IterationRecord, LedgerRecord, Outcome, ResourceUse
from paceline.measure.throughput import sps, summarize, total_ledger


class CaseRecord:
    """One case: the event with which it was ready, its windows, how it ended.

    Args:
        case: which.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.ready: Event | None = None
        self.windows: list[IterationRecord] = []
        self.cpu_s: list[float] = []
        self.outcome: Outcome = "ok"
        self.message = ""

    @property
    def sps_by_round(self) -> dict[int, float]:
        """Steps per second of each window, by round."""
        return {window.iteration: window.sps for window in self.windows}

    def add_window(self, number: int, event: Event) -> IterationRecord:
        """Keep what a window of round ``number`` measured, and return it."""
        before = self.windows[-1].total_env_steps if self.windows else 0
        steps, wall_s = event["num_env_steps"], event["wall_s"]
        window = IterationRecord(
            iteration=number,
            wall_s=wall_s,
            num_env_steps=steps,
            sps=sps(steps, wall_s),
            total_env_steps=before + steps,
            ledger=LedgerRecord(wall_s=wall_s, phases=event["phases"]),
        )
        self.windows.append(window)
        self.cpu_s.append(event["cpu_s"])
        return window

    def end(self, outcome: Outcome, message: str) -> None:
        """Note that it ended early."""
        self.outcome, self.message = outcome, message


def bench_case(spec: BenchSpec, record: CaseRecord, rounds: Mapping[str, Rounds], machine: Machine) -> BenchCase:
    """Return ``record`` as the results file holds it.

    Args:
        spec: what was asked for.
        record: of one case.
        rounds: speed by round of every case, by name.
        machine: what it ran on.
    """
    case, ready = record.case, record.ready or {}
    runners = ready.get("num_env_runners", case.num_env_runners)
    backend = ready.get("backend") or case.backend  # what auto chose
    autoreset_mode = ready.get("autoreset_mode", "")
    config = Case(case.backend, case.num_envs, runners).config
    speed = estimate_median(list(record.sps_by_round.values())) if record.windows else None
    share = None
    if record.windows and case.backend != FREE_RUNNING:
        share = paired_ratio(record.sps_by_round, rounds.get(Case(FREE_RUNNING, case.num_envs, 0).name, {}))
    return BenchCase(
        name=case.name,
        config=config,
        outcome=record.outcome,
        message=record.message,
        seed=spec.seed,
        env_id=spec.env.id,
        plan={
            "backend": backend,
            "num_env_runners": runners,
            "num_envs_per_env_runner": config.num_envs_per_env_runner,
            **({"batch_size": spec.batch_size} if spec.batch_size else {}),
        },
        algo={},
        summary=summarize(
            record.windows,
            batch_size=spec.batch_size or case.num_envs,
            num_envs=case.num_envs,
            setup_s=ready.get("setup_s", 0.0),
            warmup_s=ready.get("warmup_s", 0.0),
        ),
        iterations=tuple(record.windows),
        ledger=total_ledger(record.windows),
        resources=_resources(record, machine),
        threads={"math": 1},
        median_sps=speed.value if speed else None,
        median_ci95=_bounds(speed),
        ceiling_share=share.value if share else None,
        ceiling_share_ci95=_bounds(share),
        memory=HeldMemory.model_validate(ready["memory"]) if ready else None,
        backend_reason=ready.get("backend_reason", ""),
        autoreset_mode=autoreset_mode,
        make_vec="" if case.is_ceiling else make_vec_line(spec, backend, case.num_envs, runners, autoreset_mode),
    )


def make_vec_line(spec: BenchSpec, backend: str, num_envs: int, num_env_runners: int, autoreset_mode: str = "") -> str:
    """Return the call that makes the vector environment that was timed, to be pasted.

    Args:
        spec: what was asked for.
        backend: what was timed; of ``auto``, its choice.
        num_envs: N.
        num_env_runners: R.
        autoreset_mode: as timed; left out where nothing was.
    """
    options: dict[str, Any] = {"backend": backend}
    if backend != "serial":
        options["num_env_runners"] = num_env_runners
    if spec.batch_size:
        options["batch_size"] = spec.batch_size
    if autoreset_mode:
        options["autoreset_mode"] = autoreset_mode
    options["infos"] = spec.infos
    if spec.env.kwargs:
        options["env_kwargs"] = spec.env.kwargs
    words = ", ".join(f"{name}={_double_quoted(value)}" for name, value in options.items())
    return f"paceline.make_vec({_double_quoted(spec.env.id)}, {num_envs}, {words})"


def _double_quoted(value: Any) -> str:
    text = repr(value)
    return f'"{value}"' if isinstance(value, str) and '"' not in text and "\\" not in text else text


def _bounds(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None or estimate.interval is None else (estimate.interval.low, estimate.interval.high)


def _resources(record: CaseRecord, machine: Machine) -> ResourceUse | None:
    if record.ready is None or not record.windows:
        return None
    wall_s, cpu_s = sum(window.wall_s for window in record.windows), sum(record.cpu_s)
    rss_bytes = record.ready["rss_bytes"]
    return ResourceUse(
        wall_s=wall_s,
        cpu_s=cpu_s,
        cores_used=cpu_s / wall_s,
        usable_cores=machine.usable_cores,
        cpu_utilization=cpu_s / wall_s / machine.usable_cores,
        num_processes=record.ready["num_processes"],
        rss_bytes=rss_bytes,
        peak_rss_bytes=rss_bytes,
        memory_limit_bytes=machine.memory_limit_bytes,
    )
