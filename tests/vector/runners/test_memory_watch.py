"""The watch over what runners use."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

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
    assert "from 10 to 100 MiB" in str(error) and error.env_index == 4
    assert "runner 1 (env 4)" in str(watch.error(1, range(4, 5)))


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


def test_the_default_leaves_a_fifth_of_the_machine() -> None:
    limit = default_limit_bytes()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert limit is not None and 0 < limit <= 0.8 * total
    assert MemoryWatch([], None).limit_bytes == limit
