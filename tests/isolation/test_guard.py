from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.isolation import guard

linux_only = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
WAIT = "import threading; print('up', flush=True); threading.Event().wait()"


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT],
        start_new_session=True,
        stdout=subprocess.PIPE,
        env={**os.environ, guard.MARK: "m1"},
    )
    assert process.stdout is not None
    with process.stdout as output:
        output.readline()  # until it has said so it may be in exec, where a process has no environment
    yield process
    process.kill()
    process.wait()


def start_guard(leader: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(leader.pid), "m1"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def test_the_guard_ends_the_trial_when_the_sweep_dies(leader: subprocess.Popen[bytes]) -> None:
    watcher = start_guard(leader)
    watcher.communicate()  # closes its standard input, as the sweep's death does
    assert leader.wait() == -9
    assert watcher.returncode == 0


def test_the_guard_leaves_alone_what_the_sweep_has_seen_to(leader: subprocess.Popen[bytes]) -> None:
    watcher = start_guard(leader)
    watcher.communicate(b".")
    assert watcher.returncode == 0
    assert leader.poll() is None


@linux_only
def test_marked_processes_are_found_by_their_environment(leader: subprocess.Popen[bytes]) -> None:
    assert guard.marked_pids("m1") == [leader.pid]
    assert guard.marked_pids("m") == []


def test_ending_a_group_that_is_gone_is_no_error(leader: subprocess.Popen[bytes]) -> None:
    leader.kill()
    leader.wait()
    guard.end_group(leader.pid, "no such mark", grace_s=0.0)
    assert not guard.group_alive(leader.pid)


def test_the_group_gets_time_to_go_by_itself() -> None:
    """A child that leaves when its parent dies (as Python's resource tracker does) is not killed."""
    script = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', \"import sys; sys.stdin.read(); print('left by itself')\"],"
        " stdin=subprocess.PIPE)\n"
        "print('ready', flush=True)\n"
        "child.wait()\n"
    )
    leader = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert leader.stdout is not None
    with leader.stdout as output:
        assert output.readline() == b"ready\n"
        guard.end_group(leader.pid, "no such mark", grace_s=10.0, reap=leader.poll)
        leader.wait()
        assert output.read() == b"left by itself\n"
