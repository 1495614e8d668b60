"""What tests of the command line share: small settings, and a look at processes and folders."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]

SMALL = (
    "--num-envs-per-env-runner", "4", "--batch-size", "64", "--minibatch-size", "32", "--num-epochs", "1",
)  # fmt: skip
"""A learner that compiles and updates in no time."""


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read what ``process`` prints until a line holds ``text``."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"expected a line with {text!r}, got {''.join(seen)} {process.communicate()}")


def children(pid: int) -> list[int]:
    """Return the process ids of the children of ``pid``."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pid: int) -> bool:
    """Wait until a process that is not our child is gone, five seconds at most."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 5.0)[0])
    finally:
        os.close(pidfd)


def outcome(folder: Path) -> tuple[str, str]:
    """Return outcome and message of a training run."""
    experiment = json.loads((folder / "results.json").read_text())["experiments"][0]
    return experiment["outcome"], experiment["message"]


def assert_one_sentence(stderr: str) -> None:
    """Check that an error is one line that names paceline, without a traceback."""
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("paceline: error: ")
    assert "Traceback" not in stderr
