from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "analysis" / "fakes"))

from made_runs import RUNNERS, made_group, made_run, three_contenders

from paceline.analysis.standings import Standings, compare_runs
from paceline.report.compare_page import build_compare_page, render_compare_html


@pytest.fixture(scope="module")
def three() -> Standings:
    return compare_runs(three_contenders(), names=["<b>one</b>", "two & a half", "three"])


def test_it_is_one_file_that_loads_nothing(three: Standings) -> None:
    page = render_compare_html(three)
    assert page.count("<html") == page.count("</html>") == 1
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:,)""", page)


def test_names_are_text_and_never_markup(three: Standings) -> None:
    page = render_compare_html(three)
    assert "<b>one</b>" not in page and "&lt;b&gt;one&lt;/b&gt;" in page
    assert "two &amp; a half" in page


def test_the_verdict_stands_first_and_the_other_sentences_below(three: Standings) -> None:
    page = build_compare_page(three)
    assert page.verdict == "three takes steps 1.90x as fast as <b>one</b>."
    assert page.verdict_rest.startswith("A return of 415 was reached by 4 of 5 runs of three and")
    assert f"{page.verdict[:-1]}; a{page.verdict_rest[1:]}" == three.headline
    assert page.sentences == three.sentences


def test_each_chart_has_a_line_a_band_and_markers_for_every_contender(three: Standings) -> None:
    page = build_compare_page(three)
    assert [chart.title for chart in page.charts] == ["Return against environment steps", "Return against wall time"]
    for chart in page.charts:
        assert [line.style for line in chart.lines].count("band") == 3
        assert [line.label for line in chart.lines if line.label] == ["<b>one</b>", "two & a half", "three"]
        assert len({mark.shape for mark in chart.marks}) == len({mark.color for mark in chart.marks}) == 3
        frame = chart.frame
        assert all(frame.x0 <= mark.x <= frame.x1 and frame.y0 <= mark.y <= frame.y1 for mark in chart.marks)
    assert [item.text for item in page.legend] == ["<b>one</b>", "two & a half", "three", "a return of 415"]


def test_every_contender_is_in_both_tables_and_in_the_bars(three: Standings) -> None:
    page = build_compare_page(three)
    for table in (page.table, page.speeds):
        assert len(table.rows) == 3
        assert all(len(row.cells) == len(table.columns) - 1 for row in table.rows)
    assert page.time is not None
    for bar in page.time.ledger.bars:
        assert sum(part.width for part in bar.parts) == pytest.approx(100.0, abs=0.2)
    assert [row.cells[0].note for row in page.table.rows] == ["(0 to 4)"] * 3
    assert page.duels[0][3] == "0.48 (0.12 to 0.88)"
    assert page.difference_headings == ("setting", "<b>one</b>", "two & a half", "three")


def test_what_makes_figures_doubtful_stands_on_top() -> None:
    found = compare_runs([*made_group([1, 2, 3]), *made_group([1, 2, 3], plan=RUNNERS, fingerprint="b")])
    page = build_compare_page(found)
    assert [notice.code for notice in page.loud_notices] == ["other-machine"]
    assert "other-machine" not in [notice.code for notice in page.notices]
    assert render_compare_html(found).index("The machines differ") < render_compare_html(found).index("Learning curves")


@pytest.mark.parametrize("returns", [[None] * 3, [7.0], [-4.0, -2.0]])
def test_there_is_a_page_whatever_was_measured(returns: list[float | None]) -> None:
    found = compare_runs([made_run(returns=returns), made_run(returns=returns, plan=RUNNERS, shares={})])
    page = build_compare_page(found)
    assert "no interval" in page.facts[0].note or "1 seed" in page.facts[0].note or returns[0] is None
    assert render_compare_html(found).count("<figure") == len(page.charts) + (page.time is not None)


def test_one_contender_alone_has_no_section_on_others() -> None:
    page = render_compare_html(compare_runs(made_group([480.0, 490.0, 500.0])))
    assert "1 contender<" in page and "There is nothing to compare ppo 0x16 with" in page
    assert 'id="learnt"' in page and "Against" not in page and "What differs" not in page


def test_names_too_long_for_a_table_are_letters_that_are_told_whole_on_top() -> None:
    long = [f"{setting}={'x'.join(['256'] * 20)}" for setting in ("hidden_sizes", "hidden_size")]
    found = compare_runs(three_contenders(), names=[long[1], "short", long[0]])
    page = build_compare_page(found)
    assert page.letters == (("A", long[1]), ("C", long[0]))
    assert page.verdict == "C takes steps 1.90x as fast as A." and page.sentences[0].startswith("short trains")
    assert page.reference == "A" and page.difference_headings == ("setting", "A", "short", "C")
    assert [row[0] for row in page.duels] == ["short", "C"]
    text = render_compare_html(found)
    assert text.count(long[0]) == text.count(long[1]) == 1
