"""One measured trial: a few iterations of a run in this process, nothing written to disk."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from paceline.measure.ledger import LOGGING, Ledger
from paceline.measure.monitor import ProcessTreeMonitor
from paceline.measure.result import IterationRecord, RunResult
from paceline.spec import RunSpec
from paceline.training.drivers import open_driver
from paceline.training.recorder import RunRecorder


def run_trial(
    spec: RunSpec,
    *,
    name: str,
    repeat: int,
    iterations: int,
    warmup_iterations: int,
    on_iteration: Callable[[IterationRecord], None],
) -> RunResult:
    """Run ``spec`` for ``warmup_iterations`` uncounted and ``iterations`` measured iterations.

    Args:
        spec: the run; its budget is ignored.
        name: the trial's name in the results.
        repeat: which repetition it is.
        iterations: how many iterations to measure.
        warmup_iterations: how many to run first.
        on_iteration: called with each measured iteration as it finishes.

    Raises:
        PacelineError: the trial could not be built, or broke.
    """
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        ledger = Ledger()
        driver = stack.enter_context(open_driver(spec, ledger))
        spec = driver.spec
        driver.reset()
        monitor = stack.enter_context(ProcessTreeMonitor())
        recorder = RunRecorder(spec, name=name, repeat=repeat, monitor=monitor)
        recorder.setup_s = time.perf_counter() - begin
        recorder.compile_s = driver.compile()
        recorder.freeze_threads(driver.runner_threads)
        recorder.warmup_iterations = warmup_iterations
        begin = time.perf_counter()
        total = warmup_iterations + iterations
        for index in range(warmup_iterations):
            recorder.watch_returns(driver.iterate(index / total))
        recorder.warmup_s = time.perf_counter() - begin
        ledger.start()
        monitor.start_interval()
        for index in range(warmup_iterations, total):
            iteration = driver.iterate(index / total)
            with ledger.phase(LOGGING):
                recorder.watch_returns(iteration)
            record = recorder.record(iteration, ledger.cut(), driver.total_env_steps)
            with ledger.phase(LOGGING):
                on_iteration(record)
        recorder.compile_s += driver.late_compile_s
        return recorder.result()
