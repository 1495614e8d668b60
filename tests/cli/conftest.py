"""Runs ``paceline`` as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import paceline
from paceline.cli import main

sys.path.append(str(Path(__file__).parent / "support"))


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


@pytest.fixture
def run_here(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run one command in this process: the same, but for the seconds that imports take."""
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    before = dict(os.environ)

    def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        status = main(words)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, printed.out, printed.err)

    yield run_command
    os.environ.clear()  # training sets the threads of the math libraries
    os.environ.update(before)
