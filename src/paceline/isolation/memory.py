"""What the memory of a tree of processes comes to, and whether the kernel has killed for want of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paceline.measure.monitor import tree_pss_bytes, tree_rss_bytes

CGROUP_EVENT_FILES = (
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/proc/vmstat",
)
"""Where the kernel counts its out-of-memory kills: cgroup v2, v1, the whole machine; the first that answers is used."""


def tree_memory_bytes(pid: int, above_bytes: int) -> int:
    """Return what a process tree holds, in bytes; exact only where it matters, above ``above_bytes``."""
    held = tree_rss_bytes(pid)
    if held <= above_bytes:
        return held
    proportional = tree_pss_bytes(pid)
    return held if proportional is None else proportional


def kernel_oom_kills(files: Sequence[str] = CGROUP_EVENT_FILES) -> int | None:
    """Return how many processes the kernel has killed for memory so far; ``None`` where it does not tell."""
    for name in files:
        try:
            text = Path(name).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            continue
        for line in text.splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
    return None


def size_text(num_bytes: float) -> str:
    """Return bytes as text that a person reads: ``1.5 GiB``, ``312 MiB``."""
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"
