from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import yaml

from paceline.analysis.findings import analyse
from paceline.measure.result import Results
from paceline.report import view
from paceline.report.html import render_html
from paceline.report.model_text import model_sentences
from paceline.report.view import ReportInput
from paceline.spec import Plan

VOID = {"meta", "link", "br", "hr", "img", "input"}
KINDS = ["sweep", "train", "wide", "nothing", "empty"]


class Tree(HTMLParser):
    """Checks that tags nest, and collects ids, references, headings, attributes and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append((self.open[-1] if self.open else "", data))

    def text(self, tag: str) -> list[str]:
        return [data for name, data in self.words if name == tag]

    def attributes(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def parse(page: str) -> Tree:
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert tree.open == []
    return tree


@pytest.fixture(scope="module")
def page(sweep: ReportInput) -> str:
    return render_html(sweep)


@pytest.mark.parametrize("name", KINDS)
def test_the_page_is_well_formed_and_loads_nothing(name: str, request: pytest.FixtureRequest) -> None:
    source: ReportInput = request.getfixturevalue(name)
    page = render_html(source)
    tree = parse(page)
    assert "://" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?data:)", page)
    ids = tree.attributes("id")
    assert len(ids) == len(set(ids))
    for reference in [*tree.attributes("aria-labelledby"), *tree.attributes("data-copy")]:
        assert reference in ids
    assert all(target.startswith(("#", "data:")) for target in tree.attributes("href"))
    assert tree.attributes("src") == []
    assert [tag for tag, _ in tree.tags].count("h1") == 1


@pytest.mark.parametrize("name", KINDS)
def test_the_verdict_stands_first(name: str, request: pytest.FixtureRequest) -> None:
    source: ReportInput = request.getfixturevalue(name)
    tree = parse(render_html(source))
    assert tree.text("h1") == [view.verdict_parts(source)[0]]
    tags = [tag for tag, _ in tree.tags]
    assert tags.index("h1") < tags.index("main")
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_text_of_users_is_shown_and_never_markup(wide: ReportInput) -> None:
    page = render_html(wide)
    tree = parse(page)
    assert [tag for tag, _ in tree.tags].count("script") == 1
    shown = " ".join(data for _, data in tree.words)
    assert "Env$x$_<script>alert(1)</script>-v0" in shown
    assert "ValueError: <script>alert(1)</script>" in shown


def test_only_the_pages_own_script_may_run(page: str) -> None:
    tree = parse(page)
    (script,) = tree.text("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for tag, a in tree.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert not [name for _, attrs in tree.tags for name in attrs if name.startswith("on")]


def test_sections_come_in_the_order_of_a_readers_questions(page: str) -> None:
    headings = parse(page).text("h2")
    expected = [
        "Which plan to take", "Every plan, measured", "The evidence", "Where the time goes", "CPU, memory and GPU",
        "Trials that did not finish", "Warnings and notes", "How it was measured",
    ]  # fmt: skip
    assert [heading for heading in headings if heading in expected] == expected


def test_each_plan_offered_can_be_copied_and_is_valid(page: str, sweep: ReportInput) -> None:
    blocks = [text for text in parse(page).text("pre") if "\nplan:" in text]
    advice = sweep.findings.workloads[0].advice
    assert advice is not None
    wanted = {item.row.label for item in advice.recommendations if item.row}
    plans = [Plan.model_validate(yaml.safe_load(block)["plan"]) for block in blocks]
    assert {plan.label for plan in plans} == wanted
    assert len(re.findall(r'class="copy"', page)) == len(blocks)


def test_the_table_holds_every_plan_with_values_to_sort_by(page: str, sweep: ReportInput) -> None:
    table = re.search(r'<table class="sortable.*?</table>', page, re.S)
    assert table is not None
    tree = parse(table.group())
    rows = sweep.findings.workloads[0].table.rows
    assert sorted(data for name, data in tree.words if re.fullmatch(r"\d+x\d+", data)) == sorted(r.label for r in rows)
    assert [attrs["aria-sort"] for tag, attrs in tree.tags if "aria-sort" in attrs] == ["descending"]
    numeric = [attrs["data-value"] for tag, attrs in tree.tags if tag == "td" and attrs.get("class") == "num"]
    assert all(value == "" or float(value or "nan") >= 0 for value in numeric)
    assert {"oom", "timeout"} <= {data for _, data in tree.words}


def test_the_stacked_bars_add_up_to_a_hundred(page: str) -> None:
    stacked = re.search(r'<ul class="bars stacked".*?</ul>', page, re.S)
    assert stacked is not None
    bars = stacked.group().split("<li")[1:]
    assert len(bars) == 10
    for bar in bars:
        widths = [float(width) for width in re.findall(r'<i class="p [a-z_]+" style="width: ([\d.]+)%"', bar)]
        assert sum(widths) == pytest.approx(100, abs=0.05)


def test_every_picture_says_in_words_what_it_shows(page: str) -> None:
    tree = parse(page)
    pictures = [attrs for tag, attrs in tree.tags if attrs.get("role") == "img"]
    assert len(pictures) >= 12
    assert all(len(attrs.get("aria-label") or "") > 20 for attrs in pictures)
    loose = [attrs for tag, attrs in tree.tags if tag == "svg" and "viewbox" in attrs and "class" not in attrs]
    assert all(attrs.get("role") == "img" or attrs.get("aria-hidden") == "true" for attrs in loose)


def test_failures_carry_their_message(page: str) -> None:
    assert "the process tree held 12.5 GiB, more than the 12.4 GiB limit" in page


def test_a_training_run_shows_curves_and_settings_instead_of_advice(train: ReportInput) -> None:
    tree = parse(render_html(train))
    titles = tree.text("figcaption")
    assert titles[:2] == [
        f"Mean return of the last 100 episodes against {x}" for x in ("environment steps", "training time")
    ]
    assert "Which plan to take" not in tree.text("h2")
    (settings,) = tree.text("pre")
    assert yaml.safe_load(settings)["plan"]["num_env_runners"] == 2


def test_a_gpu_column_appears_only_where_a_gpu_was_read(page: str, wide: ReportInput) -> None:
    assert "GPU" not in parse(page).text("th")
    assert "GPU" in parse(render_html(wide)).text("th")


def test_large_sweeps_stay_small_files(make_sweep: Callable[..., Results]) -> None:
    results = make_sweep((0, 1, 2, 3, 4, 6, 8), (1, 2, 4, 8, 16, 32), axes={"plan.runner_threads": (1, 2)})
    assert len(render_html(ReportInput(results, analyse(results)))) < 400_000


def test_the_same_results_give_the_same_page(sweep: ReportInput, page: str) -> None:
    assert render_html(sweep) == page


def test_losses_and_model_intervals_stand_on_the_page(sweep: ReportInput, page: str) -> None:
    tree = parse(page)
    assert {"loss", "gap", "Karp-Flatt"} <= {name.strip() for name in tree.text("button")}
    row = sweep.findings.workloads[0].table.row("4x1")
    assert row.efficiency_loss is not None and row.gap_to_ideal is not None and row.karp_flatt is not None
    cells = tree.text("td")
    for figure in (f"{row.efficiency_loss:.1%}", f"{row.gap_to_ideal:.2f}x", f"{row.karp_flatt:.3f}"):
        assert figure in cells
    models = sweep.findings.workloads[0].models
    assert models is not None
    assert set(model_sentences(models)) <= set(tree.text("li"))
