"""What the machine room reads, against folders that look like the kernel's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paceline import machine as machine_module
from paceline.machine import (
    MATH_THREAD_VARIABLES,
    XLA_THREAD_VARIABLES,
    Cgroup,
    Machine,
    Paths,
    detect_machine,
    memory_available_bytes,
    open_nvml,
    record_threads,
    set_math_threads,
    thread_environment,
)

GIB = 2**30


def write_tree(root: Path, files: dict[str, str]) -> Paths:
    """Write ``files`` under ``root`` and return the paths to read them from."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Paths(proc=root / "proc", cgroup=root / "cgroup", shm=root / "shm", root=root)


def no_nvml() -> tuple[None, str]:
    return None, "no GPU: NVML library not found"


MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\n"

V2 = {
    "proc/self/cgroup": "0::/jobs/mine\n",
    "cgroup/cgroup.controllers": "cpu memory\n",
    "cgroup/jobs/cpu.max": "150000 100000\n",
    "cgroup/jobs/memory.max": "max\n",
    "cgroup/jobs/mine/cpu.max": "max 100000\n",
    "cgroup/jobs/mine/memory.max": f"{4 * GIB}\n",
    "cgroup/jobs/mine/memory.current": f"{3 * GIB}\n",
    "cgroup/jobs/mine/memory.stat": (
        f"anon 5\ninactive_file {GIB // 2}\nactive_file {GIB // 4}\nslab_reclaimable {GIB // 4}\n"
    ),
}

V2_CROWDED = {
    **V2,
    "cgroup/jobs/memory.max": f"{8 * GIB}\n",
    "cgroup/jobs/memory.current": f"{8 * GIB}\n",
    "cgroup/jobs/memory.stat": f"inactive_file {GIB // 2}\n",
}

V1 = {
    "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
    "cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
    "cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
    "cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
    "cgroup/memory/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 2}\n",
}

V1_UNLIMITED = {
    "proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
    "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


@pytest.mark.parametrize(
    ("files", "quota", "limit_bytes", "left_bytes"),
    [
        pytest.param(V2, 1.5, 4 * GIB, 2 * GIB, id="v2, the quota is an ancestor's"),
        pytest.param(V2_CROWDED, 1.5, 4 * GIB, GIB // 2, id="v2, neighbours fill the group around it"),
        pytest.param(V1, 2.5, 2 * GIB, 3 * GIB // 2, id="v1, joined controllers, a path of the host's"),
        pytest.param(V1_UNLIMITED, None, None, None, id="v1 without limits"),
        pytest.param({"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "max 100000\n"}, None, None, None, id="v2 max"),
        pytest.param({"proc/self/cgroup": "garbage\n\n"}, None, None, None, id="garbage"),
        pytest.param({}, None, None, None, id="no cgroups"),
    ],
)
def test_cgroup_limits(
    tmp_path: Path, files: dict[str, str], quota: float | None, limit_bytes: int | None, left_bytes: int | None
) -> None:
    cgroup = Cgroup(write_tree(tmp_path, files))
    assert cgroup.cpu_quota() == quota
    assert cgroup.memory_limit_bytes() == limit_bytes
    assert cgroup.memory_left_bytes() == left_bytes


def test_hybrid_hierarchies_give_the_tightest_limit(tmp_path: Path) -> None:
    files = {**V1, "cgroup/unified/cpu.max": "100000 100000\n"}
    assert Cgroup(write_tree(tmp_path, files)).cpu_quota() == 1.0


def test_usable_cores_and_memory_heed_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    paths = write_tree(tmp_path, {**V2, "proc/meminfo": MEMINFO})
    found = detect_machine(paths, open_library=no_nvml)
    assert (found.logical_cores, found.affinity_cores, found.cpu_quota) == (64, 8, 1.5)
    assert found.usable_cores == 1.5
    assert found.whole_cores == 1
    assert found.memory_total_bytes == 16 * GIB
    assert found.memory_limit_bytes == 4 * GIB
    assert found.memory_available_bytes == memory_available_bytes(paths) == 2 * GIB
    assert (found.swap_total_bytes, found.swap_used_bytes) == (2048 * 1024, 1024 * 1024)
    assert found.shm_total_bytes is None


def test_affinity_holds_where_there_is_no_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    found = detect_machine(write_tree(tmp_path, {"proc/meminfo": MEMINFO}), open_library=no_nvml)
    assert found.usable_cores == 3.0
    assert found.memory_available_bytes == 8 * GIB


def test_a_platform_without_proc_affinity_or_shm_is_still_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    found = detect_machine(write_tree(tmp_path, {}), open_library=no_nvml)
    assert found.usable_cores == found.logical_cores
    assert found.memory_limit_bytes == found.memory_total_bytes > 0
    assert found.shm_free_bytes is None
    assert found.cpu_model


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD  EPYC 9654\n", "AMD EPYC 9654"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
    ],
)
def test_cpu_model(tmp_path: Path, cpuinfo: str, expected: str) -> None:
    assert detect_machine(write_tree(tmp_path, {"proc/cpuinfo": cpuinfo}), open_library=no_nvml).cpu_model == expected


def test_container_is_seen_in_the_marker_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    paths = write_tree(tmp_path, {"proc/self/cgroup": "0::/\n"})
    assert not detect_machine(paths, open_library=no_nvml).in_container
    (tmp_path / ".dockerenv").touch()
    assert detect_machine(paths, open_library=no_nvml).in_container


def test_this_machine_is_described_as_plain_json() -> None:
    found = detect_machine()
    assert 0 < found.usable_cores <= found.logical_cores
    assert 0 < found.memory_available_bytes <= found.memory_limit_bytes <= found.memory_total_bytes
    assert {"jax", "numpy", "gymnasium"} <= found.versions.keys()
    read_back = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert read_back["fingerprint"] == found.fingerprint


def test_fingerprint_is_of_the_hardware_share_alone(this_machine: Machine) -> None:
    same = replace(this_machine, versions={"jax": "9"}, kernel="7", memory_available_bytes=1, python="3.13.0")
    assert same.fingerprint == this_machine.fingerprint
    for change in (
        {"cpu_model": "another"},
        {"usable_cores": 0.5},
        {"memory_limit_bytes": this_machine.memory_limit_bytes + 4 * GIB},
        {"gpus": (machine_module.Gpu(0, "H200", 141 * GIB),)},
    ):
        assert replace(this_machine, **change).fingerprint != this_machine.fingerprint


@pytest.fixture
def this_machine(tmp_path: Path) -> Machine:
    return detect_machine(write_tree(tmp_path, {"proc/meminfo": MEMINFO}), open_library=no_nvml)


class FakeMemory:
    total = 80 * GIB
    used = 2 * GIB


class FakeNvml:
    """Two GPUs, of which the second answers neither name nor memory."""

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        if handle == 1:
            raise RuntimeError("Not Supported")
        return b"NVIDIA A100"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> FakeMemory:
        if handle == 1:
            raise RuntimeError("Not Supported")
        return FakeMemory()

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return ("GPU-aaaa-1111", "GPU-bbbb-2222")[handle]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.10"


@pytest.mark.parametrize(
    ("variable", "indices", "note"),
    [
        (None, [0, 1], ""),
        ("1", [1], "1 GPU(s) hidden by CUDA_VISIBLE_DEVICES='1'"),
        ("GPU-aaaa", [0], "1 GPU(s) hidden by CUDA_VISIBLE_DEVICES='GPU-aaaa'"),
        ("", [], "2 GPU(s) hidden by CUDA_VISIBLE_DEVICES=''"),
        ("-1", [], "2 GPU(s) hidden by CUDA_VISIBLE_DEVICES='-1'"),
    ],
)
def test_gpus_that_answer_in_part_or_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, indices: list[int], note: str
) -> None:
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    found = detect_machine(write_tree(tmp_path, {}), open_library=lambda: (FakeNvml(), ""))
    assert [gpu.index for gpu in found.gpus] == indices
    assert found.gpu_note == note
    assert found.gpu_driver == "580.10"
    names = {0: ("NVIDIA A100", 80 * GIB), 1: ("GPU 1", None)}
    assert [(gpu.name, gpu.memory_total_bytes) for gpu in found.gpus] == [names[index] for index in indices]


def test_absent_nvml_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def fail(error: type[Exception]) -> Callable[[], None]:
        def init() -> None:
            raise error()

        return init

    monkeypatch.setattr(pynvml, "nvmlInit", fail(pynvml.NVMLError_LibraryNotFound))
    assert open_nvml() == (None, "no GPU: NVML library not found")
    monkeypatch.setattr(pynvml, "nvmlInit", fail(pynvml.NVMLError_DriverNotLoaded))
    assert open_nvml() == (None, "no GPU: NVIDIA driver not loaded")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_nvml() == (None, "no GPU: nvidia-ml-py is not installed")


def test_thread_environment_names_blas_and_xla() -> None:
    variables = thread_environment(3)
    assert set(variables) == {*MATH_THREAD_VARIABLES, *XLA_THREAD_VARIABLES}
    assert set(variables.values()) == {"3"}
    with pytest.raises(ValueError, match="at least one thread, got 0"):
        thread_environment(0)


def test_set_math_threads_names_the_libraries_that_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"XLA_FLAGS": "--some"})
    monkeypatch.setitem(sys.modules, "numpy", sys)
    assert "numpy" in set_math_threads(2)
    assert record_threads()["environment"] == {**thread_environment(2), "XLA_FLAGS": "--some"}


def run_python(code: str, **environment: str) -> Any:
    """Run ``code`` in a fresh Python and return the JSON it prints."""
    path = str(Path(machine_module.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads by their names in /proc")
@pytest.mark.parametrize("num_threads", [1, 3])
def test_xla_really_heeds_the_thread_setting(num_threads: int) -> None:
    code = (
        "import json, paceline.machine as machine\n"
        f"assert machine.set_math_threads({num_threads}) == ()\n"
        "import jax, jax.numpy as jnp\n"
        "jax.jit(lambda a: a @ a)(jnp.ones((64, 64))).block_until_ready()\n"
        "print(json.dumps(machine.record_threads()))"
    )
    threads = run_python(code)
    assert threads["names"]["tf_XLAEigen"] == num_threads
    assert threads["alive"] > num_threads
