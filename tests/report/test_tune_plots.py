"""The picture of a tuning: a PNG with something in every panel, and the same verdict as the text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.measure.result import ExperimentConfig, LedgerRecord, RunResult
from paceline.report.tune_plots import draw_tune_dashboard, frontier, shown_plans, tune_dashboard
from paceline.report.tune_text import tune_headline

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_tuning import BASELINE, OTHERS, WINNER, tuned


def run(name: str) -> RunResult:
    return RunResult(
        name=name, config=ExperimentConfig(num_env_runners=2, num_envs_per_env_runner=8, total_envs=16), outcome="ok",
        env_id="X-v0", plan={}, algo={}, ledger=LedgerRecord(wall_s=2.0, phases={"env_step": 1.5, "inference": 0.5}),
    )  # fmt: skip


def drawn(**changes: Any) -> Any:
    results = tuned(**changes).model_copy(update={"experiments": (run("shm 2x16"), run("serial 0x16"))})
    return results, tune_dashboard(results)


def test_it_is_a_picture() -> None:
    results, _ = drawn()
    assert draw_tune_dashboard(results).startswith(b"\x89PNG")


def test_the_headline_is_that_of_the_text() -> None:
    results, figure = drawn()
    shown = " ".join(text.get_text().replace("\n", " ") for part in figure.subfigs for text in part.texts)
    assert tune_headline(results) in shown


def test_every_panel_has_something_in_it() -> None:
    _, figure = drawn()
    panels = figure.subfigs[1].axes
    assert [panel.get_title() or panel.get_title(loc="left") for panel in panels] == [
        "Steps per second", "Expected against measured", "Where the time goes (%)", "Speed against cores",
    ]  # fmt: skip
    assert all(panel.lines or panel.patches for panel in panels)


def test_nothing_measured_is_a_picture_too() -> None:
    results, figure = drawn(plans=OTHERS, decision={"winner": None, "baseline": None})
    assert draw_tune_dashboard(results.model_copy(update={"experiments": ()})).startswith(b"\x89PNG")
    assert figure is not None


def test_measured_plans_come_first_then_those_expected_to_be_fast() -> None:
    slow, fast = (
        OTHERS[0].model_copy(update={"name": name, "predicted_sps": sps}) for name, sps in (("slow", 10), ("fast", 99))
    )
    shown = shown_plans(tuned(plans=(WINNER, BASELINE, slow, fast)))
    assert [one.name for one in shown] == ["shm 2x16", "serial 0x16", "fast", "slow"]


@pytest.mark.parametrize(
    ("points", "edge"),
    [
        ([(1.0, 100.0), (2.0, 150.0), (2.0, 120.0), (3.0, 140.0)], [100.0, 150.0]),
        ([(2.0, 50.0), (1.0, 60.0)], [60.0]),
    ],
)
def test_the_frontier_is_what_nothing_beats_in_speed_and_cores(
    points: list[tuple[float, float]], edge: list[float]
) -> None:
    plans = [WINNER.model_copy(update={"cores": cores, "sps": sps}) for cores, sps in points]
    assert [one.sps for one in frontier(plans)] == edge
