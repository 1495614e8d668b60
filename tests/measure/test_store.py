"""The run folder: what it refuses, what it survives, and what it reads back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paceline
from paceline.errors import OutputError, ResultsError
from paceline.measure.result import ExperimentInfo, Results
from paceline.measure.store import RunFolder, default_compare_out, default_out, holds_run, load_progress, load_results
from paceline.spec import EnvSpec, RunSpec, build_spec, load_yaml

NOBODY_MAY_WRITE = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def empty_results() -> Results:
    return Results(experiment_info=ExperimentInfo(total_experiments=0, timestamp="now"), experiments=())


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    assert folder.path.is_dir()
    assert not holds_run(folder.path)
    assert folder.read_progress() == []


def test_progress_reads_back_in_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_progress({"iteration": 0, "loss": float("nan")})
    folder.append_progress({"iteration": 1, "text": "zwei\nZeilen"})
    assert folder.read_progress() == [{"iteration": 0, "loss": None}, {"iteration": 1, "text": "zwei\nZeilen"}]
    assert len((tmp_path / "progress.jsonl").read_text().splitlines()) == 2


@settings(deadline=None)
@given(cut=st.integers(1, 40))
def test_a_torn_last_line_costs_that_line_only(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("run")
    folder = RunFolder(path)
    folder.append_progress({"iteration": 0})
    folder.append_progress({"iteration": 1, "padding": "x" * 40})
    file = path / "progress.jsonl"
    os.truncate(file, file.stat().st_size - cut)
    survivors: list[dict[str, object]] = [{"iteration": 0}]
    if cut == 1:  # only the line's end is missing
        survivors.append({"iteration": 1, "padding": "x" * 40})
    assert folder.read_progress() == survivors
    folder.append_progress({"iteration": 2})
    assert folder.read_progress() == [*survivors, {"iteration": 2}]


def test_foreign_lines_and_binary_rubbish_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_bytes(b'{"iteration": 0}\n\xff\xfe\x00\n[1]\n\n"text"\n{"iteration": 1}\n')
    assert RunFolder(tmp_path, resume=True).read_progress() == [{"iteration": 0}, {"iteration": 1}]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from paceline.measure.store import RunFolder\n"
        "folder = RunFolder(sys.argv[1])\n"
        "for count in range(10**9):\n"
        "    folder.append_progress({'count': count})\n"
        "    print(count, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
    counts = [record["count"] for record in RunFolder(tmp_path, resume=True).read_progress()]
    assert counts == list(range(len(counts)))
    assert counts[: len(acknowledged)] == acknowledged


def test_results_replace_each_other_and_leave_nothing_behind(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_results(empty_results())
    second = empty_results().model_copy(update={"experiment_info": ExperimentInfo(total_experiments=7, timestamp="x")})
    path = folder.write_results(second)
    assert load_results(tmp_path) == load_results(path) == folder.load_results() == second
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_text("report.txt", "old")

    def full(file: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(
            OutputError, match=r"report\.txt: cannot be written: No space left on device; give an --out"
        ):
            folder.write_text("report.txt", "new")
        with pytest.raises(OutputError, match="No space left"):
            folder.append_progress({})
    assert (tmp_path / "report.txt").read_text() == "old"
    assert {entry.name for entry in tmp_path.iterdir()} <= {"report.txt", "progress.jsonl"}


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:3]))
    folder = RunFolder(tmp_path)
    folder.write_text("report.txt", "one two three")
    folder.append_progress({"one": "two"})
    assert (tmp_path / "report.txt").read_text() == "one two three"
    assert folder.read_progress() == [{"one": "two"}]


def test_new_files_heed_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = RunFolder(tmp_path).write_text("report.txt", "")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_spec_reads_back(tmp_path: Path) -> None:
    spec = RunSpec(env=EnvSpec(id="CartPole-v1"))
    path = RunFolder(tmp_path).write_spec(spec)
    assert build_spec(RunSpec, load_yaml(path)) == spec


@pytest.mark.parametrize("mark", ["spec.yaml", "progress.jsonl", "results.json"])
def test_a_folder_with_a_run_is_refused_unless_resumed(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).touch()
    with pytest.raises(
        ResultsError, match="already holds a paceline run; give another --out, or go on with it with --resume"
    ):
        RunFolder(tmp_path)
    assert RunFolder(tmp_path, resume=True).path == tmp_path


def test_a_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    for name in ("thesis.tex", "b", "c", "d"):
        (tmp_path / name).touch()
    with pytest.raises(OutputError, match=r"which holds b, c, d and 1 more; give another --out"):
        RunFolder(tmp_path)


def test_a_folder_with_leavings_of_a_crash_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".results.json.0badcafe.paceline-tmp").touch()
    (tmp_path / "checkpoints").mkdir()
    assert RunFolder(tmp_path).path == tmp_path


@pytest.mark.parametrize("exists", [True, False])
def test_there_must_be_something_to_resume(tmp_path: Path, exists: bool) -> None:
    path = tmp_path if exists else tmp_path / "absent"
    with pytest.raises(ResultsError, match="holds none; leave out --resume"):
        RunFolder(path, resume=True)
    assert path.exists() == exists


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="expected a folder, got the file"):
        RunFolder(file)
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        RunFolder(file / "below")


@NOBODY_MAY_WRITE
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"):
        RunFolder(tmp_path / "out")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="/proc refuses new folders, even root's")
def test_a_place_where_nobody_may_write_is_refused() -> None:
    with pytest.raises(OutputError, match=r"/proc/paceline: cannot be written: .*; give an --out"):
        RunFolder("/proc/paceline")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({}, "expected a folder made by paceline, got one without results.json", id="empty"),
        pytest.param(
            {"progress.jsonl": b""}, "stopped before it finished a trial; go on with it with --resume", id="early"
        ),
        pytest.param({"results.json": b"{"}, "not valid JSON at line 1", id="cut off"),
        pytest.param({"results.json": b"\xff\xfe"}, "expected text, got binary data", id="binary"),
        pytest.param({"results.json": json.dumps({"a": 1}).encode()}, "expected a paceline results file", id="foreign"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ResultsError, match=message) as caught:
        load_results(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_no_folder_no_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such folder; give the --out of a run"):
        load_results(tmp_path / "absent")


HOLD = (
    "import sys\n"
    "from paceline.measure.store import RunFolder\n"
    "folder = RunFolder(sys.argv[1], resume=True)\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").touch()
    return tmp_path


def test_one_process_writes_to_a_folder_until_it_dies(run_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ResultsError, match="expected a folder that no one is writing to") as caught:
            RunFolder(run_folder, resume=True)
        if sys.platform == "linux":
            assert f"(process {process.pid})" in str(caught.value)
        assert load_progress(run_folder) == []  # reading is free
        process.kill()
    with RunFolder(run_folder, resume=True) as folder:
        folder.append_progress({"iteration": 0})
    assert sorted(entry.name for entry in run_folder.iterdir()) == ["progress.jsonl", "spec.yaml"]


def test_a_folder_is_let_go_by_close_by_with_and_by_nobody_holding_it(run_folder: Path) -> None:
    folder = RunFolder(run_folder, resume=True)
    with pytest.raises(ResultsError, match="still running"):
        RunFolder(run_folder, resume=True)
    folder.close()
    folder.close()
    with pytest.raises(KeyError), RunFolder(run_folder, resume=True):
        raise KeyError
    folder = RunFolder(run_folder, resume=True)
    del folder
    RunFolder(run_folder, resume=True).close()


def test_a_folder_that_was_refused_is_not_held(run_folder: Path) -> None:
    with pytest.raises(ResultsError, match="already holds a paceline run"):  # the error keeps the object alive
        RunFolder(run_folder)
    RunFolder(run_folder, resume=True).close()


def test_programs_that_are_started_meanwhile_do_not_hold_the_folder(run_folder: Path) -> None:
    folder = RunFolder(run_folder, resume=True)
    with subprocess.Popen(
        [sys.executable, "-c", "input(1)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == "1"
        folder.close()
        RunFolder(run_folder, resume=True).close()
        process.communicate("\n")


def test_default_folders_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [RunFolder(default_out("pkg.mod:Env-v0", "ppo")) for _ in range(3)]
    assert len({folder.path for folder in folders}) == 3
    assert all(folder.path.match(f"runs/pkg.mod-Env-v0-ppo-*-{os.getpid()}*") for folder in folders)


def test_a_comparison_that_names_no_folder_gets_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = default_compare_out()
    first.mkdir(parents=True)
    assert first.parent.name == "runs" and first.name.startswith("compare-")
    assert default_compare_out() != first
