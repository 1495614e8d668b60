"""What all benchmarks share: interleaving, summary, and the file that a result is kept in."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paceline import __version__
from paceline.machine import detect_machine, installed_versions

RESULTS = Path(__file__).parent / "results"


def interleave(
    contenders: Mapping[str, Callable[[], float]], rounds: int, *, say: Callable[[str], None] = print
) -> dict[str, list[float]]:
    """Call every contender once per round, in turn (A B C, C B A, ..), and return their figures."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        names = list(contenders)
        for name in names if index % 2 == 0 else reversed(names):
            figure = contenders[name]()
            samples[name].append(figure)
            say(f"round {index + 1}/{rounds}  {name:32} {figure:12,.1f}")
    return samples


def python_loop_ns() -> float:
    """Return nanoseconds of one pass of a plain Python loop: the same machine may be twice as slow the next day."""
    count = 200_000
    best = float("inf")
    for _ in range(5):
        begin_ns = time.perf_counter_ns()
        total = 0
        for index in range(count):
            total += index * index
        best = min(best, (time.perf_counter_ns() - begin_ns) / count)
    return best


def describe(samples: Sequence[float]) -> dict[str, Any]:
    """Return median, extremes and the samples themselves."""
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "samples": list(samples),
    }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return the ratio round by round, summarised."""
    return describe([a / b for a, b in zip(ours, theirs, strict=True)])


def keep(
    name: str,
    figures: Mapping[str, Any],
    extra_versions: Sequence[str] = (),
    *,
    file: str | None = None,
    out: Path | None = None,
) -> Path:
    """Write figures with machine, versions, command and date; return the file's path.

    Args:
        name: module of the benchmark.
        figures: plain data.
        extra_versions: packages whose versions are recorded as well.
        file: name of the file without ``.json``; the benchmark's, unless it keeps several.
        out: folder; ``benchmarks/results`` unless given.
    """
    machine = detect_machine()
    versions = {**installed_versions(), **installed_versions(extra_versions), "paceline": __version__}
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "machine": {
            "cpu_model": machine.cpu_model,
            "usable_cores": machine.usable_cores,
            "memory_limit_bytes": machine.memory_limit_bytes,
            "gpu": machine.gpu_note or [gpu.name for gpu in machine.gpus],
            "os": machine.os_name,
            "python": sys.version.split()[0],
            "python_loop_ns": round(python_loop_ns(), 1),
        },
        "versions": versions,
        **figures,
    }
    folder = out or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file or name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path
