from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.analysis.findings import analyse
from paceline.errors import OutputError, ResultsError
from paceline.measure.result import Results
from paceline.measure.store import load_results
from paceline.report import write
from paceline.report.view import ReportInput, verdict
from paceline.report.write import write_report
from paceline.spec import Plan, build_spec, load_yaml

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_tuning import tuned_with_ledgers


@pytest.fixture
def folder(tmp_path: Path, make_sweep: Callable[..., Results]) -> Path:
    (tmp_path / "results.json").write_text(make_sweep((1, 2), (1, 4)).to_json())
    return tmp_path


@pytest.fixture
def quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: for tests that are about files, not about the picture."""
    monkeypatch.setattr(write, "draw_dashboard", lambda source: b"picture" * 200)


def test_all_forms_and_the_recommended_plan_are_written_and_nothing_else(folder: Path) -> None:
    paths = write_report(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "dashboard.png", "plan.yaml", "report.html", "report.txt", "results.json",
    ]  # fmt: skip
    assert paths.plan is not None
    plan = build_spec(Plan, load_yaml(paths.plan)["plan"])
    assert plan.label == analyse(load_results(folder)).primary.advice.recommended.label
    assert paths.page is not None
    assert paths.page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert paths.picture.read_bytes().startswith(b"\x89PNG")
    assert " ".join(paths.text.read_text(encoding="utf-8").split("\n\n")[0].split()) == paths.verdict


def test_a_tuning_has_a_page_with_its_plan_and_its_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "draw_tune_dashboard", lambda results: b"picture")
    (tmp_path / "results.json").write_text(tuned_with_ledgers().to_json())
    (tmp_path / "plan.yaml").write_text("plan:\n  backend: shm\n")
    line = {"kind": "measured", "at_s": 3.0, "plan": "shm 2x16", "sps": 1.0, "wall_s": 1.0}
    (tmp_path / "progress.jsonl").write_text(json.dumps(line) + "\n")
    paths = write_report(tmp_path)
    assert paths.page is not None and paths.plan == tmp_path / "plan.yaml"
    page = paths.page.read_text(encoding="utf-8")
    assert "backend: shm" in page and 'id="race"' in page
    assert paths.verdict in " ".join(page.split())
    paths.page.unlink()
    assert write_report(tmp_path, html=False).page is None and not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("quick_picture")
def test_the_page_is_left_out_when_not_asked_for(folder: Path) -> None:
    assert write_report(folder, html=False).page is None
    assert not (folder / "report.html").exists()


@pytest.mark.usefixtures("quick_picture")
def test_a_training_run_tells_what_was_replaced_on_its_way(
    tmp_path: Path, make_train: Callable[..., Results], make_sweep: Callable[..., Results]
) -> None:
    (tmp_path / "results.json").write_text(make_train().to_json())
    events = [
        {"kind": "event", "what": "restart", "message": "runner 1 was replaced because it died: \x1b[31mkilled"},
        {"kind": "event", "what": "memory", "message": "little memory is left"},
        {"kind": "event", "message": "env 3 was replaced: <b>it raised</b>"},
    ]
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    paths = write_report(tmp_path)
    assert paths.page is not None
    text, page = (" ".join(path.read_text(encoding="utf-8").split()) for path in (paths.text, paths.page))
    assert "outcome ok replaced 2 environments or runners (see Warnings)" in text
    told = "2 environments or runners were replaced on the way: runner 1 was replaced because it died: [31mkilled;"
    assert told in text.replace("died:  [", "died: [") and "little memory" not in text
    assert "replaced on the way" in page and "env 3 was replaced: &lt;b&gt;it raised" in page
    (tmp_path / "results.json").write_text(make_sweep((1, 2), (1,)).to_json())
    assert "replaced" not in write_report(tmp_path).text.read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick_picture")
def test_a_report_is_made_anew_over_an_old_one(folder: Path) -> None:
    for name in ("report.txt", "report.html", "dashboard.png"):
        (folder / name).write_text("old")
    paths = write_report(folder)
    assert paths.page is not None
    assert all(path.stat().st_size > 1000 for path in (paths.text, paths.page, paths.picture))


@pytest.mark.usefixtures("quick_picture")
def test_files_get_the_permissions_that_the_user_gives_new_files(folder: Path) -> None:
    mask = os.umask(0o027)
    try:
        paths = write_report(folder, html=False)
    finally:
        os.umask(mask)
    assert paths.text.stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("quick_picture")
def test_partial_results_are_reported_as_partial(
    tmp_path: Path, make_sweep: Callable[..., Results], sweep: ReportInput
) -> None:
    (tmp_path / "results.json").write_text(make_sweep((1,), (1, 4), complete=False, total=9).to_json())
    paths = write_report(tmp_path)
    assert "2 of 9" in paths.verdict
    assert verdict(sweep) != paths.verdict


@pytest.mark.parametrize("content", [None, "{", '{"format": "other"}'])
def test_missing_damaged_and_foreign_results_are_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError):
        write_report(tmp_path)
    assert not (tmp_path / "report.txt").exists()


def test_an_unwritable_place_is_one_sentence_and_leaves_no_rest(folder: Path) -> None:
    (folder / "report.txt").mkdir()  # a folder in the way: refused for root, too
    (folder / "report.txt" / "kept").touch()
    with pytest.raises(OutputError, match=r"report\.txt: cannot be written: .*; free the folder"):
        write_report(folder)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_failure_in_the_middle_keeps_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dashboard.png").write_text("the old picture")

    real = os.write

    def full_disk(file: int, data: memoryview) -> int:
        if bytes(data[:4]) == b"\x89PNG":
            return real(file, data[:100])
        if len(data) < len(picture):
            raise OSError(28, "No space left on device")
        return real(file, data)

    picture = b"\x89PNG" + b"picture" * 200
    monkeypatch.setattr(write, "draw_dashboard", lambda source: picture)
    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(folder)
    assert (folder / "dashboard.png").read_text() == "the old picture"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("quick_picture")
def test_a_lone_surrogate_in_a_message_does_not_cost_the_report(
    tmp_path: Path, make_sweep: Callable[..., Results]
) -> None:
    results = make_sweep((1, 2), (1,), failures={(2, 1): ("crash", "no such file: \udcff.xml")})
    (tmp_path / "results.json").write_text(results.to_json())
    paths = write_report(tmp_path)
    assert "no such file: " in paths.text.read_text(encoding="utf-8")


def test_importing_the_report_loads_no_drawing_library() -> None:
    code = (
        "import sys, paceline.report.write; "
        "print([name for name in sys.modules if name.split('.')[0] in ('matplotlib', 'plotly', 'jax')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
