"""Which run a folder speaks for, and what is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec, swept_folder, trained_folder, tuned_folder

from paceline.errors import RequestError, ResultsError, SpecError
from paceline.measure.result import ExperimentInfo, Results
from paceline.measure.store import RunFolder
from paceline.report.export.source import load_source
from paceline.report.write import write_report
from paceline.spec import load_yaml

BASE = run_spec(env="CartPole-v1", seed=7)
WIDE = run_spec(plan={"num_envs_per_env_runner": 8}, algo={"batch_size": 128}, seed=7)


def test_of_a_tuning_it_is_the_winner_with_its_own_batch(tmp_path: Path) -> None:
    source = load_source(tuned_folder(tmp_path / "tuned", BASE, [(BASE, 4_000.0), (WIDE, 6_000.0)], winner=1))
    assert source.run == WIDE
    told = "\n".join(source.facts)
    assert "CartPole-v1, ppo, plan serial 0x8" in told
    assert "measured: 6,000 steps/s with paceline (95 % interval 5,400 to 6,600)" in told
    assert "machine: A processor; 8.00 usable; A GPU, abcdef123456" in told
    assert "date: 2026-01-02 03:04 UTC" in told
    assert "verdict: Take serial 0x8: 6,000 steps/s" in told


def test_of_a_sweep_it_is_what_its_plan_yaml_recommends(tmp_path: Path) -> None:
    field = "plan.num_envs_per_env_runner"
    folder = swept_folder(tmp_path / "sweep", BASE, [({field: 1}, 1_000.0), ({field: 4}, 3_000.0), ({field: 2}, None)])
    write_report(folder, html=False)
    source = load_source(folder)
    assert source.run.plan.model_dump(mode="json") == load_yaml(folder / "plan.yaml")["plan"]
    assert source.run == BASE.model_copy(update={"plan": source.run.plan})
    assert source.run.plan.num_envs_per_env_runner == 4
    assert "measured: 3,000 steps/s" in source.facts[1]


def test_a_sweep_s_other_axes_are_part_of_the_run(tmp_path: Path) -> None:
    values = {"plan.num_envs_per_env_runner": 4, "algo.gamma": 0.5}
    source = load_source(swept_folder(tmp_path / "sweep", BASE, [(values, 1_000.0)]))
    assert (source.run.algo.gamma, source.run.plan.num_envs_per_env_runner) == (0.5, 4)


def test_of_a_training_run_it_is_its_own(tmp_path: Path) -> None:
    source = load_source(trained_folder(tmp_path / "trained", BASE))
    assert source.run == BASE
    assert "measured: 5,000 steps/s" in source.facts[1]


def test_a_run_without_figures_says_so(tmp_path: Path) -> None:
    source = load_source(trained_folder(tmp_path / "trained", BASE, sps=None))
    assert source.facts[1] == "measured: not measured: no iteration finished"


def test_a_file_of_the_folder_stands_for_it(tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / "tuned", BASE, [(BASE, 4_000.0)])
    assert load_source(folder / "plan.yaml") == load_source(folder)


def test_a_tuning_without_a_winner_is_refused(tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / "tuned", BASE, [], winner=None)
    with pytest.raises(RequestError, match=r"expected a tuning that found a plan, got .*tuned, where none could be"):
        load_source(folder)


def test_a_sweep_of_which_nothing_was_measured_is_refused(tmp_path: Path) -> None:
    folder = swept_folder(tmp_path / "sweep", BASE, [({"algo.gamma": 0.5}, None), ({"algo.gamma": 0.6}, None)])
    with pytest.raises(RequestError, match="expected a sweep that recommends a plan"):
        load_source(folder)


def test_a_bench_is_refused(tmp_path: Path) -> None:
    info = ExperimentInfo(total_experiments=0, timestamp="", kind="bench")
    with RunFolder(tmp_path / "bench") as folder:
        folder.write_results(Results(experiment_info=info, experiments=()))
    with pytest.raises(RequestError, match=r"expected a folder of `paceline tune`, `sweep` or `train`, got the bench"):
        load_source(tmp_path / "bench")


def test_a_folder_without_results_or_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=re.escape("expected a folder made by paceline, got one without results")):
        load_source(tmp_path)
    folder = trained_folder(tmp_path / "trained", BASE)
    (folder / "spec.yaml").unlink()
    with pytest.raises(SpecError, match=r"spec\.yaml: no such file"):
        load_source(folder)


def test_an_environment_of_a_script_s_own_is_refused(tmp_path: Path) -> None:
    spec = BASE.model_copy(update={"env": BASE.env.model_copy(update={"id": "__main__:MyEnv"})})
    with pytest.raises(RequestError, match="expected an environment that another program can import"):
        load_source(trained_folder(tmp_path / "trained", spec))
