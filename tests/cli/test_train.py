"""``paceline train`` in processes of its own: what it leaves behind, and how it goes on from there."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import SMALL, Run, assert_one_sentence, outcome

from paceline.cli.parser import parse
from paceline.cli.request import run_data
from paceline.machine import detect_machine
from paceline.measure.store import load_results
from paceline.spec import Plan, RunSpec
from paceline.training.checkpoint import CheckpointStore
from paceline.training.resolve import default_plan

pytestmark = pytest.mark.slow

CONTRACT = {
    "spec.yaml", "results.json", "progress.jsonl", "progress.csv", "report.txt", "report.html", "dashboard.png",
    "checkpoints", "tb",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("runs") / "cartpole"
    return out, run("train", "CartPole-v1", *SMALL, "--total-steps", "256", "--seed", 3, "--out", out)


@pytest.fixture
def finished(trained: tuple[Path, object], tmp_path: Path) -> Path:
    """Return a copy of a finished run, to be done with as a test likes."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def test_everything_of_the_contract_is_left(trained: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = trained
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == CONTRACT
    results = load_results(out)
    (run,) = results.experiments
    assert run.outcome == "ok"
    assert run.summary is not None and run.ledger is not None and run.resources is not None
    assert (run.summary.num_iterations, run.summary.num_env_steps) == (4, 256)
    assert [record.total_env_steps for record in run.iterations] == [64, 128, 192, 256]
    assert sum(run.ledger.phases.values()) == pytest.approx(run.ledger.wall_s)
    assert sum(record.wall_s for record in run.iterations) == pytest.approx(run.ledger.wall_s)
    assert results.experiment_info.kind == "train"
    assert results.experiment_info.complete
    assert results.experiment_info.command.startswith("paceline train CartPole-v1 --num-envs-per-env-runner 4 ")
    spec = RunSpec.model_validate(yaml.safe_load((out / "spec.yaml").read_text()))
    assert (spec.seed, spec.plan.num_envs, spec.algo.batch_size) == (3, 4, 64)
    assert None not in spec.algo.model_dump().values()  # everything that was left open is filled in
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1, 2, 3]
    assert list((out / "tb").glob("events.out.tfevents.*"))
    last = CheckpointStore(out / "checkpoints").last()
    assert (last.meta["total_env_steps"], last.meta["num_updates"]) == (256, 4)


def test_plain_lines_are_printed_where_there_is_no_terminal(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = trained
    lines = done.stdout.splitlines()
    assert lines[0] == ("training ppo on CartPole-v1: 4 envs in the learner's process, batch 64, 256 steps, seed 3")
    assert re.match(r"iteration 1  steps 64  SPS [\d,]+  return .* \(best .*\)  elapsed \w+  ETA \w+$", lines[1])
    assert any(line.startswith("iteration 4  steps 256 ") and line.endswith("ETA 0s") for line in lines)
    assert "\x1b" not in done.stdout
    assert f"page        {out / 'report.html'}" in lines
    assert lines[-1] == f"next        paceline evaluate {out} --episodes 100"


def test_a_folder_with_a_run_is_left_as_it_is(finished: Path, run_here: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    done = run_here("train", "CartPole-v1", "--total-steps", 256, "--out", finished)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert "already holds a paceline run; give another --out, or go on with it with --resume" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_complete_run_is_not_replaced_by_an_empty_one(finished: Path, run_here: Run) -> None:
    before = (finished / "results.json").read_bytes()
    done = run_here("train", "--resume", finished)
    assert done.returncode == 2
    assert_one_sentence(done.stderr)
    assert "beyond the 256 total_steps that the run has done, got 256; give a larger one" in done.stderr
    assert (finished / "results.json").read_bytes() == before


def test_a_resumed_run_continues_counters_records_and_curves(finished: Path, run_here: Run) -> None:
    before = load_results(finished).experiments[0].iterations
    done = run_here("train", "--resume", finished, "--total-steps", 384)
    assert (done.returncode, done.stderr) == (0, "")
    assert "going on after iteration 4, 256 steps" in done.stdout
    (after,) = load_results(finished).experiments
    assert after.iterations[:4] == before
    assert [(record.iteration, record.total_env_steps) for record in after.iterations[4:]] == [(4, 320), (5, 384)]
    assert after.summary is not None and after.ledger is not None
    assert after.summary.num_env_steps == 384
    assert sum(after.ledger.phases.values()) == pytest.approx(after.ledger.wall_s)
    assert len(list((finished / "tb").glob("events.out.tfevents.*"))) == 2
    assert CheckpointStore(finished / "checkpoints").last().meta["num_updates"] == 6


def test_a_run_goes_on_with_another_plan(finished: Path, run_here: Run) -> None:
    arguments = ("--num-env-runners", 1, "--num-envs-per-env-runner", 2, "--total-steps", 320)
    done = run_here("train", "--resume", finished, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    (after,) = load_results(finished).experiments
    # Figures of two plans are not mixed; the earlier ones stay in progress.jsonl.
    assert [(record.iteration, record.total_env_steps) for record in after.iterations] == [(4, 320)]
    kinds = [json.loads(line)["kind"] for line in (finished / "progress.jsonl").read_text().splitlines()]
    assert kinds == ["iteration"] * 4 + ["resumed", "iteration"]


def test_a_resumed_plan_gives_up_what_contradicts_the_new_one(run_here: Run, tmp_path: Path) -> None:
    """The folder's spec holds ``inference: runner``, which nobody gave and no run without runners can have."""
    options = ("--algo", "a2c", "--num-envs-per-env-runner", 4, "--set", "algo.updates_per_iteration=1")
    parallel = ("--num-env-runners", 1, "--inference", "runner")
    done = run_here("train", "CartPole-v1", *options, *parallel, "--total-steps", 128, "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    resume = ("train", "--resume", tmp_path / "run", "--total-steps", 256)
    done = run_here(*resume, "--num-env-runners", 0, "--inference", "runner")
    assert done.returncode == 2 and "inference runner needs at least one runner process" in done.stderr
    done = run_here(*resume, "--num-env-runners", 0)
    assert (done.returncode, done.stderr) == (0, "paceline: with num_env_runners 0: inference auto again\n")
    assert "going on after iteration 2, 128 steps" in done.stdout
    plan = load_results(tmp_path / "run").experiments[0].plan
    assert (plan["num_env_runners"], plan["inference"]) == (0, "learner")


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (("Acrobot-v1",), "expected env.id 'CartPole-v1' as the run has had so far, got 'Acrobot-v1'"),
        (("--set", "algo.network.hidden_sizes=[32]"), "expected algo.network.hidden_sizes (64, 64) as the run has had"),
        (("--set", "algo.normalize_rewards=true"), "expected algo.normalize_rewards False as the run has had so far"),
        (("--algo", "impala"), "expected algo.name 'ppo' as the run has had so far, got 'impala'"),
    ],
)
def test_another_run_is_not_continued(
    finished: Path, run_here: Run, arguments: tuple[str, ...], difference: str
) -> None:
    done = run_here("train", *arguments, "--resume", finished, "--total-steps", 512)
    assert done.returncode == 2
    assert_one_sentence(done.stderr)
    assert difference in done.stderr
    assert load_results(finished).experiments[0].summary is not None


def test_curves_are_not_sent_without_the_package(
    run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = run_here("train", "CartPole-v1", "--wandb", "mine", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert "install it with pip install wandb, or leave out --wandb" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_newest_checkpoint_is_passed_over(finished: Path, run_here: Run) -> None:
    newest = CheckpointStore(finished / "checkpoints").paths()[-1]
    damaged = Path(shutil.copytree(newest, newest.with_name("000000000320")))
    (damaged / "state.safetensors").write_bytes(b"torn")
    done = run_here("train", "--resume", finished, "--total-steps", 320)
    assert (done.returncode, done.stderr) == (0, "")
    assert "going on after iteration 4, 256 steps" in done.stdout
    assert [record.iteration for record in load_results(finished).experiments[0].iterations] == [0, 1, 2, 3, 4]


def test_a_run_killed_before_its_first_checkpoint_starts_again(finished: Path, run_here: Run) -> None:
    shutil.rmtree(finished / "checkpoints")
    (finished / "results.json").unlink()
    done = run_here("train", "--resume", finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no checkpoint to go on from: starting at the beginning" in done.stdout
    assert [record.iteration for record in load_results(finished).experiments[0].iterations] == [0, 1, 2, 3]


def test_a_sweep_is_not_resumed_as_a_training_run(finished: Path, run_here: Run) -> None:
    done = run_here("sweep", "--resume", finished)
    assert done.returncode == 2
    assert_one_sentence(done.stderr)
    assert f"run `paceline train --resume {finished}`" in done.stderr


def test_a_reader_that_goes_away_does_not_end_the_run(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["train", "CartPole-v1", *SMALL, "--total-steps", "256", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "paceline", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
    assert outcome(tmp_path / "out") == ("ok", "")
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_terminal_shows_a_live_panel(environment: dict[str, str], tmp_path: Path) -> None:
    main_end, terminal = pty.openpty()
    out = tmp_path / "out"
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-m", "paceline", "train", "CartPole-v1", *SMALL, "--total-steps", "256", "--out", str(out)],
        env={**environment, **settings},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while select.select([main_end], [], [], 60)[0]:
        try:
            shown += os.read(main_end, 65536)
        except OSError:  # Linux says so that the other end is closed
            break
    os.close(main_end)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "100%" in text
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)
    for row in (r"steps +256 in .* \(iteration 4\)", r"SPS +[\d,]+", r"return +\S+ \(best \S+\)"):
        assert re.search(row, plain), row
    assert re.search(r"time: .*learner update \d+%", text)
    assert "\x1b[" in text  # it redraws in place
    assert re.search(r"\x1b\[[\d;]*(3[0-8]|9[0-7])[;m]", text)  # in colour


def test_options_lie_over_the_plan_over_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.yaml").write_text(
        "env: {id: CartPole-v1}\n"
        "algo: {gamma: 0.9, num_epochs: 1}\n"
        "plan: {num_envs_per_env_runner: 2, learner_threads: 1}\n"
        "budget: {minutes: 5}\n"
        "seed: 9\n"
    )
    (tmp_path / "plan.yaml").write_text("# measured\nplan: {num_env_runners: 0, num_envs_per_env_runner: 8}\n")
    monkeypatch.chdir(tmp_path)
    words = "train --config run.yaml --plan plan.yaml --num-envs-per-env-runner 16 --total-steps 7 --set algo.gamma=0.5"
    spec = RunSpec.model_validate(run_data(parse(words.split())))
    assert (spec.env.id, spec.seed, spec.algo.gamma, spec.algo.num_epochs) == ("CartPole-v1", 9, 0.5, 1)
    assert (spec.plan.num_env_runners, spec.plan.num_envs_per_env_runner, spec.plan.learner_threads) == (0, 16, 1)
    assert spec.budget.model_dump(exclude_none=True) == {"total_steps": 7}


@pytest.mark.parametrize(
    ("options", "runners"),
    [("", None), ("--device cpu", None), ("--backend serial", 0), ("--num-env-runners 1", 1)],
)
def test_a_plan_that_is_not_named_suits_the_environment(options: str, runners: int | None) -> None:
    words = ["train", "HalfCheetah-v5", *options.split()]
    plan = RunSpec.model_validate(run_data(parse(words))).plan
    suited = default_plan("HalfCheetah-v5", detect_machine())
    assert plan.num_env_runners == (suited.num_env_runners if runners is None else runners)
    assert plan.num_envs_per_env_runner == (8 if runners != 1 else Plan().num_envs_per_env_runner)
