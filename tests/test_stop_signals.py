"""Handlers come for the length of a block, where they may, and go."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

from paceline.stop_signals import StopSignals


class Noted(StopSignals):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.seen.append(number)


def handlers() -> dict[signal.Signals, object]:
    return {number: signal.getsignal(number) for number in StopSignals.SIGNALS}


def test_signals_are_handled_within_the_block_alone() -> None:
    former = handlers()
    with Noted() as noted:
        for number in StopSignals.SIGNALS:
            signal.raise_signal(number)
        assert noted.seen == list(StopSignals.SIGNALS)
    assert handlers() == former


def test_former_handlers_come_back_after_an_error() -> None:
    former = handlers()
    with pytest.raises(OSError, match="disk full"), Noted():
        raise OSError("disk full")
    assert handlers() == former


def test_nohup_is_respected() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Noted() as noted:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            assert noted.seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_another_thread_changes_no_handlers() -> None:
    former = handlers()
    seen = []

    def enter() -> None:
        with Noted():
            seen.append(handlers())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [former]
