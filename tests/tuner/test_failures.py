"""What failures rule out, and what they must not."""

from __future__ import annotations

from typing import Any

from made_plans import candidate

from paceline.tuner.arena import Failed
from paceline.tuner.failures import ruled_out

SHAPES = [(runners, envs) for runners in (1, 2, 4) for envs in (1, 2, 4, 8, 16)]
PLANS = [candidate(*shape) for shape in SHAPES]
CRASH = Failed("crash", "it died", "RunnerDiedError")


def out(*failed: tuple[int, int], worked: Any = (), failure: Failed = CRASH) -> set[tuple[int, int]]:
    failures = {SHAPES.index(shape): failure for shape in failed}
    found = ruled_out(PLANS, failures, {SHAPES.index(shape) for shape in worked})
    return {SHAPES[index] for index in found}


def test_one_failure_teaches_nothing() -> None:
    assert not out((2, 8))


def test_two_rule_out_what_is_larger_in_every_way() -> None:
    assert out((2, 16), (2, 8)) == {(4, 8), (4, 16)}


def test_what_worked_tells_which_size_it_is() -> None:
    assert out((2, 8), (1, 8), worked=[(4, 4)]) == {(1, 16), (2, 16), (4, 8), (4, 16)}, "8 in a process"
    assert out((2, 1), (2, 4), worked=[(1, 16)]) == {(2, 2), (2, 8), (2, 16), *((4, e) for e in (1, 2, 4, 8, 16))}


def test_what_was_measured_already_stays() -> None:
    assert not out((2, 8), (2, 4), worked=[(4, 16)])
    assert (4, 8) not in out((2, 8), (1, 8), worked=[(4, 4), (4, 8)])


def test_different_failures_are_not_alike() -> None:
    failures = {SHAPES.index((2, 8)): CRASH, SHAPES.index((2, 16)): Failed("timeout", "it hung")}
    assert not ruled_out(PLANS, failures, ())


def test_reasons_name_the_plans_and_the_size() -> None:
    failures = {SHAPES.index((2, 8)): CRASH, SHAPES.index((1, 8)): CRASH}
    found = ruled_out(PLANS, failures, {SHAPES.index((4, 4))})
    assert found[SHAPES.index((4, 16))] == (
        "shm 2x8 and shm 1x8 failed alike (RunnerDiedError), and this has as many environments in a process"
    )


def test_memory_rules_out_by_what_plans_are_expected_to_hold() -> None:
    plans = [candidate(2, 1 << k, memory_bytes=k) for k in range(4)]
    assert set(ruled_out(plans, {2: Failed("oom", "too much")}, ())) == {3}


def test_where_nothing_works_the_smallest_is_tried_next() -> None:
    shapes = set(SHAPES)
    assert out((4, 16), (4, 8), (4, 4)) == shapes - {(4, 16), (4, 8), (4, 4), (1, 1)}
    assert out((4, 16), (4, 8), (4, 4), worked=[(1, 1)]) == set(), "any size may be the cause, and nothing is larger"
    assert out((4, 16), (4, 8), (4, 4), (1, 1)) == shapes - {(4, 16), (4, 8), (4, 4), (1, 1)}
