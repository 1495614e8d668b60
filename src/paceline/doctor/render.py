"""The findings as plain text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from paceline.doctor.checks import Check, exit_status
from paceline.machine import Machine

GIB = 2**30


def render_doctor(machine: Machine, checks: Sequence[Check]) -> str:
    """Return the machine and the findings as plain text, at most 100 columns where words allow."""
    quota = "" if machine.cpu_quota is None else f", quota {machine.cpu_quota:g}"
    physical = "?" if machine.physical_cores is None else machine.physical_cores
    gpus = [
        f"{gpu.name}, {gpu.memory_total_bytes / GIB:.0f} GiB" if gpu.memory_total_bytes else gpu.name
        for gpu in machine.gpus
    ]
    facts = [
        ("processor", f"{machine.cpu_model} ({machine.architecture})"),
        (
            "cores",
            f"{machine.usable_cores:g} usable (logical {machine.logical_cores}, physical {physical}, affinity "
            f"{machine.affinity_cores}{quota})",
        ),
        (
            "memory",
            f"{machine.memory_limit_bytes / GIB:.1f} GiB usable, {machine.memory_available_bytes / GIB:.1f} GiB free "
            f"(RAM {machine.memory_total_bytes / GIB:.1f} GiB)",
        ),
        ("GPU", "; ".join([*gpus, machine.gpu_note] if machine.gpu_note else gpus)),
        ("system", f"{machine.os_name}, kernel {machine.kernel}{', in a container' if machine.in_container else ''}"),
        ("Python", machine.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in machine.versions.items())),
        ("fingerprint", machine.fingerprint),
    ]
    lines = ["Machine"]
    for name, value in facts:
        lines += _wrap(f"  {name:<12}", value)
    lines += ["", "Checks"]
    for check in checks:
        lines += _wrap(f"  {check.status:<5}{check.name:<16}", check.found)
        if check.mend:
            lines += _wrap(" " * 23 + "-> ", check.mend)
    return "\n".join([*lines, "", _verdict(checks)]) + "\n"


def doctor_json(machine: Machine, checks: Sequence[Check]) -> str:
    """Return the machine and the findings as JSON: ``{"machine": .., "checks": [..], "ok": ..}``."""
    data = {
        "machine": machine.as_dict(),
        "checks": [asdict(check) for check in checks],
        "ok": exit_status(checks) == 0,
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _verdict(checks: Sequence[Check]) -> str:
    failed = [check.name for check in checks if check.status == "fail"]
    warned = [check.name for check in checks if check.status == "warn"]
    if failed:
        return f"Not ready: {', '.join(failed)}" + (f"; also mind {', '.join(warned)}" if warned else "")
    if warned:
        return f"Ready; mind {', '.join(warned)}"
    return "Ready"


def _wrap(head: str, text: str, width: int = 100) -> list[str]:
    """Return ``text`` behind ``head``, further lines indented as far; words are never cut."""
    lines, line = [], head
    for word in text.split():
        if len(line) + len(word) > width and line.strip() and line != head:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += word + " "
    return [*lines, line.rstrip()]
