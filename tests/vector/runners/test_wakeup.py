"""Signals between processes, in both forms that systems have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.vector.runners.wakeup import (
    CLOSE,
    CLOSE_BIT,
    REQUEST,
    REQUEST_BIT,
    SIGNAL_SIZE,
    STEP,
    STEP_BIT,
    SignalEnds,
    decode,
    done,
    num_done,
    num_requested,
    step_some,
)


def test_meanings_keep_out_of_each_others_way() -> None:
    for signal, bit in ((STEP, STEP_BIT), (REQUEST, REQUEST_BIT), (CLOSE, CLOSE_BIT)):
        assert decode(signal) == bit and num_requested(decode(signal)) == 0
    added = decode(step_some(3)) + decode(REQUEST) + decode(step_some(4)) + decode(CLOSE)
    assert num_requested(added) == 7 and added & REQUEST_BIT and added & CLOSE_BIT and not added & STEP_BIT
    assert decode(b"") == 0, "the other side is gone"


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3)), min_size=1, max_size=20))
def test_signals_that_were_not_delivered_yet_add_up(sent: list[tuple[int, int]]) -> None:
    value = sum(decode(done(count, messages=messages)) for count, messages in sent)
    assert num_done(value) == (sum(count for count, _ in sent), sum(messages for _, messages in sent))
    assert all(len(done(count)) == SIGNAL_SIZE for count, _ in sent)


@pytest.mark.parametrize("has_eventfd", [True, False])
def test_one_write_is_one_read(has_eventfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_eventfd:
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this system has no eventfd")
    before = len(list(Path("/dev/fd").iterdir()))
    ends = SignalEnds.create()
    assert (ends.read_fd == ends.write_fd) == has_eventfd
    assert not os.get_inheritable(ends.read_fd) and not os.get_inheritable(ends.write_fd)
    os.write(ends.write_fd, step_some(5))
    assert num_requested(decode(os.read(ends.read_fd, SIGNAL_SIZE))) == 5
    for fd in set(ends):
        os.close(fd)
    assert len(list(Path("/dev/fd").iterdir())) == before
