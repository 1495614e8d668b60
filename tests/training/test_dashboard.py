"""The panel: what it says, and that it says it on any terminal."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from fake_status import status
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from paceline.measure.result import LedgerRecord, ResourceUse
from paceline.training.dashboard import Dashboard, ledger_bar, sparkline
from paceline.training.status import Status

USE = ResourceUse(
    wall_s=4.0, cpu_s=6.0, cores_used=1.5, usable_cores=2.0, cpu_utilization=0.75, num_processes=3, rss_bytes=3 << 30,
    pss_bytes=1 << 30, peak_rss_bytes=3 << 30, memory_limit_bytes=8 << 30,
)  # fmt: skip


def shown(status: Status, dashboard: Dashboard | None = None, *, width: int = 100) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, _environ={}).print((dashboard or Dashboard()).draw(status))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def with_record(**fields: Any) -> Status:
    stands = status()
    return dataclasses.replace(stands, record=stands.record.model_copy(update=fields))


def test_the_panel_tells_progress_speed_return_and_time() -> None:
    lines = shown(status())
    assert "25%" in lines[0] and lines[0].endswith("ETA 1h01m")
    assert [line.split() for line in lines[1:4]] == [
        ["steps", "8,000", "in", "1m05s", "(iteration", "1)"],
        ["SPS", "2,000"],
        ["return", "12.3", "(best", "1,234.5)"],
    ]
    assert lines[-1] == "time: learner update 72%, env step 25%, inference 2%"


def test_lag_and_memory_are_told_where_they_are_known() -> None:
    metrics = {"lag_min": 0.0, "lag_mean": 1.26, "lag_max": 3.0}
    lines = "\n".join(shown(with_record(metrics=metrics, resources=USE)))
    assert "1.3 updates (0 to 3)" in lines
    assert "1.5 of 2 cores, 1.0 GiB of 8.0 GiB in 3 processes" in lines
    without = "\n".join(shown(status()))
    assert "lag" not in without and "cores" not in without


def test_trends_show_the_last_iterations() -> None:
    dashboard = Dashboard()
    for recent in (1.0, 2.0, 3.0):
        lines = shown(status(recent=recent), dashboard)
    assert "▁▅█" in next(line for line in lines if line.startswith("return"))
    for recent in range(100):
        lines = shown(status(recent=float(recent)), dashboard, width=60)
    assert max(map(len, lines)) <= 60


def test_a_terminal_without_blocks_gets_words() -> None:
    dashboard = Dashboard(ascii_only=True)
    shown(status(), dashboard)
    shown(status(recent=5.0), dashboard)[1:]
    assert not any(block in "".join(shown(status(recent=7.0), dashboard)[1:]) for block in "▁█▓")


@pytest.mark.parametrize(("values", "line"), [([], ""), ([1.0], ""), ([2.0, 2.0], "▁▁"), ([0.0, -7.0, 7.0], "▅▁█")])
def test_sparklines(values: list[float], line: str) -> None:
    assert sparkline(values) == line


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(1, 80))
def test_the_bar_of_time_is_never_longer_than_its_width(shares: list[float], width: int) -> None:
    total = sum(shares) or 1.0
    phases = dict(zip(("env_step", "inference", "learner_update"), (share / total for share in shares), strict=True))
    record = with_record(wall_s=1.0, ledger=LedgerRecord(wall_s=1.0, phases=phases)).record
    assert len(ledger_bar(record, width)) == (width if any(shares) else 0)
