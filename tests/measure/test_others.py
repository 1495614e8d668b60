"""What other programs compute, against real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paceline.measure.others import OthersMeter, busy_core_s

BURN = "import time\nend = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass"


def test_a_child_is_ours_and_is_another_to_a_tree_without_it() -> None:
    if not busy_core_s():
        pytest.skip("the kernel does not tell")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as idle:
        ours, theirs = OthersMeter(), OthersMeter(idle.pid)
        before = os.times()
        subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
        after = os.times()
        beside, all_of_it = ours.read(), theirs.read()
    burnt_s = sum(after[:4]) - sum(before[:4])
    seconds = after.elapsed - before.elapsed
    assert beside is not None and all_of_it is not None
    assert all_of_it - beside == pytest.approx(burnt_s / seconds, abs=0.25), "what the child burnt is the difference"


def test_of_the_cores_that_this_process_may_use_busy_ticks_are_added(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    stat = tmp_path / "stat"
    stat.write_text(
        f"cpu 9 9 9 9 9 9 9 9 9 9\ncpu{core} 100 20 3 5000 700 4 5 6 0 0\ncpu99999 1 1 1 1 1 1 1 1 0 0\nintr 5 0\n"
    )
    assert busy_core_s(stat) == pytest.approx((100 + 20 + 3 + 4 + 5 + 6) / os.sysconf("SC_CLK_TCK"))


def test_where_the_kernel_is_silent_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert busy_core_s(tmp_path / "missing") == 0.0
    meter = OthersMeter(stat=tmp_path / "missing")
    assert meter.read() is None, "too short"
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 10.0)
    assert meter.read() is None
