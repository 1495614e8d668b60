"""What is said to be saved of a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.cli.stopped import what_training_saved


def stopped_run(folder: Path, done: list[int], saved: list[int]) -> Path:
    """Leave the log of iterations that ended at ``done`` steps, and checkpoints at ``saved`` steps."""
    lines = [{"kind": "event", "message": "env 3 was replaced"}]
    lines += [{"kind": "iteration", "total_env_steps": steps} for steps in done]  # type: ignore[dict-item]
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for steps in saved:
        (folder / "checkpoints" / f"{steps:012d}").mkdir(parents=True)
        (folder / "checkpoints" / f"{steps:012d}" / "checkpoint.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("done", "saved", "sentence"),
    [
        ([64, 128, 1192], [64, 1192], "everything so far is saved"),
        ([64, 128], [160], "everything so far is saved"),  # updates of an iteration that did not end
        ([64, 128, 1192], [64], "saved up to step 64: --resume goes on from there and repeats the 1,128 steps since"),
        ([64, 1192], [], "there is no checkpoint yet, and --resume begins again: the figures of 1,192 steps are saved"),
        ([], [], "no iteration was finished"),
    ],
)
def test_what_is_on_disk_is_said(done: list[int], saved: list[int], sentence: str, tmp_path: Path) -> None:
    assert what_training_saved(stopped_run(tmp_path, done, saved)) == sentence


def test_nothing_is_said_of_a_folder_that_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    assert what_training_saved(tmp_path / "nowhere") == "no iteration was finished"
    (tmp_path / "progress.jsonl").mkdir()
    assert what_training_saved(tmp_path) == ""
