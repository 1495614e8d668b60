"""The doctor: every finding from facts made up for it, and the facts of this machine for real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paceline.doctor import (
    Check,
    Probe,
    Surroundings,
    doctor_json,
    exit_status,
    look_around,
    render_doctor,
    run_checks,
    run_probe,
)
from paceline.doctor.surroundings import measure_noise, timer_step_s
from paceline.machine import Gpu, Machine

GIB = 2**30

MACHINE = Machine(
    cpu_model="Test CPU",
    logical_cores=8,
    physical_cores=8,
    affinity_cores=8,
    cpu_quota=None,
    usable_cores=8.0,
    memory_total_bytes=32 * GIB,
    cgroup_memory_limit_bytes=None,
    memory_limit_bytes=32 * GIB,
    memory_available_bytes=16 * GIB,
    swap_total_bytes=0,
    swap_used_bytes=0,
    shm_total_bytes=16 * GIB,
    shm_free_bytes=16 * GIB,
    os_name="Testix 1",
    kernel="6.1",
    architecture="x86_64",
    python="3.12.1",
    in_container=False,
    gpu_note="no GPU: NVML library not found",
    versions={"jax": "0.10.2"},
)

AROUND = Surroundings(
    environ={"DISPLAY": ":0"},
    python_version=(3, 12, 1),
    load_average=0.1,
    open_files_limit=4096,
    governor="performance",
    turbo=False,
    temporary_error="",
    has_cloudpickle=True,
    timer_step_s=4e-8,
    noise=0.01,
    noise_worst=0.02,
    jax=Probe(1.0, {"version": "0.10.2", "backend": "cpu", "devices": ["cpu"]}),
    runner=Probe(1.0, {"runners": 1}),
)

H200 = {"gpus": (Gpu(0, "NVIDIA H200", 141 * GIB),), "gpu_driver": "580.95.05", "gpu_note": ""}
ON_GPU = Probe(1.0, {"version": "0.10.2", "backend": "gpu", "devices": ["NVIDIA H200"]})


def finding(name: str, machine: dict[str, Any], around: dict[str, Any]) -> Check:
    checks = run_checks(replace(MACHINE, **machine), replace(AROUND, **around))
    (check,) = [check for check in checks if check.name == name]
    return check


def test_a_good_machine_has_nothing_to_mend() -> None:
    checks = run_checks(MACHINE, AROUND)
    assert {check.status for check in checks} == {"ok"}
    assert not [check.name for check in checks if check.mend]
    assert len({check.name for check in checks}) == len(checks)
    assert exit_status(checks) == 0
    assert render_doctor(MACHINE, checks).endswith("\nReady\n")


@pytest.mark.parametrize(
    ("name", "machine", "around", "status", "found", "mend"),
    [
        ("Python", {}, {"python_version": (3, 10, 4)}, "fail", "3.10.4, too old", "3.11 or newer"),
        ("JAX", {}, {"jax": Probe(0.1, error="No module named 'jax'")}, "fail", "No module named 'jax'", "reinstall"),
        ("GPU", H200, {"jax": ON_GPU}, "ok", "NVIDIA H200", ""),
        ("GPU", H200, {}, "warn", "computes on the processor", 'pip install "jax[cuda13]"'),
        ("GPU", {**H200, "gpu_driver": "535.1"}, {}, "warn", "computes on the processor", "update the driver 535.1"),
        ("GPU", H200, {"environ": {"JAX_PLATFORMS": "cpu"}}, "warn", "NVIDIA H200", "unset JAX_PLATFORMS"),
        ("GPU", {}, {}, "ok", "no GPU: NVML library not found", ""),
        (
            "runners",
            {},
            {"runner": Probe(9.0, error="no answer within 60 s")},
            "fail",
            "no answer",
            "--num-env-runners 0",
        ),
        ("cloudpickle", {}, {"has_cloudpickle": False}, "fail", "not installed", "pip install cloudpickle"),
        ("cores", {"cpu_quota": 1.5, "usable_cores": 1.5}, {}, "warn", "1.5 of 8 cores", "--cpus"),
        ("cores", {"affinity_cores": 1, "usable_cores": 1.0}, {}, "warn", "will not help", "with more"),
        ("cores", {"affinity_cores": 4, "usable_cores": 4.0}, {}, "ok", "taskset", ""),
        ("cores", {"physical_cores": 4}, {}, "ok", "4 physical", ""),
        ("load", {}, {"load_average": 6.0}, "warn", "6.00 over 8", "quiet"),
        ("load", {}, {"load_average": None}, "ok", "not told", ""),
        ("noise", {}, {"noise": 0.2, "noise_worst": 0.9}, "warn", "20.0%", "longer iterations"),
        ("frequency", {}, {"governor": "powersave"}, "warn", "powersave", "performance"),
        ("frequency", {}, {"turbo": True}, "ok", "turbo on", ""),
        ("frequency", {}, {"governor": None, "turbo": None}, "ok", "virtual machine", ""),
        ("timer", {}, {"timer_step_s": 1e-4}, "warn", "1e+02 us", "tsc"),
        ("memory", {"memory_available_bytes": GIB // 4}, {}, "fail", "too little", "free some"),
        ("memory", {"memory_available_bytes": GIB}, {}, "warn", "1.0 of 32.0 GiB", "few runners"),
        (
            "memory",
            {"memory_limit_bytes": 2 * GIB, "memory_available_bytes": GIB},
            {},
            "warn",
            "the machine has 32.0 GiB",
            "raise the container's limit",
        ),
        ("swap", {"swap_total_bytes": 8 * GIB, "swap_used_bytes": 2 * GIB}, {}, "warn", "2.0 of 8.0 GiB", "swapoff"),
        ("swap", {"swap_total_bytes": 8 * GIB}, {}, "ok", "0.0 of 8.0", ""),
        ("/dev/shm", {"shm_total_bytes": GIB // 16, "shm_free_bytes": GIB // 16}, {}, "warn", "0.06 of", "--shm-size"),
        ("/dev/shm", {"shm_total_bytes": None, "shm_free_bytes": None}, {}, "ok", "not there", ""),
        ("math threads", {}, {"environ": {"OMP_NUM_THREADS": "64"}}, "warn", "=64 with 8", "unset OMP_NUM_THREADS"),
        ("math threads", {}, {"environ": {"MKL_NUM_THREADS": "all"}}, "warn", "=all", "unset MKL_NUM_THREADS"),
        ("math threads", {}, {"environ": {"OMP_NUM_THREADS": "2"}}, "ok", "OMP_NUM_THREADS=2", ""),
        ("open files", {}, {"open_files_limit": 64}, "warn", "at most 64", "ulimit -n 4096"),
        ("open files", {}, {"open_files_limit": None}, "ok", "not limited", ""),
        ("temporary files", {}, {"temporary_error": "Read-only file system"}, "fail", "Read-only", "TMPDIR"),
        ("rendering", {}, {"environ": {}}, "ok", "MUJOCO_GL=osmesa", ""),
        ("rendering", H200, {"environ": {}}, "ok", "MUJOCO_GL=egl", ""),
        ("rendering", {}, {"environ": {"MUJOCO_GL": "egl"}}, "ok", "MUJOCO_GL=egl", ""),
    ],
)
def test_findings(
    name: str, machine: dict[str, Any], around: dict[str, Any], status: str, found: str, mend: str
) -> None:
    check = finding(name, machine, around)
    assert check.status == status
    assert found in check.found
    assert mend in check.mend
    assert bool(check.mend) == (status != "ok"), "what is wrong has a remedy, what is right needs none"


def test_a_failure_decides_the_exit_status_and_the_verdict() -> None:
    checks = run_checks(MACHINE, replace(AROUND, has_cloudpickle=False, load_average=8.0))
    assert exit_status(checks) == 1
    text = render_doctor(MACHINE, checks)
    assert text.endswith("\nNot ready: cloudpickle; also mind load\n")
    assert "-> pip install cloudpickle" in text


def test_text_fits_a_terminal_and_names_the_facts() -> None:
    machine = replace(MACHINE, versions={f"package-number-{index}": "1.2.3" for index in range(20)}, cpu_quota=2.5)
    text = render_doctor(machine, run_checks(machine, AROUND))
    assert max(map(len, text.splitlines())) <= 100
    assert "quota 2.5" in text
    assert machine.fingerprint in text
    assert "Test CPU" in text


def test_json_holds_machine_and_checks() -> None:
    checks = run_checks(MACHINE, replace(AROUND, has_cloudpickle=False))
    data = json.loads(doctor_json(MACHINE, checks))
    assert data["ok"] is False
    assert data["machine"]["fingerprint"] == MACHINE.fingerprint
    assert {"name": "cloudpickle", "status": "fail"}.items() <= next(
        check for check in data["checks"] if check["status"] == "fail"
    ).items()


def test_governor_and_turbo_are_read(tmp_path: Path) -> None:
    cpus = tmp_path / "devices/system/cpu"
    for name, text in {"cpu0/cpufreq/scaling_governor": "schedutil\n", "intel_pstate/no_turbo": "1\n"}.items():
        (cpus / name).parent.mkdir(parents=True, exist_ok=True)
        (cpus / name).write_text(text)
    asked: list[str] = []

    def probe(code: str) -> Probe:
        asked.append(code)
        return Probe(0.0)

    around = look_around(environ={"A": "b"}, sysfs=tmp_path, probe=probe)
    assert (around.governor, around.turbo) == ("schedutil", False)
    assert around.environ == {"A": "b"}
    assert around.temporary_error == ""
    assert len(asked) == 2
    (cpus / "intel_pstate/no_turbo").unlink()
    (cpus / "cpufreq").mkdir()
    (cpus / "cpufreq/boost").write_text("1")
    assert look_around(sysfs=tmp_path, probe=probe).turbo is True


def test_an_unwritable_temporary_folder_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    around = look_around(sysfs=tmp_path, probe=lambda code: Probe(0.0))
    assert around.temporary_error == "No such file or directory"


def test_noise_is_a_share_and_the_clock_steps() -> None:
    noise, worst = measure_noise(samples=4, sample_s=0.002)
    assert noise >= 0
    assert worst >= 0
    assert 0 < timer_step_s() < 0.1


@pytest.mark.parametrize(
    ("code", "timeout_s", "error"),
    [
        ("import no_such_module_at_all", 30.0, "No module named 'no_such_module_at_all'"),
        ("import os; os._exit(3)", 30.0, "exit status 3"),
        ("print('no json')", 30.0, "no answer"),
        ("while True: pass", 0.3, "within 0.3 s"),
    ],
)
def test_a_probe_that_fails_says_why(code: str, timeout_s: float, error: str) -> None:
    probe = run_probe(code, timeout_s=timeout_s)
    assert error in probe.error
    assert probe.answer == {}


def test_a_probe_finds_paceline_and_answers() -> None:
    probe = run_probe("import json, paceline.errors\nprint('chatter')\nprint(json.dumps({'a': 1}))")
    assert (probe.error, probe.answer) == ("", {"a": 1})


@pytest.mark.slow
def test_this_machine_is_fit_to_train() -> None:
    around = look_around()
    assert around.jax.error == ""
    assert around.jax.answer["devices"]
    assert around.runner.error == ""
    assert around.runner.answer == {"runners": 1}
