"""The watch over what runners use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from paceline.machine import Paths
from paceline.vector.runners.memory_watch import MemoryWatch, default_limit_bytes, private_bytes

MIB = 2**20


def test_the_runner_that_grew_most_is_named_once_all_use_too_much() -> None:
    used: dict[int, int | None] = {1: 100 * MIB, 2: 10 * MIB, 3: None}
    watch = MemoryWatch([1, 2, 3], 200 * MIB, read_private_bytes=used.get)
    assert watch.check() is None
    used[2] = 100 * MIB
    assert watch.check() is None, "exactly the limit is not too much"
    used[1] = 101 * MIB
    assert watch.check() == 1, "the largest is not the one that grew"
    error = watch.error(1, range(4, 6))
    assert "at most 200 MiB together, got 201 MiB; runner 1 (envs 4 to 5)" in str(error)
    assert "from 10 to 100 MiB" in str(error) and error.env_index is None, "any of them may be it"
    alone = watch.error(1, range(4, 5), seed=12, step=3, action=1)
    assert "runner 1 (env 4)" in str(alone) and str(alone).endswith("(env 4, seed 12, step 3, last action 1)")
    assert (alone.env_index, alone.seed, alone.step, alone.action) == (4, 12, 3, 1)


def test_a_replacement_begins_anew_and_the_others_do_not() -> None:
    used = {1: 10 * MIB, 2: 10 * MIB}
    watch = MemoryWatch([1, 2], 100 * MIB, read_private_bytes=lambda pid: used.get(pid))
    used |= {1: 60 * MIB, 2: 80 * MIB}
    assert watch.check() == 1
    used[7] = 20 * MIB
    watch.replace(1, 7)
    assert watch.check() is None
    used[7] = 60 * MIB
    assert watch.check() == 0, "its 50 MiB outweigh the 40 MiB of the new one"
    assert "from 10 to 60 MiB" in str(watch.error(0, range(1)))


def test_a_dead_process_uses_nothing() -> None:
    used: dict[int, int | None] = {1: 10 * MIB}
    watch = MemoryWatch([1], 5 * MIB, read_private_bytes=used.get)
    assert watch.check() == 0
    used.clear()
    assert watch.check() is None


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_private_memory_grows_with_what_is_touched() -> None:
    before = private_bytes(os.getpid())
    block = np.ones(64 * MIB, np.uint8)
    after = private_bytes(os.getpid())
    assert before is not None and after is not None
    assert 32 * MIB < after - before < 96 * MIB, "others may take or give back some meanwhile"
    assert block.nbytes == 64 * MIB
    assert private_bytes(2**22 + 1) is None


def told(folder: Path, total: int, available: int, limit: int | None = None, held: int = 0) -> Paths:
    """Write what a kernel tells, in MiB, of a machine and perhaps of a container."""
    files = {"proc/meminfo": f"MemTotal: {total * 1024} kB\nMemAvailable: {available * 1024} kB\n"}
    if limit is not None:
        files |= {
            "proc/self/cgroup": "0::/mine\n",
            "cgroup/mine/memory.max": f"{limit * MIB}\n",
            "cgroup/mine/memory.current": f"{(held + 7) * MIB}\n",
            "cgroup/mine/memory.stat": f"inactive_file {7 * MIB}\n",
        }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Paths(proc=folder / "proc", cgroup=folder / "cgroup", shm=folder / "shm", root=folder)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((1000, 1000), 800),
        ((1000, 100), 50 + 90),
        ((1000, 1000, 500), 400),
        ((1000, 1000, 500, 400), 50 + 90),
        ((1000, 10, 500, 400), 50 + 9),
        ((100, 100, 500, 0), 80),
    ],
)
def test_the_default_leaves_something_to_the_machine_the_container_and_others(
    facts: tuple[int, ...], expected: int, tmp_path: Path
) -> None:
    limit = default_limit_bytes(50 * MIB, told(tmp_path, *facts))
    assert limit is not None and abs(limit - expected * MIB) <= 1


def test_where_nothing_is_told_nothing_is_limited(tmp_path: Path) -> None:
    assert default_limit_bytes(5, Paths(proc=tmp_path, cgroup=tmp_path)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_default_is_of_this_machine() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = MemoryWatch([], None).limit_bytes
    assert limit is not None and 0 < limit <= 0.8 * total
