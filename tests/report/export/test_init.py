"""Targets, and which algorithm each knows."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec, trained_folder

from paceline.cli.parser import parse
from paceline.errors import RequestError
from paceline.report.export import TARGETS, export_text, how_to_run
from paceline.spec import RunSpec, build_spec


@pytest.mark.parametrize(
    ("algo", "target", "sentence"),
    [
        ("impala", "sb3", "expected a run of ppo or a2c for --to sb3, got impala; .* --to yaml or rllib or gymnasium"),
        ("a2c", "rllib", "expected a run of ppo or impala for --to rllib, got a2c; .* --to yaml or sb3 or gymnasium"),
        ("a3c", "rllib", "got a3c; it can be exported with --to yaml or gymnasium"),
        ("a3c", "sb3", "got a3c; it can be exported with --to yaml or gymnasium"),
    ],
)
def test_what_a_target_does_not_know_is_refused(algo: str, target: str, sentence: str, tmp_path: Path) -> None:
    folder = trained_folder(tmp_path / "run", run_spec(name=algo, plan={"num_env_runners": 1}))
    with pytest.raises(RequestError, match=sentence):
        export_text(folder, target)
    assert export_text(folder, "yaml").startswith("# ")
    ast.parse(export_text(folder, "gymnasium"))


def test_the_command_line_offers_every_target() -> None:
    for target in TARGETS:
        assert parse(["export", "runs/x", "--to", target]).to == target
    assert how_to_run("yaml", "run.yaml") == "paceline train --config run.yaml"
    assert how_to_run("sb3", "run.py") == "python run.py"


@pytest.mark.parametrize("target", ["rllib", "sb3"])
def test_a_run_with_open_settings_is_refused(target: str, tmp_path: Path) -> None:
    folder = trained_folder(tmp_path / "run", build_spec(RunSpec, {"env": {"id": "CartPole-v1"}}), sps=None)
    with pytest.raises(RequestError, match=rf"every setting of ppo for --to {target}, got none for batch_size, learn"):
        export_text(folder, target)


@pytest.mark.parametrize("target", ["rllib", "sb3"])
def test_environments_that_come_in_batches_alone_are_refused(target: str, tmp_path: Path) -> None:
    spec = run_spec()
    spec = spec.model_copy(update={"env": spec.env.model_copy(update={"id": "envpool:CartPole-v1"})})
    with pytest.raises(RequestError, match="EnvPool steps whole batches; export with --to yaml or gymnasium"):
        export_text(trained_folder(tmp_path / "run", spec), target)
