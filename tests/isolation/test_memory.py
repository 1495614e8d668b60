from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline.isolation.memory import kernel_oom_kills, size_text, tree_memory_bytes
from paceline.measure.monitor import tree_rss_bytes

linux_only = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n", 2),  # cgroup v2
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),  # cgroup v1
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # v1 before Linux 4.13
        ("", None),
    ],
)
def test_the_kernels_count_is_read_from_whatever_has_it(tmp_path: Path, text: str, count: int | None) -> None:
    (tmp_path / "events").write_text(text)
    assert kernel_oom_kills([str(tmp_path / "missing"), str(tmp_path / "events")]) == count


def test_sizes_are_said_as_people_say_them() -> None:
    assert size_text(300 * 2**20) == "300 MiB"
    assert size_text(1.5 * 2**30) == "1.5 GiB"


@linux_only
def test_shared_pages_do_not_count_against_the_limit_twice() -> None:
    held = tree_rss_bytes(os.getpid())
    assert tree_memory_bytes(os.getpid(), above_bytes=2 * held) <= 2 * held
    proportional = tree_memory_bytes(os.getpid(), above_bytes=0)
    assert 0 < proportional <= 1.1 * held
