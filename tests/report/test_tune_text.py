"""The text report of a tuning: the first line is the verdict, and nothing that was left out goes unexplained."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.measure.result import ExperimentInfo
from paceline.measure.tune_result import NoiseFloor, PlanStanding, TuneDecision, TuneRecord, TuneResults
from paceline.report.tune_text import render_tune_text, tune_headline

WINNER = PlanStanding(
    name="shm 2x16", state="measured", plan={"backend": "shm"}, batch_size=2048, predicted_sps=11_000, sps=10_000,
    sps_ci95=(9_600, 10_400), speedup=(2.0, 1.9, 2.1), p_best=0.9, p_tied=0.97, cores=2.0, memory_bytes=2**29,
    num_slices=9, num_processes=3,
)  # fmt: skip
BASELINE = WINNER.model_copy(
    update={"name": "serial 0x16", "sps": 5_000, "sps_ci95": (4_800, 5_200), "speedup": (1.0, 1.0, 1.0), "p_tied": 0.0}
)
OTHERS = (
    PlanStanding(name="shm 2x8", state="not measured", reason="it would have had to be much faster than expected"),
    PlanStanding(name="shm 2x4", state="not measured", reason="it would have had to be much faster than expected"),
    PlanStanding(name="native 2x8", state="failed", reason="it died"),
    PlanStanding(name="shm 8x64", state="impossible", reason="its processes would hold about 40 GiB"),
)
DECISION = TuneDecision(
    winner="shm 2x16", runner_up="serial 0x16", fastest="shm 2x16", tied=("shm 2x16",), beaten=("serial 0x16",),
    p_best=0.97, tells=True, certain=True, baseline="serial 0x16", stopped="sure",
)  # fmt: skip


def tuned(**changes: Any) -> TuneResults:
    decision = DECISION.model_copy(update=changes.pop("decision", {}))
    record = {
        "objective": "fastest", "budget_s": 300.0, "wall_s": 200.0, "plans": (WINNER, BASELINE, *OTHERS),
        "noise": NoiseFloor(slice_sd=0.02, process_sd=0.01, drift_sd=0.05, aa_difference=0.013),
        "verdict": ("The winner is env-bound.",), "decision": decision,
        "parts": {"env": {"mean_us": 100.0, "cpu_us": 90.0, "reset_us": 10.0}, "acting_us": [[8, 20.0]],
                  "update_s": 0.02},
    }  # fmt: skip
    info = ExperimentInfo(total_experiments=2, timestamp="2026-01-01T00:00:00+00:00", kind="tune", env_id="X-v0")
    return TuneResults(experiment_info=info, experiments=(), tune=TuneRecord(**{**record, **changes}))


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


def test_lines_keep_to_the_width() -> None:
    assert max(len(line) for line in render_tune_text(tuned()).splitlines()) <= 100
