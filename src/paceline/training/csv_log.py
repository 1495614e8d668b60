"""``progress.csv``: one line an iteration, for spreadsheets and pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import IterationRecord
from paceline.measure.store import CSV_FILE
from paceline.training.log_file import LogFile

_BEFORE_PHASES = (
    "iteration", "total_env_steps", "wall_s", "sps", "episode_return_mean", "episode_length_mean", "num_episodes",
    "lag_mean",
)  # fmt: skip
COLUMNS: tuple[str, ...] = (*_BEFORE_PHASES, *(f"{phase}_s" for phase in (*PHASES, UNATTRIBUTED)))
"""Columns of the file: figures of one iteration; ``.._s`` are the seconds of each phase. Unknown ones are empty."""


class CsvLog:
    """Appends a line per iteration.

    Args:
        folder: the run's folder.
        next_iteration: of the run; lines of this and later iterations, which are run again, are taken out.
    """

    def __init__(self, folder: Path, next_iteration: int = 0) -> None:
        path = folder / CSV_FILE
        self._file = LogFile(path, lambda: _as_csv([COLUMNS, *_lines_before(path, next_iteration)]))

    @property
    def problem(self) -> str:
        """Why the file is not written any more, in a sentence; empty while it is."""
        return self._file.problem

    def write(self, record: IterationRecord, recent_return: float | None) -> None:
        """Append an iteration; if that fails, ``problem`` says why, and nothing more is written."""
        phases = record.ledger.phases
        known = {
            **{name: getattr(record, name) for name in _BEFORE_PHASES if name != "lag_mean"},
            "lag_mean": record.metrics.get("lag_mean"),
            **{f"{phase}_s": phases.get(phase, 0.0) for phase in (*PHASES, UNATTRIBUTED)},
        }
        self._file.append(_as_csv([["" if known[name] is None else known[name] for name in COLUMNS]]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _as_csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _lines_before(path: Path, next_iteration: int) -> list[list[str]]:
    """Return the whole lines of earlier iterations; a torn or foreign one is left out."""
    if next_iteration == 0 or not path.is_file():
        return []
    rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8", errors="replace")))
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal() and int(row[0]) < next_iteration]
