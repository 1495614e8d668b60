"""The sentence on two contenders says what their intervals say, and nothing more."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_runs import ASYNC, IMPALA, PPO, RUNNERS, made_group, made_run

from paceline.analysis.duel import Duel, Mark, duel_sentence, leading
from paceline.analysis.standings import compare_runs
from paceline.analysis.stats import Estimate, Interval


def estimate(value: float, low: float, high: float, confidence: float = 0.95) -> Estimate:
    return Estimate(value, Interval(low, high, confidence), count=6)


SIX = Mark(6, (1.0,) * 6, (1.0,) * 6, estimate(1, 1, 1), estimate(20.0, 19, 21))
FASTER, SLOWER, ALIKE, UNSURE = (
    estimate(1.9, 1.8, 2.0), estimate(0.52, 0.5, 0.55), estimate(1.0, 0.99, 1.01), estimate(0.97, 0.85, 1.1),
)  # fmt: skip
SOONER, LATER, AT_ONCE, UNKNOWN = (
    estimate(0.6, 0.5, 0.7), estimate(1.6, 1.5, 1.7), estimate(1.0, 0.98, 1.02), estimate(0.9, 0.6, 1.4),
)  # fmt: skip
EVEN = estimate(0.55, 0.3, 0.8)
DUEL = Duel("impala", "ppo", "same", FASTER, SOONER, EVEN, 0.7, (SIX, SIX))
TIE = "which learns better per step cannot be told (probability of improvement 0.55, 95% 0.30 to 0.80)."


@pytest.mark.parametrize(
    ("speed", "time", "sentence"),
    [
        (FASTER, SOONER, "impala trains 1.90x as fast as ppo and reaches a return of 450 in 0.60 of its time; "),
        (FASTER, LATER, "impala trains 1.90x as fast as ppo but needs 1.60x its time to reach a return of 450; "),
        (SLOWER, LATER, "impala trains at 0.52x the speed of ppo and needs 1.60x its time to reach a return of 450; "),
        (SLOWER, SOONER, "impala trains at 0.52x the speed of ppo but reaches a return of 450 in 0.60 of its time; "),
        (ALIKE, AT_ONCE, "impala trains as fast as ppo (within 3%) and reaches a return of 450 in its time as well "
                         "(within 3%); "),
        (FASTER, UNKNOWN, "impala trains 1.90x as fast as ppo; which reaches a return of 450 sooner cannot be told "
                          "(0.90x, 95% 0.60 to 1.40); "),
        (UNSURE, SOONER, "Whether impala trains faster than ppo cannot be told (0.97x, 95% 0.85 to 1.10); impala "
                         "reaches a return of 450 in 0.60 of ppo's time; "),
        (UNSURE, LATER, "Whether impala trains faster than ppo cannot be told (0.97x, 95% 0.85 to 1.10); impala needs "
                        "1.60x ppo's time to reach a return of 450; "),
        (UNSURE, UNKNOWN, "Whether impala trains faster than ppo cannot be told (0.97x, 95% 0.85 to 1.10); which "
                          "reaches a return of 450 sooner cannot be told (0.90x, 95% 0.60 to 1.40); "),
        (Estimate(1.9, None, "2 iterations, a 95% interval needs 6"), SOONER,
         "Whether impala trains faster than ppo cannot be told (1.90x; 2 iterations, a 95% interval needs 6); impala "
         "reaches a return of 450 in 0.60 of ppo's time; "),
        (None, SOONER, "how fast impala trains was not measured; impala reaches a return of 450 in 0.60 of ppo's "
                       "time; "),
    ],
)  # fmt: skip
def test_speed_and_time(speed: Estimate | None, time: Estimate, sentence: str) -> None:
    assert duel_sentence(replace(DUEL, sps_ratio=speed, seconds_ratio=time), 450.0) == sentence + TIE


CANNOT = "which learns better per step cannot be told"


@pytest.mark.parametrize(
    ("improvement", "by_chance", "learnt", "clause"),
    [
        (estimate(0.95, 0.8, 1.0), 0.01, "better",
         "impala learns better per step (probability of improvement 0.95, 95% 0.80 to 1.00)"),
        (estimate(0.05, 0.0, 0.2), 0.01, "worse",
         "impala learns worse per step (probability of improvement 0.05, 95% 0.00 to 0.20)"),
        (EVEN, 0.7, "cannot tell", TIE[:-1]),
        (estimate(1.0, 1.0, 1.0), 0.1, "cannot tell",
         f"{CANNOT} (probability of improvement 1.00, but 10% of random exchanges of seeds between them differ as "
         f"much)"),
        (Estimate(1.0, None, "1 seed each, a 95% interval needs 4"), 1.0, "cannot tell",
         f"{CANNOT} (1 seed each, a 95% interval needs 4)"),
        (None, None, "cannot tell", f"{CANNOT} (no episode ended)"),
    ],
)  # fmt: skip
def test_learning(improvement: Estimate | None, by_chance: float | None, learnt: str, clause: str) -> None:
    found = replace(DUEL, improvement=improvement, by_chance=by_chance)
    assert found.learnt == learnt
    assert duel_sentence(found, 450.0).endswith(f"; {clause}.")


def test_nothing_is_told_by_an_interval_of_less_than_95_per_cent() -> None:
    """Three seeds that are all twice as soon give an interval of 75 %, four iterations one of 88 %."""
    runs = [*made_group([500.0] * 3), *made_group([500.0] * 3, sps=10_000.0, plan=RUNNERS)]
    found = compare_runs(runs)
    assert "which reaches a return of 447 sooner cannot be told (1.9 s against 3.8" in found.headline
    assert "; 3 seeds each, a 95% interval needs 6); which" in found.headline
    assert found.duels[0].time == "cannot tell" and found.duels[0].speed == "higher"
    six = compare_runs([*made_group([500.0] * 6), *made_group([500.0] * 6, sps=10_000.0, plan=RUNNERS)])
    assert "2.01x as fast as ppo 0x16 and reaches a return of 447 in 0.50 of its time; which" in six.headline
    short = compare_runs([made_run(iterations=4), made_run(iterations=4, sps=10_000.0, plan=RUNNERS)])
    assert short.headline.startswith("Whether ppo 2x8 runner trains faster than ppo 0x16 cannot be told (")
    assert "x; 4 iterations, a 95% interval needs 6);" in short.headline and short.standings[0].sps is not None
    assert short.standings[0].sps.interval is None
    intervals = [
        estimate.interval
        for one in (found, six, short)
        for item in one.standings
        for estimate in (item.final_return, item.sps, item.mark and item.mark.seconds_median)
        if estimate and estimate.interval
    ]
    assert intervals and {interval.confidence for interval in intervals} == {0.95}


@pytest.mark.parametrize(
    ("speed", "said"),
    [
        (FASTER, "impala takes steps 1.90x as fast as ppo and reaches"),
        (SLOWER, "impala takes steps at 0.52x the speed of ppo but reaches"),
        (ALIKE, "impala takes steps as fast as ppo (within 3%)"),
        (UNSURE, "Whether impala takes steps faster than ppo cannot be told"),
        (None, "how fast impala takes steps was not measured"),
    ],
)
def test_where_a_step_is_not_worth_the_same_more_of_them_are_not_faster_training(
    speed: Estimate | None, said: str
) -> None:
    assert duel_sentence(replace(DUEL, sps_ratio=speed, same_algo=False), 450.0).startswith(said)


def test_algorithm_batch_and_hyperparameters_make_another_step_and_a_plan_does_not() -> None:
    def same(**fields: Any) -> bool:
        return compare_runs([made_run(), made_run(**fields)]).duels[0].same_algo

    assert [same(plan=RUNNERS), same(algo=IMPALA)] == [True, False]
    assert [same(algo={**PPO, "batch_size": 500}), same(algo={**PPO, "learning_rate": 1e-3})] == [False, False]


def test_another_machine_is_said_where_speed_is() -> None:
    assert duel_sentence(replace(DUEL, machines="other"), 450.0).startswith(
        "impala, on another machine, trains 1.90x as fast as ppo and"
    )
    assert "impala, perhaps on another machine, trains" in duel_sentence(replace(DUEL, machines="unknown"), 450.0)


def test_without_returns_only_speed_is_told() -> None:
    silent = replace(DUEL, seconds_ratio=None, improvement=None, by_chance=None, marks=(None, None))
    assert duel_sentence(silent, None) == (
        "impala trains 1.90x as fast as ppo; which learns better per step cannot be told (no episode ended)."
    )


def sentence_of(ours: dict[str, Any], theirs: dict[str, Any], finals: tuple[list[float], list[float]]) -> str:
    runs = [*made_group(finals[0], **theirs), *made_group(finals[1], algo=IMPALA, plan=ASYNC, **ours)]
    return compare_runs(runs).headline


def test_one_seed_each_tells_of_speed_alone() -> None:
    assert sentence_of({"sps": 9500.0}, {}, ([500.0], [500.0])).startswith(
        "impala 2x8 async takes steps 1.90x as fast as ppo 0x16; which reaches a return of 447 sooner cannot be told ("
    )
    assert sentence_of({}, {}, ([500.0], [500.0])).endswith(
        "1 seed each, a 95% interval needs 6); which learns better per step cannot be told (1 seed each, a 95% "
        "interval needs 4)."
    )


def test_three_seeds_cannot_say_who_learns_better_and_four_can() -> None:
    few = sentence_of({}, {}, ([300.0, 310, 320], [480.0, 490, 500]))
    assert few.endswith("which learns better per step cannot be told (3 seeds each, a 95% interval needs 4).")
    enough = sentence_of({}, {}, ([300.0, 310, 320, 330], [470.0, 480, 490, 500]))
    assert enough.endswith(
        "impala 2x8 async learns better per step (probability of improvement 1.00, 95% 1.00 to 1.00)."
    )


def test_a_return_that_some_runs_never_reached_is_counted_not_timed() -> None:
    text = sentence_of({}, {}, ([500.0] * 5, [100.0, 480, 490, 495, 500]))
    assert "a return of 437 was reached by 4 of 5 runs of impala 2x8 async and 5 of 5 of ppo 0x16" in text


def test_machines_of_both_sides_are_looked_at() -> None:
    def machines(first: str, second: str) -> str:
        runs = [made_run(fingerprint=first), made_run(fingerprint=second, plan=RUNNERS)]
        return compare_runs(runs).duels[0].machines

    assert [machines("a", "a"), machines("a", "b"), machines("a", ""), machines("", "")] == [
        "same", "other", "unknown", "unknown",
    ]  # fmt: skip


def test_first_of_all_the_one_that_is_soonest_is_spoken_of_else_the_fastest() -> None:
    quick = replace(DUEL, challenger="quick", sps_ratio=estimate(3.0, 2.9, 3.1), seconds_ratio=UNKNOWN)
    assert leading([quick, DUEL]) is DUEL
    slow = replace(DUEL, challenger="slow", sps_ratio=SLOWER, seconds_ratio=UNKNOWN)
    assert leading([slow, quick]) is quick
