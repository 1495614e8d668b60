"""What a verification says: the word, why, whether the plan still wins, what has changed, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline.measure.tune_result import NoiseFloor
from paceline.measure.verify_result import VerifiedPlan, VerifiedSlice, VerifyRecord
from paceline.report.verify_text import render_verify_text, verify_headline

SLICES = tuple(VerifiedSlice(process=n, time_s=n, wall_s=1.0, num_env_steps=10_000, sps=1e4) for n in (1, 1, 2))
WINNER = VerifiedPlan(name="shm 2x8", role="winner", sps=(9900, 9500, 10_300), recorded_sps=10_000, slices=SLICES)
BASELINE = VerifiedPlan(
    name="serial 0x32", role="baseline", sps=(5200, 5000, 5400), recorded_sps=5000, ratio=(1.9, 1.8, 2.0),
    recorded_ratio=(2.0, 1.85, 2.1), slices=SLICES[:1],
)  # fmt: skip
RUNNER_UP = VerifiedPlan(name="shm 2x4", role="runner-up", sps=(9800, 9400, 10_200), recorded_sps=9700,
                         ratio=(1.01, 0.97, 1.05), slices=SLICES[:1])  # fmt: skip


def record(**changes: Any) -> VerifyRecord:
    fields = {
        "answer": "SAME", "change": (0.99, 0.94, 1.04), "margin": 0.05, "resolution": 0.2,
        "plans": (WINNER, BASELINE), "noise": NoiseFloor(slice_sd=0.02, process_sd=0.01, drift_sd=0.03),
        "env_id": "X-v0", "tuned": "2026-01-01T00:00:00+00:00", "timestamp": "2026-02-03T04:05:06+00:00",
        "budget_s": 60.0, "wall_s": 55.0, "machine_fingerprint": "abc", "paceline_version": "0.1.0",
    }  # fmt: skip
    return VerifyRecord.model_validate({**fields, **changes})


def text(**changes: Any) -> str:
    return " ".join(render_verify_text(record(**changes), Path("runs/my tuned")).split())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "SAME: shm 2x8 gives 9,900 steps/s, 0.99x (0.94 to 1.04) the 10,000 recorded: no change of more than 5%"),
        ({"answer": "SLOWER", "change": (0.8, 0.7, 0.9)}, "0.80x (0.70 to 0.90) the 10,000 recorded: a change of more"),
        ({"answer": "FASTER", "change": (1.3, 1.2, 1.4)}, "FASTER: shm 2x8 gives"),
        ({"answer": "CANNOT TELL", "change": (1.0, 0.7, 1.4)}, "this machine differs too much from itself to tell"),
        ({"answer": "CANNOT TELL", "change": None, "same_machine": False}, "10,000 recorded are of another machine"),
    ],
)
def test_the_first_sentence_is_one_of_four_words_and_why(changes: dict[str, Any], sentence: str) -> None:
    headline = verify_headline(record(**changes))
    assert headline.startswith(changes.get("answer", "SAME") + ": ")
    assert sentence in headline
    assert headline.endswith(".")


@pytest.mark.parametrize(
    ("ratio", "sentence", "again"),
    [
        ((1.9, 1.8, 2.0), "still 1.90x (1.80 to 2.00) the speed of serial 0x32 (recorded: 2.00x).", False),
        ((1.5, 1.4, 1.6), "1.50x (1.40 to 1.60) the speed of serial 0x32, less than the 2.00x (1.85 to 2.10)", False),
        ((2.5, 2.4, 2.6), "the speed of serial 0x32, more than the 2.00x (1.85 to 2.10) recorded.", False),
        ((1.0, 0.9, 1.1), "Whether it is faster than serial 0x32, the baseline, cannot be told: 1.00x (0.90", True),
        ((0.8, 0.7, 0.9), "It no longer wins: 0.80x (0.70 to 0.90) the speed of serial 0x32, the baseline", True),
    ],
)
def test_the_advantage_is_told_and_to_tune_again_where_it_is_gone(
    ratio: tuple[float, float, float], sentence: str, again: bool
) -> None:
    told = text(plans=(WINNER, BASELINE.model_copy(update={"ratio": ratio})))
    assert sentence in told
    assert ("paceline tune --config 'runs/my tuned/spec.yaml' --again" in told) == again


def test_a_runner_up_that_was_as_good_before_is_no_reason_to_tune_again() -> None:
    told = text(plans=(WINNER, BASELINE, RUNNER_UP))
    assert "faster than shm 2x4, the runner-up, cannot be told" in told
    assert "--again" not in told
    faster = RUNNER_UP.model_copy(update={"ratio": (0.9, 0.85, 0.95)})
    assert "shm 2x4 is faster now; tune again: paceline tune" in text(plans=(WINNER, BASELINE, faster))


def test_another_machine_is_a_reason_to_tune_again() -> None:
    assert "Another plan may be the fastest on this machine; tune again:" in text(change=None, same_machine=False)


def test_what_has_changed_what_failed_and_how_it_was_measured_are_told() -> None:
    broken = BASELINE.model_copy(update={"ratio": None, "sps": None, "slices": (), "failure": "it died"})
    told = text(plans=(WINNER, broken), differences=("Versions: jax 1 is now 2.",), complete=False)
    assert "serial 0x32, the baseline, could not be measured: it died" in told
    assert "Versions: jax 1 is now 2." in told
    assert "Measured in turns, 55.0 s: 3 slices of shm 2x8 in 2 fresh processes." in told
    assert "It was stopped early: this is what is known so far." in told
    assert "1 slice of serial 0x32 in 1 fresh process." in text()


def test_a_winner_without_another_plan_is_told_to_be_alone() -> None:
    assert "no other plan that it could be held against" in text(plans=(WINNER,))
