"""TensorBoard event files of a run, below ``tb/``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from paceline.measure.result import IterationRecord
from paceline.training.scalars import scalars_of


class TensorBoardLog:
    """Writes one point per curve and iteration, against environment steps.

    Args:
        folder: the ``tb`` folder.
        done_steps: environment steps that a resumed run has done; points of earlier files beyond them are hidden, for
            they are written again. None: the run begins.
    """

    def __init__(self, folder: Path, done_steps: int | None = None) -> None:
        # Of the points already there, TensorBoard drops those at the purge step, too.
        purge_step = None if done_steps is None else done_steps + 1
        self._writer = _summary_writer()(str(folder), flush_secs=30, purge_step=purge_step)

    def write(self, record: IterationRecord, recent_return: float | None) -> None:
        """Write an iteration's scalars."""
        for name, value in scalars_of(record, recent_return).items():
            self._writer.add_scalar(name, value, record.total_env_steps)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def _summary_writer() -> Any:
    """Return tensorboardX's writer; imported here because trials of a sweep never need it."""
    # It imports PyTorch where that is installed, for seconds, only to know the type of its tensors.
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # what makes an import raise ImportError
    try:
        return import_module("tensorboardX").SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
