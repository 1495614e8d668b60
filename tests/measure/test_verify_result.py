"""The file of a verification: read back as it was, and refused in one sentence where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ResultsError
from paceline.measure.verify_result import load_verification


def test_without_a_verification_there_is_none(tmp_path: Path) -> None:
    assert load_verification(tmp_path) is None


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"format": "another"}'])
def test_a_damaged_file_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "verify.json").write_bytes(content)
    with pytest.raises(ResultsError, match=r"verify\.json: expected what `paceline verify` writes, got .*run it again"):
        load_verification(tmp_path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "verify.json").mkdir()
    with pytest.raises(ResultsError, match=r"verify\.json: cannot be read: Is a directory"):
        load_verification(tmp_path)
