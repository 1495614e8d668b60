"""From a probe to the plans in the race."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.errors import PlanError
from paceline.machine import Machine, detect_machine
from paceline.spec import RunSpec, build_spec
from paceline.tuner.entrants import Entrants, costs_of, enter
from paceline.tuner.probe import ProbeResult
from paceline.tuner.spec import TuneSpec
from paceline.vector.env_cost import EnvCost

ENV = EnvCost(build_s=0.01, reset_us=100, step_us=100, p95_us=110, mean_us=100, cv=0.1, cpu_us=100)
ALGO = {"name": "ppo", "batch_size": 2048, "minibatch_size": 64, "num_epochs": 4, "learning_rate": 3e-4, "ent_coef": 0}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return detect_machine()


def probed(algo: dict[str, Any] | None = None, **more: Any) -> ProbeResult:
    run = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": algo or ALGO, "plan": {"learner_threads": 3}})
    parts = {"env": ENV, "env_bytes": 10**6, "acting_us": ((1, 20.0), (64, 40.0)), "update_s": 0.05, "compile_s": 1.0,
             "row_bytes": 40, "native": "no native code for it"}  # fmt: skip
    return ProbeResult(**{"run": run, **parts, **more})


def entered(machine: Machine, probe: ProbeResult | None = None, memory_bytes: int = 2**40, **tune: Any) -> Entrants:
    found = probe or probed()
    return enter(build_spec(TuneSpec, {"base": found.run.model_dump(), **tune}), found, machine, memory_bytes)


def test_every_plan_has_a_run_that_differs_in_plan_and_batch_alone(machine: Machine) -> None:
    found = entered(machine, num_env_runners=(0, 1, 3), num_envs_per_env_runner=(1, 8))
    assert len(found.candidates) == len(found.runs) == len(found.changes)
    for candidate, run, change in zip(found.candidates, found.runs, found.changes, strict=True):
        assert run.plan == candidate.plan
        assert run.plan.learner_threads == 3, "what is fixed on purpose stays"
        assert (run.algo.batch_size or 0) % run.plan.num_envs == 0
        assert run.algo.batch_size // run.algo.minibatch_size == 32  # type: ignore[union-attr,operator]
        assert bool(change) == (run.algo.batch_size != 2048)


def test_baselines_are_the_best_in_one_process_and_one_by_one(machine: Machine) -> None:
    found = entered(machine)
    assert found.candidates[found.baseline].plan.num_env_runners == 0
    assert found.one_by_one is not None
    assert found.candidates[found.one_by_one].plan.label == "1x1"
    assert set(found.baselines) == {found.baseline, found.one_by_one}


def test_plans_that_would_not_fit_into_memory_are_left_out_with_the_figures(machine: Machine) -> None:
    heavy = probed(env_bytes=10**8)
    found = entered(machine, heavy, memory_bytes=3 * 10**9)
    assert max(one.plan.num_envs for one in found.candidates) <= 25
    assert any("and the limit is 2.8 GiB" in one.reason for one in found.pruned)


def test_hopeless_plans_are_left_out_but_not_the_baselines(machine: Machine) -> None:
    found = entered(machine, probed(native="yes", native_us=1.0, update_s=0.0001))
    hopeless = [one for one in found.pruned if "less than 1/8 of native" in one.reason]
    assert hopeless
    assert found.candidates[found.baseline].plan.num_env_runners == 0


def test_what_native_code_was_measured_to_cost_and_to_make_use_of_is_heeded(machine: Machine) -> None:
    parts = probed(native="yes", native_us=0.5, native_step_us=40.0, native_threads=1)
    costs = costs_of(parts, machine)
    assert (costs.native_us, costs.native_step_us) == (0.5, 40.0)
    native = {one.name for one in entered(machine, parts).candidates if one.name.startswith("native")}
    assert native and all(name.startswith("native 1x") for name in native)


def test_axes_that_leave_no_plan_are_refused(machine: Machine) -> None:
    with pytest.raises(PlanError, match="expected at least one plan that can be run, got none"):
        entered(machine, backends=("native",))


def test_impalas_trajectories_are_as_long_as_the_plan_wants(machine: Machine) -> None:
    algo = {"name": "impala", "batch_size": 640, "learning_rate": 1e-3, "ent_coef": 0, "rollout_length": 20}
    found = entered(machine, probed(algo))
    lengths = {one.plan.schedule: set() for one in found.runs}
    for run in found.runs:
        lengths[run.plan.schedule].add(run.algo.rollout_length if run.plan.schedule == "async" else 0)  # type: ignore[union-attr]
        if run.plan.schedule == "sync":
            assert run.algo.rollout_length * run.plan.num_envs == run.algo.batch_size  # type: ignore[union-attr,operator]
    assert lengths["async"] == {20}


def test_without_runner_processes_all_others_race(machine: Machine) -> None:
    found = entered(machine, probed(processes="it fails in a runner process: no display"))
    assert {one.plan.resolved_backend for one in found.candidates} == {"serial"}
    assert [one.reason for one in found.pruned if one.name == "runner processes"] == [
        "it fails in a runner process: no display"
    ]


def test_of_an_environment_that_a_process_can_have_once_there_is_one_in_each(machine: Machine) -> None:
    found = entered(machine, probed(several="a second one fails: in use"), num_env_runners=(0, 1, 2))
    assert {one.plan.label for one in found.candidates} == {"0x1", "1x1", "2x1"}
    assert all(one.plan.resolved_backend in ("serial", "shm") for one in found.candidates)
    assert "a second one fails: in use" in {one.reason for one in found.pruned}
