from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paceline.errors import ResourceError
from paceline.tuner.lock import only_tuner


def test_there_is_one_tuner_to_a_machine(tmp_path: Path) -> None:
    with only_tuner(tmp_path):
        second = only_tuner(tmp_path)
        with pytest.raises(ResourceError, match="another `paceline tune` that is at it"):
            second.__enter__()
    with only_tuner(tmp_path):
        pass


def test_a_tuner_that_was_killed_leaves_the_machine_free(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from paceline.tuner.lock import only_tuner\n"
        "with only_tuner(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ResourceError), only_tuner(tmp_path):
            pass
        process.kill()
        process.wait()
        with only_tuner(tmp_path):
            pass


def test_where_nothing_can_be_held_on_to_tuning_goes_on(tmp_path: Path) -> None:
    with only_tuner(tmp_path / "missing"), only_tuner(tmp_path / "missing"):
        assert not (tmp_path / "missing").exists()
