"""JAX, set up for one process: device, threads, compilation cache. Nothing else in the package configures JAX."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from paceline.errors import PlanError
from paceline.machine import set_math_threads
from paceline.spec import Plan


def cache_dir() -> Path:
    """Return where compiled programs are kept between runs (``XDG_CACHE_HOME``/paceline/xla)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "paceline" / "xla"


def choose_learner_threads(plan: Plan, *, has_images: bool, usable_cores: int) -> Plan:
    """Return ``plan`` with ``learner_threads`` filled in.

    Small networks take one thread: with a pool, XLA:CPU hands every program to another thread, which doubles the time
    of acting (53 us instead of 27 us for one observation of 17 numbers) and gains nothing on matrices of 64 columns.
    Convolutions take all cores.
    """
    if plan.learner_threads is not None:
        return plan
    return plan.model_copy(update={"learner_threads": max(1, usable_cores) if has_images else 1})


def set_up_jax(plan: Plan) -> dict[str, Any]:
    """Hold the math libraries to the plan's threads, choose the device, and keep compiled programs on disk.

    Threads only take effect in a process that has not yet run a JAX operation; trials are such processes.

    Returns:
        What was chosen, as plain data: ``platform``, ``device``.

    Raises:
        PlanError: the plan asks for a GPU that JAX does not see.
    """
    if plan.learner_threads is not None:
        set_math_threads(plan.learner_threads)
    # A plain wheel on a machine without accelerators warns about it at every start; `paceline doctor` says it better.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    import jax

    config: Any = jax.config  # not typed
    if plan.device == "cpu":  # whatever JAX_PLATFORMS says
        # Else JAX takes most of a GPU's memory at its start, wanted or not. Heeded only before the client is made.
        config.update("jax_platforms", "cpu")
    # Run programs on the calling thread: handing each to another one takes 25 us on an idle machine and, measured with
    # both cores busy, up to 500 us; acting needs its result at once anyway. Heeded only before the client is made.
    config.update("jax_cpu_enable_async_dispatch", False)
    _keep_compiled_programs(config)
    device = _choose_device(jax, plan)
    config.update("jax_default_device", device)
    return {"platform": device.platform, "device": device.device_kind}


def _keep_compiled_programs(config: Any) -> None:
    """Cache compiled programs on disk; a home that cannot be written costs compile time, nothing else."""
    directory = cache_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        config.update("jax_compilation_cache_dir", str(directory))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _choose_device(jax: Any, plan: Plan) -> Any:
    wanted = {"auto": None, "cpu": "cpu", "gpu": "gpu"}[plan.device]
    try:
        return jax.devices(wanted)[0] if wanted else jax.devices()[0]
    except RuntimeError:
        raise PlanError(
            'device gpu was asked for, but JAX sees none; install the CUDA build with pip install "jax[cuda13]", '
            "or use device cpu"
        ) from None
