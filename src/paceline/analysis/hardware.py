"""What the measurements say about the machine: what it is short of, what it has to spare, where to look next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline.analysis.recommend import Advice
from paceline.analysis.table import ScalingRow, ScalingTable

GIB = 2**30


def hardware_advice(machine: Mapping[str, Any], table: ScalingTable, advice: Advice | None) -> tuple[str, ...]:
    """Return one sentence per thing that the hardware found makes worth knowing.

    Args:
        machine: the machine as recorded in the results; what is missing in it is not spoken of.
        table: the rows.
        advice: the recommendations, None for a single row.
    """
    row = advice.recommended if advice else next(iter(table.measured_rows), None)
    if row is None:
        return ()
    usable = _number(machine, "usable_cores")
    fastest = advice.recommendations[-1].row if advice else None
    sentences = [
        *_cores(machine, usable, table),
        *_memory(machine, table),
        _processors(row),
        *(_edge_of_the_grid(table, fastest, usable) if fastest else ()),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _cores(machine: Mapping[str, Any], usable: float | None, table: ScalingTable) -> list[str]:
    sentences = []
    logical, physical = _number(machine, "logical_cores"), _number(machine, "physical_cores")
    if usable is not None and logical is not None and usable < logical:
        sentences.append(
            f"Of {logical:g} hardware threads {usable:g} are usable here (affinity or container quota); plan for "
            f"{usable:g}."
        )
    if usable is not None and physical is not None and usable > physical:
        sentences.append(
            f"{usable:g} hardware threads share {physical:g} cores: runners beyond {physical:g} gain less than the "
            f"first ones."
        )
    crowded = [row.label for row in table.measured_rows if usable is not None and row.num_env_runners > usable]
    if crowded and usable is not None:
        sentences.append(f"More runners than the {usable:g} usable cores, so they take turns: {', '.join(crowded)}.")
    return sentences


def _memory(machine: Mapping[str, Any], table: ScalingTable) -> list[str]:
    sentences = []
    limit, total = _number(machine, "memory_limit_bytes"), _number(machine, "memory_total_bytes")
    if limit is not None and total is not None and limit < 0.95 * total:
        sentences.append(
            f"The container's memory limit, {limit / GIB:.1f} GiB of {total / GIB:.1f} GiB, is what counts."
        )
    largest = max(
        (row for row in table.measured_rows if row.ram_bytes and row.ram_fraction),
        key=lambda row: row.ram_bytes or 0,
        default=None,
    )
    if largest is not None and largest.ram_bytes and largest.ram_fraction:
        sentences.append(
            f"The most memory any plan took is {largest.ram_bytes / GIB:.2f} GiB ({largest.label}), "
            f"{largest.ram_fraction:.0%} of the limit."
        )
    return sentences


def _processors(row: ScalingRow) -> str:
    """Say whether CPU or GPU limits the row."""
    if row.bottleneck is None or row.cpu_utilization is None:
        return ""
    cpu = f"{row.label} keeps {row.cpu_utilization:.0%} of the usable cores busy"
    gpu = max((sample.utilization_percent or 0.0 for sample in row.gpus), default=None)
    gpu_text = "" if gpu is None else f" and the GPU {gpu:.0f} %"
    idle = "cores are left: it waits for wake-ups, or for work that only one core can do"
    meaning = {
        "cpu": "the CPU is what limits it; a faster or larger CPU, or cheaper environments, would help",
        "gpu": "the GPU is what limits it; a larger GPU or a smaller network would help",
        "neither": idle if gpu is None else "neither is full, so one waits for the other; larger batches may help",
    }.get(row.bottleneck.processor)
    return f"{cpu}{gpu_text}: {meaning}." if meaning else f"{cpu}{gpu_text}."


def _edge_of_the_grid(table: ScalingTable, fastest: ScalingRow, usable: float | None) -> list[str]:
    """Say where the fastest plan lies on the edge of what was tried: the best may lie beyond."""
    rows = [row for row in table.rows if dict(row.variant) == dict(fastest.variant)]
    runners = sorted({row.num_env_runners for row in rows})
    envs = sorted({row.num_envs_per_env_runner for row in rows})
    more = []
    room = usable is None or fastest.num_env_runners + 1 <= usable
    if len(runners) > 1 and fastest.num_env_runners == runners[-1] and room:
        more.append(f"more than {runners[-1]} runners")
    if len(envs) > 1 and fastest.num_envs_per_env_runner == envs[-1]:
        more.append(f"more than {envs[-1]} envs per runner")
    if not more:
        return []
    beyond = " and ".join(more)
    return [f"The fastest plan, {fastest.label}, lies on the edge of what was tried: {beyond} may be faster yet."]


def _number(machine: Mapping[str, Any], key: str) -> float | None:
    value = machine.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
