"""Environments, runners and users that end a training run: what was done is kept, and no process stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, Run, Start, assert_one_sentence, children, ended, outcome, wait_for

from paceline.measure.store import load_results
from paceline.training.checkpoint import CheckpointStore

FAULTY = "synthetic:faulty?episode_length=10&at=60&fault="
AT_ONCE = ("--set", "max_restarts=0")
"""The first fault ends the run."""
PLANS = {
    "ppo, policy in the learner": ("--algo", "ppo", "--minibatch-size", 32, "--num-epochs", 1),
    "ppo, policy in the runners": ("--algo", "ppo", "--minibatch-size", 32, "--num-epochs", 1, "--inference", "runner"),
    "impala, asynchronous": ("--algo", "impala", "--set", "algo.updates_per_iteration=4"),
    "a3c, asynchronous": ("--algo", "a3c", "--set", "algo.updates_per_iteration=4"),
}
WHERE = r"\(env 0, seed \d+(, step 60)?, last action [01]\)$"


def assert_last_good_checkpoint(out: Path) -> int:
    """Check that the newest checkpoint loads and holds finite numbers only; return its number of updates."""
    checkpoint = CheckpointStore(out / "checkpoints").last()
    assert all(np.isfinite(array).all() for array in checkpoint.arrays.values())
    return int(checkpoint.meta["num_updates"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "runners", "sentence", "kind"),
    [
        ("raise", 2, rf"an environment raised RuntimeError: this environment fails at step 60 {WHERE}", "crash"),
        ("hang", 2, rf"within step_timeout_s 1\.0, but an environment has not returned; .* {WHERE}", "crash"),
        ("wrong-dtype", 2, rf"dtype float32, got dtype float64; .* {WHERE}", "crash"),
        ("nan-reward", 0, rf"expected a reward that is a number, got NaN; .* {WHERE}", "crash"),
        ("inf-reward", 0, r"update 4 produced NaN or infinity \(loss nan\); .*check the environment's rewards", "nan"),
    ],
)
def test_a_broken_environment_ends_the_run_and_nothing_is_lost(
    fault: str, runners: int, sentence: str, kind: str, run: Run, tmp_path: Path
) -> None:
    timeout = ("--step-timeout-s", 1) if fault == "hang" else ()
    # 16 steps of each environment in an iteration, whatever the plan: the fault is met in the fourth.
    words = (
        *SMALL,
        "--num-envs-per-env-runner",
        4 // max(runners, 1),
        "--num-env-runners",
        runners,
        *timeout,
        *AT_ONCE,
    )
    out = tmp_path / "out"
    done = run("train", FAULTY + fault, *words, "--out", out)
    assert done.returncode == 1
    assert_one_sentence(done.stderr)
    assert re.search(sentence, done.stderr), done.stderr
    assert outcome(out)[0] == kind
    assert outcome(out)[1] in done.stderr
    iterations = load_results(out).experiments[0].iterations
    assert [record.iteration for record in iterations] == [0, 1, 2]
    assert assert_last_good_checkpoint(out) == 3
    # A batch that nothing was learnt from does not count.
    assert CheckpointStore(out / "checkpoints").last().meta["total_env_steps"] == iterations[-1].total_env_steps
    assert {"report.txt", "report.html", "dashboard.png"} <= {path.name for path in out.iterdir()}
    assert str(out / "report.txt") in done.stdout


@pytest.mark.slow
def test_debug_shows_the_environments_own_traceback(run: Run, tmp_path: Path) -> None:
    fault = "synthetic:faulty?fault=raise-in-reset"
    done = run("--debug", "train", fault, *SMALL, "--num-env-runners", 1, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") >= 2
    assert 'raise RuntimeError("this environment fails to reset")' in done.stderr


@pytest.mark.slow
def test_an_environment_that_cannot_be_built_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    done = run("train", "synthetic:faulty?fault=raise-in-init", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert_one_sentence(done.stderr)
    assert "raised while it was built: RuntimeError: this environment always fails to build" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "runners"), [(signal.SIGINT, 2), (signal.SIGTERM, 0)])
def test_a_stopped_run_saves_everything(number: signal.Signals, runners: int, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("train", "CartPole-v1", *SMALL, "--num-env-runners", runners, "--out", out)
    wait_for(process, "iteration 1 ")
    runner_pids = children(process.pid)
    assert len(runner_pids) == runners
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # Ctrl-C goes to all
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "stopped; everything so far is saved\n"
    assert "stopping: saving a checkpoint and the results" in printed
    assert outcome(out) == ("interrupted", "stopped by the user")
    assert not json.loads((out / "results.json").read_text())["experiment_info"]["complete"]
    iterations = load_results(out).experiments[0].iterations
    # The checkpoint, the results and the log hold the very same iterations.
    assert assert_last_good_checkpoint(out) == len(iterations) >= 1
    assert len((out / "progress.jsonl").read_text().splitlines()) == len(iterations)
    last = CheckpointStore(out / "checkpoints").last()
    assert last.meta["total_env_steps"] == iterations[-1].total_env_steps
    assert "stopped early" in (out / "report.txt").read_text()
    assert all(ended(pid) for pid in runner_pids)


@pytest.mark.slow
def test_a_run_that_resumes_exactly_says_what_is_not_saved(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exact = ("--set", "exact_resume=true", "--set", "checkpoint_every_iterations=1000000")
    process = start("train", "CartPole-v1", *SMALL, "--num-env-runners", 0, *exact, "--out", out)
    wait_for(process, "iteration 1 ")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    steps = load_results(out).experiments[0].iterations[-1].total_env_steps
    assert errors == (
        f"stopped; there is no checkpoint yet, and --resume begins again: the figures of {steps:,} steps are saved\n"
    )


@pytest.mark.slow
def test_a_runner_that_is_killed_ends_the_run_with_a_checkpoint(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("train", "CartPole-v1", *SMALL, "--num-env-runners", 2, *AT_ONCE, "--out", out)
    wait_for(process, "iteration 1 ")
    victim, other = children(process.pid)
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert_one_sentence(errors)
    assert f"(pid {victim}, " in errors and "ended by SIGKILL" in errors
    assert outcome(out)[0] == "crash"
    assert assert_last_good_checkpoint(out) == len(load_results(out).experiments[0].iterations)
    assert ended(other)


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_a_runner_that_is_killed_is_replaced_and_training_goes_on(plan: str, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sizes = ("--batch-size", 64, "--num-env-runners", 2, "--num-envs-per-env-runner", 2, "--total-steps", 1_000_000)
    process = start("train", "CartPole-v1", *PLANS[plan], *sizes, "--out", out)
    wait_for(process, "iteration 1 ")
    victim, other = children(process.pid)
    os.kill(victim, signal.SIGKILL)
    wait_for(process, "replacement 1 of at most 3")
    wait_for(process, "iteration ")
    replaced = [pid for pid in children(process.pid) if pid != other]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "stopped; everything so far is saved\n")
    assert len(replaced) == 1 and replaced != [victim]
    assert all(ended(pid) for pid in (*replaced, other))
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    (event,) = [line["message"] for line in lines if line["kind"] == "event"]
    assert "SIGKILL" in event
    assert_last_good_checkpoint(out)


@pytest.mark.slow
@pytest.mark.parametrize("plan", list(PLANS)[1:])
def test_nothing_stays_of_a_run_with_actors_that_is_killed(plan: str, start: Start, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sizes = ("--batch-size", 64, "--num-env-runners", 2, "--num-envs-per-env-runner", 2, "--total-steps", 1_000_000)
    often = ("--set", "checkpoint_every_s=0.001")
    process = start("train", "CartPole-v1", *PLANS[plan], *sizes, *often, "--out", out)
    wait_for(process, "iteration 1 ")
    actors = children(process.pid)
    process.kill()
    process.communicate()
    assert len(actors) == 2 and all(ended(pid) for pid in actors)
    assert_last_good_checkpoint(out)
    done = CheckpointStore(out / "checkpoints").last().meta["num_iterations"]
    resumed = run("train", "--resume", out, "--set", f"budget={{iterations: {done + 2}}}")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    iterations = load_results(out).experiments[0].iterations
    assert [record.iteration for record in iterations] == list(range(done + 2))


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_runner_and_goes_on_later(start: Start, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (*SMALL, "--num-env-runners", 2, "--set", "checkpoint_every_s=0.001", "--out", out)
    process = start("train", "CartPole-v1", *words)
    wait_for(process, "iteration 1 ")
    runner_pids = children(process.pid)
    process.kill()
    process.communicate()
    assert len(runner_pids) == 2
    assert all(ended(pid) for pid in runner_pids)
    reported = run("report", out)
    assert reported.returncode == 2
    assert_one_sentence(reported.stderr)
    assert "--resume" in reported.stderr
    done_before = assert_last_good_checkpoint(out)
    assert len((out / "progress.jsonl").read_text().splitlines()) >= 1
    resumed = run("train", "--resume", out, "--set", f"budget={{iterations: {done_before + 2}}}")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    iterations = load_results(out).experiments[0].iterations
    # What the killed run did after its last checkpoint is done again, and counted once.
    assert [record.iteration for record in iterations] == list(range(done_before + 2))
    assert iterations[-1].total_env_steps == 64 * (done_before + 2)
