"""A trace of a training run: of the iterations after the first, in a file, and never the end of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import paceline
from paceline.measure.ledger import LEARNER_UPDATE
from paceline.spec import Plan, PPOSpec
from paceline.training.progress import SilentDisplay

SMALL = PPOSpec(batch_size=64, minibatch_size=32, num_epochs=1)


class Messages(SilentDisplay):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def trained(tmp_path: Path, iterations: int, trace: Path) -> tuple[Any, list[str]]:
    told = Messages()
    result = paceline.train(
        "CartPole-v1", algo=SMALL, plan=Plan(num_envs_per_env_runner=4), budget={"iterations": iterations},
        out=tmp_path / "out", trace=trace, display=told,
    )  # fmt: skip
    return result, told.texts


def test_three_iterations_after_the_first_are_traced_as_they_are_recorded(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    result, told = trained(tmp_path, 6, file)
    assert told == [f"trace of 3 iterations: {file}; open it at ui.perfetto.dev"]
    events = json.loads(file.read_text())["traceEvents"]
    wholes = [one for one in events if one["name"].startswith("iteration ")]
    assert len(wholes) == 3
    for whole, record in zip(wholes, result.iterations[1:4], strict=True):
        assert whole["args"]["ledger_s"] == pytest.approx(record.ledger.phases)
        assert whole["dur"] == pytest.approx(1e6 * record.wall_s, abs=0.01)
        begin, end = whole["ts"], whole["ts"] + whole["dur"] + 1e-3
        spans = [one for one in events if one["ph"] == "X" and one is not whole]
        inside = [one for one in spans if begin <= one["ts"] and one["ts"] + one["dur"] <= end]
        updates = sum(one["dur"] for one in inside if one["name"] == LEARNER_UPDATE)
        assert updates == pytest.approx(1e6 * record.ledger.phases[LEARNER_UPDATE], abs=0.01)
    assert len(result.iterations) == 6, "the run goes on"


@pytest.mark.parametrize(
    ("iterations", "message"), [(1, "no trace: the run ended before its second"), (2, "trace of 1 iteration")]
)
def test_a_short_run_is_traced_as_far_as_it_goes(iterations: int, message: str, tmp_path: Path) -> None:
    _, told = trained(tmp_path, iterations, tmp_path / "trace.json")
    assert len(told) == 1
    assert told[0].startswith(message)
    assert (tmp_path / "trace.json").exists() == (iterations > 1)


def test_a_file_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result, told = trained(tmp_path, 5, tmp_path / "file" / "trace.json")
    assert result.outcome == "ok"
    assert len(told) == 1
    assert told[0].startswith("no trace: ")
