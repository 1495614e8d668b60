"""A file of curves gives up once, quietly, and never keeps half an entry."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from full_disk import files_up_to

from paceline.training.log_file import LogFile


def test_entries_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    log = LogFile(path)
    log.append(b"one ")
    log.append(b"two ")
    assert path.read_bytes() == b"one two "
    log.close()
    log.close()
    log = LogFile(path)
    log.append(b"three")
    log.close()
    assert (path.read_bytes(), log.problem) == (b"one two three", "")


def test_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    log = LogFile(path, lambda: path.read_bytes().upper())
    log.append(b" and new")
    log.close()
    assert path.read_bytes() == b"OLD and new"


def test_a_full_disk_is_told_once_and_leaves_whole_entries(tmp_path: Path) -> None:
    path = tmp_path / "file"
    log = LogFile(path)
    with files_up_to(10):
        log.append(b"12345678")
        log.append(b"abcdefgh")  # two bytes of it fit
    problem = log.problem
    assert problem == (
        f"{path}: cannot be written: File too large; training goes on, the rest of the run is missing there"
    )
    log.append(b"there is room again, but what lies between is lost")
    log.close()
    assert (path.read_bytes(), log.problem) == (b"12345678", problem)


def test_content_that_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with files_up_to(10):
        log = LogFile(path, lambda: b"longer than ten bytes")
    log.append(b"more")
    log.close()
    assert path.read_bytes() == b"old"
    assert "cannot be written: File too large; training goes on" in log.problem
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_old_content_that_cannot_be_read_is_left(tmp_path: Path) -> None:
    def unreadable() -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "file").write_bytes(b"old")
    log = LogFile(tmp_path / "file", unreadable)
    log.close()
    assert "Permission denied" in log.problem
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    log = LogFile(tmp_path / "in the way" / "file")
    log.append(b"one")
    log.close()
    assert "cannot be written" in log.problem


def test_closing_does_not_raise(tmp_path: Path) -> None:
    class Remote:
        def close(self) -> None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    log: Any = LogFile(tmp_path / "file")
    log.close()
    log._file = Remote()
    log.close()
    assert "Disk quota exceeded" in log.problem
