"""A tuning read back, and what is told to be different since."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import paceline
from paceline.errors import ResultsError, SpecError
from paceline.machine import Machine, detect_machine
from paceline.measure.result import ExperimentInfo, Results, RunResult
from paceline.measure.tune_result import PlanStanding, TuneDecision, TuneRecord, TuneResults
from paceline.spec import EnvSpec, RunSpec, dump_yaml
from paceline.tuner.cache import source_hash
from paceline.tuner.spec import TuneSpec
from paceline.tuner.tuned import contenders_of, differences_of, load_tuning, run_of

SPEC = TuneSpec(base=RunSpec(env=EnvSpec(id="CartPole-v1", kwargs={"sutton_barto_reward": True}), seed=7))
MACHINE = replace(detect_machine(), usable_cores=1e6)  # whatever the load is, it is little
PLAN = {"num_env_runners": 2, "num_envs_per_env_runner": 4}
RUN = RunResult(
    name="shm 2x4", config={"num_env_runners": 2, "num_envs_per_env_runner": 4, "total_envs": 8}, outcome="ok",
    env_id="CartPole-v1", plan=PLAN, algo={"name": "ppo", "batch_size": 128, "minibatch_size": 64},
)  # fmt: skip


def tuned(machine: Machine = MACHINE, *, env_source: str = "", **decision: Any) -> TuneResults:
    plans = [PlanStanding(name=name, state="measured", sps=1000.0) for name in ("shm 2x4", "serial 0x8", "shm 2x2")]
    broken = PlanStanding(name="native 2x8", state="failed", sps=2000.0)
    return TuneResults(
        experiment_info=ExperimentInfo(
            total_experiments=1, timestamp="2026-01-01T00:00:00+00:00", kind="tune", machine=machine.as_dict(),
            machine_fingerprint=machine.fingerprint, paceline_version=paceline.__version__,
        ),
        experiments=(RUN,),
        tune=TuneRecord(
            objective="fastest", budget_s=1.0, wall_s=1.0, plans=(*plans, broken), env_source=env_source,
            decision=TuneDecision(
                **{"winner": "shm 2x4", "baseline": "serial 0x8", "runner_up": "shm 2x2", **decision}
            ),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "roles"),
    [
        ({}, [("winner", "shm 2x4"), ("baseline", "serial 0x8"), ("runner-up", "shm 2x2")]),
        ({"baseline": "shm 2x4"}, [("winner", "shm 2x4"), ("runner-up", "shm 2x2")]),
        ({"runner_up": "serial 0x8"}, [("winner", "shm 2x4"), ("baseline", "serial 0x8")]),
        ({"runner_up": "native 2x8", "baseline": None}, [("winner", "shm 2x4")]),
    ],
)
def test_each_plan_is_measured_once_the_winner_first(decision: dict[str, Any], roles: list[tuple[str, str]]) -> None:
    assert [(one.role, one.recorded.name) for one in contenders_of(tuned(**decision))] == roles


def test_without_a_winner_there_is_nothing_to_verify() -> None:
    with pytest.raises(ResultsError, match=r"expected a tuning that found a plan, got .*; run `paceline tune` again"):
        contenders_of(tuned(winner=None))


def test_a_run_is_that_of_the_tuning() -> None:
    run = run_of(SPEC, tuned(), "shm 2x4")
    assert run.env == SPEC.base.env
    assert (run.seed, run.plan.num_env_runners, run.algo.batch_size) == (7, 2, 128)
    with pytest.raises(ResultsError, match=r"expected the figures of serial 0x8 in results\.json, got none"):
        run_of(SPEC, tuned(), "serial 0x8")


def test_a_folder_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(tuned().to_json())
    with pytest.raises(SpecError, match=r"spec\.yaml: no such file"):
        load_tuning(tmp_path)
    (tmp_path / "spec.yaml").write_text(dump_yaml(SPEC))
    assert load_tuning(tmp_path) == (SPEC, tuned())


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    info = ExperimentInfo(total_experiments=1, timestamp="", kind="sweep")
    (tmp_path / "results.json").write_text(Results(experiment_info=info, experiments=()).to_json())
    with pytest.raises(ResultsError, match="expected the folder of a tuning, got one of `paceline sweep`"):
        load_tuning(tmp_path)


def test_where_nothing_has_changed_nothing_is_told() -> None:
    assert differences_of(SPEC, tuned(env_source=source_hash(SPEC.base.env)), MACHINE) == ()


def test_another_machine_other_versions_and_a_loaded_machine_are_told() -> None:
    then = replace(MACHINE, cpu_model="Abacus", usable_cores=4.0, versions={**MACHINE.versions, "jax": "0.0.1"})
    told = differences_of(SPEC, tuned(then), replace(MACHINE, usable_cores=1e-9))
    assert told[0].startswith("The tuning was made on another machine (Abacus, 4 cores), this one is ")
    assert told[1] == f"Versions: jax 0.0.1 is now {MACHINE.versions['jax']}."
    assert told[2].startswith("The load average was ") and told[2].endswith("other programs computed here.")


def test_an_environment_whose_source_has_changed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "env_of_a_tuning.py"
    source.write_text("class Env: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = TuneSpec(base=RunSpec(env=EnvSpec(id="env_of_a_tuning:Env")))
    results = tuned(env_source=source_hash(spec.base.env))
    assert differences_of(spec, results, MACHINE) == ()
    source.write_text("class Env: wings = 2\n")
    assert differences_of(spec, results, MACHINE) == ("The source of env_of_a_tuning:Env has changed.",)
    assert "env_of_a_tuning" not in sys.modules, "nothing of it is run to tell"
