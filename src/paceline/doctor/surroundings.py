"""Facts of the moment that the checks are made of: two probes in processes of their own, load, limits and noise."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

JAX_PROBE = (
    "import json, jax, jax.numpy as jnp\n"
    "jax.jit(lambda x: x + 1)(jnp.zeros(8)).block_until_ready()\n"
    "print(json.dumps({'version': jax.__version__, 'backend': jax.default_backend(), "
    "'devices': [device.device_kind for device in jax.devices()]}))"
)
"""Loads JAX and runs one compiled program, in a process of its own: a broken installation may crash outright."""

RUNNER_PROBE = (
    "import json, paceline.vector\n"
    "vec = paceline.vector.make_vec('CartPole-v1', 2, backend='shm', num_env_runners=1)\n"
    "vec.reset(seed=0)\n"
    "vec.step(vec.action_space.sample())\n"
    "pids = vec.runner_pids()\n"
    "vec.close()\n"
    "print(json.dumps({'runners': len(pids)}))"
)
"""Starts a runner process, steps its environments once and closes it."""

_PROBE_TIMEOUT_S = 60.0
_NOISE_SAMPLES = 12
_NOISE_SAMPLE_S = 0.02


@dataclass(frozen=True)
class Probe:
    """Outcome of a probe: the JSON it printed, or why there is none."""

    seconds: float
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Surroundings:
    """Facts of the moment, beside the :class:`~paceline.machine.Machine`; ``None`` where not told.

    Attributes:
        environ: environment variables.
        python_version: major, minor, patch.
        load_average: runnable processes over the last minute.
        open_files_limit: most files that this process may have open.
        governor: frequency governor of the first core.
        turbo: whether the processor may clock above its base frequency.
        temporary_error: why the folder for temporary files cannot be written; empty if it can.
        has_cloudpickle: whether functions can be sent to runners.
        timer_step_s: smallest step that the clock was seen to make.
        noise: coefficient of variation of equal pieces of busy work of about 20 ms.
        noise_worst: how much longer the slowest piece took than the median, as a share.
        jax: whether JAX loads and computes.
        runner: whether a runner process starts and steps.
    """

    environ: Mapping[str, str]
    python_version: tuple[int, int, int]
    load_average: float | None
    open_files_limit: int | None
    governor: str | None
    turbo: bool | None
    temporary_error: str
    has_cloudpickle: bool
    timer_step_s: float
    noise: float
    noise_worst: float
    jax: Probe
    runner: Probe


def look_around(
    *,
    environ: Mapping[str, str] | None = None,
    sysfs: Path = Path("/sys"),
    probe: Callable[[str], Probe] | None = None,
) -> Surroundings:
    """Gather the facts of the moment; takes a few seconds, most of them for loading JAX.

    Args:
        environ: environment variables; this process's by default.
        sysfs: where the kernel tells about the processor.
        probe: runs a piece of Python in a process of its own; :func:`run_probe` by default.
    """
    probe = probe or run_probe
    noise, noise_worst = measure_noise()
    return Surroundings(
        environ=dict(os.environ if environ is None else environ),
        python_version=sys.version_info[:3],
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        open_files_limit=_open_files_limit(),
        governor=_read(sysfs / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        turbo=_turbo(sysfs / "devices/system/cpu"),
        temporary_error=_temporary_error(),
        has_cloudpickle=importlib.util.find_spec("cloudpickle") is not None,
        timer_step_s=timer_step_s(),
        noise=noise,
        noise_worst=noise_worst,
        jax=probe(JAX_PROBE),
        runner=probe(RUNNER_PROBE),
    )


def run_probe(code: str, *, timeout_s: float = _PROBE_TIMEOUT_S) -> Probe:
    """Run ``code`` in a fresh Python and read the JSON object on the last line that it prints."""
    package_root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    begin_s = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Probe(timeout_s, error=f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Probe(0.0, error=f"no process can be started: {error.strerror}")
    seconds = time.monotonic() - begin_s
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Probe(seconds, error=last[:300])
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return Probe(seconds, error="no answer")
    return Probe(seconds, answer=answer)


def measure_noise(samples: int = _NOISE_SAMPLES, sample_s: float = _NOISE_SAMPLE_S) -> tuple[float, float]:
    """Time equal pieces of busy work and say how much their times differ.

    This is the least difference that any measurement here can hope to see in one iteration of that length.

    Args:
        samples: number of pieces.
        sample_s: length of a piece, in seconds, about.

    Returns:
        Coefficient of variation, and how much longer the slowest took than the median, both as shares.
    """
    count = 1000
    while (once := _busy(count)) < sample_s / 4:
        count *= 2
    count = max(1, round(count * sample_s / once))
    _busy(count)
    times = np.array([_busy(count) for _ in range(samples)])
    return float(times.std(ddof=1) / times.mean()), float(times.max() / np.median(times) - 1)


def timer_step_s(readings: int = 200) -> float:
    """Return the smallest step between two readings of the clock that differ, in seconds."""
    clock = time.perf_counter_ns
    smallest = 10**9
    for _ in range(readings):
        begin = clock()
        while (now := clock()) == begin:
            pass
        smallest = min(smallest, now - begin)
    return smallest * 1e-9


def _busy(count: int) -> float:
    begin = time.perf_counter()
    total = 0
    for number in range(count):
        total += number & 7
    return time.perf_counter() - begin


def _open_files_limit() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _turbo(cpus: Path) -> bool | None:
    off = _read(cpus / "intel_pstate/no_turbo")
    if off is not None:
        return off == "0"
    boost = _read(cpus / "cpufreq/boost")
    return None if boost is None else boost == "1"


def _temporary_error() -> str:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
