"""Runs ``paceline`` as a user does: in a process of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paceline

SMALL = (
    "--num-envs-per-env-runner", "4", "--batch-size", "64", "--minibatch-size", "32", "--num-epochs", "1",
)  # fmt: skip
"""A learner that compiles and updates in no time."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of the processes: this checkout, and one cache of compiled programs for all of them."""
    home = str(Path(paceline.__file__).parent.parent)
    cache = str(tmp_path_factory.mktemp("cache"))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": home, "XDG_CACHE_HOME": cache}


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one command to its end."""

    def run_command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "paceline", *map(str, arguments)]
        return subprocess.run(words, env=environment, cwd=cwd, capture_output=True, text=True, timeout=100)

    return run_command


@pytest.fixture
def start(environment: dict[str, str]) -> Any:
    """Start one command as the leader of a session of its own; it does not outlive the test."""
    processes: list[subprocess.Popen[str]] = []

    def start_command(*arguments: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "paceline", *map(str, arguments)]
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        processes.append(process)
        return process

    yield start_command
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


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
