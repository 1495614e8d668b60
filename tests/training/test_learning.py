"""It learns: CartPole, and an environment whose optimum is known, however its episodes end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import paceline
from paceline.spec import Plan
from paceline.training.evaluation import evaluate
from paceline.training.policy import Policy

PLAN = Plan(num_envs_per_env_runner=8, learner_threads=1, device="cpu")


def trained(env: str, out: Path, **fields: Any) -> Policy:
    paceline.train(env, out=out, plan=PLAN, **fields)
    return Policy.load(out)


@pytest.mark.slow
def test_cartpole_is_learned(tmp_path: Path) -> None:
    policy = trained("CartPole-v1", tmp_path / "run", budget={"total_steps": 100_000}, seed=1)
    assert evaluate(policy, num_episodes=20).returns.mean() >= 400


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["terminate", "truncate"])
def test_the_known_optimum_is_learned_however_episodes_end(ending: str, tmp_path: Path) -> None:
    env = f"synthetic:known-return?episode_length=10&ending={ending}"
    algo = {"batch_size": 512, "minibatch_size": 64, "num_epochs": 8, "learning_rate": 3e-3}
    policy = trained(env, tmp_path / "run", algo=algo, budget={"total_steps": 20_480})
    assert evaluate(policy, num_episodes=20).returns.tolist() == [10.0] * 20  # random play: 2.5
