"""Weights & Biases, only where it is asked for; nothing is imported or sent otherwise."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Any

from paceline.errors import RequestError, WorkError
from paceline.measure.result import IterationRecord
from paceline.spec import RunSpec
from paceline.training.scalars import scalars_of


def check_wandb_is_there() -> None:
    """Find out before a run whether its curves can be sent.

    Raises:
        RequestError: the package is not installed.
    """
    if importlib.util.find_spec("wandb") is None:
        raise RequestError(
            "expected the wandb package for --wandb, got a Python without it; install it with pip install wandb, or "
            "leave out --wandb"
        )


class WandbLog:
    """Sends the curves of a run to a project, against environment steps.

    A run that is resumed is another run there, in the same group. An account, a server or offline work are wandb's
    matter (``wandb login``, ``WANDB_MODE=offline``).

    Args:
        project: the project's name.
        folder: the run's folder; its name is that of run and group.
        spec: the run, filled in; sent as its config.

    Raises:
        WorkError: wandb does not start.
    """

    def __init__(self, project: str, folder: Path, spec: RunSpec) -> None:
        wandb: Any = import_module("wandb")
        self.problem = ""
        try:
            self._run = wandb.init(
                project=project,
                name=folder.name,
                group=folder.name,
                dir=str(folder),
                config=spec.model_dump(mode="json"),
            )
        except Exception as error:
            raise WorkError(
                f"expected Weights & Biases to start, got {type(error).__name__}: {error}; run wandb login, set "
                f"WANDB_MODE=offline, or leave out --wandb"
            ) from None

    def write(self, record: IterationRecord, recent_return: float | None) -> None:
        """Send an iteration; if that fails, ``problem`` says why, and nothing more is sent."""
        if not self.problem:
            try:
                self._run.log(scalars_of(record, recent_return), step=record.total_env_steps)
            except Exception as error:  # a log must not end the run
                self._give_up(error)

    def close(self) -> None:
        """Finish the run there."""
        try:
            self._run.finish()
        except Exception as error:  # everything that matters is on disk
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        lacks = "Weights & Biases lacks part of this run"
        self.problem = self.problem or f"{lacks}: {type(error).__name__}: {error}"
