"""Memory that runs out: warned of once, then the run stops with everything saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from fake_envs import small_spec

import paceline
import paceline.training.run
from paceline.errors import OutOfMemoryError
from paceline.machine import detect_machine
from paceline.measure.result import ResourceUse
from paceline.measure.store import load_results
from paceline.spec import Budget
from paceline.training.checkpoint import CheckpointStore
from paceline.training.memory_watch import MemoryWatch

LIMIT = 1000 * 2**20


def held(rss: float, pss: float | None = None, left: float | None = None, limit: int = LIMIT) -> ResourceUse:
    return ResourceUse(
        wall_s=1.0, cpu_s=1.0, cores_used=1.0, usable_cores=2.0, cpu_utilization=0.5, num_processes=3,
        rss_bytes=int(rss * limit), pss_bytes=None if pss is None else int(pss * limit),
        peak_rss_bytes=int(rss * limit), memory_limit_bytes=limit,
        memory_available_bytes=None if left is None else int(left * limit),
    )  # fmt: skip


@pytest.mark.parametrize(("rss", "pss"), [(0.79, None), (0.79, 0.99), (0.9, 0.5), (2.0, 0.79)])
def test_shared_pages_are_no_danger(rss: float, pss: float | None) -> None:
    assert MemoryWatch().look(held(rss, pss)) == ""


def test_it_warns_once() -> None:
    watch = MemoryWatch()
    warning = watch.look(held(0.85))
    assert warning == "memory: 850 MiB of 1000 MiB are in use (85%); the run will be saved and stopped at 95%"
    assert watch.look(held(0.9)) == ""


@pytest.mark.parametrize(("rss", "pss"), [(0.95, None), (3.0, 0.96)])
def test_it_stops_before_nothing_is_left(rss: float, pss: float | None) -> None:
    with pytest.raises(
        OutOfMemoryError, match=r"stopped at 95% of the memory limit: .* got .* in 3 processes; use fewer"
    ):
        MemoryWatch().look(held(rss, pss))


def test_what_others_hold_is_warned_of_once_and_stops_the_run() -> None:
    watch = MemoryWatch()
    assert watch.look(held(0.1, left=0.11)) == ""
    assert watch.look(held(0.1, left=0.09)) == (
        "memory: 90 MiB of 1000 MiB are left, this run holds 100 MiB; it will be saved and stopped when less than 50 "
        "MiB is left"
    )
    assert watch.look(held(0.1, left=0.06)) == ""
    with pytest.raises(
        OutOfMemoryError, match=r"expected 50 MiB to be left .*, got 40 MiB beside this run's 100 MiB; end what else"
    ):
        watch.look(held(0.1, left=0.04))


def test_on_a_big_machine_that_others_fill_there_is_room_enough() -> None:
    big = 1024 * 2**30
    assert MemoryWatch().look(held(0.01, left=0.02, limit=big)) == ""
    with pytest.raises(OutOfMemoryError, match=r"expected 4\.0 GiB to be left"):
        MemoryWatch().look(held(0.01, left=0.003, limit=big))


@pytest.mark.slow
def test_a_run_stops_with_a_checkpoint_and_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small: Any = dataclasses.replace(detect_machine(), memory_limit_bytes=2**20)
    monkeypatch.setattr(paceline.training.run, "detect_machine", lambda: small)
    spec = small_spec("synthetic:known-return?episode_length=8", budget=Budget(iterations=3))
    with pytest.raises(OutOfMemoryError, match="then go on with --resume"):
        paceline.train(spec, out=tmp_path)
    (run,) = load_results(tmp_path).experiments
    assert (run.outcome, len(run.iterations)) == ("oom", 1)
    assert run.message.startswith("stopped at 95% of the memory limit")
    assert CheckpointStore(tmp_path / "checkpoints").last().meta["num_updates"] == 1
