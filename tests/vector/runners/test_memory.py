"""A block of shared memory is refused where it does not fit, before the kernel ends someone for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import OutOfMemoryError
from paceline.machine import Paths
from paceline.vector.runners.memory import create_block, grow_block

MIB = 2**20


def told(folder: Path, available: int, limit: int, held: int) -> Paths:
    """Write what a kernel tells, in MiB, of a machine with so much available and of a container."""
    for name, text in {
        "proc/meminfo": f"MemTotal: {2**20} kB\nMemAvailable: {available * 1024} kB\n",
        "proc/self/cgroup": "0::/mine\n",
        "cgroup/mine/memory.max": f"{limit * MIB}\n",
        "cgroup/mine/memory.current": f"{held * MIB}\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Paths(proc=folder / "proc", cgroup=folder / "cgroup", shm=folder / "shm", root=folder)


@pytest.fixture
def block() -> Iterator[int]:
    fd = create_block()
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("available", "limit", "held"), [(900, 100, 93), (7, 100, 0)])
def test_what_the_container_or_the_machine_has_no_room_for_is_refused(
    block: int, available: int, limit: int, held: int, tmp_path: Path
) -> None:
    paths = told(tmp_path, available, limit, held)
    with pytest.raises(OutOfMemoryError, match=r"expected 8\.0 MiB of shared memory .*, got 7\.0 MiB are available"):
        grow_block(block, 8 * MIB, paths=paths)
    assert os.fstat(block).st_size == 0
    with grow_block(block, 7 * MIB, paths=paths) as mapped:
        assert len(mapped) == 7 * MIB
