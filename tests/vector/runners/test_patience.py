"""How long to look out for another process before parking."""

from __future__ import annotations

import pytest

from paceline.vector.runners.patience import Patience, choose_waiting


@pytest.mark.parametrize(
    ("runners", "cores", "waiting"),
    [(1, 2, "spin"), (2, 2, "yield"), (3, 2, "park"), (2, 2.5, "yield"), (2, 1.9, "park"), (15, 16, "spin"),
     (16, 16, "yield"), (32, 2, "park")],
)  # fmt: skip
def test_nobody_spins_on_a_core_that_another_needs(runners: int, cores: float, waiting: str) -> None:
    assert choose_waiting(runners, cores) == waiting


def test_who_parks_never_looks_out() -> None:
    patience = Patience("park")
    patience.waited(1)
    assert patience.budget_ns == 0 and not patience.yields


@pytest.mark.parametrize("waiting", ["yield", "spin"])
def test_the_last_wait_tells_how_long_the_next_one_may_be(waiting: str) -> None:
    patience = Patience(waiting)  # type: ignore[arg-type]
    assert patience.budget_ns == 0, "the first wait may be long"
    patience.waited(100_000)
    assert patience.budget_ns == 200_000
    patience.waited(1)
    assert 1 < patience.budget_ns < 200_000, "short waits vary by more than their length"
    patience.waited(10_000_000)
    assert patience.budget_ns == 0, "an update of the learner is not worth looking out for"
    assert patience.yields == (waiting == "yield")
