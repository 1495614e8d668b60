from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "bench" / "fakes"))

from made_bench import LAWS, made_bench

from paceline.report import palette
from paceline.report.bench_plots import MOST_BARS, bench_dashboard, draw_bench_dashboard, shown_bars
from paceline.report.bench_view import BenchInput, bench_input
from paceline.report.plots import STYLE


def drawn(source: BenchInput) -> Figure:
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = bench_dashboard(source)
        FigureCanvasAgg(figure).draw()
    return figure


@pytest.fixture(scope="module")
def figure() -> Figure:
    return drawn(bench_input(made_bench()))


def test_four_panels_each_with_its_title_on_the_picture(figure: Figure) -> None:
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Steps per second", "Share of the ceiling reached", "Where the time goes", "Memory per environment",
    ]  # fmt: skip
    width = figure.get_window_extent().width
    for axes in figure.axes:
        title = axes._left_title.get_window_extent()  # type: ignore[attr-defined]
        assert title.x0 >= 0 and title.x1 <= width


def test_speeds_are_drawn_where_they_were_measured(figure: Figure) -> None:
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["serial"].get_ydata()) == pytest.approx([19_000] * 3, rel=0.01)
    assert list(lines["shm"].get_xdata()) == [1, 8, 64]
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


CROWD = {**LAWS, "thread": lambda n: 9_000.0 * n**0.25, "native": lambda n: 15_000.0 * n**0.18}


@pytest.mark.parametrize(
    ("sizes", "laws", "names"),
    [
        ((1, 8, 64), LAWS, ["shm > serial: 25"]),
        ((1, 8, 32, 128), CROWD, ["native > serial: 4", "shm > thread: 31", "shm > native: 73"]),
        ((1, 8), LAWS, []),
    ],
)
def test_crossings_are_lines_whose_names_can_be_read(sizes: tuple[int, ...], laws: Any, names: list[str]) -> None:
    figure = drawn(bench_input(made_bench(sizes, laws)))
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == sorted(names)
    dashed = sorted(
        line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1 < len(line.get_xdata())
    )
    for name in names:
        assert any(round(x) == int(name.split(": ")[1]) for x in dashed)
    boxes = [text.get_window_extent() for text in axes.texts]
    legend = axes.get_legend()
    assert legend is not None
    for number, box in enumerate(boxes):
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and box.y1 <= axes.bbox.y1
        assert not any(box.overlaps(other) for other in [*boxes[:number], legend.get_window_extent()])
        for line in axes.lines:
            measured = axes.transData.transform(line.get_xydata()) if len(line.get_xdata()) == len(sizes) else []
            assert all(y < box.y0 for _, y in measured), "names stand above what was measured"


def test_the_bars_of_a_case_fill_the_wall_clock(figure: Figure) -> None:
    axes = figure.axes[2]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "serial@1", "shm@1", "serial@8", "shm@8", "serial@64", "shm@64",
    ]  # fmt: skip
    ends: dict[float, float] = {}
    for bar in axes.patches:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0.0), bar.get_x() + bar.get_width())  # type: ignore[attr-defined]
    assert list(ends.values()) == pytest.approx([100.0] * 6)


def test_executions_differ_in_colour_and_in_marker() -> None:
    styles = [palette.execution_style(name) for name in ("serial", "pipe", "shm", "thread", "native")]
    assert len({style.color for style in styles}) == len({style.marker for style in styles}) == 5
    assert palette.execution_style("teleport").color == palette.SKY


def test_of_too_many_cases_the_largest_are_drawn() -> None:
    found = bench_input(made_bench(tuple(2**k for k in range(12)))).findings
    bars = shown_bars(found)
    assert len(bars) <= MOST_BARS
    assert min(row.num_envs for row in bars) == 4


@pytest.mark.parametrize("sizes", [(8,), (1, 8, 64)])
@pytest.mark.parametrize("failed", [False, True])
def test_there_is_a_picture_whatever_was_measured(sizes: tuple[int, ...], failed: bool) -> None:
    gone = {f"{name}@{size}": ("crash", "it died") for name in LAWS for size in sizes} if failed else {}
    data = draw_bench_dashboard(bench_input(made_bench(sizes, failed=gone)))
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert 0.6 < picture.height / picture.width < 2.0
