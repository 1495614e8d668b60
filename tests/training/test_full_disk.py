"""A disk that fills up, in this process: curves are given up, what counts ends the run and keeps what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_display import Listener
from fake_envs import small_spec
from full_disk import files_up_to

import paceline
from paceline.errors import OutputError
from paceline.measure.store import RunFolder, load_progress, load_results
from paceline.spec import Budget, RunSpec
from paceline.training.checkpoint import CheckpointStore
from paceline.training.sync import SyncDriver

ENV = "synthetic:known-return?episode_length=8"


@pytest.fixture
def spec() -> RunSpec:
    return small_spec(ENV, budget=Budget(iterations=3))


def test_curves_that_cannot_be_written_are_told_once_and_cost_nothing_else(spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "tb").write_text("in the way")
    (tmp_path / "progress.csv").mkdir()
    display = Listener()
    result = paceline.train(spec, out=tmp_path, display=display)
    assert (result.outcome, len(result.iterations)) == ("ok", 3)
    table, events = display.messages
    assert table.startswith(f"{tmp_path}/progress.csv: cannot be written: ")
    assert events.startswith(f"{tmp_path}/tb/events.out.tfevents.") and "; training goes on" in events
    assert load_results(tmp_path).experiments == (result,)
    assert CheckpointStore(tmp_path / "checkpoints").last().meta["num_updates"] == 3


def test_progress_that_cannot_be_written_ends_the_run_and_keeps_what_was_done(spec: RunSpec, tmp_path: Path) -> None:
    paceline.train(spec, out=tmp_path)
    room = max(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) + 10_000  # the log of many iterations
    display = Listener()
    with files_up_to(room), pytest.raises(OutputError, match=r"progress\.jsonl: cannot be written: File too large"):
        paceline.train(spec, out=tmp_path, resume=True, budget={"iterations": 100_000}, display=display)
    done = [line for line in load_progress(tmp_path) if line["kind"] == "iteration"]
    last = CheckpointStore(tmp_path / "checkpoints").last()
    # The iteration whose line did not fit is in the checkpoint.
    assert last.meta["num_iterations"] == len(done) + 1 > 4
    assert any("results.json: cannot be written" in message for message in display.messages)
    assert len(load_results(tmp_path).experiments[0].iterations) == 3  # as it was


def test_results_that_cannot_be_written_do_not_hide_why_a_run_broke(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunFolder, *arguments: Any) -> Path:
        raise OutputError("results.json: no space left")

    def broken(self: SyncDriver, *arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(RunFolder, "write_results", full)
    display = Listener()
    with pytest.raises(OutputError, match="no space left"):
        paceline.train(spec, out=tmp_path / "sound", display=display)
    assert CheckpointStore(tmp_path / "sound" / "checkpoints").last().meta["num_updates"] == 3
    monkeypatch.setattr(SyncDriver, "iterate", broken)
    with pytest.raises(ZeroDivisionError):
        paceline.train(spec, out=tmp_path / "broken", display=display)
    assert display.messages == ["results.json: no space left"]
