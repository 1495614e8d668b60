from __future__ import annotations

import itertools
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "analysis" / "fakes"))

from made_runs import ASYNC, IMPALA, PPO, RUNNERS, SERIAL, made_group, made_run, three_contenders

from paceline.analysis.standings import Standings, compare_runs
from paceline.report import palette
from paceline.report.compare_plots import comparison_figure, draw_comparison
from paceline.report.plots import STYLE


def crowd() -> Standings:
    """Seven contenders with long names, some of one seed, on two machines."""
    runs = []
    for index, rate in enumerate((1e-3, 3e-4, 1e-4, 3e-5, 1e-5)):
        network = {"hidden_sizes": [64 * (index + 1)] * 2}
        runs += made_group(
            [480.0 - 40 * index] * (1 + index % 4),
            algo={**PPO, "learning_rate": rate, "network": network},
            fingerprint="ab"[index % 2],
        )
    runs += made_group(
        [300, 310, 320], algo=IMPALA, plan={**ASYNC, "num_env_runners": 64, "num_envs_per_env_runner": 128}
    )
    runs += [made_run(returns=[None] * 10, plan={**SERIAL, "pin_cores": True})]
    return compare_runs(runs)  # fmt: skip


def wordy() -> Standings:
    """Contenders whose names say many settings, one with a letter for its name, one with a name of one long word."""
    runs = []
    for index, rate in enumerate((1.0633e-3, 2.0633e-5)):
        algo = {**PPO, "learning_rate": rate, "normalize_observations": bool(index), "updates_per_iteration": 1 + index}
        runs += made_group([480.0 - 40 * index] * 3, algo={**algo, "anneal_learning_rate": not index})
    runs += made_group([300, 310, 320], algo=IMPALA, plan=ASYNC)
    runs += made_group([200, 210, 220], algo=IMPALA, plan=RUNNERS)
    names = [item.name for item in compare_runs(runs).standings]
    return compare_runs(runs, names=[names[0], "width_of_hidden_layer=" * 8, "A", "twenty-seven character name"])


def drawn(found: Standings) -> Figure:
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = comparison_figure(found)
        FigureCanvasAgg(figure).draw()
    return figure


@pytest.fixture(scope="module")
def figure() -> Figure:
    return drawn(compare_runs(three_contenders()))


@pytest.fixture(scope="module")
def crowded() -> Figure:
    return drawn(crowd())


@pytest.fixture(scope="module")
def worded() -> Figure:
    return drawn(wordy())


def panel(figure: Figure, title: str) -> Axes:
    (found,) = (axes for axes in figure.axes if axes.get_title(loc="left") == title)
    return found


def test_six_panels_each_with_its_title(figure: Figure) -> None:
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Return against environment steps", "Return against wall time", "Final return", "Steps per second",
        "Where the time goes", "Probability of improvement",
    ]  # fmt: skip


@pytest.mark.parametrize("title", ["Return against environment steps", "Return against wall time"])
def test_curves_differ_in_colour_dash_and_marker_and_have_bands(figure: Figure, title: str) -> None:
    axes = panel(figure, title)
    curves = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    assert [line.get_label() for line in curves] == ["ppo 0x16", "ppo 2x8 runner", "impala 2x8 async"]
    for look in (lambda line: line.get_color(), lambda line: line.get_linestyle(), lambda line: line.get_marker()):
        assert len({look(line) for line in curves}) == 3
    assert len(axes.collections) == 3
    legend = axes.get_legend()
    assert legend is not None and "a return of 415" in [text.get_text() for text in legend.get_texts()]


def test_every_seed_and_the_mean_are_in_the_panel_of_final_returns(figure: Figure) -> None:
    axes = panel(figure, "Final return")
    seeds = [line for line in axes.lines if line.get_marker() == "|" and line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in seeds] == [5, 5, 5]  # type: ignore[arg-type]


def test_bars_of_time_fill_a_hundred_per_cent(figure: Figure) -> None:
    ends: dict[float, float] = {}
    for bar in panel(figure, "Where the time goes").patches:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0.0), bar.get_x() + bar.get_width())  # type: ignore[attr-defined]
    assert list(ends.values()) == pytest.approx([100.0] * 3, abs=0.2)


def collisions(texts: list[Text]) -> list[tuple[str, str]]:
    boxes = [(text.get_text(), text.get_window_extent().shrunk(0.9, 0.9)) for text in texts if text.get_text()]
    return [(a, b) for (a, box), (b, other) in itertools.combinations(boxes, 2) if box.overlaps(other)]


@pytest.mark.parametrize("name", ["figure", "crowded", "worded"])
def test_no_labels_overlap_and_all_lie_on_the_page(name: str, request: pytest.FixtureRequest) -> None:
    figure: Figure = request.getfixturevalue(name)
    page = figure.bbox
    header, body = figure.subfigs
    heads = [text.get_window_extent() for text in header.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(heads, 2))
    assert all(box.y1 <= page.y1 and box.x1 <= page.x1 and box.y0 >= body.bbox.y1 for box in heads)
    boxes = []
    for axes in figure.axes:
        legend = axes.get_legend()
        legend_texts = legend.get_texts() if legend else []
        for group in (axes.get_yticklabels(), axes.get_xticklabels(), legend_texts, axes.texts):
            assert collisions(list(group)) == [], axes.get_title(loc="left")
        shown = [axes._left_title, axes.xaxis.label, *axes.texts, *legend_texts, *axes.get_yticklabels()]  # type: ignore[attr-defined]
        for text in shown:
            box = text.get_window_extent()
            assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, text.get_text()
        boxes.append((axes, axes.get_tightbbox()))
    for (one, box), (other, next_box) in itertools.combinations(boxes, 2):
        assert box is not None and next_box is not None
        assert not box.shrunk(0.98, 0.98).overlaps(next_box.shrunk(0.98, 0.98)), (
            one.get_title("left"),
            other.get_title("left"),
        )


def test_names_too_long_for_a_panel_are_letters_that_are_told_whole_on_top(worded: Figure) -> None:
    first, second, *_ = (standing.name for standing in wordy().standings)
    verdict, rest, caption = (" ".join(text.get_text().split("\n")) for text in worded.subfigs[0].texts)
    assert f"A' = {first} " in caption and f"B = {second}".replace(" ", "") in caption.replace(" ", "")
    assert verdict.startswith("B takes steps as fast as A' ") and not any(
        word in text for word in ("width", "ppo") for text in (verdict, rest)
    )
    shown = [label.get_text() for label in panel(worded, "Final return").get_yticklabels()]
    assert shown == ["A'", "B", "A", "twenty-seven\ncharacter name"]
    texts = [text.get_text() for axes in worded.axes for text in axes.findobj(Text)]
    assert not any("…" in text for text in [*texts, verdict, rest, caption])


def test_only_the_first_clause_of_the_verdict_is_large(figure: Figure) -> None:
    verdict, rest, caption = figure.subfigs[0].texts
    assert verdict.get_text() == "impala 2x8 async takes steps 1.90x as fast as ppo 0x16."
    assert rest.get_text().startswith("A return of 415 was reached by 4 of 5 runs of impala 2x8 async and 5 of 5")
    assert verdict.get_fontsize() > rest.get_fontsize() > caption.get_fontsize()
    assert (verdict.get_fontweight(), rest.get_fontweight()) == ("bold", "normal")


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_too_few_seeds_cannot_tell_is_said_in_its_row_and_has_no_mark(seeds: int) -> None:
    runs = [*made_group([480.0] * seeds), *made_group([90.0] * seeds, algo=IMPALA), *made_group([95.0] * 3, plan=ASYNC)]
    axes = panel(drawn(compare_runs(runs)), "Probability of improvement")
    assert axes.texts[0].get_text() == ("1 seed each: cannot be told" if seeds == 1 else "3 seeds each: cannot be told")
    assert [text.get_position() for text in axes.texts] == [(0.5, 0), (0.5, 1)], "each in the middle of its own row"
    assert all(line.get_marker() in ("None", "", None) for line in axes.lines)


def test_the_dashes_of_a_legend_are_seen_between_its_markers(figure: Figure) -> None:
    legend = panel(figure, "Return against wall time").get_legend()
    assert legend is not None
    for handle in legend.get_lines()[:3]:
        begin, *_, end = handle.get_xdata()
        pattern = sum(handle._dash_pattern[1] or ())  # type: ignore[attr-defined]  # in points, as its width is scaled
        assert end - begin - handle.get_markersize() > pattern


def test_contenders_differ_in_colour_and_marker() -> None:
    styles = palette.contender_styles(f"c{index}" for index in range(7))
    assert len({style.color for style in styles.values()}) == len({style.marker for style in styles.values()}) == 7
    assert all(style.dash for style in styles.values())


@pytest.mark.parametrize(
    "runs",
    [
        [made_run(), made_run()],
        [made_run(), made_run(plan=RUNNERS)],
        [made_run(returns=[None] * 3), made_run(returns=[None] * 3, plan=RUNNERS)],
        [made_run(returns=[7.0]), made_run(returns=[7.0], plan=RUNNERS)],
        [made_run(shares={}), made_run(plan=RUNNERS, shares={})],
    ],
)
def test_there_is_a_picture_whatever_was_measured(runs: Any) -> None:
    data = draw_comparison(compare_runs(runs))
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG" and 0.6 < picture.height / picture.width < 2.0
