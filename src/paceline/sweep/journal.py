"""What ``progress.jsonl`` says of a sweep, written and read back.

One JSON object a line; ``kind`` says which:

    sweep      a start or a resumption: when, by which version, on which machine
    iteration  a measured iteration has finished: ``trial`` and all fields of an ``IterationRecord``
    trial      a trial has finished: ``trial``, ``wall_s`` and its ``RunResult``
    stopped    the sweep gave up: ``reason``, and ``retry``, the trials that count as not run when it is resumed

``trial`` is ``Trial.key``. Lines of other kinds, and lines that do not fit, are passed over when reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from paceline.measure.result import IterationRecord, RunResult, finite
from paceline.sweep.grid import Trial


class ProgressFile(Protocol):
    """Where the lines go; :class:`paceline.measure.store.RunFolder` is one."""

    def append_progress(self, record: Mapping[str, Any]) -> None:
        """Append one line and have it on disk before returning."""

    def read_progress(self) -> Sequence[Mapping[str, Any]]:
        """Return all lines; one that was cut short by a crash is left out."""


@dataclass
class Finished:
    """What earlier starts of a sweep have left.

    Attributes:
        results: trial key -> result, of trials that need not run again.
        machine_fingerprint: of the machine that they ran on; empty if nothing was started.
        timestamp: when the sweep was first started, ISO 8601; empty if it never was.
    """

    results: dict[str, RunResult] = field(default_factory=dict)
    machine_fingerprint: str = ""
    timestamp: str = ""


class Journal:
    """Writes and reads the events of one sweep.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: ProgressFile) -> None:
        self._file = file

    def sweep_started(self, timestamp: str, version: str, machine_fingerprint: str, num_trials: int) -> None:
        """Note a start or a resumption."""
        self._append(
            "sweep",
            timestamp=timestamp,
            paceline_version=version,
            machine_fingerprint=machine_fingerprint,
            num_trials=num_trials,
        )

    def iteration(self, trial: Trial, record: IterationRecord) -> None:
        """Note a finished iteration."""
        self._append("iteration", trial=trial.key, **record.model_dump(mode="json"))

    def trial_finished(self, trial: Trial, result: RunResult, wall_s: float) -> None:
        """Note a finished trial."""
        self._append("trial", trial=trial.key, wall_s=wall_s, result=result.model_dump(mode="json"))

    def gave_up(self, reason: str, retry: Iterable[str]) -> None:
        """Note that the sweep ended early; the trials ``retry`` will run again when it is resumed."""
        self._append("stopped", reason=reason, retry=list(retry))

    def read(self) -> Finished:
        """Return what earlier starts have left; see :func:`finished_trials`."""
        return finished_trials(self._file.read_progress())

    def _append(self, kind: str, **fields: Any) -> None:
        self._file.append_progress(finite({"kind": kind, **fields}))


def finished_trials(lines: Iterable[Mapping[str, Any]]) -> Finished:
    """Return what the lines of a ``progress.jsonl`` say has finished; interrupted trials count as not run."""
    finished = Finished()
    for line in lines:
        kind = line.get("kind")
        if kind == "sweep":
            finished.machine_fingerprint = str(line.get("machine_fingerprint", ""))
            finished.timestamp = finished.timestamp or str(line.get("timestamp", ""))
        elif kind == "stopped":
            for key in line.get("retry", ()):
                finished.results.pop(key, None)
        elif kind == "trial":
            try:
                result = RunResult.model_validate(line.get("result"))
            except ValidationError:
                continue
            key = str(line.get("trial"))
            if result.outcome == "interrupted":
                finished.results.pop(key, None)
            else:
                finished.results[key] = result
    return finished
