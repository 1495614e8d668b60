"""The run file: what it says is what was measured, and ``paceline train`` takes it as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec

from paceline.cli.parser import parse
from paceline.cli.request import run_data
from paceline.report.export.run_file import render
from paceline.report.export.source import ExportSource
from paceline.spec import EnvSpec, RunSpec, build_spec


@pytest.mark.parametrize("name", ["ppo", "a2c", "a3c", "impala"])
def test_it_reads_back_as_the_very_run(name: str, tmp_path: Path) -> None:
    spec = run_spec(name=name, plan={"num_env_runners": 1}, seed=3, budget={"minutes": 2})
    spec = spec.model_copy(update={"env": EnvSpec(id="own:Env", kwargs={"a: b": ["# no comment", None, 1e-5, "é\n"]})})
    file = tmp_path / "run.yaml"
    file.write_text(render(ExportSource(spec, ("CartPole-v1", "measured: 1 steps/s"))), encoding="utf-8")
    assert build_spec(RunSpec, run_data(parse(["train", "--config", str(file)]))) == spec
    head = file.read_text(encoding="utf-8").partition("env:")[0]
    assert "paceline train --config" in head
    assert "# measured: 1 steps/s\n" in head
