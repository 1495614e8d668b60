"""The text report of a tuning: the first line is the verdict, and nothing that was left out goes unexplained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.measure.tune_result import NoiseFloor
from paceline.report.tune_text import render_tune_text, tune_headline

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_tuning import tuned


def test_the_first_line_is_the_verdict() -> None:
    text = render_tune_text(tuned())
    assert text.startswith("Take shm 2x16: 10,000 steps/s, 2.00x (1.90 to 2.10) the speed of serial 0x16.\n")
    assert "The winner is env-bound." in text
    assert "Faster, with 95%, than serial 0x16." in text


@pytest.mark.parametrize(
    ("decision", "headline"),
    [
        ({"certain": False, "p_best": 0.7}, "serial 0x16 (within 2% of the best with probability 0.70)."),
        ({"certain": False, "tells": False, "p_best": 0.3}, "Cannot tell which plan is the fastest in 3 min 20 s: shm"),
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


def test_a_tie_says_why_the_winner_was_taken() -> None:
    tie = {"tied": ("shm 2x16", "serial 0x16"), "fastest": "serial 0x16", "beaten": ()}
    assert "As good, as far as can be told: serial 0x16; it needs less." in render_tune_text(tuned(decision=tie))


def test_the_noise_of_the_machine_is_told() -> None:
    text = " ".join(render_tune_text(tuned()).split())
    assert "From slice to slice of one process speed differs by 2.0%" in text
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
    assert "it waits for 98% of a step, and other Python threads cannot run meanwhile" in text
    assert "one to a process: a second one fails" in text
    assert "no runner processes: it fails in a runner process" in text
    plain = render_tune_text(tuned(parts={"env": env | {"waiting_share": 0.0}, "several": "yes", "processes": "yes"}))
    assert "other Python threads" not in plain and "one to a process" not in plain


def test_lines_keep_to_the_width() -> None:
    assert max(len(line) for line in render_tune_text(tuned()).splitlines()) <= 100
