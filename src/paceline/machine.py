"""What machine this is: how many cores and how much memory a process here may really use, and which GPUs there are.

``os.cpu_count()`` lies in containers, under ``taskset`` and in batch jobs. What counts is the smallest of the logical
cores, the affinity mask and the cgroup's quota; for memory, the smaller of the RAM and the cgroup's limit.

Everything is read, nothing is started, and a fact that a platform does not tell is ``None``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

VERSIONED_PACKAGES: tuple[str, ...] = (
    "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "gymnasium", "mujoco", "torch", "stable-baselines3", "ray",
)  # fmt: skip
"""Packages whose versions are recorded beside every measurement, where installed."""

MATH_THREAD_VARIABLES: tuple[str, ...] = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)  # fmt: skip
"""Environment variables that tell OpenMP and the BLAS libraries their number of threads, read when they load."""

XLA_THREAD_VARIABLES: tuple[str, ...] = ("PJRT_NPROC", "NPROC")
"""Environment variables that size the thread pool of XLA on the CPU, read when JAX makes its CPU client.

Measured on jax 0.10.2 by the number of ``tf_XLAEigen`` threads and by the CPU time of each: either variable sets the
pool's size exactly, and so does an affinity mask set before the first JAX operation. ``--xla_cpu_multi_thread_eigen``,
``intra_op_parallelism_threads`` and ``OMP_NUM_THREADS`` do *not* limit it, and an affinity mask set later only crowds
the same threads onto fewer cores.
"""

_V1_UNLIMITED_BYTES = 2**60
"""A v1 cgroup without a memory limit reports a number near 2**63."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML sees it; ``memory_total_bytes`` is ``None`` where NVML does not answer."""

    index: int
    name: str
    memory_total_bytes: int | None = None
    uuid: str = ""


@dataclass(frozen=True)
class Machine:
    """One machine as seen from one process on it.

    Attributes:
        cpu_model: the processor's name.
        logical_cores: hardware threads of the machine.
        physical_cores: cores of the machine, ``None`` if unknown.
        affinity_cores: hardware threads that this process may run on.
        cpu_quota: cores' worth of time that the cgroup grants, ``None`` if unlimited.
        usable_cores: the smallest of the three, in cores.
        memory_total_bytes: RAM of the machine.
        cgroup_memory_limit_bytes: the cgroup's limit, ``None`` if unlimited.
        memory_limit_bytes: the smaller of the two.
        memory_available_bytes: what can be taken now without swapping or hitting the limit.
        swap_total_bytes: size of the swap space.
        swap_used_bytes: how much of it is in use.
        shm_total_bytes: size of ``/dev/shm``, ``None`` where there is none.
        shm_free_bytes: room left in it.
        os_name: operating system.
        kernel: its version.
        architecture: instruction set (``x86_64``, ``aarch64``, ..).
        python: Python's version.
        in_container: whether this process is in a container.
        gpus: GPUs that NVML lists and ``CUDA_VISIBLE_DEVICES`` does not hide.
        gpu_driver: version of the driver.
        gpu_note: why ``gpus`` is empty, or what was left out.
        versions: installed versions of :data:`VERSIONED_PACKAGES`.
    """

    cpu_model: str
    logical_cores: int
    physical_cores: int | None
    affinity_cores: int
    cpu_quota: float | None
    usable_cores: float
    memory_total_bytes: int
    cgroup_memory_limit_bytes: int | None
    memory_limit_bytes: int
    memory_available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    shm_total_bytes: int | None
    shm_free_bytes: int | None
    os_name: str
    kernel: str
    architecture: str
    python: str
    in_container: bool
    gpus: tuple[Gpu, ...] = ()
    gpu_driver: str | None = None
    gpu_note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole_cores(self) -> int:
        """Number of processes or threads that can be busy at once, at least 1."""
        return max(1, math.floor(self.usable_cores))

    @property
    def fingerprint(self) -> str:
        """Hash of what makes measurements comparable: processor, usable cores, memory limit and GPUs.

        Neither the hostname nor any version takes part: the same hardware share gives the same fingerprint.
        """
        facts = {
            "cpu": self.cpu_model,
            "architecture": self.architecture,
            "cores": round(self.usable_cores, 2),
            "memory_gib": round(self.memory_limit_bytes / 2**30),
            "gpus": [(gpu.name, gpu.memory_total_bytes) for gpu in self.gpus],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON data, ``fingerprint`` included."""
        return {**asdict(self), "gpus": [asdict(gpu) for gpu in self.gpus], "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class Paths:
    """Where the kernel tells its facts; tests pass folders of their own."""

    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    shm: Path = Path("/dev/shm")
    root: Path = Path("/")


def detect_machine(
    paths: Paths | None = None, *, open_library: Callable[[], tuple[Any | None, str]] | None = None
) -> Machine:
    """Look at the machine that this process runs on.

    Args:
        paths: where to read from.
        open_library: opens NVML; :func:`open_nvml` by default.
    """
    paths = paths or Paths()
    cgroup = Cgroup(paths)
    logical = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    quota = cgroup.cpu_quota()
    memory = _memory(paths)
    limit = cgroup.memory_limit_bytes()
    memory_limit = min(memory.total, limit or memory.total)
    shm = shutil.disk_usage(paths.shm) if paths.shm.is_dir() else None
    gpus, driver, note = _detect_gpus(open_library or open_nvml)
    return Machine(
        cpu_model=_cpu_model(paths),
        logical_cores=logical,
        physical_cores=psutil.cpu_count(logical=False),
        affinity_cores=affinity,
        cpu_quota=quota,
        usable_cores=float(min(logical, affinity, quota or math.inf)),
        memory_total_bytes=memory.total,
        cgroup_memory_limit_bytes=limit,
        memory_limit_bytes=memory_limit,
        memory_available_bytes=_available(memory, cgroup),
        swap_total_bytes=memory.swap_total,
        swap_used_bytes=memory.swap_used,
        shm_total_bytes=shm.total if shm else None,
        shm_free_bytes=shm.free if shm else None,
        os_name=_os_name(paths),
        kernel=platform.release(),
        architecture=platform.machine(),
        python=platform.python_version(),
        in_container=_in_container(paths),
        gpus=gpus,
        gpu_driver=driver,
        gpu_note=note,
        versions=installed_versions(),
    )


def memory_available_bytes(paths: Paths | None = None) -> int:
    """Return what can be taken now without swapping or hitting the cgroup's limit, in bytes, whoever holds the rest."""
    paths = paths or Paths()
    return _available(_memory(paths), Cgroup(paths))


def installed_versions(packages: Iterable[str] = VERSIONED_PACKAGES) -> dict[str, str]:
    """Return the installed version of each of ``packages`` that is installed; imports none of them."""
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


class Cgroup:
    """The limits of this process's control group, version 1, 2 or both mounted at once.

    A limit holds for all descendants, so the effective one is the smallest on the way from the process's own group up
    to the root. In a container the path in ``/proc/self/cgroup`` may be the host's and lead nowhere; the mount's root
    is then the container's own group.
    """

    def __init__(self, paths: Paths) -> None:
        self._mount = paths.cgroup
        self._own: dict[str, str] = {}  # controller -> path; "" is version 2
        try:
            text = (paths.proc / "self" / "cgroup").read_text()
        except OSError:
            text = ""
        for line in text.splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for controller in controllers.split(","):
                self._own[controller] = path

    def cpu_quota(self) -> float | None:
        """Return the cores' worth of CPU time that the group may use, ``None`` if unlimited."""
        quotas = []
        for folder in self._folders(""):
            words = _read(folder / "cpu.max").split()
            if len(words) == 2 and words[0] != "max":
                quotas.append(int(words[0]) / int(words[1]))
        for folder in self._folders("cpu"):
            quota, period = _read_int(folder / "cpu.cfs_quota_us"), _read_int(folder / "cpu.cfs_period_us")
            if quota and period and quota > 0:
                quotas.append(quota / period)
        return min(quotas, default=None)

    def memory_limit_bytes(self) -> int | None:
        """Return the group's memory limit, ``None`` if unlimited."""
        limits = [_read_int(folder / "memory.max") for folder in self._folders("")]
        limits += [_read_int(folder / "memory.limit_in_bytes") for folder in self._folders("memory")]
        return min((limit for limit in limits if limit and limit < _V1_UNLIMITED_BYTES), default=None)

    def memory_left_bytes(self) -> int | None:
        """Return what may be taken before the group, or one around it, meets its limit; ``None`` if none has one.

        What others in these groups hold counts. Pages of files do not: the kernel drops them before it ends a process.
        """
        left = []
        for controller, limit_name, usage, droppable in (
            ("", "memory.max", "memory.current", ("inactive_file", "active_file", "slab_reclaimable")),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
        ):
            for folder in self._folders(controller):
                limit, used = _read_int(folder / limit_name), _read_int(folder / usage)
                if not limit or limit >= _V1_UNLIMITED_BYTES or used is None:
                    continue
                pairs = (line.partition(" ") for line in _read(folder / "memory.stat").splitlines())
                dropped = sum(int(value) for name, _, value in pairs if name in droppable)
                left.append(max(0, limit - max(0, used - dropped)))
        return min(left, default=None)

    def _folders(self, controller: str) -> list[Path]:
        """Return the folders of the process's group in ``controller`` and of its ancestors, innermost first."""
        if controller not in self._own:
            return []
        roots = [self._mount / "unified", self._mount] if not controller else self._v1_roots(controller)
        root = next((root for root in roots if root.is_dir()), None)
        if root is None:
            return []
        inner = root / self._own[controller].lstrip("/")
        return [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root) and folder.is_dir()]

    def _v1_roots(self, controller: str) -> list[Path]:
        joined = self._mount.glob(f"*{controller}*") if self._mount.is_dir() else ()
        return [self._mount / controller, *(folder for folder in joined if controller in folder.name.split(","))]


def open_nvml() -> tuple[Any | None, str]:
    """Open NVIDIA's management library.

    Returns:
        The module ``pynvml``, initialised, and an empty string; or ``None`` and the reason why there is none.
    """
    try:
        import pynvml
    except ImportError:
        return None, "no GPU: nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return None, "no GPU: NVML library not found"
    except pynvml.NVMLError_DriverNotLoaded:
        return None, "no GPU: NVIDIA driver not loaded"
    except pynvml.NVMLError as error:
        return None, f"no GPU: NVML does not start ({error})"
    return pynvml, ""


def ask_nvml(call: Callable[..., Any], *arguments: Any) -> Any | None:
    """Return the answer of one NVML call, ``None`` if it fails: not every GPU, nor every container, answers all."""
    try:
        answer = call(*arguments)
    except Exception:  # NVML raises a class per error code, and old drivers lack symbols
        return None
    return answer.decode() if isinstance(answer, bytes) else answer


def visible_gpus(nvml: Any) -> tuple[tuple[Gpu, Any], ...]:
    """Return the GPUs that NVML lists and ``CUDA_VISIBLE_DEVICES`` does not hide, each with its NVML handle."""
    found = []
    for index in range(ask_nvml(nvml.nvmlDeviceGetCount) or 0):
        handle = ask_nvml(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            continue
        memory = ask_nvml(nvml.nvmlDeviceGetMemoryInfo, handle)
        gpu = Gpu(
            index=index,
            name=ask_nvml(nvml.nvmlDeviceGetName, handle) or f"GPU {index}",
            memory_total_bytes=int(memory.total) if memory is not None else None,
            uuid=ask_nvml(nvml.nvmlDeviceGetUUID, handle) or "",
        )
        if _is_visible(gpu, os.environ.get("CUDA_VISIBLE_DEVICES")):
            found.append((gpu, handle))
    return tuple(found)


def _is_visible(gpu: Gpu, variable: str | None) -> bool:
    if variable is None:
        return True
    names = [name.strip() for name in variable.split(",")]
    return any(name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name)) for name in names)


def _detect_gpus(
    open_library: Callable[[], tuple[Any | None, str]],
) -> tuple[tuple[Gpu, ...], str | None, str]:
    nvml, note = open_library()
    if nvml is None:
        return (), None, note
    driver = ask_nvml(nvml.nvmlSystemGetDriverVersion)
    gpus = tuple(gpu for gpu, _ in visible_gpus(nvml))
    hidden = (ask_nvml(nvml.nvmlDeviceGetCount) or 0) - len(gpus)
    if hidden:
        note = f"{hidden} GPU(s) hidden by CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}"
    elif not gpus:
        note = "no GPU: NVML lists none"
    return gpus, driver, note


def thread_environment(num_threads: int) -> dict[str, str]:
    """Return the environment variables that hold a process to ``num_threads`` math threads: OpenMP, BLAS and XLA:CPU.

    They are read once, when the library loads (BLAS, OpenMP) or makes its CPU client (XLA), so pass them to a process
    that is yet to start, or see :func:`set_math_threads`.

    Raises:
        ValueError: ``num_threads`` is less than 1.
    """
    if num_threads < 1:
        raise ValueError(f"expected at least one thread, got {num_threads}")
    return dict.fromkeys((*MATH_THREAD_VARIABLES, *XLA_THREAD_VARIABLES), str(num_threads))


def set_math_threads(num_threads: int) -> tuple[str, ...]:
    """Hold this process, and those it will start, to ``num_threads`` math threads.

    Returns:
        Libraries that were already loaded and may not heed it any more (empty: all will). JAX heeds it until its first
        operation, which this function cannot see.

    Raises:
        ValueError: ``num_threads`` is less than 1.
    """
    os.environ.update(thread_environment(num_threads))
    return tuple(name for name in ("numpy", "scipy", "torch") if name in sys.modules)


def record_threads() -> dict[str, Any]:
    """Return the thread settings in force in this process, as plain JSON data.

    Returns:
        ``environment``: the variables that are set; ``affinity``: the cores this process may run on; ``alive``: number
        of threads; ``names``: threads per name (``tf_XLAEigen``: XLA's pool on the CPU); the last three ``None`` where
        the platform does not tell.
    """
    variables = (*MATH_THREAD_VARIABLES, *XLA_THREAD_VARIABLES, "XLA_FLAGS")
    names: Counter[str] = Counter()
    for task in Path("/proc/self/task").glob("*"):
        names[_read(task / "comm").strip() or "?"] += 1
    return {
        "environment": {name: os.environ[name] for name in variables if name in os.environ},
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "alive": names.total() or None,
        "names": dict(names) or None,
    }


@dataclass(frozen=True)
class _Memory:
    total: int
    available: int
    swap_total: int
    swap_used: int


def _memory(paths: Paths) -> _Memory:
    fields = {}
    for line in _read(paths.proc / "meminfo").splitlines():
        name, _, rest = line.partition(":")
        if rest.split():
            fields[name] = int(rest.split()[0]) * 1024
    if {"MemTotal", "MemAvailable"} <= fields.keys():
        swap_total = fields.get("SwapTotal", 0)
        return _Memory(fields["MemTotal"], fields["MemAvailable"], swap_total, swap_total - fields.get("SwapFree", 0))
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return _Memory(memory.total, memory.available, swap.total, swap.used)


def _available(memory: _Memory, cgroup: Cgroup) -> int:
    left = cgroup.memory_left_bytes()
    return memory.available if left is None else min(memory.available, left)


def _cpu_model(paths: Paths) -> str:
    for line in _read(paths.proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("model name", "model", "cpu model") and not value.strip().isdigit():
            return " ".join(value.split())
    return _cpu_brand_of_macos() or platform.processor() or platform.machine() or "unknown processor"


@functools.cache
def _cpu_brand_of_macos() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _os_name(paths: Paths) -> str:
    for line in _read(paths.root / "etc" / "os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return platform.system()


def _in_container(paths: Paths) -> bool:
    if (paths.root / ".dockerenv").exists() or (paths.root / "run" / ".containerenv").exists():
        return True
    if "KUBERNETES_SERVICE_HOST" in os.environ or "container" in os.environ:
        return True
    text = _read(paths.proc / "self" / "cgroup")
    return any(word in text for word in ("docker", "kubepods", "containerd", "lxc", "libpod"))


def _read(path: Path) -> str:
    """Return the text of a file of the kernel's, empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _read_int(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None
