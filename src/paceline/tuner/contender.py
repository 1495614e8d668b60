"""The inside of a contender's process: a run under one plan, iterated for as long as it is asked to.

Task of :mod:`paceline.isolation.child`. Events: ``ready`` once the run is built, compiled and warmed up, then a
``slice`` for each further request ``{"seconds": ..}``: whole iterations, at least one, until that long has passed.

The learning rate is as good as zero: every plan is measured with the policy as it begins, so that none is faster
because its policy has learnt to fall later. All of the arithmetic is done.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from paceline.isolation.child import Emit, Request
from paceline.measure.ledger import Ledger, LedgerEntry
from paceline.measure.monitor import ProcessTreeMonitor
from paceline.measure.result import finite
from paceline.spec import RunSpec, build_spec
from paceline.training.driver import Driver
from paceline.training.drivers import open_driver

STILL = 1e-12
"""Learning rate of a contender."""
WARM_S = 1.0
"""An iteration that takes this long warms everything up by itself; otherwise there are two."""


def run_contender(request: Request, emit: Emit, more: Iterable[Request]) -> None:
    """Build a run and measure slices of it.

    Args:
        request: ``spec``, a run with all algorithm fields filled in.
        emit: writes one event.
        more: ``{"seconds": ..}`` each.
    """
    begin = time.perf_counter()
    spec = build_spec(RunSpec, request["spec"], source="contender")
    spec = spec.model_copy(update={"algo": spec.algo.model_copy(update={"learning_rate": STILL})})
    with contextlib.ExitStack() as stack:
        ledger = Ledger()
        driver = stack.enter_context(open_driver(spec, ledger))
        driver.reset()
        compile_s = driver.compile()
        monitor = stack.enter_context(ProcessTreeMonitor())
        warming_s = time.perf_counter()
        driver.iterate(0.0)
        if time.perf_counter() - warming_s < WARM_S:
            driver.iterate(0.0)
        use = monitor.end_interval()
        emit(
            finite(
                {
                    "event": "ready",
                    "start_s": time.perf_counter() - begin,
                    "compile_s": compile_s,
                    "rss_bytes": use.peak_pss_bytes or use.peak_rss_bytes,
                    "plan": driver.spec.plan.model_dump(mode="json"),
                }
            )
        )
        lags = spec.plan.for_algorithm(spec.algo.name).schedule == "async"
        for further in more:
            if lags:
                driver.iterate(0.0)  # what runners had finished while they were not measured
            emit(finite({"event": "slice", **_measure(driver, ledger, monitor, further["seconds"])}))


def _measure(driver: Driver, ledger: Ledger, monitor: ProcessTreeMonitor, seconds: float) -> dict[str, Any]:
    """Return the figures of whole iterations that together take at least ``seconds``."""
    ledger.start()
    monitor.start_interval()
    begin_s = time.monotonic()
    steps, lag_max, total = 0, None, LedgerEntry(0.0, {})
    walls: list[float] = []
    while not walls or total.wall_s < seconds:
        iteration = driver.iterate(0.0)
        entry = ledger.cut()
        steps += iteration.num_env_steps
        walls.append(entry.wall_s)
        total = total + entry
        if "lag_max" in iteration.metrics:
            lag_max = max(lag_max or 0.0, iteration.metrics["lag_max"])
    use = monitor.end_interval()
    return {
        "num_env_steps": steps,
        "wall_s": total.wall_s,
        "time_s": begin_s + total.wall_s / 2,
        "iterations_s": walls,
        "ledger": total.as_dict(),
        "cores_busy": use.cores_used,
        "rss_bytes": use.rss_bytes,
        "peak_bytes": use.peak_pss_bytes or use.peak_rss_bytes,
        "lag_max": lag_max,
    }
