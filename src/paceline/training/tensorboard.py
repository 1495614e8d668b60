"""TensorBoard event files of a run, below ``tb/``.

Of tensorboardX this takes the messages and the checksum. Its writer puts one event after the other into a short queue
that a thread empties; where the disk is full the thread dies, and soon a ``put`` waits for ever. Here the curves of an
iteration are one event, written by whoever calls.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from paceline.measure.result import IterationRecord
from paceline.training.log_file import LogFile
from paceline.training.scalars import scalars_of


class TensorBoardLog:
    """Writes one point per curve and iteration, against environment steps.

    Args:
        folder: the ``tb`` folder.
        done_steps: environment steps that a resumed run has done; points of earlier files beyond them are hidden, for
            they are written again. None: the run begins.
    """

    def __init__(self, folder: Path, done_steps: int | None = None) -> None:
        self._messages, self._checksum = _tensorboard_x()
        # TensorBoard knows its files by this name, and reads those of a folder in the order of their seconds.
        self._file = LogFile(folder / f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}")
        self._append(file_version="brain.Event:2")
        if done_steps is not None:
            # Of the points already there, TensorBoard drops those at the step of a start, too.
            self._append(step=done_steps + 1, session_log={"status": self._messages.SessionLog.START})

    @property
    def problem(self) -> str:
        """Why the file is not written any more, in a sentence; empty while it is."""
        return self._file.problem

    def write(self, record: IterationRecord, recent_return: float | None) -> None:
        """Write an iteration's scalars; if that fails, ``problem`` says why, and nothing more is written."""
        if not self.problem:
            points = [{"tag": name, "simple_value": value} for name, value in scalars_of(record, recent_return).items()]
            self._append(step=record.total_env_steps, summary={"value": points})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, **fields: Any) -> None:
        """Append an event as a record of the format: its length, that one's checksum, the event, its checksum."""
        event = self._messages.Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(event))
        checksums = [struct.pack("<I", self._checksum(part)) for part in (length, event)]
        self._file.append(length + checksums[0] + event + checksums[1])


def _tensorboard_x() -> tuple[Any, Any]:
    """Return tensorboardX's messages and its checksum; imported here because trials of a sweep never need them."""
    # It imports PyTorch where that is installed, for seconds, only to know the type of its tensors.
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # what makes an import raise ImportError
    try:
        record_writer = import_module("tensorboardX.record_writer")
        return import_module("tensorboardX.proto.event_pb2"), record_writer.masked_crc32c
    finally:
        if hidden:
            del sys.modules["torch"]
