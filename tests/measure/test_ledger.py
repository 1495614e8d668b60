"""The ledger on a fake clock: what is claimed and what is not adds up to wall time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.measure.ledger import (
    ENV_STEP,
    INFERENCE,
    LEARNER_UPDATE,
    PHASES,
    UNATTRIBUTED,
    Ledger,
    LedgerEntry,
)


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = 5_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_phases_and_the_rest_add_up(clock: FakeClock) -> None:
    ledger = Ledger(clock)
    with ledger.phase(INFERENCE):
        clock.now_ns += 2_000_000_000
    clock.now_ns += 500_000_000
    with ledger.phase(LEARNER_UPDATE):
        clock.now_ns += 1_500_000_000
    entry = ledger.snapshot()
    assert entry.wall_s == pytest.approx(4.0)
    assert entry.phases[INFERENCE] == pytest.approx(2.0)
    assert entry.phases[LEARNER_UPDATE] == pytest.approx(1.5)
    assert entry.phases[UNATTRIBUTED] == pytest.approx(0.5)
    assert set(entry.phases) == {*PHASES, UNATTRIBUTED}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*PHASES, UNATTRIBUTED]), st.integers(0, 10**12)), max_size=40))
def test_any_history_adds_up_to_wall_time(history: list[tuple[str, int]]) -> None:
    clock = FakeClock()
    ledger = Ledger(clock)
    for phase, duration_ns in history:
        clock.now_ns += duration_ns
        if phase != UNATTRIBUTED:
            ledger.add_ns(phase, duration_ns)
    entry = ledger.snapshot()
    assert sum(entry.phases.values()) == pytest.approx(entry.wall_s)
    assert entry.wall_s == pytest.approx(sum(duration for _, duration in history) * 1e-9)


def test_a_cut_begins_the_next_interval_at_the_same_instant(clock: FakeClock) -> None:
    ledger = Ledger(clock)
    ledger.add_ns(ENV_STEP, 3)
    clock.now_ns += 10
    first = ledger.cut()
    clock.now_ns += 7
    second = ledger.cut()
    assert (first.wall_s, second.wall_s) == pytest.approx((1e-8, 7e-9))
    assert second.phases[ENV_STEP] == 0.0
    assert (first + second).wall_s == pytest.approx(1.7e-8)


def test_a_snapshot_changes_nothing(clock: FakeClock) -> None:
    ledger = Ledger(clock)
    clock.now_ns += 10
    ledger.add_ns(ENV_STEP, 4)
    assert ledger.snapshot().as_dict() == ledger.snapshot().as_dict()


def test_start_forgets(clock: FakeClock) -> None:
    ledger = Ledger(clock)
    clock.now_ns += 10
    ledger.add_ns(ENV_STEP, 4)
    ledger.start()
    clock.now_ns += 2
    entry = ledger.snapshot()
    assert entry.wall_s == pytest.approx(2e-9)
    assert entry.phases[ENV_STEP] == 0.0


def test_a_phase_that_raises_is_still_booked(clock: FakeClock) -> None:
    ledger = Ledger(clock)
    with pytest.raises(RuntimeError), ledger.phase(ENV_STEP):
        clock.now_ns += 6
        raise RuntimeError
    assert ledger.snapshot().phases[ENV_STEP] == pytest.approx(6e-9)


def test_unknown_phases_are_refused(clock: FakeClock) -> None:
    ledger = Ledger(clock)
    with pytest.raises(KeyError):
        ledger.add_ns("coffee", 1)
    with pytest.raises(KeyError):
        ledger.add_ns(UNATTRIBUTED, 1)  # it is what is left, never claimed


def test_entries_add_over_the_union_of_their_phases() -> None:
    total = LedgerEntry(1.0, {"a": 1.0}) + LedgerEntry(2.0, {"b": 2.0})
    assert total.as_dict() == {"wall_s": 3.0, "phases": {"a": 1.0, "b": 2.0}}


def test_excluded_time_is_no_part_of_the_interval() -> None:
    now = [0]
    ledger = Ledger(lambda: now[0])
    ledger.start()
    now[0] = 5_000_000_000
    ledger.exclude_ns(3_000_000_000)
    entry = ledger.cut()
    assert entry.wall_s == pytest.approx(2.0)
    assert sum(entry.phases.values()) == pytest.approx(2.0)
