"""TensorBoard event files of a run, below ``tb/``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from paceline.measure.result import IterationRecord


class TensorBoardLog:
    """Writes one point per curve and iteration, against environment steps.

    Args:
        folder: the ``tb`` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = _summary_writer()(str(folder), flush_secs=30)

    def write(self, record: IterationRecord, recent_return: float | None) -> None:
        """Write an iteration's scalars."""
        step = record.total_env_steps
        scalars = {"speed/sps": record.sps, **{f"learner/{name}": value for name, value in record.metrics.items()}}
        if record.episode_return_mean is not None and record.episode_length_mean is not None:
            scalars["episode/return_mean"] = record.episode_return_mean
            scalars["episode/length_mean"] = record.episode_length_mean
        if recent_return is not None:
            scalars["episode/return_mean_100"] = recent_return
        if record.resources is not None:
            scalars["machine/cores_used"] = record.resources.cores_used
            scalars["machine/rss_gib"] = record.resources.rss_bytes / 2**30
        for phase, seconds in record.ledger.phases.items():
            scalars[f"time_share/{phase}"] = seconds / record.wall_s
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

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
