"""Signals stop a run where nothing can be torn."""

from __future__ import annotations

import os
import signal

import pytest

from paceline.training.interrupts import Interrupts


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_until_it_is_allowed(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        with interrupts.allowed():
            pass
        send(number)  # nothing is raised: a checkpoint may be half written
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            raise AssertionError("the block must not be entered")


def test_a_signal_is_raised_at_once_where_it_is_allowed() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            send(signal.SIGTERM)
            raise AssertionError("expected to be interrupted before")
        send(signal.SIGTERM)  # while it saves: waits
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)  # the third breaks off even that
