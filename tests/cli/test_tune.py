"""``paceline tune``: the whole program, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import Run, assert_one_sentence

from paceline.measure.result import Results
from paceline.measure.store import load_results
from paceline.measure.tune_result import TuneResults

SMALL = ("--batch-size", 64, "--minibatch-size", 32, "--num-epochs", 1)


@pytest.mark.slow
def test_a_tuning_leaves_a_plan_that_trains(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "tuned"
    done = run(
        "tune", "CartPole-v1", *SMALL, "--budget-minutes", 0.6, "--num-env-runners", "0,1", "--num-envs-per-env-runner",
        "1,2", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = (out / "report.txt").read_text().splitlines()[0]
    assert first.startswith(("Take ", "Cannot tell which plan is the fastest"))
    assert first in done.stdout
    results = load_results(out, TuneResults)
    assert results.experiment_info.kind == "tune"
    states = {one.state for one in results.tune.plans}
    assert "measured" in states
    assert all(one.reason for one in results.tune.plans if one.state != "measured")
    kinds = [json.loads(line)["kind"] for line in (out / "progress.jsonl").read_text().splitlines()]
    assert kinds[:2] == ["tune", "probe"] and "measured" in kinds
    plan = yaml.safe_load((out / "plan.yaml").read_text())["plan"]
    winner = next(one for one in results.tune.plans if one.name == results.tune.decision.winner)
    assert plan == winner.plan
    repeated = run("tune", "CartPole-v1", *SMALL, "--budget-minutes", 0.6, "--num-env-runners", "0,1",
                   "--num-envs-per-env-runner", "1,2", "--trace", "--out", tmp_path / "again")  # fmt: skip
    assert "answered from the tuning of" in repeated.stdout
    assert (tmp_path / "again" / "plan.yaml").read_text() == (out / "plan.yaml").read_text()
    assert "This was answered from the tuning of" in " ".join((tmp_path / "again" / "report.txt").read_text().split())
    trace = json.loads((tmp_path / "again" / "trace.json").read_text())
    assert {one["ph"] for one in trace["traceEvents"]} == {"M", "X", "C"}
    assert "is in trace.json: open it at ui.perfetto.dev." in " ".join(repeated.stdout.split())
    assert not (out / "trace.json").exists(), "without being asked for there is none"
    trained = run("train", "CartPole-v1", *SMALL, "--plan", out / "plan.yaml", "--total-steps", 640, "--out",
                  tmp_path / "trained")  # fmt: skip
    assert trained.returncode == 0, trained.stderr


@pytest.mark.slow
def test_a_run_may_tune_before_it_trains(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "trained"
    done = run("train", "CartPole-v1", *SMALL, "--plan", "auto", "--backend", "serial", "--num-envs-per-env-runner", 2,
               "--total-steps", 640, "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Take serial 0x2" in done.stdout
    results = load_results(out, Results)
    assert results.experiments[0].plan["num_envs_per_env_runner"] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tune", "NoSuchThing-v0"), "NoSuchThing-v0"),
        (("tune", "CartPole-v1", "--budget-minutes", 0), "budget_minutes: expected greater than 0, got 0"),
        (("tune", "CartPole-v1", "--backends", "magic"), "backends"),
        (("tune", "CartPole-v1", "--num-env-runners=-1"), "num_env_runners"),
        (("tune",), "expected an environment, got none; name one (paceline tune CartPole-v1) or give --config"),
    ],
)
def test_a_senseless_request_is_refused(tmp_path: Path, run: Run, arguments: tuple[object, ...], sentence: str) -> None:
    done = run(*arguments, *(("--out", tmp_path / "out") if len(arguments) > 1 else ()))
    assert done.returncode == 2
    assert_one_sentence(done.stderr)
    assert sentence in done.stderr
    assert not (tmp_path / "out").exists()
