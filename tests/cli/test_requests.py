"""Requests that make no sense: exit status 2, one sentence that says what to do, and nothing started or written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paceline.cli import main
from paceline.cli.parser import parse

CASES = [
    ("trane CartPole-v1", r"expected a command, got 'trane'; did you mean train\?"),
    ("qwerty", r"the commands are doctor, train, config, sweep, tune, verify, bench, report, compare, evaluate, ex"),
    ("train", r"expected an environment, got none; name one \(paceline train CartPole-v1\)"),
    ("sweep --num-env-runners 0", r"expected an environment, got none; name one \(paceline sweep CartPole-v1\)"),
    ("train CartPoole-v1", r"no environment is called 'CartPoole-v1'; did you mean CartPole-v1"),
    ("train synthetic:buzy", r"no synthetic environment is called 'buzy'; did you mean synthetic:busy\?"),
    ("train CartPole-v1 --total-step 5", r"got --total-step; did you mean --total-steps\?"),
    ("train CartPole-v1 --quux=1", r"expected an option of `paceline train`, got --quux; see `paceline train --help`"),
    ("train CartPole-v1 Acrobot-v1", r"expected one ENV or DIR, got 'Acrobot-v1' as well"),
    ("train CartPole-v1 --algo dqn", r"algo\.name: expected ppo, a2c, a3c or impala, got \"dqn\"; use one of them"),
    ("train CartPole-v1 --algo impla", r"algo\.name: .* got \"impla\"; did you mean 'impala'\?"),
    ("train CartPole-v1 --backend threads", r"plan\.backend: expected 'auto', .* or 'native', got \"threads\""),
    ("train CartPole-v1 --total-steps 0", r"budget\.total_steps: .*greater than 0, got 0"),
    ("train CartPole-v1 --total-steps -5", r"budget\.total_steps: .*greater than 0, got -5"),
    ("train CartPole-v1 --total-steps lots", r"--total-steps: expected a whole number, got 'lots'"),
    ("train CartPole-v1 --total-steps 1.5", r"--total-steps: expected a whole number, got '1\.5'"),
    ("train CartPole-v1 --minutes 0", r"budget\.minutes: .*greater than 0, got 0"),
    ("train CartPole-v1 --minutes 1 --total-steps 5", r"--total-steps: not allowed with argument --minutes"),
    ("train CartPole-v1 --seed -1", r"seed: .*got -1"),
    ("train CartPole-v1 --set algo.gama=0.9", r"unknown key 'algo\.gama'; did you mean 'gamma'\?"),
    ("train CartPole-v1 --set algo", r"expected FIELD=VALUE after --set, got 'algo'"),
    ("train CartPole-v1 --backend serial --num-env-runners 2", r"use num_env_runners 0, or backend shm"),
    ("train CartPole-v1 --batch-size 100 --num-envs-per-env-runner 7", r"use batch_size 98 or 105"),
    ("train CartPole-v1 --batch-size 64 --minibatch-size 48", r"choose a minibatch_size that divides it"),
    ("train CartPole-v1 --step-timeout-s 5 --num-env-runners 0", r"step_timeout_s, got serial; use backend shm"),
    ("train CartPole-v1 --step-timeout-s 0 --num-env-runners 1", r"step_timeout_s: .*greater than 0"),
    ("train CartPole-v1 --config broken.yaml", r"broken\.yaml: broken YAML at line \d, column \d+: "),
    ("train CartPole-v1 --config nowhere.yaml", r"nowhere\.yaml: no such file"),
    ("train --config unknown-key.yaml", r"unknown key 'plan\.num_envs_per_runner'; did you mean 'num_envs_per_env_r"),
    ("train CartPole-v1 --config list.yaml", r"list\.yaml: expected a mapping"),
    ("train CartPole-v1 --plan unknown-key.yaml", r"unknown key 'plan\.num_envs_per_runner'"),
    ("train CartPole-v1 --plan no-plan.yaml", r"no-plan\.yaml: expected a key 'plan', got env; give a plan\.yaml"),
    ("train --resume foreign", r"expected a folder with a paceline run to resume, got foreign"),
    ("train --resume a --config auto", r"expected the settings of the run in a, got --config auto as well"),
    ("train CartPole-v1 --total-steps 5 --set budget.minutes=1", r"exactly one of total_steps, minutes and iterations"),
    ("train --resume a --out b", r"expected one folder, got --resume a and --out b"),
    ("train synthetic:spaces?action=dict", r"expected an action space of .*, got Dict\(.*; wrap the environment"),
    ("train CartPole-v1 --num-env-runners -1", r"plan\.num_env_runners: .*got -1"),
    ("train CartPole-v1 --num-envs-per-env-runner 0", r"plan\.num_envs_per_env_runner: .*got 0"),
    ("train CartPole-v1 --batch-size -64", r"algo\.batch_size: .*got -64"),
    ("train CartPole-v1 --num-epochs 0", r"algo\.num_epochs: .*got 0"),
    ("train CartPole-v1 --minutes -1", r"budget\.minutes: .*greater than 0, got -1"),
    ("train CartPole-v1 --minutes nan", r"budget\.minutes: .*"),
    ("train CartPole-v1 --algo a3c --num-env-runners 0", r"expected a runner process or more for a3c"),
    ("train CartPole-v1 --algo a2c --schedule async --num-env-runners 1", r"algorithm that corrects for lag"),
    ("train CartPole-v1 --algo a3c --schedule sync --num-env-runners 1", r"schedule async and inference runner for a3"),
    ("train CartPole-v1 --algo impala --inference learner --schedule async --num-env-runners 1",
     r"schedule async needs a policy in each runner"),
    ("train CartPole-v1 --inference runner --num-env-runners 0", r"needs at least one runner process, got num_env"),
    ("train CartPole-v1 --set exact_resume=true", r"exact_resume needs checkpoint_every_iterations, got none"),
    ("train CartPole-v1 --set checkpoint_every_steps=0", r"checkpoint_every_steps: .*greater than 0, got 0"),
    ("train CartPole-v1 --algo a2c --num-epochs 3", r"unknown key 'algo\.num_epochs'"),
    ("sweep CartPole-v1 --num-env-runners 0,two", r"whole numbers separated by commas after --num-env-runners"),
    ("sweep CartPole-v1 --num-env-runners 0,0", r"axis plan\.num_env_runners names a value twice"),
    ("sweep CartPole-v1 --num-env-runners 0 --axis x", r"expected FIELD=VALUE after --axis, got 'x'"),
    ("sweep CartPole-v1 --num-env-runners 0 --repeats 0", r"repeats: .*got 0"),
    ("sweep CartPole-v1 --resume", r"expected the folder of the sweep to resume, got none; give --resume DIR"),
    ("sweep --resume foreign", r"expected a folder with a paceline run to resume, got foreign"),
    ("report", r"the following arguments are required: DIR; see `paceline report --help`"),
    ("report foreign", r"foreign: expected a folder made by paceline"),
    ("report nowhere", r"nowhere: no such folder"),
    ("report damaged", r"results\.json: not valid JSON at line 1"),
    ("report other", r"expected a paceline results file"),
    ("report newer", r"written by a newer paceline"),
    ("evaluate nowhere", r"nowhere: no such folder"),
    ("evaluate foreign", r"expected checkpoints of a training run, found none"),
    ("export foreign --to numpy --out x.npz", r"expected checkpoints of a training run, found none"),
    ("export foreign --to onnx --out x", r"--to: invalid choice: 'onnx'"),
    ("export foreign --to numpy", r"expected --out with --to numpy, which writes a binary file; give --out policy"),
    ("export foreign --to yaml", r"foreign: expected a folder made by paceline, got one without results\.json"),
    ("export nowhere --to rllib", r"nowhere: no such folder"),
    ("export foreign --to yaml --checkpoint last", r"expected --checkpoint with --to numpy, .* got it with --to yaml"),
    ("export foreign", r"the following arguments are required: --to"),
    ("evaluate foreign --checkpoint newest", r"--checkpoint: invalid choice: 'newest'"),
    ("evaluate foreign --episodes 0", r"expected at least one episode, got --episodes 0"),
    ("evaluate foreign --num-envs 0", r"expected 1 or more after --num-envs, got --num-envs 0"),
    ("evaluate foreign --num-env-runners -1", r"expected 0 or more after --num-env-runners, got --num-env-runners -1"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "broken.yaml": "env:\n  id: [CartPole-v1\n",
        "unknown-key.yaml": "env: {id: CartPole-v1}\nplan: {num_envs_per_runner: 4}\n",
        "list.yaml": "- env\n",
        "no-plan.yaml": "env: {id: CartPole-v1}\n",
        "file": "",
        "foreign/holiday.jpg": "",
        "damaged/results.json": '{"format": "paceline.res',
        "other/results.json": '{"format": "someone else"}',
        "newer/results.json": '{"format": "paceline.results", "format_version": 999}',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("line", "sentence"), CASES, ids=[line for line, _ in CASES])
def test_a_senseless_request_is_refused(
    line: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(sentence, printed.err), printed.err
    assert printed.err.startswith("paceline: error: ")
    assert len(printed.err.splitlines()) == 1
    # The folder for runs may appear, an empty one in it may not.
    assert [path for path in sorted(here.rglob("*")) if path != here / "runs"] == before


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("file", r"expected a folder, got the file file; give another --out"),
        ("file/below", r"cannot be written: Not a directory; give an --out"),
        ("foreign", r"expected an empty or new folder, got foreign which holds holiday\.jpg; give another --out"),
    ],
)
@pytest.mark.parametrize("command", ["train CartPole-v1", "sweep CartPole-v1 --num-env-runners 0"])
def test_a_folder_that_cannot_be_written_is_refused(
    command: str, out: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert main([*command.split(), "--out", out]) == 1
    error = capsys.readouterr().err
    assert re.search(sentence, error), error
    assert len(error.splitlines()) == 1
    assert sorted(here.rglob("*")) == before


def test_debug_shows_where_it_went_wrong(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "report", "nowhere"]) == 2
    before, after = capsys.readouterr().err, None
    assert main(["report", "nowhere", "--debug"]) == 2
    after = capsys.readouterr().err
    for text in (before, after):
        assert "Traceback" in text
        assert text.splitlines()[-1].startswith("paceline: error: nowhere: no such folder")


def test_an_unforeseen_error_is_called_a_bug(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(machine: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("paceline.doctor.run_checks", fail)
    assert main(["doctor"]) == 1
    assert (
        "ZeroDivisionError: by accident; this is a bug in paceline, run again with --debug" in capsys.readouterr().err
    )
    with pytest.raises(ZeroDivisionError):
        main(["doctor", "--debug"])


@pytest.mark.parametrize(("text", "value"), [("150000", 150_000), ("150_000", 150_000), ("1e6", 1_000_000)])
def test_whole_numbers_may_be_written_as_people_do(text: str, value: int) -> None:
    steps = parse(["train", "CartPole-v1", "--total-steps", text]).total_steps
    assert (steps, type(steps)) == (value, int)


def test_the_engine_is_this_program_s_own_or_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["sweep", "CartPole-v1", "--num-env-runners", "0", "--dry-run", "--out", str(tmp_path / "out")]
    assert main([*words, "--engine", "rllib"]) == 2
    assert "expected an engine of this version (paceline), got rllib" in capsys.readouterr().err
    assert main([*words, "--engine", "paceline"]) == 0
