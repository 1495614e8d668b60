from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench" / "fakes"))

from made_bench import LAWS, made_bench

from paceline.report.bench_text import render_bench_text
from paceline.report.bench_view import bench_input
from paceline.report.text_table import WIDTH


@pytest.fixture(scope="module")
def text() -> str:
    return render_bench_text(bench_input(made_bench(failed={"shm@8": ("crash", "it died; see logs/shm@8.log")})))


def section(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    first = lines.index(title) + 2
    return lines[first : first + next((i for i, line in enumerate(lines[first:]) if not line), len(lines))]


def test_the_verdict_and_the_call_stand_first(text: str) -> None:
    lines = text.splitlines()
    assert lines[0].startswith("Take shm with 2 runners: 30,415 steps/s with 64 environments, 76% of what free-running")
    first = lines.index("paceline.make_vec(")
    assert first < 6
    call = ast.parse("\n".join(lines[first : first + 3]), mode="eval").body
    assert isinstance(call, ast.Call)
    assert {word.arg: ast.literal_eval(word.value) for word in call.keywords} == {
        "backend": "shm", "num_env_runners": 2, "autoreset_mode": "same_step", "infos": "none",
    }  # fmt: skip
    assert "What was timed: send() and recv()." in text


def test_every_case_has_a_line_the_ceilings_first(text: str) -> None:
    rows = section(text, "Steps per second")[2:]
    marks = [re.split(r"\s{2,}", row)[-1] for row in rows]
    assert [place for place, mark in enumerate(marks) if mark == "ceiling"] == [0, 1, 4, 5, 8, 9]
    assert (marks[7], marks[10]) == ("crash", "<- take this")
    assert len(rows) == 12


def test_the_shares_of_time_add_up_to_a_hundred_per_cent(text: str) -> None:
    rows = section(text, "Where an average runner's time goes")[2:]
    assert len(rows) == 5
    for row in rows:
        *shares, total = (float(number) for number in re.findall(r"([\d.]+)%", row))
        assert total == 100.0
        assert sum(shares) == pytest.approx(100.0, abs=0.3)


def test_who_overtakes_whom_and_what_failed_are_said(text: str) -> None:
    assert "shm overtakes serial at about 25 environments" in text
    assert "  shm@8: crash: it died; see logs/shm@8.log" in text.splitlines()


def test_crossings_are_a_table() -> None:
    lines = render_bench_text(bench_input(made_bench())).splitlines()
    row = next(line for line in lines if line.startswith("  shm ") and "(8 to 64)" in line)
    assert re.split(r"\s{2,}", row.strip()) == ["shm", "serial", "25 (8 to 64)", "1.60x at 64", "–"]
    tied = {name: lambda n: 19_000.0 for name in LAWS}
    noise = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0)
    told = render_bench_text(bench_input(made_bench((1, 8), {**tied, "shm": lambda n: 19_000.0}, noise=noise)))
    assert re.search(r"(shm +serial|serial +shm) +cannot tell +– +1, 8", told)


def test_a_row_of_auto_says_what_it_chose() -> None:
    laws = {**LAWS, "auto": lambda n: 19_000.0}
    text = render_bench_text(bench_input(made_bench((8,), laws, chosen={8: ("thread", 16)})))
    assert "auto: thread with 16 threads" in text
    assert "- auto chose thread with 16 threads at 8 environments" in text


def test_no_line_is_too_long_and_none_ends_in_blanks(text: str) -> None:
    assert all(len(line) <= WIDTH and line == line.rstrip() for line in text.splitlines())


def test_a_bench_without_figures_has_a_report_all_the_same() -> None:
    gone = {f"{name}@8": ("impossible", "cannot") for name in ("loop", "free-running", "serial", "shm")}
    text = render_bench_text(bench_input(made_bench((8,), failed=gone, profile=None, complete=False)))
    assert text.startswith("Partial: the bench was stopped early. No execution of Made<b>-v0 could be measured.")
    assert "loop@8" in text
