"""The checks: each a pure function of the machine and the facts of the moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from paceline.doctor.surroundings import Surroundings, look_around
from paceline.machine import MATH_THREAD_VARIABLES, Machine

Status = Literal["ok", "warn", "fail"]

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: ``ok``, ``warn`` (slower, or less sure, than it need be) or ``fail`` (a run will not work).
        found: what was found, one sentence.
        mend: what to do about it; empty if nothing need be done.
    """

    name: str
    status: Status
    found: str
    mend: str = ""


def run_checks(machine: Machine, surroundings: Surroundings | None = None) -> list[Check]:
    """Check ``machine`` for what would slow or break a run.

    Args:
        machine: the machine.
        surroundings: facts of the moment; gathered by default, which takes a few seconds.
    """
    around = surroundings or look_around()
    checks: tuple[Callable[[Machine, Surroundings], Check], ...] = (
        _check_python, _check_jax, _check_gpu, _check_runner, _check_cloudpickle, _check_cores, _check_load,
        _check_noise, _check_frequency, _check_timer, _check_memory, _check_swap, _check_shared_memory, _check_threads,
        _check_open_files, _check_temporary_folder, _check_rendering,
    )  # fmt: skip
    return [check(machine, around) for check in checks]


def exit_status(checks: Sequence[Check]) -> int:
    """Return the exit status of ``paceline doctor``: 1 if a check failed, else 0."""
    return int(any(check.status == "fail" for check in checks))


def _check_python(machine: Machine, around: Surroundings) -> Check:
    version = ".".join(map(str, around.python_version))
    if around.python_version < (3, 11):
        return Check("Python", "fail", f"Python {version}, too old", "install Python 3.11 or newer")
    return Check("Python", "ok", f"Python {version}")


def _check_jax(machine: Machine, around: Surroundings) -> Check:
    if around.jax.error:
        return Check("JAX", "fail", f"JAX does not work: {around.jax.error}", "reinstall it: pip install -U paceline")
    answer = around.jax.answer
    devices = ", ".join(answer.get("devices", ()))
    found = f"JAX {answer.get('version')} computes on {devices} (loaded and compiled in {around.jax.seconds:.1f} s)"
    return Check("JAX", "ok", found)


def _check_gpu(machine: Machine, around: Surroundings) -> Check:
    if not machine.gpus:
        return Check("GPU", "ok", f"{machine.gpu_note or 'no GPU'}; everything runs on the processor")
    names = ", ".join(gpu.name for gpu in machine.gpus)
    if around.jax.error or around.jax.answer.get("backend") != "cpu":
        return Check("GPU", "ok", names)
    forced = around.environ.get("JAX_PLATFORMS", "")
    if forced:
        mend = f"unset JAX_PLATFORMS (now {forced!r})"
    elif machine.gpu_driver and _leading_int(machine.gpu_driver) < 580:
        mend = f'update the driver {machine.gpu_driver} to 580 or newer and pip install "jax[cuda13]"'
    else:
        mend = 'pip install "jax[cuda13]"'
    return Check("GPU", "warn", f"{names} is there, but JAX computes on the processor", mend)


def _check_runner(machine: Machine, around: Surroundings) -> Check:
    if around.runner.error:
        return Check(
            "runners", "fail", f"a runner process does not start: {around.runner.error}",
            "use --num-env-runners 0 meanwhile, and see whether the machine limits processes or shared memory",
        )  # fmt: skip
    return Check("runners", "ok", f"a runner process starts and steps ({around.runner.seconds:.1f} s with its imports)")


def _check_cloudpickle(machine: Machine, around: Surroundings) -> Check:
    if not around.has_cloudpickle:
        return Check(
            "cloudpickle", "fail", "not installed: no environment can be sent to a runner", "pip install cloudpickle"
        )
    return Check("cloudpickle", "ok", "installed: lambdas and local functions can make environments in runners")


def _check_cores(machine: Machine, around: Surroundings) -> Check:
    found = f"{machine.usable_cores:g} of {machine.logical_cores} cores are usable"
    if machine.cpu_quota is not None and machine.cpu_quota < machine.affinity_cores:
        return Check(
            "cores", "warn", f"{found}: the container's quota is {machine.cpu_quota:g}, and programs that count cores "
            f"see {machine.affinity_cores}",
            "nothing for paceline, which heeds the quota; to have more, raise it (docker run --cpus=..)",
        )  # fmt: skip
    if machine.usable_cores < 2:
        mend = "one core cannot step environments and learn at once; use a machine with more"
        return Check("cores", "warn", f"{found}: runner processes will not help", mend)
    if machine.affinity_cores < machine.logical_cores:
        return Check("cores", "ok", f"{found} (taskset, a batch system or a cpuset keeps the rest)")
    if machine.physical_cores and machine.physical_cores < machine.logical_cores:
        found += f" ({machine.physical_cores} physical: the second thread of a core adds little)"
    return Check("cores", "ok", found)


def _check_load(machine: Machine, around: Surroundings) -> Check:
    load = around.load_average
    if load is None:
        return Check("load", "ok", "not told by this system")
    share = load / machine.usable_cores
    found = f"load average {load:.2f} over {machine.usable_cores:g} usable cores"
    if share > 0.5:
        return Check("load", "warn", f"{found}: others compute here", "measure when the machine is quiet; see `top`")
    return Check("load", "ok", found)


def _check_noise(machine: Machine, around: Surroundings) -> Check:
    found = (
        f"equal pieces of 20 ms of work differ by {around.noise:.1%} (coefficient of variation; the slowest took "
        f"{around.noise_worst:.0%} longer than the median)"
    )
    if around.noise > 0.05:
        mend = "measure longer iterations and more of them; small differences cannot be told here"
        return Check("noise", "warn", found, mend)
    return Check("noise", "ok", found)


def _check_frequency(machine: Machine, around: Surroundings) -> Check:
    if around.governor is None and around.turbo is None:
        return Check("frequency", "ok", "not told by this system (a virtual machine, or not Linux)")
    turbo = {None: "", True: ", turbo on: speed depends on heat and on how many cores work", False: ", turbo off"}
    found = f"governor {around.governor or 'unknown'}{turbo[around.turbo]}"
    if around.governor in ("powersave", "conservative", "ondemand", "userspace"):
        # intel_pstate's powersave does clock up under load, only later
        mend = "for steady figures: sudo cpupower frequency-set -g performance"
        return Check("frequency", "warn", found, mend)
    return Check("frequency", "ok", found)


def _check_timer(machine: Machine, around: Surroundings) -> Check:
    step_us = around.timer_step_s * 1e6
    found = f"the clock steps by {step_us:.2g} us"
    if step_us > 1:
        mend = "the ledger of quick phases is coarse; prefer a kernel with clocksource tsc"
        return Check("timer", "warn", found, mend)
    return Check("timer", "ok", found)


def _check_memory(machine: Machine, around: Surroundings) -> Check:
    available = machine.memory_available_bytes
    found = f"{available / GIB:.1f} of {machine.memory_limit_bytes / GIB:.1f} GiB are free"
    limited = machine.memory_limit_bytes < machine.memory_total_bytes
    if limited:
        found += f" (a limit; the machine has {machine.memory_total_bytes / GIB:.1f} GiB)"
    raise_limit = " or raise the container's limit" if limited else ""
    if available < GIB // 2:
        return Check("memory", "fail", f"{found}: too little for JAX and one runner", f"free some{raise_limit}")
    if available < 2 * GIB:
        return Check("memory", "warn", found, f"use few runners, free some{raise_limit}")
    return Check("memory", "ok", found)


def _check_swap(machine: Machine, around: Surroundings) -> Check:
    if not machine.swap_total_bytes:
        return Check("swap", "ok", "no swap space")
    used = f"{machine.swap_used_bytes / GIB:.1f} of {machine.swap_total_bytes / GIB:.1f} GiB of swap are in use"
    if machine.swap_used_bytes > GIB // 4:
        return Check("swap", "warn", f"{used}: timings may include paging", "free memory, then swapoff -a && swapon -a")
    return Check("swap", "ok", used)


def _check_shared_memory(machine: Machine, around: Surroundings) -> Check:
    if machine.shm_total_bytes is None or machine.shm_free_bytes is None:
        return Check("/dev/shm", "ok", "not there; paceline does not need it")
    found = f"{machine.shm_free_bytes / GIB:.2f} of {machine.shm_total_bytes / GIB:.2f} GiB are free"
    if machine.shm_free_bytes < GIB // 4:
        mend = "docker run --shm-size=2g, or remount it larger"
        return Check("/dev/shm", "warn", f"{found}; paceline does not need it, Ray and PyTorch's loaders do", mend)
    return Check("/dev/shm", "ok", found)


def _check_threads(machine: Machine, around: Surroundings) -> Check:
    wrong, given = [], []
    for name in MATH_THREAD_VARIABLES:
        value = around.environ.get(name)
        if value is None:
            continue
        given.append(f"{name}={value}")
        if not value.isdigit() or not 1 <= int(value) <= machine.whole_cores:
            wrong.append(f"{name}={value}")
    if wrong:
        found = f"{', '.join(wrong)} with {machine.whole_cores} usable core(s)"
        return Check("math threads", "warn", found, f"unset {' '.join(item.partition('=')[0] for item in wrong)}")
    if given:
        return Check("math threads", "ok", f"{', '.join(given)} (a run sets its own, from its plan)")
    return Check("math threads", "ok", "no variable set; a run sets its own, from its plan")


def _check_open_files(machine: Machine, around: Surroundings) -> Check:
    limit = around.open_files_limit
    if limit is None:
        return Check("open files", "ok", "not limited")
    needed = 128 + 8 * machine.whole_cores  # the libraries' own files, and pipes and memory of a runner per core
    if limit < needed:
        mend = f"ulimit -n {max(4096, needed)}"
        return Check("open files", "warn", f"at most {limit}; a runner per core may need {needed}", mend)
    return Check("open files", "ok", f"at most {limit}")


def _check_temporary_folder(machine: Machine, around: Surroundings) -> Check:
    if around.temporary_error:
        mend = "set TMPDIR to a folder that you may write to"
        return Check("temporary files", "fail", f"cannot be written: {around.temporary_error}", mend)
    return Check("temporary files", "ok", "can be written")


def _check_rendering(machine: Machine, around: Surroundings) -> Check:
    chosen = around.environ.get("MUJOCO_GL")
    if chosen:
        return Check("rendering", "ok", f"MUJOCO_GL={chosen}")
    if machine.os_name == "Darwin" or around.environ.get("DISPLAY") or around.environ.get("WAYLAND_DISPLAY"):
        return Check("rendering", "ok", "there is a display")
    best = "egl" if machine.gpus else "osmesa (software; needs libosmesa6) or egl"
    return Check("rendering", "ok", f"no display: training needs none; to render MuJoCo, set MUJOCO_GL={best}")


def _leading_int(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match.group()) if match else 0
