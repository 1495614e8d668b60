"""``paceline sweep`` in processes of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from commands import Run, Start, assert_one_sentence, wait_for

from paceline.cli.parser import parse
from paceline.cli.request import sweep_data
from paceline.measure.store import load_results
from paceline.spec import SweepSpec, build_spec

GRID = ("CartPole-v1", "--num-env-runners", "0,1", "--num-envs-per-env-runner", "4", "--batch-size", "64",
        "--minibatch-size", "32", "--num-epochs", "1", "--iterations", "2")  # fmt: skip


def test_a_dry_run_shows_the_trials_and_starts_nothing(run: Run, tmp_path: Path) -> None:
    done = run("sweep", *GRID, "--repeats", 2, "--dry-run", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 trials to run, 1 + 2 iterations each" in done.stdout
    assert "Expected time: about" in done.stdout
    assert not (tmp_path / "out").exists()


def test_options_win_over_the_config_of_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[2] / "configs" / "halfcheetah-impala.yaml"
    words = [
        "sweep",
        "--config",
        str(config),
        "--algo",
        "ppo",
        "--set",
        "budget.iterations=2",
        "--num-env-runners",
        "2",
    ]
    spec = build_spec(SweepSpec, sweep_data(parse(words)))
    assert (spec.base.algo.name, spec.base.budget.iterations, spec.base.plan.schedule) == ("ppo", 2, "auto")
    assert capsys.readouterr().err == (
        "paceline: ppo instead of impala: dropped batch_size, updates_per_iteration, rollout_length, learning_rate, "
        "rho_bar, c_bar, optimizer; schedule auto again\n"
    )


def test_a_grid_that_cannot_be_built_is_refused(run: Run, tmp_path: Path) -> None:
    arguments = ("--num-env-runners", "1", "--num-envs-per-env-runner", "7,11,13", "--batch-size", 64)
    done = run("sweep", "CartPole-v1", *arguments, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert "[7, 11, 13] environments" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_sweep_is_stopped_resumed_by_its_folder_and_reported(start: Start, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sleeps = "synthetic:sleep?us=10000"  # so that the signal comes before the trial's end, however late it is
    process = start("sweep", sleeps, *GRID[1:], "--out", out)
    wait_for(process, "[2/2]")
    os.killpg(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "stopped; everything so far is saved\n"
    assert str(out / "report.txt") in printed
    assert not load_results(out).experiment_info.complete
    done = run("sweep", "--resume", out)
    assert (done.returncode, done.stderr) == (0, "")
    results = load_results(out)
    assert results.experiment_info.complete
    assert results.experiment_info.command == f"paceline sweep --resume {out}"
    assert [len(experiment.iterations) for experiment in results.experiments] == [2, 2]
    plan = tmp_path / "out" / "plan.yaml"
    assert f"plan      {plan}   (paceline train ENV --plan {plan})" in done.stdout
    assert {
        "spec.yaml",
        "results.json",
        "progress.jsonl",
        "report.txt",
        "report.html",
        "dashboard.png",
        "plan.yaml",
    } <= {path.name for path in out.iterdir()}
    again = run("sweep", "--resume", out, "--repeats", 2, sleeps, *GRID[1:])
    assert again.returncode == 2
    assert_one_sentence(again.stderr)
    assert "repeats is 2, there it is 1" in again.stderr
