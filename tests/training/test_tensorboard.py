"""The event file holds the scalars that were written."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto import event_pb2

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
