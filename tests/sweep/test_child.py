from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline.isolation.child import answer
from paceline.sweep.child import RESOLVE


def test_tasks_answer_in_events() -> None:
    events: list[Mapping[str, Any]] = []
    run = {"env": {"id": "Fake-v0"}}
    assert answer({"task": RESOLVE, "entry_point": "fake_trials:fill_in", "runs": [run, run]}, events.append) == 0
    assert [event["run"]["algo"]["batch_size"] for event in events] == [2048, 2048]
    assert answer({"task": RESOLVE, "entry_point": "fake_trials:fill_in_nothing", "runs": [run]}, events.append) == 1
    assert events[-1]["error_type"] == "UnsupportedSpaceError"
