from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.errors import EnvRaisedError, EnvTimeoutError, OutOfMemoryError, ResourceError, SpecError
from paceline.isolation import child

sys.path.append(str(Path(__file__).parents[1] / "sweep" / "fakes"))


def test_the_original_traceback_of_an_environment_is_kept() -> None:
    event = child.failure_event(EnvRaisedError("it raised", original_traceback="KeyError: 'reward'"))
    assert event["message"] == "it raised"
    assert "In the environment:\nKeyError: 'reward'" in event["traceback"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (EnvTimeoutError("no answer"), "timeout"),
        (OutOfMemoryError("no room in /dev/shm"), "oom"),
        (MemoryError(), "oom"),
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), "oom"),
        (ResourceError("cannot start runner 3, raise the limits (ulimit -n)"), "crash"),
        (KeyError("x"), "crash"),
        (SpecError("x"), "crash"),
    ],
)
def test_errors_have_outcomes(error: Exception, outcome: str) -> None:
    assert child.outcome_of(error) == outcome


def test_an_entry_point_that_lacks_a_package_says_which() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        child.load_entry_point("needs_missing_package:run")
    with pytest.raises(SpecError, match="no_such_module"):
        child.load_entry_point("no_such_module:run")


def test_a_child_whose_caller_is_gone_does_nothing() -> None:
    read_fd, write_fd = os.pipe()
    try:
        process = subprocess.run(
            [sys.executable, "-m", "paceline.isolation.child", str(write_fd), "1"],
            pass_fds=(write_fd,),
            input=b'{"task": "trial"}\n',
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    finally:
        os.close(write_fd)
    with os.fdopen(read_fd, "rb") as events:
        assert events.read() == b""
    assert process.returncode == 1
