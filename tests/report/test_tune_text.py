"""The text report of a tuning: the first line is the verdict, and nothing that was left out goes unexplained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.measure.tune_result import NoiseFloor
from paceline.report.tune_text import render_tune_text, tune_headline

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_tuning import BASELINE, OTHERS, WINNER, tuned, tuned_with_ledgers


def test_the_first_line_is_the_verdict() -> None:
    text = render_tune_text(tuned())
    assert text.startswith("Take shm 2x16: 10,000 steps/s, 2.00x (1.90 to 2.10) the speed of serial 0x16.\n")
    assert "The winner is env-bound." in text
    assert "Faster, with 95%, than serial 0x16." in text


@pytest.mark.parametrize(
    ("decision", "headline"),
    [
        ({"certain": False, "p_best": 0.7}, "serial 0x16 (within 2% of the best with probability 0.70)."),
        ({"certain": False, "tells": False, "p_best": 0.3}, "Take shm 2x16 for now: 10,000 steps/s, 2.00x"),
        (
            {"certain": False, "tells": False, "p_best": 0.3},
            "be told after 3 min 20 s and 2 measured plans: it is within 2% of the best with probability 0.30.",
        ),
        ({"certain": False, "tells": False, "p_best": 0.0}, "with probability less than 0.01."),
        ({"winner": None}, "Cannot tell which plan to take: none could be measured."),
        ({"baseline": "shm 2x16"}, "10,000 steps/s, the best in one process."),
    ],
)
def test_what_is_not_certain_is_not_said_to_be(decision: dict[str, Any], headline: str) -> None:
    assert headline in tune_headline(tuned(decision=decision))


def test_every_plan_that_was_not_measured_has_its_reason() -> None:
    text = " ".join(render_tune_text(tuned()).split())
    assert "shm 2x8, shm 2x4: not measured: it would have had to be much faster than expected" in text
    assert "native 2x8: failed: it died" in text
    assert "shm 8x64: impossible: its processes would hold about 40 GiB" in text


def test_what_native_code_costs_is_told_for_each_and_for_all() -> None:
    env = {"mean_us": 7.0, "cpu_us": 7.0, "reset_us": 5.0}
    parts = {"env": env, "native_us": 0.0, "native_step_us": 46.2}
    assert "a step in native code: 0.0 us for each environment, beside 46.2 us for all" in " ".join(
        render_tune_text(tuned(parts=parts)).split()
    )
    assert "native code" not in render_tune_text(tuned())


def test_a_tie_says_why_the_winner_was_taken() -> None:
    tie = {"tied": ("shm 2x16", "serial 0x16"), "fastest": "serial 0x16", "beaten": ()}
    assert "As good, as far as can be told: serial 0x16; it needs less." in render_tune_text(tuned(decision=tie))


def test_plans_that_are_nearly_the_same_are_said_to_be() -> None:
    near = BASELINE.model_copy(update={"sps": 9_700})
    tie = {"tied": ("shm 2x16", "serial 0x16"), "certain": False, "stopped": "budget"}
    text = " ".join(render_tune_text(tuned(plans=(WINNER, near), decision=tie)).split())
    assert "within 3% of each other: which of them is taken hardly matters" in text
    assert "hardly matters" not in render_tune_text(tuned(decision=tie))  # here one is twice as fast


def test_what_may_be_as_fast_and_was_not_measured_is_named_where_the_answer_is_not_certain() -> None:
    rival = OTHERS[0].model_copy(update={"p_tied": 0.3})
    for certain in (False, True):
        text = render_tune_text(tuned(plans=(WINNER, BASELINE, rival), decision={"certain": certain}))
        assert ("Not measured, and perhaps as fast" in text) is not certain
    assert "probability): shm 2x8 (0.30)." in " ".join(
        render_tune_text(tuned(plans=(WINNER, BASELINE, rival), decision={"certain": False})).split()
    )


def test_another_objective_is_not_called_the_fastest() -> None:
    found = tune_headline(tuned(objective="frugal", decision={"tells": False, "certain": False}))
    assert "Which plan is the best (frugal) cannot be told" in found


def test_the_winner_in_words_and_the_next_command() -> None:
    text = " ".join(render_tune_text(tuned_with_ledgers(), run_file="runs/x/run.yaml").split())
    assert "shm 2x16 is 2 runner processes with 16 envs each, 32 in all; a copy of the policy in every runner." in text
    assert "Next: paceline train --config runs/x/run.yaml" in text


def test_the_ledgers_stand_side_by_side_by_the_step() -> None:
    lines = [line.split() for line in render_tune_text(tuned_with_ledgers()).splitlines()]
    assert ["environment", "steps", "60.0", "140.0", "150.0"] in lines
    assert ["total", "100.0", "200.0", "400.0"] in lines


def test_the_noise_of_the_machine_is_told() -> None:
    text = " ".join(render_tune_text(tuned()).split())
    assert "Speed differs from slice to slice of one process by 2.0%" in text
    assert "measured in turns, differed by 1.3%" in text


def test_what_others_computed_is_told_where_it_is_known() -> None:
    busy = NoiseFloor(
        slice_sd=0.02, process_sd=0.01, drift_sd=0.05, others_cores=0.4, others_median=0.3, others_most=1.2
    )
    text = " ".join(render_tune_text(tuned(noise=busy)).split())
    assert "Other programs kept 0.4 cores busy when it began." in text
    assert "Beside the slices they kept 0.3 cores busy (median), at most 1.2." in text
    assert "Other programs" not in render_tune_text(tuned())


def test_what_an_environment_does_not_survive_and_whether_it_lets_threads_run_is_told() -> None:
    env = {"mean_us": 900.0, "cpu_us": 10.0, "reset_us": 10.0, "waiting_share": 0.98, "releases_gil": False}
    parts = {"env": env, "several": "a second one fails", "processes": "it fails in a runner process", "native": "none"}
    text = " ".join(render_tune_text(tuned(parts=parts)).split())
    assert "waiting: 98% of a step; other Python threads cannot run meanwhile" in text
    assert "one to a process: a second one fails" in text
    assert "no runner processes: it fails in a runner process" in text
    plain = render_tune_text(tuned(parts={"env": env | {"waiting_share": 0.0}, "several": "yes", "processes": "yes"}))
    assert "other Python threads" not in plain and "one to a process" not in plain


def test_lines_keep_to_the_width() -> None:
    assert max(len(line) for line in render_tune_text(tuned()).splitlines()) <= 100
