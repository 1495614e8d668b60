"""``paceline verify``: the whole program, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Run, assert_one_sentence

SMALL = ("--batch-size", 64, "--minibatch-size", 32, "--num-epochs", 1)


@pytest.mark.slow
def test_a_tuning_is_verified_and_its_report_tells_of_it(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "tuned"
    done = run("tune", "CartPole-v1", *SMALL, "--budget-minutes", 0.3, "--backends", "serial",
               "--num-envs-per-env-runner", "1,2", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run("verify", out, "--minutes", 0.1)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((out / "verify.json").read_text())
    assert f"\n{record['answer']}: {record['plans'][0]['name']} gives " in done.stdout
    assert "Versions" not in done.stdout
    reported = run("report", out)
    assert reported.returncode == 0, reported.stderr
    assert "Measured again on " in reported.stdout
    assert f"{record['answer']}: " in reported.stdout
    done = run("verify", out, "--minutes", 0.1, "--json")
    assert json.loads(done.stdout) == json.loads((out / "verify.json").read_text())
    assert "again, for 0.1 min" in done.stderr


def sweep_folder(folder: Path) -> Path:
    folder.mkdir()
    data = {"format": "paceline.results", "format_version": 1, "experiments": [],
            "experiment_info": {"total_experiments": 0, "timestamp": "", "kind": "sweep"}}  # fmt: skip
    (folder / "results.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "the following arguments are required: DIR; see `paceline verify --help`"),
        (("nowhere",), "nowhere: no such folder; give the --out of a run"),
        (("sweep",), "sweep: expected the folder of a tuning, got one of `paceline sweep`; give the --out of"),
        (("sweep", "--minutes", 0), "expected a positive number of minutes, got 0; give for example 1"),
        (("sweep", "--minutes", "soon"), "--minutes: expected a number, got 'soon'"),
    ],
)
def test_a_senseless_request_is_refused(
    arguments: tuple[object, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_here: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep_folder(tmp_path / "sweep")
    done = run_here("verify", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert sentence in done.stderr
