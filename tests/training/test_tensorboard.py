"""The event file holds the scalars that were written."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from full_disk import files_up_to
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.training.tensorboard import TensorBoardLog


def raw_events(folder: Path) -> Iterator[Any]:
    """Yield every event by the format's rules: length, its CRC, data, its CRC."""
    (file,) = folder.glob("events.out.tfevents.*")
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[12 + length + 4 :]


def events(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield name, step and value of every scalar."""
    for event in raw_events(folder):
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)


def record(steps: int, episode_return: float | None) -> IterationRecord:
    return IterationRecord(
        iteration=0,
        wall_s=2.0,
        num_env_steps=100,
        sps=50.0,
        total_env_steps=steps,
        ledger=LedgerRecord(wall_s=2.0, phases={"env_step": 0.5}),
        episode_return_mean=episode_return,
        episode_length_mean=None if episode_return is None else 7.0,
        metrics={"loss": 0.25},
    )


def test_scalars_are_written_against_steps(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.write(record(100, None), None)
    log.write(record(200, 3.5), 2.5)
    log.close()
    found = {(name, step): value for name, step, value in events(tmp_path)}
    assert found == pytest.approx({
        ("speed/sps", 100): 50, ("learner/loss", 100): 0.25, ("time_share/env_step", 100): 0.25,
        ("speed/sps", 200): 50, ("learner/loss", 200): 0.25, ("time_share/env_step", 200): 0.25,
        ("episode/return_mean", 200): 3.5, ("episode/length_mean", 200): 7, ("episode/return_mean_100", 200): 2.5,
    })  # fmt: skip


@pytest.mark.parametrize(("done_steps", "hidden_from"), [(None, []), (0, [1]), (200, [201])])
def test_a_resumed_run_hides_what_it_writes_again(
    done_steps: int | None, hidden_from: list[int], tmp_path: Path
) -> None:
    log = TensorBoardLog(tmp_path, done_steps)
    log.write(record(300, None), None)
    log.close()
    starts = [event.step for event in raw_events(tmp_path) if event.session_log.status == event_pb2.SessionLog.START]
    assert starts == hidden_from  # TensorBoard drops earlier files' points at this step and beyond


def test_no_thread_writes(tmp_path: Path) -> None:
    before = threading.active_count()
    log = TensorBoardLog(tmp_path)
    log.write(record(100, None), None)
    assert threading.active_count() == before
    assert {step for _, step, _ in events(tmp_path)} == {100}  # while the run goes on
    log.close()


def test_every_record_has_its_checksums(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.write(record(100, 3.5), 2.5)
    log.close()
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12]) == (masked_crc32c(data[:8]),)
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc32c(event),)
        data = data[16 + length :]


def test_a_full_disk_is_a_problem_and_no_error(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.write(record(100, None), None)
    (file,) = tmp_path.iterdir()
    with files_up_to(file.stat().st_size + 20):
        for steps in range(200, 5000, 100):  # more than any queue holds
            log.write(record(steps, None), None)
        log.close()
    assert log.problem.startswith(f"{file}: cannot be written: File too large; training goes on")
    assert {step for _, step, _ in events(tmp_path)} == {100}


@pytest.mark.parametrize("done_steps", [None, 100])
def test_a_folder_that_cannot_be_made_is_a_problem_and_no_error(done_steps: int | None, tmp_path: Path) -> None:
    (tmp_path / "tb").write_text("in the way")
    log = TensorBoardLog(tmp_path / "tb", done_steps)
    log.write(record(200, None), None)
    log.close()
    assert "cannot be written" in log.problem


def test_pytorch_is_not_imported_for_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from paceline.training.tensorboard import TensorBoardLog; from pathlib import Path\n"
        "TensorBoardLog(Path(sys.argv[1]) / 'tb').close(); print('torch' in sys.modules)"
    )
    path = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
