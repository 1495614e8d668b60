"""What is shown while a run trains, with a clock and a console of our own."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import pytest
from fake_envs import small_spec
from rich.console import Console

from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.spec import Budget, Plan
from paceline.training.progress import (
    LiveDisplay,
    PlainDisplay,
    Status,
    describe,
    display_for,
    format_duration,
    ledger_line,
    status_line,
)


def status(iteration: int = 0, progress: float = 0.25, recent: float | None = 12.34) -> Status:
    phases = {"env_step": 1.0, "learner_update": 2.9, "inference": 0.09, "logging": 0.01}
    record = IterationRecord(
        iteration=iteration,
        wall_s=4.0,
        num_env_steps=8000,
        sps=2000.4,
        total_env_steps=8000 * (iteration + 1),
        ledger=LedgerRecord(wall_s=4.0, phases=phases),
    )
    return Status(record, recent, 1234.5, progress, elapsed_s=65.0, remaining_s=3700.0)


def test_a_line_tells_steps_speed_return_and_time() -> None:
    assert status_line(status()) == (
        "iteration 1  steps 8,000  SPS 2,000  return 12.3 (best 1,234.5)  elapsed 1m05s  ETA 1h01m"
    )
    assert "return - (best 1,234.5)" in status_line(status(recent=None))


def test_lag_is_told_where_there_is_one() -> None:
    shown = status()
    metrics = {"lag_mean": 1.26, "lag_max": 3.0}
    lagging = dataclasses.replace(shown, record=shown.record.model_copy(update={"metrics": metrics}))
    assert "(best 1,234.5)  lag 1.3  elapsed" in status_line(lagging)


def test_the_shares_of_time_are_told_largest_first() -> None:
    assert ledger_line(status().record) == "time: learner update 72%, env step 25%, inference 2%"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (0.4, "0s"), (59.4, "59s"), (60, "1m00s"), (3599, "59m59s"), (3660, "1h01m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "training ppo on CartPole-v1: 4 envs in the learner's process, batch 64, 1,000,000 steps, seed 0"),
        ({"budget": Budget(minutes=1.5), "seed": 3}, "1.5 min, seed 3"),
        ({"budget": Budget(iterations=7)}, "7 iterations"),
        ({"plan": Plan(num_env_runners=2, num_envs_per_env_runner=8)}, "2 runners x 8 envs (shm), batch"),
        ({"plan": Plan(num_env_runners=2, schedule="pipelined")}, "2 runners x 8 envs (shm), pipelined, batch"),
        (
            {"plan": Plan(num_env_runners=2, schedule="async", inference="runner")},
            "2 runners x 8 envs (shm), each with a copy of the policy, asynchronous (not deterministic), batch",
        ),
    ],
)
def test_a_run_is_announced_in_one_line(fields: dict[str, Any], text: str) -> None:
    assert text in describe(small_spec("CartPole-v1", **fields))


def test_plain_lines_come_at_most_every_two_seconds_and_always_at_the_end() -> None:
    now = [0.0]
    stream = io.StringIO()
    display = PlainDisplay(stream, clock_s=lambda: now[0])
    display.begin(small_spec("CartPole-v1"))
    for iteration, (now[0], progress) in enumerate([(0.0, 0.2), (1.9, 0.4), (2.0, 0.6), (3.9, 0.8), (3.95, 1.0)]):
        display.iteration(status(iteration, progress))
    display.message("[bold]saved[/bold] \\[as it is]")
    display.end()
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("training ppo on CartPole-v1")
    assert [line.split("  ")[0] for line in lines[1:4]] == ["iteration 1", "iteration 3", "iteration 5"]
    assert lines[4:] == ["[bold]saved[/bold] \\[as it is]"]


@pytest.mark.parametrize(("variables", "in_colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_panel_fits_a_narrow_terminal_and_honours_no_color(variables: dict[str, str], in_colour: bool) -> None:
    stream = io.StringIO()
    environment = {"TERM": "xterm-256color", **variables}
    console = Console(file=stream, force_terminal=True, width=60, height=20, _environ=environment)
    display = LiveDisplay(console)
    display.begin(small_spec("CartPole-v1"))
    display.iteration(status(progress=0.5))
    display.message("a word in between")
    display.end()
    text = stream.getvalue()
    assert "50%" in text
    assert "time: learner update 72%" in text
    assert "a word in between" in text
    assert bool(re.search(r"\x1b\[[\d;]*(3[0-8]|9[0-7])[;m]", text)) == in_colour


def test_the_display_suits_the_console() -> None:
    def console(**options: Any) -> Console:
        return Console(file=io.StringIO(), _environ=options.pop("env", {}), **options)

    assert isinstance(display_for(console(force_terminal=True)), LiveDisplay)
    assert isinstance(display_for(console(force_terminal=False)), PlainDisplay)
    assert isinstance(display_for(console(force_terminal=True, env={"TERM": "dumb"})), PlainDisplay)
