from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench" / "fakes"))

from made_bench import made_bench

from paceline.report.bench_page import build_bench_page, render_bench_html
from paceline.report.bench_view import bench_input


@pytest.fixture(scope="module")
def page() -> str:
    return render_bench_html(bench_input(made_bench(failed={"shm@8": ("crash", "<script>alert(1)</script>")})))


def test_it_is_one_file_that_loads_nothing(page: str) -> None:
    assert page.count("<html") == page.count("</html>") == 1
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:,)""", page)


def test_names_and_messages_are_text_and_never_markup(page: str) -> None:
    assert "Made<b>" not in page
    assert "Made&lt;b&gt;" in page
    assert "<script>alert" not in page


def test_the_call_can_be_copied(page: str) -> None:
    assert 'data-copy="paste"' in page
    (pasted,) = re.findall(r'<pre id="paste"[^>]*>(.*?)</pre>', page)
    assert html.unescape(pasted) == (
        'paceline.make_vec("Made<b>-v0", 64, backend="shm", num_env_runners=2, autoreset_mode="same_step", '
        'infos="none")'
    )


def test_bars_are_as_wide_as_their_shares_and_fill_the_track() -> None:
    built = build_bench_page(bench_input(made_bench()))
    assert built.time is not None
    for bar in built.time.ledger.bars:
        assert sum(part.width for part in bar.parts) == pytest.approx(100.0, abs=0.01)
    serial = next(bar for bar in built.time.ledger.bars if bar.label == "serial@8")
    assert serial.parts[0].width == pytest.approx(97.0)
    assert serial.verdict == "97% env"


def test_every_case_is_in_the_table_and_in_the_charts() -> None:
    built = build_bench_page(bench_input(made_bench()))
    assert len(built.table.rows) == 12
    assert all(len(row.cells) == len(built.table.columns) - 1 for row in built.table.rows)
    titles = [chart.title for chart, _ in built.charts]
    assert titles == ["Steps per second", "Share of the ceiling reached", "Memory per environment"]
    speed = built.charts[0][0]
    assert sorted(line.label for line in speed.lines if line.label) == ["free-running", "loop", "serial", "shm"]
    frame = speed.frame
    assert all(frame.x0 <= mark.x <= frame.x1 and frame.y0 <= mark.y <= frame.y1 for mark in speed.marks)


def test_a_crossing_is_marked_and_named_in_the_chart_and_has_a_row() -> None:
    built = build_bench_page(bench_input(made_bench()))
    speed, legend = built.charts[0]
    (mark,) = (mark for mark in speed.marks if mark.label)
    (line,) = (line for line in speed.lines if not line.label)
    assert mark.label == "shm > serial: 25" and mark.title.startswith("shm overtakes serial at about 25")
    assert [round(x) for x, _ in line.points] == [25, 25]
    assert [text.text for text in speed.texts] == [mark.label]
    highest = min(other.y for other in speed.marks if not other.label)
    assert mark.y < highest, "above all that was measured"
    assert [item.text for item in legend] == ["bare loop", "free processes (ceiling)", "serial", "shm"]
    assert built.contests == (("shm", "serial", "25 (8 to 64)", "1.60x at 64", "–"),)
    assert "<td>25 (8 to 64)</td>" in render_bench_html(bench_input(made_bench()))


def test_one_size_alone_needs_no_curves() -> None:
    assert build_bench_page(bench_input(made_bench((8,)))).charts == ()
