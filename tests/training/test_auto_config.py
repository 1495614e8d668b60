"""``--config auto`` on machines of every size: what it makes always fits together."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest

from paceline.machine import Machine, detect_machine
from paceline.spec import RunSpec, build_spec, merge_fields
from paceline.training.auto_config import auto_config, describe_auto, fit_runners, suited_batch
from paceline.training.resolve import check_batch_fits, resolve_for_spaces

OBSERVATIONS = gymnasium.spaces.Box(-1, 1, (17,))
ACTIONS: dict[str, gymnasium.Space[Any]] = {
    "HalfCheetah-v5": gymnasium.spaces.Box(-1, 1, (6,)),
    "CartPole-v1": gymnasium.spaces.Discrete(2),
}


def machine(cores: float) -> Machine:
    return dataclasses.replace(detect_machine(), usable_cores=cores)


def made(env: str, algo: str, cores: float, **plan: Any) -> RunSpec:
    run = {"env": {"id": env}, "algo": {"name": algo}, "plan": plan}
    spec = build_spec(RunSpec, merge_fields(auto_config(env, algo, machine(cores), plan), run))
    return resolve_for_spaces(spec, OBSERVATIONS, ACTIONS[env])


@pytest.mark.parametrize("cores", [0.5, 1.0, 2.0, 3.0, 8.0, 28.0, 128.0])
@pytest.mark.parametrize("algo", ["ppo", "a2c", "a3c", "impala"])
@pytest.mark.parametrize("env", list(ACTIONS))
def test_what_is_made_fits_together(env: str, algo: str, cores: float) -> None:
    spec = made(env, algo, cores)
    check_batch_fits(spec)
    assert spec.plan.num_env_runners <= max(1, np.floor(cores))


@pytest.mark.parametrize("num_env_runners", [1, 3, 7])
@pytest.mark.parametrize("algo", ["ppo", "a2c", "a3c", "impala"])
def test_the_rest_goes_with_what_is_given(algo: str, num_env_runners: int) -> None:
    spec = made("HalfCheetah-v5", algo, 2.0, num_env_runners=num_env_runners, num_envs_per_env_runner=16)
    check_batch_fits(spec)
    assert (spec.plan.num_env_runners, spec.plan.num_envs_per_env_runner) == (num_env_runners, 16)


def test_many_environments_get_a_larger_batch_and_few_the_presets() -> None:
    large, small = made("HalfCheetah-v5", "ppo", 16.0), made("HalfCheetah-v5", "ppo", 2.0)
    assert (large.plan.num_envs, large.algo.batch_size) == (128, 8192)
    assert (small.plan.num_envs, small.algo.batch_size) == (16, 2048)
    assert large.plan.rollout_length(8192) == 64


@pytest.mark.parametrize(
    ("algo", "plan", "batch"),
    [
        ("ppo", {"num_env_runners": 7, "num_envs_per_env_runner": 16}, {"batch_size": 7168, "minibatch_size": 224}),
        ("a2c", {"num_env_runners": 7, "num_envs_per_env_runner": 16}, {"batch_size": 896}),
        ("a2c", {"num_env_runners": 2, "num_envs_per_env_runner": 4}, {}),
        ("impala", {"num_env_runners": 7, "num_envs_per_env_runner": 16, "schedule": "sync"}, {"batch_size": 2240}),
        ("impala", {"num_env_runners": 2, "num_envs_per_env_runner": 8, "schedule": "sync"}, {}),
        ("impala", {"num_env_runners": 7, "num_envs_per_env_runner": 16}, {}),
        ("impala", {"num_env_runners": 7, "schedule": "sinc"}, {}),
        ("a3c", {"num_env_runners": 7, "num_envs_per_env_runner": 16}, {}),
    ],
)
def test_a_batch_grows_where_the_presets_hold_too_few_steps_of_each_environment(
    algo: str, plan: dict[str, Any], batch: dict[str, int]
) -> None:
    assert suited_batch(algo, plan) == batch


@pytest.mark.parametrize(
    ("plan", "runners"),
    [
        ({"num_env_runners": 4, "backend": "serial"}, 0),
        ({"num_env_runners": 0, "backend": "shm"}, 1),
        ({"num_env_runners": 0, "schedule": "pipelined"}, 1),
        ({"num_env_runners": 0, "inference": "runner"}, 1),
        ({"num_env_runners": 4, "schedule": "async"}, 4),
        ({"num_env_runners": 0}, 0),
    ],
)
def test_runners_are_there_where_they_must_be(plan: dict[str, Any], runners: int) -> None:
    assert fit_runners(plan) == {**plan, "num_env_runners": runners}


def test_what_was_found_and_chosen_is_one_line() -> None:
    assert describe_auto(made("HalfCheetah-v5", "ppo", 2.0), machine(2.0)) == (
        "config auto: 2 usable cores -> 2 runners x 8 envs, 1 learner thread, batch_size 2048, sync with inference in "
        "the learner"
    )
    assert "-> 8 envs in the learner's process," in describe_auto(made("CartPole-v1", "ppo", 2.0), machine(2.0))
