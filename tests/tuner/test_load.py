"""When other programs are worth a word."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from paceline.measure.others import OthersMeter
from paceline.tuner.load import Load

NAMES = ("serial 0x8", "shm 2x8", "shm 2x16")


class Scripted(OthersMeter):
    """Tells what it is told to."""

    def __init__(self, answers: Sequence[float | None]) -> None:
        self._answers = iter(answers)

    def read(self) -> float | None:
        return next(self._answers)


def load(*beside: tuple[int, float | None], cores: float = 2.0) -> Load:
    found = Load(cores, Scripted([busy for _, busy in beside]))
    for plan, _ in beside:
        found.note(plan)
    return found


def test_what_is_beside_the_slices_has_a_median_and_a_most() -> None:
    found = load((0, 0.1), (1, 0.2), (1, 0.9), (2, None))
    assert (found.median, found.most) == (0.2, 0.9)
    assert (found.of(1), found.of(2)) == (pytest.approx(0.55), None)


def test_of_an_unknown_load_nothing_is_said() -> None:
    found = load((0, None), (1, None))
    assert (found.median, found.most, found.opening(), found.cautions(NAMES)) == (None, None, "", ())


def test_a_quiet_machine_is_not_mentioned() -> None:
    found = load((0, 0.02), (1, 0.05), (0, 0.2), (1, 0.1))
    assert found.cautions(NAMES) == ()


def test_a_busy_one_is_at_the_beginning_and_in_the_answer() -> None:
    before = Load(2.0, Scripted([0.9]))
    before.look_before(lambda: True)
    assert before.before == 0.9
    assert before.opening().startswith(
        "Other programs keep 0.9 of 2 cores busy: results hold for a machine that is as busy; close them and tune again"
    )
    (told,) = load((0, 0.9), (1, 1.0), (0, 0.9)).cautions(NAMES)
    assert told.startswith("Other programs kept 0.9 of 2 cores busy (at most 1.0): results hold")


def test_plans_that_were_measured_beside_different_others_are_named() -> None:
    told = load((0, 0.0), (1, 0.0), (1, 0.1), (2, 1.5)).cautions(NAMES)
    assert len(told) == 1
    assert "beside shm 2x16 other programs kept 1.5 cores busy, beside serial 0x8 0.0" in told[0]
    assert not load((0, 0.0), (2, 1.5), cores=64.0).cautions(NAMES), "of 64 cores that is nothing"
