"""The monitor against real child processes that burn CPU and hold memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from paceline.machine import detect_machine
from paceline.measure.gpu import GpuReader
from paceline.measure.monitor import (
    Cadence,
    ProcessTreeMonitor,
    Throttle,
    _parents,
    _read_process_psutil,
    combine_resource_use,
    descendants,
    read_process,
    tree_pss_bytes,
    tree_rss_bytes,
)
from paceline.measure.result import GpuSample

MIB = 2**20

NO_SUCH_PID = 2**22 + 1
"""Above the kernel's largest pid."""


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``code`` in a Python of its own, until it is ready; it ends when its standard input does."""
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


def test_the_portable_reading_agrees_with_the_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with child("held = bytearray(b'x') * (64 << 20)") as process:
        quick, portable = read_process(process.pid), _read_process_psutil(process.pid)
        assert quick is not None
        assert portable is not None
        assert portable.pid == quick.pid == process.pid
        assert portable.parent_pid == quick.parent_pid == os.getpid()
        assert portable.rss_bytes == pytest.approx(quick.rss_bytes, rel=0.05)
        assert portable.cpu_s == pytest.approx(quick.cpu_s, abs=0.05)
        monkeypatch.setattr(sys, "platform", "darwin")
        assert _parents()[process.pid] == os.getpid()
        assert tree_rss_bytes(process.pid) == pytest.approx(quick.rss_bytes, rel=0.05)
        assert read_process(NO_SUCH_PID) is None


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux's")
def test_pss_counts_private_memory_in_full_and_is_below_rss() -> None:
    with child("held = bytearray(b'x') * (64 << 20)") as process:
        pss_bytes = tree_pss_bytes(process.pid)
        assert pss_bytes is not None
        assert 64 * MIB < pss_bytes <= tree_rss_bytes(process.pid)


BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"

EAGER = Cadence(sample_s=3600.0, scan_s=0.0, available_s=0.0, pss_s=0.0, gpu_s=0.0, own_share=float("inf"))
"""Looks at everything at every call, and never in the background."""

RARE = Cadence(sample_s=3600.0, scan_s=3600.0, available_s=3600.0, pss_s=3600.0, gpu_s=3600.0, own_share=float("inf"))


def no_gpu() -> GpuReader:
    return GpuReader(lambda: (None, "no GPU: NVML library not found"))


@contextmanager
def monitoring(cadence: Cadence = EAGER, **options: Any) -> Iterator[ProcessTreeMonitor]:
    options = {"usable_cores": 2.0, "memory_limit_bytes": 4 << 30, "gpu_reader": no_gpu(), **options}
    with ProcessTreeMonitor(cadence=cadence, **options) as monitor:
        yield monitor


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_own_cpu_time_is_exact_to_less_than_a_tick() -> None:
    with monitoring() as monitor:
        before = time.process_time()
        monitor.start_interval()
        burn(0.05)
        use = monitor.end_interval()
        after = time.process_time()
    assert 0.05 <= use.cpu_s <= after - before
    assert use.cores_used == pytest.approx(use.cpu_s / use.wall_s)
    assert use.cpu_utilization == pytest.approx(use.cores_used / 2.0)
    assert use.num_processes == len(descendants([os.getpid()]))


def test_intervals_follow_each_other_without_a_gap() -> None:
    with monitoring() as monitor:
        earliest_ns, begin_cpu_s = time.perf_counter_ns(), time.process_time()
        monitor.start_interval()
        begun_ns = time.perf_counter_ns()
        uses = []
        for _ in range(5):
            burn(0.01)
            ending_ns = time.perf_counter_ns()
            uses.append(monitor.end_interval())
        latest_ns = time.perf_counter_ns()
        cpu_s = time.process_time() - begin_cpu_s
    total = combine_resource_use(uses)
    assert total is not None
    assert ending_ns - begun_ns <= total.wall_s * 1e9 <= latest_ns - earliest_ns
    assert 0.05 <= total.cpu_s <= cpu_s


def test_a_living_child_is_counted() -> None:
    with monitoring() as monitor:
        monitor.start_interval()
        with child(BURN.format(seconds=0.2)):
            use = monitor.end_interval()
            assert use.num_processes >= 2
            assert use.cpu_s >= 0.19
            assert monitor.end_interval().cpu_s < 0.1, "the same seconds must not be booked again"


def test_a_child_that_lived_and_died_unseen_is_counted_once() -> None:
    with monitoring(RARE) as monitor:
        monitor.start_interval()
        with child(BURN.format(seconds=0.2)):
            pass
        first = monitor.end_interval()
        assert first.cpu_s >= 0.19
        assert monitor.end_interval().cpu_s < 0.1


def test_a_child_seen_and_then_reaped_is_counted_once() -> None:
    with monitoring() as monitor:
        monitor.start_interval()
        with child(BURN.format(seconds=0.2)):
            seen = monitor.end_interval()
        after = monitor.end_interval()
    assert seen.cpu_s >= 0.19
    assert after.cpu_s < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted differently")
def test_an_orphan_still_belongs_to_the_tree() -> None:
    code = "import subprocess\nsubprocess.Popen([sys.executable, '-S', '-c', 'print(1, flush=True); input()'], stdin=0)"
    with monitoring() as monitor, child(code + "\nsys.stdout.flush()") as middle:
        members = descendants([middle.pid])
        assert len(members) == 2
        monitor.start_interval()
        with_both = monitor.end_interval().num_processes
        orphan = next(pid for pid in members if pid != middle.pid)
        middle.kill()
        middle.wait()
        assert monitor.end_interval().num_processes == with_both - 1
        assert read_process(orphan) is not None


def test_memory_peak_outlives_what_was_freed() -> None:
    with monitoring() as monitor:
        monitor.start_interval()
        with child("held = bytearray(b'x') * (64 << 20)"):
            during = monitor.end_interval()
        after = monitor.end_interval()
        later = monitor.end_interval()
    assert after.peak_rss_bytes >= during.rss_bytes > after.rss_bytes + 60 * MIB
    assert later.peak_rss_bytes < during.rss_bytes
    whole = combine_resource_use([during, after, later])
    assert whole is not None
    assert whole.peak_rss_bytes == max(during.peak_rss_bytes, after.peak_rss_bytes)
    assert whole.rss_bytes == later.rss_bytes


def test_the_background_thread_sees_a_peak_between_two_calls() -> None:
    with monitoring(Cadence(sample_s=0.001, scan_s=0.0, own_share=float("inf"))) as monitor:
        monitor.start_interval()
        with child("held = bytearray(b'x') * (64 << 20)"):
            deadline = time.monotonic() + 20
            while monitor.end_interval().peak_rss_bytes < 64 * MIB:
                assert time.monotonic() < deadline
    assert not [thread for thread in threading.enumerate() if thread.name == "paceline-monitor"]


def test_a_tree_whose_root_is_gone_uses_nothing() -> None:
    with monitoring(root_pid=NO_SUCH_PID) as monitor:
        monitor.start_interval()
        use = monitor.end_interval()
    assert (use.num_processes, use.cpu_s, use.rss_bytes, use.pss_bytes) == (0, 0.0, 0, None)


def test_costly_readings_are_throttled() -> None:
    with monitoring(RARE) as monitor:
        monitor.start_interval()
        first = monitor.end_interval()
        with child("held = bytearray(b'x') * (64 << 20)"):
            second = monitor.end_interval()
    assert second.num_processes == first.num_processes, "no search for new processes was due"
    assert second.pss_bytes == first.pss_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux's")
def test_near_the_limit_the_proportional_set_size_is_read_anew() -> None:
    cadence = Cadence(
        sample_s=0.001, scan_s=0.0, pss_s=3600.0, own_share=float("inf"), near_limit_pss_s=0.0,
        near_limit_share=float("inf"),
    )  # fmt: skip
    with monitoring(cadence, memory_limit_bytes=MIB) as monitor:
        monitor.start_interval()
        first = monitor.end_interval().pss_bytes
        assert first is not None
        with child("held = bytearray(b'x') * (64 << 20)"):
            deadline = time.monotonic() + 20
            while (monitor.end_interval().pss_bytes or 0) < first + 60 * MIB:
                assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux's")
def test_the_proportional_set_size_is_read_anew_when_the_tree_has_grown() -> None:
    cadence = Cadence(sample_s=3600.0, scan_s=0.0, pss_s=3600.0, own_share=float("inf"), changed_share=float("inf"))
    with monitoring(cadence) as monitor:
        monitor.start_interval()
        first = monitor.end_interval()
        assert first.pss_bytes is not None
        size_bytes = max(64 * MIB, first.rss_bytes)
        with child(f"held = bytearray(b'x') * {size_bytes}"):
            deadline = time.monotonic() + 20
            while (monitor.end_interval().pss_bytes or 0) < first.pss_bytes + 0.9 * size_bytes:
                assert time.monotonic() < deadline


def test_what_is_left_to_anybody_is_told_whoever_takes_it() -> None:
    left = iter([9, 7, 5, 3])
    with monitoring(read_available_bytes=lambda: next(left)) as monitor:  # once as it is made
        monitor.start_interval()
        uses = [monitor.end_interval(), monitor.end_interval()]
    assert [use.memory_available_bytes for use in uses] == [5, 3]
    whole = combine_resource_use(uses)
    assert whole is not None and whole.memory_available_bytes == 3


def test_no_gpu_is_said_plainly() -> None:
    with monitoring() as monitor:
        use = monitor.end_interval()
    assert use.gpus == ()
    assert use.gpu_note == monitor.gpu_note == "no GPU: NVML library not found"


def test_gpu_readings_stand_in_the_interval() -> None:
    sample = GpuSample(index=0, name="A100", utilization_percent=50.0)

    class Reader(GpuReader):
        def __init__(self) -> None:
            self.note = ""

        def read(self) -> tuple[GpuSample, ...]:
            return (sample,)

    with monitoring(gpu_reader=Reader()) as monitor:
        assert monitor.end_interval().gpus == (sample,)
        assert monitor.end_interval().gpus == (sample,)


def test_defaults_are_this_machines() -> None:
    machine = detect_machine()
    with ProcessTreeMonitor() as monitor:
        use = monitor.end_interval()
    assert use.usable_cores == machine.usable_cores
    assert use.memory_limit_bytes == machine.memory_limit_bytes
    assert use.memory_available_bytes is not None and 0 < use.memory_available_bytes <= use.memory_limit_bytes
    assert 0 < monitor.own_cpu_s < time.process_time()


def test_nothing_is_combined_to_nothing() -> None:
    assert combine_resource_use([]) is None


def test_throttle_keeps_to_its_share() -> None:
    now_s, cpu_s = 100.0, 0.0
    throttle = Throttle(least_s=2.0, share=0.01, clock=lambda: now_s, cpu_clock=lambda: cpu_s)
    assert throttle.due()
    with throttle.measure():
        cpu_s += 0.001
    now_s += 1.99
    assert not throttle.due()
    now_s += 0.02
    assert throttle.due()
    with throttle.measure():
        cpu_s += 0.5  # 1 % of a core allows that every 50 s
    now_s += 49.0
    assert not throttle.due()
    now_s += 1.5
    assert throttle.due()
