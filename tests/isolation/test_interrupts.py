from __future__ import annotations

import signal

import pytest

from paceline.isolation.interrupts import Interrupts


@pytest.mark.parametrize("number", Interrupts.SIGNALS)
def test_the_first_signal_is_noted_and_the_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not interrupts.requested
        signal.raise_signal(number)
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
