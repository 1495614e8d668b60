"""``paceline tune``: the whole program, small."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from commands import Run, Start, assert_one_sentence, children, ended, wait_for

from paceline.measure.result import ExperimentInfo, Results
from paceline.measure.store import RunFolder, load_results
from paceline.measure.tune_result import TuneDecision, TuneRecord, TuneResults
from paceline.report.write import ReportPaths
from paceline.tuner.spec import TuneSpec

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
    assert first.startswith("Take ")
    assert 'id="race"' in (out / "report.html").read_text()
    assert first in done.stdout
    results = load_results(out, TuneResults)
    assert results.experiment_info.kind == "tune"
    states = {one.state for one in results.tune.plans}
    assert "measured" in states
    assert all(one.reason for one in results.tune.plans if one.state != "measured")
    kinds = [json.loads(line)["kind"] for line in (out / "progress.jsonl").read_text().splitlines()]
    assert kinds[:3] == ["tune", "load", "probe"] and "measured" in kinds
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


@pytest.mark.slow
def test_a_run_whose_plan_is_not_found_in_time_takes_its_usual_one(
    tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paceline.cli.tuned_plan.BUDGET_MINUTES", 0.06)
    out = tmp_path / "out"
    done = run_here("train", "CartPole-v1", *SMALL, "--plan", "auto", "--total-steps", 64, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "no plan was found within 0.06 min, the run takes its usual one: " in done.stdout
    assert load_results(out, Results).experiments[0].outcome == "ok"


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


TINY = (*SMALL, "--backends", "shm", "--num-env-runners", 1, "--num-envs-per-env-runner", "1,2", "--budget-minutes", 1)
MOMENTS = {
    "the probe": "looking at the environment",
    "the start of a contender": "plans that take part",
    "the race": "best so far",
    "the confirmation": "measuring the finalists again",
}


def family(pid: int) -> set[int]:
    """Return the process ids of all descendants of ``pid``."""
    found, stack = set(), [pid]
    while stack:
        with contextlib.suppress(OSError):
            young = children(stack.pop())
            found.update(young)
            stack += young
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("the probe", signal.SIGINT),
        ("the start of a contender", signal.SIGTERM),
        ("the race", signal.SIGINT),
        ("the confirmation", signal.SIGTERM),
    ],
)
def test_a_signal_leaves_the_best_so_far_and_no_process(
    tmp_path: Path, start: Start, moment: str, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start("tune", "CartPole-v1", *TINY, "--again", "--out", out)
    wait_for(process, MOMENTS[moment])
    young = family(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert all(ended(pid) for pid in young)
    if moment == "the probe":
        assert errors.strip() == "stopped; nothing was measured yet"
        assert not (out / "results.json").exists()
        return
    assert errors.strip() == "stopped; everything so far is saved"
    results = load_results(out, TuneResults)
    assert results.tune.decision.stopped == "interrupted"
    assert not results.experiment_info.complete
    assert (results.tune.decision.winner is None) == (moment == "the start of a contender")
    assert (out / "plan.yaml").exists() == (results.tune.decision.winner is not None)
    assert "It was stopped early" in (out / "report.txt").read_text() or results.tune.decision.winner is None


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["the probe", "the race"])
def test_a_tuner_that_is_killed_leaves_no_process_and_no_shared_memory(
    tmp_path: Path, start: Start, moment: str
) -> None:
    shared = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    process = start("tune", "CartPole-v1", *TINY, "--again", "--out", tmp_path / "out")
    wait_for(process, MOMENTS[moment])
    young = family(process.pid)
    assert young
    process.kill()
    process.wait()
    assert all(ended(pid) for pid in young)
    assert not (set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()) - shared


@pytest.mark.slow
def test_of_two_tuners_at_once_the_second_is_refused_with_a_sentence(
    tmp_path: Path, start: Start, run_here: Run
) -> None:
    first = start("tune", "CartPole-v1", *TINY, "--again", "--out", tmp_path / "first")
    wait_for(first, "tuning ppo on CartPole-v1")
    second = run_here("tune", "CartPole-v1", "--again", "--out", tmp_path / "second")
    assert second.returncode == 1
    assert_one_sentence(second.stderr)
    assert "another `paceline tune` that is at it" in second.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)


def tuned(stopped: str) -> Callable[..., TuneResults]:
    """Return a tuning that ended so, in no time."""

    def tune(spec: TuneSpec, out: Path, **options: object) -> TuneResults:
        decision = TuneDecision(winner=None, stopped=stopped)
        record = TuneRecord(objective="fastest", budget_s=1, wall_s=1, decision=decision)
        info = ExperimentInfo(total_experiments=0, timestamp="2026-01-01T00:00:00+00:00", kind="tune")
        results = TuneResults(experiment_info=info, experiments=(), tune=record)
        with RunFolder(out) as folder:
            folder.write_results(results)
        return results

    return tune


@pytest.mark.parametrize(("stopped", "status"), [("nothing", 1), ("budget", 0)])
def test_where_no_plan_could_be_run_the_work_failed(
    tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch, stopped: str, status: int
) -> None:
    monkeypatch.setattr("paceline.tuner.tune.tune", tuned(stopped))
    done = run_here("tune", "CartPole-v1", "--out", tmp_path / "out")
    assert done.returncode == status
    assert "Cannot tell which plan to take: none could be measured." in done.stdout


def test_a_stop_while_the_report_is_written_waits_for_it(
    tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> ReportPaths:
        os.kill(os.getpid(), signal.SIGINT)
        (folder / "report.txt").write_text("whole")
        return ReportPaths(folder / "report.txt", folder / "dashboard.png", None, None, "Take it.")

    monkeypatch.setattr("paceline.report.write.write_report", write)
    monkeypatch.setattr("paceline.tuner.tune.tune", tuned("sure"))
    done = run_here("tune", "CartPole-v1", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr.strip()) == (130, "stopped; everything so far is saved")
    assert (tmp_path / "out" / "report.txt").read_text() == "whole"
    assert done.stdout.startswith("whole"), "and it is shown"
