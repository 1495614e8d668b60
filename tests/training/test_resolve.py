"""What a spec leaves open is filled in from the environment and the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paceline.errors import EnvNotFoundError, SpecError
from paceline.machine import detect_machine
from paceline.spec import EnvSpec, Plan, PPOSpec, RunSpec
from paceline.training.resolve import default_plan, resolve_spec


def resolved(env: str, **algo: Any) -> RunSpec:
    return resolve_spec(RunSpec(env=EnvSpec(id=env), algo=PPOSpec(**algo)))


@pytest.mark.parametrize("env", ["CartPole-v1", "synthetic:known-return?action=box", "synthetic:spaces?obs=image"])
def test_nothing_stays_open(env: str) -> None:
    spec = resolved(env)
    assert None not in spec.algo.model_dump().values()
    assert spec.plan.learner_threads is not None
    assert resolve_spec(spec) == spec


def test_continuous_actions_take_the_published_settings() -> None:
    algo = resolved("synthetic:known-return?action=box").algo
    assert (algo.batch_size, algo.minibatch_size, algo.num_epochs, algo.learning_rate) == (2048, 64, 10, 3e-4)
    assert algo.normalize_observations and algo.normalize_rewards


def test_what_is_given_stays() -> None:
    algo = resolved("CartPole-v1", num_epochs=3, normalize_rewards=True, batch_size=300).algo
    assert (algo.num_epochs, algo.normalize_rewards, algo.batch_size) == (3, True, 300)
    assert algo.minibatch_size is not None and 300 % algo.minibatch_size == 0
    with pytest.raises(SpecError, match="minibatch_size"):
        resolved("CartPole-v1", minibatch_size=100)


def test_small_networks_take_one_thread_and_images_take_the_cores() -> None:
    cores = detect_machine().whole_cores
    assert resolved("CartPole-v1").plan.learner_threads == 1
    assert resolved("synthetic:spaces?obs=image").plan.learner_threads == cores
    fixed = RunSpec(env=EnvSpec(id="CartPole-v1"), plan=Plan(learner_threads=3))
    assert resolve_spec(fixed).plan.learner_threads == 3


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(EnvNotFoundError, match="CartPole-v1"):
        resolved("CartPoole-v1")


@pytest.mark.parametrize(
    ("env", "cores", "runners"),
    [
        ("HalfCheetah-v5", 1, 0), ("HalfCheetah-v5", 2, 2), ("HalfCheetah-v5", 6, 4), ("HalfCheetah-v5", 96, 16),
        ("CartPole-v1", 96, 0), ("synthetic:busy?us=100", 8, 0),
    ],
)  # fmt: skip
def test_the_default_plan_suits_environment_and_cores(env: str, cores: int, runners: int) -> None:
    machine = replace(detect_machine(), usable_cores=float(cores))
    assert default_plan(env, machine) == Plan(num_env_runners=runners, num_envs_per_env_runner=8)
