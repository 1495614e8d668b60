"""Contenders and probes that behave and misbehave; tasks of :mod:`paceline.isolation.child`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from paceline.errors import UnsupportedSpaceError
from paceline.isolation.child import Emit, Request


def steady(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Give 100 steps a second for every environment of the plan."""
    plan = request["spec"]["plan"]
    sps = 100.0 * max(plan["num_env_runners"], 1) * plan["num_envs_per_env_runner"]
    emit({"event": "ready", "rss_bytes": 123 * 2**20})
    for number, further in enumerate(more):
        if "trace" in further:
            emit({"event": "trace", "trace": {"traceEvents": [], "iterations": further["trace"]}})
            continue
        seconds = further["seconds"]
        emit(
            {
                "event": "slice", "num_env_steps": int(sps * seconds), "wall_s": seconds, "time_s": float(number),
                "num_iterations": 1,
                "ledger": {"wall_s": seconds, "phases": {"env_step": seconds}}, "cores_busy": 1.0, "lag_max": None,
            }
        )  # fmt: skip


def refuses(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    raise UnsupportedSpaceError("expected a space that there is, got Graph")


def dies_later(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    emit({"event": "ready", "rss_bytes": 0})
    for _ in more:
        print("farewell", flush=True)
        os._exit(3)


def hangs(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    threading.Event().wait()
