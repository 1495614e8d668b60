from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from paceline.report import view
from paceline.report.plots import DPI, STYLE, WIDTH_IN, dashboard, draw_dashboard
from paceline.report.view import ReportInput


def drawn(source: ReportInput) -> Figure:
    with rc_context(STYLE):
        figure = dashboard(source)
        FigureCanvasAgg(figure).draw()
    return figure


@pytest.fixture(scope="module")
def figure(sweep: ReportInput) -> Figure:
    return drawn(sweep)


@pytest.fixture(scope="module")
def wide_figure(wide: ReportInput) -> Figure:
    return drawn(wide)


def panel(figure: Figure, title: str) -> Axes:
    found = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    assert len(found) == 1, [axes.get_title(loc="left") for axes in figure.axes]
    return found[0]


def test_the_file_is_a_picture_with_something_in_all_six_panels(sweep: ReportInput, tmp_path: Path) -> None:
    path = tmp_path / "dashboard.png"
    path.write_bytes(draw_dashboard(sweep))
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width == round(WIDTH_IN * DPI)
        assert 1.0 < picture.height / picture.width < 2.5
        grey = picture.convert("L")
    top = 160
    height = (grey.height - top) // 3
    for row, column in itertools.product(range(3), range(2)):
        box = (column * grey.width // 2, top + row * height, (column + 1) * grey.width // 2, top + (row + 1) * height)
        pixels = grey.crop(box).histogram()
        inked = sum(pixels[:250]) / sum(pixels)
        assert 0.01 < inked < 0.8, (row, column, inked)


@pytest.mark.parametrize("name", ["train", "nothing", "empty"])
def test_every_kind_of_result_gives_six_panels(name: str, request: pytest.FixtureRequest) -> None:
    assert len(drawn(request.getfixturevalue(name)).axes) == 6


def test_every_plan_has_a_bar_and_failures_are_hatched_and_named(figure: Figure, sweep: ReportInput) -> None:
    axes = panel(figure, "Steps per second")
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    rows = view.by_speed(sweep.findings.workloads[0].table.rows)
    assert labels == [row.label for row in rows]
    assert len(axes.patches) == len(rows)
    assert sum(bool(patch.get_hatch()) for patch in axes.patches) == 2
    assert {"oom", "timeout"} <= {text.get_text() for text in axes.texts}


def test_the_ledger_bars_fill_a_hundred_per_cent(figure: Figure, sweep: ReportInput) -> None:
    axes = panel(figure, "Where the time goes")
    measured = [row for row in sweep.findings.workloads[0].table.rows if row.sps]
    ends = [sum(bar.patches[i].get_width() for bar in axes.containers if len(bar.patches) == 12) for i in range(12)]
    assert sum(end == pytest.approx(100, abs=0.2) for end in ends) == len(measured)


def test_the_efficiency_map_tells_figure_and_rating_in_each_cell(figure: Figure) -> None:
    cells = {text.get_text() for text in panel(figure, "Efficiency per").texts}
    assert "100%\nexcellent" in cells
    assert any(cell.endswith("\ninefficient") for cell in cells)
    assert {"oom", "timeout"} <= cells


def test_the_scaling_panel_holds_ideal_measurements_and_models(figure: Figure, sweep: ReportInput) -> None:
    axes = panel(figure, "Speedup against")
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert {"ideal", "1 runner", "2 runners", "4 runners", "8 runners"} <= set(names)
    assert any(name.startswith("phase model (error ") for name in names)
    points = {(x, y) for line in axes.lines if line.get_marker() != "None" for x, y in line.get_xydata()}
    expected = {(row.num_envs, row.speedup.value) for row in sweep.findings.workloads[0].table.rows if row.speedup}
    assert points == expected


def _collisions(texts: list[Text]) -> list[tuple[str, str]]:
    shown = [text for text in texts if text.get_text() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent().shrunk(0.9, 0.9)) for text in shown]
    return [(a, b) for (a, box), (b, other) in itertools.combinations(boxes, 2) if box.overlaps(other)]


@pytest.mark.parametrize("name", ["figure", "wide_figure"])
def test_no_labels_overlap(name: str, request: pytest.FixtureRequest) -> None:
    figure: Figure = request.getfixturevalue(name)
    for axes in figure.axes:
        legend = axes.get_legend()
        groups = [axes.get_yticklabels(), axes.get_xticklabels(), legend.get_texts() if legend else []]
        assert all(_collisions(list(group)) == [] for group in groups), axes.get_title(loc="left")
    assert _collisions(panel(figure, "Which plan").texts) == []
    assert _collisions(panel(figure, "Steps per second").texts) == []
    titles = [axes.title if axes.get_title() else axes._left_title for axes in figure.axes]
    assert _collisions(titles) == []


@pytest.mark.parametrize("name", ["figure", "wide_figure"])
def test_all_text_lies_on_the_page(name: str, request: pytest.FixtureRequest) -> None:
    figure: Figure = request.getfixturevalue(name)
    page = figure.bbox
    axles = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = {id(label) for axis in axles for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if not text.get_text() or not text.get_visible() or not text.get_window_extent().width:
            continue
        if id(text) in ticks:
            continue  # ticks beyond the limits are not drawn
        box = text.get_window_extent()
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, text.get_text()


def test_names_in_the_bars_are_short_and_told_apart(wide_figure: Figure) -> None:
    labels = [tick.get_text() for tick in panel(wide_figure, "Steps per second").get_yticklabels()]
    assert len(labels) == 16
    assert all(len(label) <= 18 for label in labels)


def test_a_training_run_shows_its_learning_curve(train: ReportInput) -> None:
    figure = drawn(train)
    verdict, rest, _ = (" ".join(text.get_text().split()) for text in figure.subfigs[0].texts)
    assert f"{verdict} {rest}" == view.verdict(train) and verdict.startswith("2x8 trains at")
    axes = panel(figure, "Mean return against steps")
    assert axes.get_ylabel() == "mean of the last 100 episodes"
    (line,) = axes.lines
    curve = [p for p in train.findings.runs[0].curve if p.recent_return is not None]
    assert list(line.get_xdata()) == [p.total_env_steps for p in curve]
    assert list(line.get_ydata()) == [p.recent_return for p in curve]
