"""Makes sure that nothing of a fresh process (a trial, a measured case) outlives it, or the program that started it.

A trial is a process group of its own, and every process of it inherits an environment variable that marks it. Ending a
trial ends the group and then whatever carries the mark (a process that made itself a new group).

Run as a program, this file is the guard of one trial: it waits for its standard input to close. The sweep's death, by
``kill -9`` too, closes it; the guard then ends the trial. It is started as ``python -I -S guard.py``: the standard
library alone, a few MB, asleep.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MARK = "PACELINE_TRIAL"
"""Environment variable that marks every process of a trial."""

_PROC = Path("/proc")
_POLL_S = 0.01
_KILL_WAIT_S = 3.0


def end_group(leader_pid: int, mark: str, *, grace_s: float, reap: Callable[[], object] = lambda: None) -> None:
    """Kill the process group of ``leader_pid`` and every process that carries ``mark``.

    The leader goes first, and the others get ``grace_s`` to notice and go by themselves: Python's resource tracker is
    among them, and it is what unlinks the trial's shared memory.

    Args:
        leader_pid: leader of the group; it may be gone already.
        mark: value of :data:`MARK` in the trial's environment.
        grace_s: how long the others may take, in seconds.
        reap: collects the leader's exit status, so that it does not count as alive; called repeatedly.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.kill(leader_pid, signal.SIGKILL)
    deadline = time.monotonic() + grace_s
    reap()
    while group_alive(leader_pid) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        reap()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)
    _kill_marked(mark)


def group_alive(pgid: int) -> bool:
    """Return whether the process group has a member; one that nobody has reaped yet counts."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def marked_pids(mark: str) -> list[int]:
    """Return the pids of this user's processes whose environment has :data:`MARK` = ``mark`` (Linux; else none)."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    if _PROC.is_dir():
        for entry in _PROC.iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
    return found


def _kill_marked(mark: str) -> None:
    """Kill what carries ``mark`` and return once it is gone (a kill takes effect a little later than it is sent)."""
    deadline = time.monotonic() + _KILL_WAIT_S
    clear = 0
    while clear < 2 and time.monotonic() < deadline:  # twice: a process has no environment while it is in exec
        pids = marked_pids(mark)
        clear = 0 if pids else clear + 1
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def main(argv: list[str]) -> int:
    """Wait until the sweep says that the trial is over, or dies; in the second case end the trial.

    Args:
        argv: pid of the trial's leader, and its mark.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it goes when its standard input closes, not before
    if not sys.stdin.buffer.read():  # any byte: the sweep itself saw the trial's end
        end_group(int(argv[0]), argv[1], grace_s=1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
