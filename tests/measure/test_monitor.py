"""The monitor against real child processes that burn CPU and hold memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paceline.measure.monitor import descendants, read_process, tree_pss_bytes, tree_rss_bytes

MIB = 2**20

NO_SUCH_PID = 2**22 + 1
"""Above the kernel's largest pid."""


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``code`` in a Python of its own, which must print a line when it is ready; it ends with its standard input."""
    script = f"import sys\n{code}\nprint('ready', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.communicate()


def test_tree_rss_counts_what_a_child_holds() -> None:
    before = tree_rss_bytes(os.getpid())
    with child("held = bytearray(b'x') * (64 << 20)") as process:
        assert 64 * MIB < tree_rss_bytes(process.pid) < 128 * MIB
        assert tree_rss_bytes(os.getpid()) - before > 60 * MIB


def test_tree_rss_counts_grandchildren() -> None:
    grandchild = (
        "import subprocess\n"
        "code = \"held = bytearray(b'x') * (64 << 20); print(1, flush=True); input()\"\n"
        "inner = subprocess.Popen([sys.executable, '-S', '-c', code], stdin=0, stdout=subprocess.PIPE)\n"
        "inner.stdout.readline()"
    )
    with child(grandchild) as process:
        assert len(descendants([process.pid])) == 2
        assert tree_rss_bytes(process.pid) > 64 * MIB


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert read_process(NO_SUCH_PID) is None
    assert tree_rss_bytes(NO_SUCH_PID) == 0
    assert tree_pss_bytes(NO_SUCH_PID) is None


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux's")
def test_pss_counts_private_memory_in_full_and_is_below_rss() -> None:
    with child("held = bytearray(b'x') * (64 << 20)") as process:
        pss_bytes = tree_pss_bytes(process.pid)
        assert pss_bytes is not None
        assert 64 * MIB < pss_bytes <= tree_rss_bytes(process.pid)
