"""The folder that a run leaves behind, written so that neither ``kill -9`` nor a full disk loses what was saved.

Whole files are written beside their place, flushed to the disk and renamed; ``progress.jsonl`` grows by one line per
write, each in a single system call. A line that was torn by a crash is skipped on reading and mended on writing.

One process at a time writes to a folder: it holds a lock on the folder itself (``flock``), which leaves no file behind
and which the kernel lets go of when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
import weakref
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paceline.errors import OutputError, ResultsError
from paceline.measure.result import Results, ResultsT, dump_json, parse_results
from paceline.spec import Spec, dump_yaml

RESULTS_FILE = "results.json"
PROGRESS_FILE = "progress.jsonl"
CSV_FILE = "progress.csv"
SPEC_FILE = "spec.yaml"

RUN_ENTRIES: frozenset[str] = frozenset(
    {RESULTS_FILE, PROGRESS_FILE, CSV_FILE, SPEC_FILE, "plan.yaml", "report.txt", "report.html", "dashboard.png",
     "checkpoints", "tb", "wandb", "trials", "logs", "verify.json", "trace.json"}
)  # fmt: skip
"""What a run's folder may hold; anything else was not put there by paceline."""

RUN_MARKS: tuple[str, ...] = (SPEC_FILE, PROGRESS_FILE, RESULTS_FILE)
"""Any of these makes a folder a run's."""


_TEMPORARY = ".paceline-tmp"
"""Ending of files that are being written; one that lies about was cut off by a crash."""


class RunFolder:
    """The ``--out`` folder of one run, sweep or tune, held for writing by this object alone.

    It is let go by :meth:`close`, at the end of a ``with`` block, or when nobody holds the object any more.

    Args:
        path: the folder; made if there is none.
        resume: go on with the run that it holds.

    Raises:
        OutputError: it cannot be made or written, or it holds files that are not paceline's.
        ResultsError: it holds a run already and ``resume`` is false, or none and ``resume`` is true; or someone else
            is writing to it.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        if resume and not holds_run(self.path):
            raise ResultsError(
                f"expected a folder with a paceline run to resume, got {self.path} which holds none; leave out "
                f"--resume to start one there"
            )
        _make_writable(self.path)
        self._let_go = weakref.finalize(self, os.close, _lock(self.path))
        if not resume:
            try:
                self._refuse_occupied()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let others write to the folder; may be called twice."""
        self._let_go()

    def __enter__(self) -> Self:
        """Return the folder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the folder."""
        self.close()

    def append_progress(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``progress.jsonl``; once this returns it survives ``kill -9`` and a loss of power.

        Args:
            record: plain data; NaN and infinity become null.

        Raises:
            OutputError: the file cannot be written.
        """
        line = (dump_json(record) + "\n").encode()
        try:
            file = os.open(self.path / PROGRESS_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a crash tore the last line: leave it alone on a line of its own
                _write_all(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise _cannot_write(self.path / PROGRESS_FILE, error) from None

    def read_progress(self) -> list[dict[str, Any]]:
        """Return the records of ``progress.jsonl`` in order; empty if there is none yet.

        Torn lines are left out: they were never acknowledged.

        Raises:
            ResultsError: the file cannot be read.
        """
        return load_progress(self.path)

    def write_results(self, results: Results) -> Path:
        """Replace ``results.json`` in one step and return its path.

        Raises:
            OutputError: the file cannot be written.
        """
        return self.write_text(RESULTS_FILE, results.to_json())

    def load_results(self) -> Results:
        """Return what ``results.json`` holds; see :func:`load_results`."""
        return load_results(self.path)

    def write_spec(self, spec: Spec) -> Path:
        """Write ``spec.yaml`` and return its path.

        Raises:
            OutputError: the file cannot be written.
        """
        return self.write_text(SPEC_FILE, dump_yaml(spec))

    def write_text(self, name: str, text: str) -> Path:
        """Replace the file ``name`` of this folder in one step and return its path.

        Raises:
            OutputError: the file cannot be written.
        """
        return self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Replace the file ``name`` of this folder in one step and return its path.

        Raises:
            OutputError: the file cannot be written.
        """
        path = self.path / name
        write_atomically(path, data)
        return path

    def _refuse_occupied(self) -> None:
        if holds_run(self.path):
            raise ResultsError(
                f"expected an empty or new folder, got {self.path} which already holds a paceline run; give another "
                f"--out, or go on with it with --resume (a sweep, a training run)"
            )
        foreign = sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name not in RUN_ENTRIES and not entry.name.endswith(_TEMPORARY)
        )
        if foreign:
            shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
            raise OutputError(
                f"expected an empty or new folder, got {self.path} which holds {shown}; give another --out"
            )


def default_out(env_id: str, kind: str) -> Path:
    """Return ``runs/<env>-<kind>-<time>-<pid>``, the folder of a run that names none.

    Runs that a script starts at the same moment differ in their process ids, runs of one process in a number behind it.
    """
    name = "".join(char if char.isalnum() or char in "-._" else "-" for char in env_id).strip("-.")
    return _unused(f"{name or 'env'}-{kind}")


def default_compare_out() -> Path:
    """Return ``runs/compare-<time>-<pid>``, the folder of a comparison that names none."""
    return _unused("compare")


def _unused(name: str) -> Path:
    first = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    path, count = first, 1
    while path.exists():
        count += 1
        path = first.with_name(f"{first.name}-{count}")
    return path


def holds_run(path: Path) -> bool:
    """Return whether ``path`` is a folder that a paceline run has written to."""
    return any((path / name).is_file() for name in RUN_MARKS)


def load_results(path: str | Path, cls: type[ResultsT] = Results) -> ResultsT:  # type: ignore[assignment]
    """Read the results of a run.

    Args:
        path: the run's folder, or the ``results.json`` itself.
        cls: what it holds; a subclass reads more fields.

    Raises:
        ResultsError: missing, damaged, of another program, or of a newer paceline.
    """
    path = Path(path)
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultsError(_missing(path, file)) from None
    except UnicodeDecodeError:
        raise ResultsError(
            f"{file}: expected text, got binary data; the file is damaged or of another program"
        ) from None
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read: {error.strerror}; check the path and its permissions") from None
    return parse_results(text, source=file, cls=cls)


def load_progress(path: Path) -> list[dict[str, Any]]:
    """Return the records of ``progress.jsonl`` in the folder ``path``, as :meth:`RunFolder.read_progress` does.

    Reading needs no lock: it may be done while a run is writing there.

    Raises:
        ResultsError: the file cannot be read.
    """
    file = path / PROGRESS_FILE
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read: {error.strerror}; check its permissions") from None
    records = []
    for line in data.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


WRITABLE_OUT = "give an --out that you may write to and that has room"
"""What to do about a folder of a run that cannot be written."""


def write_atomically(path: Path, data: bytes, *, advice: str = WRITABLE_OUT) -> None:
    """Write ``data`` to ``path`` so that a reader sees either the old content or the new, whatever happens.

    Args:
        path: the file.
        data: its new content.
        advice: what the user should do if it cannot be written; the end of the error's sentence.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                _write_all(file, data)
                os.fsync(file)
            finally:
                os.close(file)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error, advice) from None


def _missing(path: Path, file: Path) -> str:
    if path.is_dir():
        if holds_run(path):
            return (
                f"{file}: no such file, the run was stopped before it finished a trial; go on with it with --resume "
                f"(a sweep, a training run), or start it again"
            )
        return f"{path}: expected a folder made by paceline, got one without {RESULTS_FILE}; give the --out of a run"
    return f"{path}: no such folder; give the --out of a run"


def _make_writable(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError:
        raise OutputError(f"expected a folder, got the file {path}; give another --out") from None
    except OSError as error:
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError, advice: str = WRITABLE_OUT) -> OutputError:
    return OutputError(f"{path}: cannot be written: {error.strerror or error}; {advice}")


def _lock(path: Path) -> int:
    """Lock the folder for this process and return the descriptor that holds the lock.

    Raises:
        ResultsError: someone else holds it.
        OutputError: the folder cannot be opened.
    """
    try:
        folder = os.open(path, os.O_RDONLY)  # never inherited by a program that this one starts
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _lock_holder(folder)
        os.close(folder)
        who = f" (process {holder})" if holder else ""
        raise ResultsError(
            f"{path}: expected a folder that no one is writing to, got one where a run or sweep is still running{who}; "
            f"wait for it, stop it, or give another --out"
        ) from None
    except OSError:
        pass  # a file system that cannot lock folders (NFS): go without
    return folder


def _lock_holder(folder: int) -> int | None:
    """Return the process that holds the lock on the open ``folder``; None where the system does not tell (macOS)."""
    status = os.fstat(folder)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:  # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and place in fields and fields[4].isdigit() and int(fields[4]):
            return int(fields[4])
    return None


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(path: Path) -> None:
    """Make a rename last; some file systems refuse to open a folder, which costs safety from power cuts only."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(folder)
    except OSError:
        pass
    finally:
        os.close(folder)
