"""What of a file's settings stays under settings that are given anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.spec import ALGORITHMS, RunSpec, build_spec, fit_under, load_yaml, merge_fields

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
ASYNC: dict[str, Any] = {
    "backend": "auto", "num_env_runners": 2, "num_envs_per_env_runner": 8, "inference": "runner", "schedule": "async",
}  # fmt: skip


def run_of(algo: str, plan: dict[str, Any]) -> dict[str, Any]:
    return {"env": {"id": "CartPole-v1"}, "algo": {"name": algo}, "plan": plan, "budget": {"total_steps": 100}}


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_can_be_run_with_every_algorithm(path: Path, algo: str) -> None:
    anew = {"algo": {"name": algo}}
    fitted = fit_under(load_yaml(path), anew)
    data = merge_fields(fitted.data, anew)
    if algo == "a3c" and "num_env_runners" in fitted.reopened:
        data["plan"]["num_env_runners"] = 2  # the machine's choice
    spec = build_spec(RunSpec, data)
    assert spec.plan.for_algorithm(spec.algo.name).schedule != "auto"
    assert (fitted.sentence == "") == (load_yaml(path)["algo"]["name"] == algo)


def test_fields_stay_where_they_mean_the_same() -> None:
    shared = {
        "anneal_learning_rate": False, "gamma": 0.98, "ent_coef": 4e-4, "vf_coef": 0.58, "max_grad_norm": 0.8,
        "normalize_observations": True, "normalize_rewards": True, "network": {"hidden_sizes": [256, 256]},
    }  # fmt: skip
    others = {
        "batch_size": 512, "minibatch_size": 64, "learning_rate": 2e-5, "updates_per_iteration": 2, "num_epochs": None,
        "gae_lambda": 0.92, "normalize_advantages": True, "adam_eps": 1e-5,
    }  # fmt: skip
    fitted = fit_under({"algo": {"name": "ppo", **shared, **others}}, {"algo": {"name": "a2c"}})
    assert fitted.data == {"algo": shared}
    assert fitted.sentence == (
        "a2c instead of ppo: dropped batch_size, minibatch_size, learning_rate, updates_per_iteration, gae_lambda, "
        "normalize_advantages, adam_eps"
    )


def test_a_field_that_no_algorithm_has_is_left_for_validation_to_refuse() -> None:
    assert fit_under({"algo": {"gama": 0.9}}, {"algo": {"name": "a2c"}}).data == {"algo": {"gama": 0.9}}
    assert fit_under({"algo": 5, "plan": []}, {"algo": {"name": "ppo"}}).data == {"algo": 5, "plan": []}
    assert fit_under({"algo": {"num_epochs": 3}}, {"algo": {"name": "impla"}}).data == {"algo": {"num_epochs": 3}}


@pytest.mark.parametrize("anew", [{"minutes": 1.0}, {"total_steps": 5}, {"iterations": 2, "minutes": None}])
def test_a_budget_replaces_a_budget(anew: dict[str, Any]) -> None:
    fitted = fit_under({"budget": {"total_steps": 100, "minutes": None}}, {"budget": anew})
    assert fitted.data == {} and fitted.sentence == ""


@pytest.mark.parametrize(
    ("algo", "plan", "anew", "reopened"),
    [
        ("impala", {}, {"num_env_runners": 0}, ("schedule", "inference")),
        ("a2c", {"schedule": "sync"}, {"num_env_runners": 0}, ("inference",)),
        ("ppo", {"schedule": "pipelined", "inference": "learner"}, {"num_env_runners": 0}, ("schedule",)),
        ("ppo", {"schedule": "sync", "inference": "learner", "backend": "shm"}, {"num_env_runners": 0}, ("backend",)),
        ("impala", {}, {"inference": "learner"}, ("schedule",)),
        ("impala", {}, {"schedule": "pipelined"}, ("inference",)),
        ("impala", {}, {"backend": "thread"}, ("schedule", "inference")),
        # What fits stays, and what is given is never replaced: validation refuses it.
        ("impala", {}, {"num_env_runners": 4}, ()),
        ("impala", {}, {"schedule": "sync"}, ()),
        ("ppo", {"schedule": "sync", "inference": "learner"}, {"schedule": "async"}, ()),
        ("impala", {}, {"num_env_runners": 0, "inference": "runner"}, ()),
        # A plan that never made sense is not mended in silence.
        ("impala", {"num_env_runners": 0}, {"num_envs_per_env_runner": 4}, ()),
    ],
)
def test_of_a_plan_the_fewest_fields_are_reopened(
    algo: str, plan: dict[str, Any], anew: dict[str, Any], reopened: tuple[str, ...]
) -> None:
    below = run_of(algo, {**ASYNC, **plan})
    fitted = fit_under(below, {"plan": anew})
    assert fitted.reopened == reopened
    assert fitted.data["plan"] == {name: value for name, value in below["plan"].items() if name not in reopened}
    assert bool(fitted.sentence) == bool(reopened)


def test_what_was_changed_and_why_is_one_sentence() -> None:
    assert fit_under(run_of("impala", ASYNC), {"plan": {"num_env_runners": 0}}).sentence == (
        "with num_env_runners 0: schedule and inference auto again"
    )
    serial = {"backend": "serial", "num_env_runners": 0, "num_envs_per_env_runner": 4}
    assert fit_under(run_of("ppo", serial), {"algo": {"name": "a3c"}}).sentence == (
        "a3c instead of ppo: backend and num_env_runners auto again"
    )


PLANS = st.fixed_dictionaries(
    {},
    optional={
        "backend": st.sampled_from(["auto", "serial", "shm", "thread"]),
        "num_env_runners": st.integers(0, 2),
        "inference": st.sampled_from(["auto", "learner", "runner"]),
        "schedule": st.sampled_from(["auto", "sync", "pipelined", "async"]),
    },
)


@given(algo=st.sampled_from(sorted(ALGORITHMS)), plan=PLANS)
def test_options_that_repeat_the_plan_change_nothing(algo: str, plan: dict[str, Any]) -> None:
    assert fit_under(run_of(algo, plan), run_of(algo, plan)).reopened == ()


@pytest.mark.parametrize(
    ("anew", "given", "kept"),
    [
        ({"num_env_runners": 0}, {}, None),  # a batch is then all environments at once, whatever that takes
        ({"num_envs_per_env_runner": 4}, {}, 20),  # actors go on as they were
        ({"num_env_runners": 0}, {"rollout_length": 80}, 20),  # what is given anew is not for this file to change
        ({}, {}, 20),
    ],
)
def test_the_length_of_trajectories_follows_from_a_plan_that_is_not_asynchronous(
    anew: dict[str, Any], given: dict[str, Any], kept: int | None
) -> None:
    plan = {"num_env_runners": 2, "num_envs_per_env_runner": 8, "inference": "runner", "schedule": "async"}
    below = {"algo": {"name": "impala", "batch_size": 640, "rollout_length": 20}, "plan": plan}
    fitted = fit_under(below, {"plan": anew, "algo": given})
    assert fitted.data["algo"].get("rollout_length") == kept
