"""What a runner executes in the tests of launchers: it tells about its process, and ends in the ways it is asked to."""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import stat
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from paceline.process_death import die_with_parent
from paceline.vector.runners.protocol import receive_message, send_message

SIGNALS = ("SIGINT", "SIGTERM", "SIGCHLD", "SIGPIPE", "SIGIO", "SIGHUP")


def main(arguments: str) -> None:
    given = json.loads(arguments)
    die_with_parent(
        given["parent_pid"],
        lifeline_fd=given["lifeline_fd"],
        parent_thread_is_main=given["parent_thread_is_main"],
    )
    if given["cores"]:
        os.sched_setaffinity(0, given["cores"])
    channel = Connection(given["control_fd"])
    while True:
        try:
            command = receive_message(channel)
        except EOFError:
            return
        if command == "look":
            send_message(channel, look(given))
        elif command == "memory":
            send_message(channel, os.read(given["memory_fd"], 100))
        elif command == "raise":
            raise ValueError("broken on purpose")
        elif command == "leave":
            atexit.register(print, "left in order")
            return
        elif command == "hang":
            send_message(channel, "hanging")
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            while True:
                signal.pause()
        else:
            sys.exit(int(command))


def look(given: dict[str, Any]) -> dict[str, Any]:
    expected = {name: given[name] for name in given if name.endswith("_fd")}
    names = {fd: name for name, fd in expected.items()} | {0: "stdin", 1: "stdout", 2: "stderr"}
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "fds": sorted(names.get(fd, f"fd {fd}, {kind}") for fd, kind in open_fds()),
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "signals": [str(signal.getsignal(getattr(signal, name))) for name in SIGNALS],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "argv": [word for word in sys.argv if not word.startswith("{")],
        "threads": (threading.active_count(), os.environ["OMP_NUM_THREADS"]),
        "cores": sorted(os.sched_getaffinity(0)),
        "heavy": [name for name in ("jax", "torch", "psutil", "pydantic", "matplotlib") if name in sys.modules],
        "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("_")),
        "cwd": str(Path.cwd()),
        "random": (random.random(), np.random.random()),
        "comm": Path("/proc/self/comm").read_text().strip(),
    }


def open_fds() -> list[tuple[int, str]]:
    found = []
    for fd in range(256):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        found.append((fd, "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "file"))
    return found
