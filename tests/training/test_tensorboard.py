"""The event file holds the scalars that were written."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2

from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.training.tensorboard import TensorBoardLog


def events(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield name, step and value of every scalar, by the format's rules: length, its CRC, data, its CRC."""
    (file,) = folder.glob("events.out.tfevents.*")
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
        data = data[12 + length + 4 :]


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
