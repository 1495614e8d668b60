"""``paceline bench`` in processes of its own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from commands import Run, Start, assert_one_sentence, ended, wait_for

from paceline.measure.bench_result import BenchResults
from paceline.measure.monitor import descendants
from paceline.measure.store import load_results

QUICK = ("--rounds", "3", "--seconds", "0.02", "--num-env-runners", "2")


@pytest.mark.slow
def test_a_bench_leaves_its_results_and_its_report_can_be_made_again(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    np.save(tmp_path / "actions.npy", np.array([0, 1, 1]))
    done = run(
        "bench", "synthetic:busy?us=20", "--backends", "serial,shm", "--num-envs", "1,4", *QUICK,
        "--actions", tmp_path / "actions.npy", "--path", "step", "--infos", "all", "--out", out,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    names = {path.name for path in out.iterdir()}
    assert names == {
        "spec.yaml", "results.json", "progress.jsonl", "report.txt", "report.html", "dashboard.png",
    }  # fmt: skip
    text = (out / "report.txt").read_text()
    assert text in done.stdout
    assert "Bench of synthetic:busy?us=20: serial, shm with 1, 4 environments" in done.stdout
    results = load_results(out, BenchResults)
    assert results.settings["path"] == "step" and results.settings["infos"] == "all"
    again = run("report", out)
    assert (again.returncode, again.stderr) == (0, "")
    assert text in again.stdout


@pytest.mark.slow
def test_json_alone_is_on_standard_output(run: Run, tmp_path: Path) -> None:
    done = run(
        "bench", "synthetic:busy?us=20", "--backends", "serial", "--num-envs", 2, *QUICK[:4], "--json", "--out",
        tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["experiment_info"]["kind"] == "bench"
    assert data["experiments"][0]["config"] == {
        "num_env_runners": 0, "num_envs_per_env_runner": 2, "total_envs": 2, "axes": {}, "backend": "serial",
    }  # fmt: skip
    assert "round 3" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NoSuchThing-v0"], "no environment is called 'NoSuchThing-v0'"),
        (["CartPole-v1", "--backends", "shn"], "did you mean shm?"),
        (["CartPole-v1", "--num-envs", "many"], "whole numbers separated by commas after --num-envs"),
        (["CartPole-v1", "--actions", "nowhere.npy", "--num-envs", "1"], "expected --actions random, zero or a file"),
        (["CartPole-v1", "--env-runners", "2"], "did you mean --num-env-runners?"),
        ([], "required: ENV"),
    ],
)
def test_a_senseless_request_is_refused(arguments: list[str], words: str, run: Run, tmp_path: Path) -> None:
    done = run("bench", *arguments, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout.count("Traceback")) == (2, 0)
    assert_one_sentence(done.stderr)
    assert words in done.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_a_report_of_what_was_measured(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(
        "bench", "synthetic:sleep?ms=5", "--backends", "serial,shm", "--num-envs", 2, "--rounds", 200, "--out", out
    )
    wait_for(process, "round 3")
    os.killpg(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "stopped; everything so far is saved\n")
    assert "Partial: the bench was stopped early. Take " in printed
    results = load_results(out, BenchResults)
    assert not results.experiment_info.complete
    assert all(case.iterations for case in results.experiments)
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_nothing_is_left_of_a_bench_that_is_killed(start: Start, tmp_path: Path) -> None:
    process = start(
        "bench", "synthetic:sleep?ms=5", "--backends", "shm,pipe", "--num-envs", 4, "--rounds", 200, "--out",
        tmp_path / "out",
    )  # fmt: skip
    wait_for(process, "round 1")
    others = descendants([process.pid]) - {process.pid}
    assert len(others) >= 10  # four cases, their runners and their guards
    process.kill()
    process.wait()
    assert [pid for pid in others if not ended(pid)] == []
