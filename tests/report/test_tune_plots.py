"""The picture of a tuning: a PNG with something in every panel, and the same verdict as the text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from paceline.report.tune_plots import draw_tune_dashboard, tune_dashboard
from paceline.report.tune_text import tune_headline

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_tuning import OTHERS, tuned_with_ledgers


def drawn(**changes: Any) -> Any:
    results = tuned_with_ledgers(**changes)
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
        "Steps per second", "Predicted against measured", "Where the time of a step goes (us)", "Speed against cores",
    ]  # fmt: skip
    assert all(panel.lines or panel.patches for panel in panels)


def test_nothing_measured_is_a_picture_too() -> None:
    results, figure = drawn(plans=OTHERS, decision={"winner": None, "baseline": None})
    assert draw_tune_dashboard(results.model_copy(update={"experiments": ()})).startswith(b"\x89PNG")
    assert figure is not None


def test_bars_are_as_long_as_a_step_takes() -> None:
    _, figure = drawn()
    panel = figure.subfigs[1].axes[2]
    ends: dict[float, float] = {}
    for bar in panel.patches:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0.0), bar.get_x() + bar.get_width())
    assert [round(end) for _, end in sorted(ends.items())] == [100, 200, 400]


def test_names_on_the_frontier_lie_within_the_panel_and_apart() -> None:
    _, figure = drawn()
    figure.draw_without_rendering()
    panel = figure.subfigs[1].axes[3]
    boxes = [text.get_window_extent() for text in panel.texts]
    assert [text.get_text() for text in panel.texts] == ["shm 2x16"]  # the other one is slower with as many cores
    frame = panel.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
