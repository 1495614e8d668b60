"""A file of curves: appended to until that fails once, and never in the way of the run.

Curves are a convenience; results, progress and checkpoints are what counts. So a full disk, a folder that is gone or
forbidden costs the rest of the file, and nothing here raises, waits or leaves work to a thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from paceline.errors import OutputError
from paceline.measure.store import write_atomically

_WITHOUT_IT = "training goes on, the rest of the run is missing there"


class LogFile:
    """Appends whole entries, each in one write, so that ``kill -9`` loses none that was written.

    Args:
        path: the file; it and its folder are made if there are none.
        content: makes what the file holds from now on, which takes its place in one step; None: as it is.
    """

    def __init__(self, path: Path, content: Callable[[], bytes] | None = None) -> None:
        self.problem = ""
        self._path = path
        self._file = None
        try:
            if content is not None:
                write_atomically(path, content(), advice=_WITHOUT_IT)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)  # a buffer that cannot be written would raise again in close()
        except OutputError as error:
            self.problem = str(error)
        except OSError as error:
            self._give_up(error)

    def append(self, entry: bytes) -> None:
        """Append ``entry``; if that fails, ``problem`` says why, the file ends before it and is not written again."""
        if self.problem or self._file is None:
            return
        try:
            end = self._file.tell()
            rest = memoryview(entry)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._give_up(error)
            with contextlib.suppress(OSError):
                self._file.truncate(end)  # half a number reads like another number

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:  # a file system elsewhere may tell only now
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.problem = self.problem or f"{self._path}: cannot be written: {error.strerror or error}; {_WITHOUT_IT}"
