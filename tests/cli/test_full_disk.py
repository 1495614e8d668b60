"""``paceline train`` on small file systems that fill up, each its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, Run

from paceline.measure.store import load_progress, load_results
from paceline.training.checkpoint import CheckpointStore

pytestmark = pytest.mark.slow

FOR_EVER = ("--total-steps", 100_000_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a disk of so many kilobytes, or give the one there is that size."""
    path = tmp_path / "disk"

    def sized(kilobytes: int) -> Path:
        how = "remount," if path.is_mount() else ""
        path.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"{how}size={kilobytes}k", "tmpfs", str(path)]
        try:
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a file system needs root")
        return path

    yield sized
    if path.is_mount():
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def assert_ended_with_a_sentence(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    *before, sentence = done.stderr.splitlines()
    assert sentence.startswith("paceline: error: ") and "No space left on device" in sentence
    # Where the results just fitted, their report did not.
    assert all(line.startswith("paceline: the report could not be written: ") for line in before), done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("kilobytes", [300, 332, 372])
def test_a_disk_that_fills_up_ends_a_run_with_a_sentence(kilobytes: int, run: Run, disk: Callable[[int], Path]) -> None:
    out = disk(kilobytes) / "run"
    # No checkpoint is due: the lines and the curves of iterations meet the end of the disk, sooner or later each.
    assert_ended_with_a_sentence(run("train", "CartPole-v1", *SMALL, *FOR_EVER, "--out", out))
    assert len(load_progress(out)) > 10
    assert not list(out.rglob("*tmp"))


def test_a_run_whose_disk_was_full_goes_on_from_its_last_checkpoint(run: Run, disk: Callable[[int], Path]) -> None:
    out = disk(900) / "run"
    often = ("--set", "checkpoint_every_iterations=10")
    assert_ended_with_a_sentence(run("train", "CartPole-v1", *SMALL, *FOR_EVER, *often, "--out", out))
    last = CheckpointStore(out / "checkpoints").last()
    assert all(np.isfinite(array).all() for array in last.arrays.values())
    done = last.meta["num_iterations"]
    assert done >= 10
    disk(20_000)
    resumed = run("train", "--resume", out, "--set", f"budget={{iterations: {done + 2}}}")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert [record.iteration for record in load_results(out).experiments[0].iterations] == list(range(done + 2))
