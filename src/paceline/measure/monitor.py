"""What a process tree uses: CPU seconds, resident memory and GPUs, measured at next to no cost of its own.

CPU time is the growth of user + system time of every process of the tree, never a sampled percentage.

Everything that costs is throttled by what it was measured to cost: looking for new processes, what memory is left,
proportional set size (PSS walks every page table) and NVML each take at most a fixed share of one core, the last two in
a background thread. Near the memory limit PSS may cost more: what was held minutes ago does not tell when to stop.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from paceline.machine import detect_machine, memory_available_bytes
from paceline.measure.cpu_account import CpuAccount, ProcessSample
from paceline.measure.gpu import GpuReader, combine_gpu_samples
from paceline.measure.result import GpuSample, ResourceUse

PROC = Path("/proc")

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

PSS_MATTERS_FROM = 0.80
"""Share of the memory limit from which resident memory, an upper bound, no longer tells that there is no danger."""
PSS_IS_STALE_FROM = 0.25
"""Change of resident memory, as a share, from which the last proportional set size is of another time."""


@dataclass(frozen=True)
class Cadence:
    """How often :class:`ProcessTreeMonitor` looks.

    Attributes:
        sample_s: seconds between the samples of the background thread.
        read_s: least seconds between two full readings of the known processes; their CPU clocks are read every time.
        scan_s: least seconds between two searches for new processes.
        available_s: least seconds between two readings of the memory that is left to anybody.
        pss_s: least seconds between two readings of the proportional set size.
        gpu_s: least seconds between two readings of the GPUs.
        own_share: share of one core that these five may take together; what costs more happens less often.
        near_limit_pss_s: as ``pss_s``, while resident memory is above :data:`PSS_MATTERS_FROM` of the limit.
        near_limit_share: share of one core that the proportional set size may take then.
        changed_share: the same while resident memory is another than when it was last read, by a quarter or more.
    """

    sample_s: float = 1.0
    read_s: float = 0.0
    scan_s: float = 0.25
    available_s: float = 0.5
    pss_s: float = 2.0
    gpu_s: float = 0.5
    own_share: float = 0.002
    near_limit_pss_s: float = 5.0
    near_limit_share: float = 0.05
    changed_share: float = 0.02


class ProcessTreeMonitor:
    """Measures what a process and all its descendants use, interval by interval.

    ::

        with ProcessTreeMonitor() as monitor:
            monitor.start_interval()
            for _ in range(num_iterations):
                ...
                use = monitor.end_interval()  # the next interval begins at this very instant

    CPU time is read at every call; a process that starts is found within ``cadence.scan_s`` and then booked in full.
    Memory peaks are the largest of the samples (one at each call and one every ``cadence.sample_s`` seconds from a
    background thread); a shorter spike can hide between two of them. PSS and GPUs are read seldom, in that thread, and
    the last reading stands until the next. What is left to anybody is of this machine, whatever the tree.

    Args:
        root_pid: the process at the root; this process by default.
        usable_cores: what ``cpu_utilization`` is a fraction of; this machine's by default.
        memory_limit_bytes: what memory is compared with; this machine's by default.
        gpu_reader: reads the GPUs; made here by default.
        cadence: how often to look.
        read_available_bytes: returns how much memory is left to anybody; this machine's by default.
    """

    def __init__(
        self,
        root_pid: int | None = None,
        *,
        usable_cores: float | None = None,
        memory_limit_bytes: int | None = None,
        gpu_reader: GpuReader | None = None,
        cadence: Cadence | None = None,
        read_available_bytes: Callable[[], int] = memory_available_bytes,
    ) -> None:
        if usable_cores is None or memory_limit_bytes is None:
            machine = detect_machine()
            usable_cores = usable_cores or machine.usable_cores
            memory_limit_bytes = memory_limit_bytes or machine.memory_limit_bytes
        self.root_pid = root_pid or os.getpid()
        self.usable_cores = usable_cores
        self.memory_limit_bytes = memory_limit_bytes
        cadence = cadence or Cadence()
        self._sample_s = cadence.sample_s
        share = cadence.own_share / 5
        self._read = Throttle(cadence.read_s, share)
        self._scan = Throttle(cadence.scan_s, share)
        self._available = Throttle(cadence.available_s, share)
        self._pss = Throttle(cadence.pss_s, share)
        self._pss_near_limit = Throttle(cadence.near_limit_pss_s, cadence.near_limit_share)
        self._pss_changed = Throttle(cadence.scan_s, cadence.changed_share)
        self._gpu = Throttle(cadence.gpu_s, share)
        self._read_available_bytes = read_available_bytes
        self._gpu_reader = gpu_reader or GpuReader()
        self._account = CpuAccount()
        root = read_process(self.root_pid)
        self._members = {root.pid: root.started} if root else {}  # pid -> start time: a pid alone is recycled
        self._processes: list[ProcessSample] = []
        self._peak_rss_bytes = 0
        self._available_bytes: int | None = None
        self._pss_bytes: int | None = None
        self._rss_bytes_at_pss = 0
        self._peak_pss_bytes: int | None = None
        self._gpu_readings: list[tuple[GpuSample, ...]] = []
        self._own_cpu_s = 0.0
        self._lock = threading.Lock()  # guards everything above
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.start_interval()

    @property
    def own_cpu_s(self) -> float:
        """CPU time that the monitor itself has taken, in seconds."""
        return self._own_cpu_s

    @property
    def gpu_note(self) -> str:
        """Why there are no GPU samples; empty where there are."""
        return self._gpu_reader.note

    def start_interval(self) -> None:
        """Begin an interval now, and look for new processes at once."""
        self._read_first()
        with self._lock:
            self._sample(scan=True)
            self._begin(time.perf_counter_ns())
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._watch, name="paceline-monitor", daemon=True)
            self._thread.start()

    def end_interval(self) -> ResourceUse:
        """Return what was used since the interval began, and begin the next one."""
        self._read_first()
        with self._lock:
            self._sample()
            now_ns = time.perf_counter_ns()
            wall_s = (now_ns - self._began_ns) * 1e-9
            cpu_s = self._account.total_s - self._began_cpu_s
            cores_used = cpu_s / wall_s if wall_s else 0.0
            use = ResourceUse(
                wall_s=wall_s,
                cpu_s=cpu_s,
                cores_used=cores_used,
                usable_cores=self.usable_cores,
                cpu_utilization=cores_used / self.usable_cores,
                num_processes=len(self._processes),
                rss_bytes=self._rss_bytes(),
                pss_bytes=self._pss_bytes,
                peak_rss_bytes=self._peak_rss_bytes,
                peak_pss_bytes=self._peak_pss_bytes,
                memory_limit_bytes=self.memory_limit_bytes,
                memory_available_bytes=self._available_bytes,
                gpus=combine_gpu_samples(self._gpu_readings),
                gpu_note=self._gpu_reader.note,
            )
            self._begin(now_ns)
            return use

    def close(self) -> None:
        """Stop the background thread; may be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, now_ns: int) -> None:
        """Begin an interval; the last readings of memory and GPUs stand until there are new ones."""
        self._began_ns = now_ns
        self._began_cpu_s = self._account.total_s
        self._peak_rss_bytes = self._rss_bytes()
        self._peak_pss_bytes = self._pss_bytes
        del self._gpu_readings[:-1]

    def _read_first(self) -> None:
        """Read what the background thread has not read yet, so that even a short run has figures."""
        if self._pss_bytes is None or self._memory_changed():
            self._read_pss()
        if not self._gpu_readings:
            self._read_gpus()

    def _watch(self) -> None:
        while not self._stop.wait(self._sample_s):
            with self._lock:
                self._sample()
            self._read_pss()
            self._read_gpus()

    def _rss_bytes(self) -> int:
        return sum(process.rss_bytes for process in self._processes)

    def _sample(self, scan: bool = False) -> None:
        """Read the tree, as thoroughly as is due. Needs the lock."""
        begin_s = time.thread_time()
        scan = scan or self._scan.due()
        if scan or self._read.due() or not self._read_clocks():
            with self._read.measure():
                self._read_members(self._members)
        if scan:
            with self._scan.measure():
                # All members are roots: a runner whose parent died is adopted by init, and is still ours.
                self._read_members(descendants(self._members))
        if self._available.due():
            with self._available.measure():
                self._available_bytes = self._read_available_bytes()
        self._account.update(self._processes)
        self._peak_rss_bytes = max(self._peak_rss_bytes, self._rss_bytes())
        self._own_cpu_s += time.thread_time() - begin_s

    def _read_clocks(self) -> bool:
        """Refresh the CPU time of the known processes alone; return whether all of them have a clock to read."""
        clocks = [cpu_clock_s(process.pid) for process in self._processes]
        if None in clocks:
            return False
        self._processes = [
            process._replace(cpu_s=clock_s)
            for process, clock_s in zip(self._processes, clocks, strict=True)
            if clock_s is not None
        ]
        return True

    def _read_members(self, pids: Iterable[int]) -> None:
        known = self._members
        samples = [sample for pid in pids if (sample := read_process(pid))]
        self._processes = [sample for sample in samples if known.get(sample.pid, sample.started) == sample.started]
        self._members = {sample.pid: sample.started for sample in self._processes}

    def _read_pss(self) -> None:
        """Read the proportional set size if that is due. Takes the lock only to store it."""
        near_limit = self._rss_bytes() >= PSS_MATTERS_FROM * self.memory_limit_bytes
        is_due = self._pss.due() or (near_limit and self._pss_near_limit.due())
        if is_due or (self._memory_changed() and self._pss_changed.due()):
            begin_s = time.thread_time()
            rss_bytes = self._rss_bytes()
            with self._pss.measure(), self._pss_near_limit.measure(), self._pss_changed.measure():
                pss_bytes = sum_pss_bytes(list(self._members))
            with self._lock:
                self._pss_bytes = pss_bytes
                self._rss_bytes_at_pss = rss_bytes
                if pss_bytes is not None:
                    self._peak_pss_bytes = max(self._peak_pss_bytes or 0, pss_bytes)
                self._own_cpu_s += time.thread_time() - begin_s

    def _memory_changed(self) -> bool:
        """Return whether the last reading of the proportional set size is of another time: runners that load JAX."""
        rss_bytes = self._rss_bytes()
        return abs(rss_bytes - self._rss_bytes_at_pss) > PSS_IS_STALE_FROM * max(rss_bytes, self._rss_bytes_at_pss)

    def _read_gpus(self) -> None:
        """Read the GPUs if that is due. Takes the lock only to store it."""
        if self._gpu.due():
            begin_s = time.thread_time()
            with self._gpu.measure():
                reading = self._gpu_reader.read()
            with self._lock:
                if reading:
                    self._gpu_readings.append(reading)
                self._own_cpu_s += time.thread_time() - begin_s


def combine_resource_use(intervals: Sequence[ResourceUse]) -> ResourceUse | None:
    """Return the use over several intervals of one tree: times added, peaks the largest, the rest as at the end.

    Returns:
        ``None`` for no intervals.
    """
    if not intervals:
        return None
    last = intervals[-1]
    wall_s = sum(use.wall_s for use in intervals)
    cpu_s = sum(use.cpu_s for use in intervals)
    cores_used = cpu_s / wall_s if wall_s else 0.0
    return ResourceUse(
        wall_s=wall_s,
        cpu_s=cpu_s,
        cores_used=cores_used,
        usable_cores=last.usable_cores,
        cpu_utilization=cores_used / last.usable_cores,
        num_processes=max(use.num_processes for use in intervals),
        rss_bytes=last.rss_bytes,
        pss_bytes=last.pss_bytes,
        peak_rss_bytes=max(use.peak_rss_bytes for use in intervals),
        peak_pss_bytes=max((use.peak_pss_bytes for use in intervals if use.peak_pss_bytes is not None), default=None),
        memory_limit_bytes=last.memory_limit_bytes,
        memory_available_bytes=last.memory_available_bytes,
        gpus=combine_gpu_samples([use.gpus for use in intervals]),
        gpu_note=last.gpu_note,
    )


class Throttle:
    """Says when a costly reading is due: not before ``least_s`` seconds, nor before its cost falls below ``share``.

    Args:
        least_s: least seconds between two readings.
        share: share of one core that the readings may take.
        clock: seconds that pass; tests pass a fake one.
        cpu_clock: seconds of CPU time.
    """

    def __init__(
        self,
        least_s: float,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._least_s = least_s
        self._share = share
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._next_s = -float("inf")

    def due(self) -> bool:
        """Return whether the reading may happen now."""
        return self._clock() >= self._next_s

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Time the reading in the ``with`` block and put off the next one by what it cost."""
        begin_s = self._cpu_clock()
        yield
        cost_s = self._cpu_clock() - begin_s
        self._next_s = self._clock() + max(self._least_s, cost_s / self._share)


def read_process(pid: int) -> ProcessSample | None:
    """Read one process; ``None`` if there is none of that pid (any more)."""
    return _read_process_linux(pid) if sys.platform == "linux" else _read_process_psutil(pid)


def descendants(roots: Iterable[int]) -> set[int]:
    """Return the pids of ``roots`` and of all their living descendants."""
    children: dict[int, list[int]] = {}
    for pid, parent_pid in _parents().items():
        children.setdefault(parent_pid, []).append(pid)
    found: set[int] = set()
    stack = list(roots)
    while stack:
        pid = stack.pop()
        if pid not in found:
            found.add(pid)
            stack.extend(children.get(pid, ()))
    return found


def tree_rss_bytes(pid: int) -> int:
    """Return the resident set size of ``pid`` and all its descendants, in bytes; 0 if there is no such process.

    Pages shared by several processes count once in each; :func:`tree_pss_bytes` divides them.
    """
    samples = (read_process(member) for member in descendants([pid]))
    return sum(sample.rss_bytes for sample in samples if sample)


def tree_pss_bytes(pid: int) -> int | None:
    """Return the proportional set size of ``pid`` and all its descendants, in bytes.

    Each shared page counts 1/n in each of the n processes that map it, so the sum is what the tree really holds. Walks
    every page table (milliseconds for a big process). ``None`` where the kernel does not tell (not Linux, or a process
    of another user).
    """
    return sum_pss_bytes(descendants([pid]))


def sum_pss_bytes(pids: Iterable[int], parts: tuple[bytes, ...] = (b"Pss:",)) -> int | None:
    """Return the summed proportional set size of ``pids``, in bytes; ``None`` if one of the living is unreadable.

    Args:
        pids: processes.
        parts: the kernel's names of what to sum; ``Pss_Anon:`` and ``Pss_Shmem:`` leave out the pages of files, which
            other programs may share and the kernel may drop.
    """
    total = 0
    seen = 0
    for pid in pids:
        try:
            with (PROC / str(pid) / "smaps_rollup").open("rb") as file:
                text = file.read()
        except (FileNotFoundError, ProcessLookupError):
            if sys.platform == "linux" and not (PROC / str(pid)).exists():
                continue  # ended meanwhile
            return None  # no such file: an old kernel, or not Linux
        except OSError:
            return None
        seen += 1
        total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(parts))
    return total if seen else None


def _read_process_linux(pid: int) -> ProcessSample | None:
    text = _read_stat(pid)
    if not text:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name may hold blanks and brackets
    clock_s = cpu_clock_s(pid)
    own_ticks = int(fields[11]) + int(fields[12])
    reaped_ticks = int(fields[13]) + int(fields[14])
    return ProcessSample(
        pid=pid,
        started=float(fields[19]),
        parent_pid=int(fields[1]),
        cpu_s=own_ticks / _TICKS_PER_S if clock_s is None else clock_s,
        reaped_cpu_s=reaped_ticks / _TICKS_PER_S,
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def _read_stat(pid: int | str) -> bytes:
    """Return ``/proc/<pid>/stat``, empty if it is gone; unbuffered, at half the cost of ``open``."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, 4096)
    except OSError:
        return b""
    finally:
        os.close(file)


def cpu_clock_s(pid: int) -> float | None:
    """Return the CPU time of ``pid`` in seconds from its POSIX CPU-time clock, ``None`` where there is none.

    ``/proc`` counts in ticks of 10 ms, too coarse for an iteration of 50 ms; the clock counts nanoseconds, and costs
    a twentieth. Its id is the one that ``clock_getcpuclockid(3)`` returns: ``~pid << 3 | CPUCLOCK_SCHED``.
    """
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        return None


def _read_process_psutil(pid: int) -> ProcessSample | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return ProcessSample(
                pid=pid,
                started=process.create_time(),
                parent_pid=process.ppid(),
                cpu_s=times.user + times.system,
                reaped_cpu_s=getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0),
                rss_bytes=process.memory_info().rss,
            )
    except psutil.Error:
        return None


def _parents() -> dict[int, int]:
    """Return the parent of every process that can be seen, pid -> parent pid."""
    if sys.platform != "linux":
        return {process.pid: process.info["ppid"] or 0 for process in psutil.process_iter(["ppid"])}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and (text := _read_stat(name)):
            parents[int(name)] = int(text[text.rindex(b")") + 2 :].split(None, 2)[1])
    return parents
