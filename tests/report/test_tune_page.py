"""The page of a tuning: what must be on it, and that a real browser shows it whole on a narrow phone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.measure.tune_result import WhatIf
from paceline.report import formats
from paceline.report.tune_page import build_tune_page, render_tune_html
from paceline.report.tune_text import tune_headline

sys.path += [str(Path(__file__).parent / "fakes"), str(Path(__file__).parent)]

from made_tuning import BASELINE, OTHERS, RACE, WINNER, tuned, tuned_with_ledgers
from test_browser import BROWSER, opened

PLAN_YAML = "# shm 2x16\nplan:\n  backend: shm\n"


def page(**changes: Any) -> str:
    return render_tune_html(tuned_with_ledgers(**changes), race=RACE, plan_yaml=PLAN_YAML, run_file="runs/x/run.yaml")


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("<main", 1)[1]).split())


def test_it_is_one_file_that_loads_nothing() -> None:
    html = page()
    assert html.count("<html") == html.count("</html>") == 1
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)=["'](?!#|data:,)""", html)


def test_the_verdict_stands_first_then_what_to_do() -> None:
    results = tuned_with_ledgers()
    built = build_tune_page(results, race=RACE, plan_yaml=PLAN_YAML)
    assert f"<h1>{built.verdict}</h1>" in page()
    assert built.verdict == tune_headline(results)
    assert built.verdict_rest == "The winner is env-bound."
    html = page()
    sections = re.findall(r'<h2 id="(\w+)"', html)
    assert sections == ["take", "search", "rest", "race", "charts", "steps", "noise", "parts", "method"]
    assert "paceline train --config runs/x/run.yaml" in html
    assert PLAN_YAML in html


def test_every_measured_plan_has_its_prediction_its_interval_and_its_slices_in_a_table() -> None:
    built = build_tune_page(tuned())
    assert built.table is not None
    row = built.table.rows[0]
    assert row.label == "shm 2x16" and row.roles == ("recommended",)
    cells = {column.name: cell for column, cell in zip(built.table.columns[1:], row.cells, strict=True)}
    assert (cells["steps/s"].text, cells["steps/s"].note) == ("10,000", "9,600 to 10,400")
    assert (cells["predicted"].text, cells["off by"].text) == ("11,000", "-9%")
    assert (cells["speedup"].text, cells["speedup"].note) == ("2.00x", "1.90 to 2.10")
    assert (cells["cores"].text, cells["memory"].text) == ("2.0", "512 MiB")
    assert (cells["slices"].text, cells["slices"].note) == ("9", "in 3")


def test_a_lane_shows_prediction_measurement_and_interval_where_they_are() -> None:
    built = build_tune_page(tuned())
    assert built.speeds is not None
    winner, baseline = built.speeds.lanes
    assert built.speeds.ticks[-1].text == "15k"
    spans = {span.kind: (span.at, span.width) for span in winner.spans}
    assert spans["dot"][0] == pytest.approx(100 * 10 / 15, abs=0.01)
    assert spans["was"][0] == pytest.approx(100 * 11 / 15, abs=0.01)
    assert spans["ci"] == pytest.approx((64.0, 100 * 0.8 / 15), abs=0.01)
    assert (winner.kind, baseline.kind) == ("winner", "measured")


def test_a_plan_that_was_not_measured_shows_what_it_was_believed_to_give() -> None:
    rival = OTHERS[0].model_copy(update={"predicted_sps": 9_000, "sps": 8_000, "sps_ci95": (6_000.0, 9_500.0)})
    built = build_tune_page(tuned(plans=(WINNER, BASELINE, rival)))
    assert built.speeds is not None and built.unmeasured is not None
    assert [span.kind for span in built.speeds.lanes[-1].spans] == ["belief", "was"]
    assert built.speeds.lanes[-1].value == formats.MISSING
    assert [row.label for row in built.unmeasured.rows] == ["shm 2x8"]
    assert built.unmeasured.rows[0].cells[0].note == "6,000 to 9,500"


def test_plans_that_were_left_out_stand_with_their_reason() -> None:
    shown = words(page())
    assert "not measured 2 plans it would have had to be much faster than expected shm 2x8, shm 2x4" in shown
    assert "failed 1 plan it died native 2x8" in shown
    assert "impossible 1 plan its processes would hold about 40 GiB shm 8x64" in shown


def test_the_race_is_shown_in_the_order_in_which_it_went() -> None:
    built = build_tune_page(tuned(), race=RACE)
    assert built.race is not None
    assert [lane.label for lane in built.race.lanes] == ["shm 2x16", "serial 0x16"]
    assert [span.kind for span in built.race.lanes[0].spans] == ["slice", "again"]
    assert [span.at for span in built.race.lanes[0].spans] == pytest.approx([12.5, 75.0])
    assert built.race.lanes[0].value == "2 in 3"
    assert build_tune_page(tuned()).race is None


def test_ledgers_of_winner_baseline_and_one_environment_stand_side_by_side_in_microseconds() -> None:
    built = build_tune_page(tuned_with_ledgers())
    assert built.steps is not None
    table = built.steps.table
    assert table.names == ("shm 2x16", "serial 0x16", "serial 0x1")
    assert table.roles == ("winner", "baseline", "one environment")
    assert {phase.key: figures for phase, figures in table.rows}["env_step"] == ("60.0", "140.0", "150.0")
    assert table.totals == ("100.0", "200.0", "400.0")
    lengths = [sum(part.width for part in bar.parts) for bar in built.steps.bars.ledger.bars]
    assert lengths == pytest.approx([25.0, 50.0, 100.0], abs=0.1)


def test_the_charts_hold_every_measured_plan_within_their_frame() -> None:
    built = build_tune_page(tuned())
    assert [chart.title for chart, _ in built.charts] == ["Predicted against measured", "Speed against cores kept busy"]
    for chart, _ in built.charts:
        assert len(chart.marks) == 2
        frame = chart.frame
        assert all(frame.x0 <= mark.x <= frame.x1 and frame.y0 <= mark.y <= frame.y1 for mark in chart.marks)
    assert "512 MiB" in built.charts[1][0].marks[0].title


def test_doubt_stands_on_top() -> None:
    doubtful = {"certain": False, "tells": False, "p_best": 0.3}
    assert build_tune_page(tuned()).notices == ()
    assert [notice.code for notice in build_tune_page(tuned(decision=doubtful)).notices] == ["cannot-tell"]
    html = page(decision=doubtful)
    assert html.index("Another plan may be better") < html.index('id="take"')


def test_noise_parts_and_machine_are_told() -> None:
    shown = words(page())
    assert "Two processes of the same plan, measured in turns, differed by 1.3%." in shown
    assert "acting for 8 environments 20.0 us" in shown and "an update 20.0 ms" in shown
    assert "objective fastest time 3 min 20 s of 5 min 00 s" in shown


def test_names_are_text_and_never_markup() -> None:
    odd = WINNER.model_copy(update={"name": "<b>x</b>"})
    assert "<b>x</b>" not in page(plans=(odd, *OTHERS), decision={"winner": "<b>x</b>"})


def test_there_is_a_page_where_nothing_could_be_measured() -> None:
    nothing = tuned(plans=OTHERS, noise=None, verdict=(), parts={}, decision={"winner": None, "baseline": None})
    html = render_tune_html(nothing)
    assert "none could be measured" in html
    assert re.findall(r'<h2 id="(\w+)"', html) == ["rest", "method"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on PATH to open the page with")
@pytest.mark.parametrize("names", [("shm 2x16", "serial 0x16"), ("a name as long as pipelined ones are", "x" * 60)])
def test_a_browser_shows_it_whole_on_narrow_phones(names: tuple[str, str], tmp_path: Path) -> None:
    plans = [one.model_copy(update={"name": name}) for one, name in zip((WINNER, BASELINE), names, strict=True)]
    rest = [OTHERS[0].model_copy(update={"name": f"shm {n}x{n}", "predicted_sps": 1000.0 + n}) for n in range(40)]
    html = page(plans=(*plans, *rest, *OTHERS), decision={"winner": names[0], "baseline": names[1]})
    measured, console = opened(html.replace("<details", "<details open"), tmp_path, phone_px=320)
    assert console == []
    for frame, width in (("phone", 320), ("desk", 1280)):
        assert measured[frame]["width"] == width
        assert measured[frame]["scroll"] <= width, frame
        assert measured[frame]["outside"] == [], frame
        assert measured[frame]["tiny"] == 0, frame


def test_what_would_change_it_says_what_was_measured_and_what_learns_differently() -> None:
    what_ifs = (
        WhatIf(
            what="Half the epochs", change=0.31, ci95=(0.2, 0.4), measured=True, learns_differently=True, sentence="x"
        ),
        WhatIf(what="Twice the cores", change=0.9, sentence="y"),
    )
    shown = words(page(what_ifs=what_ifs, bound="env-bound"))
    assert "Half the epochs +31% measured, +20% to +40%; it learns differently" in shown
    assert "Twice the cores +90% predicted" in shown
    assert "What would change it" not in words(page())
    assert "It is env-bound." in re.sub(r"<[^>]+>", " ", page(bound="env-bound"))
