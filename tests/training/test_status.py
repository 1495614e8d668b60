"""A run in a line or two."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fake_envs import small_spec
from fake_status import status

from paceline.spec import Budget, Plan
from paceline.training.status import describe, format_duration, ledger_line, status_line


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
        ({"budget": Budget(total_steps=1000)}, "batch 64, 960 steps (1,000 in whole iterations of 64), seed 0"),
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
