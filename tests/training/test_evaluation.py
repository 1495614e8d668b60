"""Evaluation: the exact mean where it is known, and no favour to short episodes."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from fake_envs import LengthBySeed, small_spec

from paceline.agents.agent import Agent
from paceline.envs import make_env
from paceline.errors import RequestError
from paceline.training.evaluation import evaluate
from paceline.training.policy import Policy


def zero_policy(env: str) -> Policy:
    """Return a policy whose network answers 0 to everything."""
    spec = small_spec(env)
    made = make_env(spec.env)
    agent = Agent(spec.algo.network, made.observation_space, made.action_space, normalize_observations=False)
    made.close()
    return Policy(agent, jax.tree.map(jax.numpy.zeros_like, agent.init(jax.random.key(0))), spec)


@pytest.mark.parametrize("ending", ["terminate", "truncate"])
def test_the_mean_return_is_the_closed_form(ending: str) -> None:
    # The action 0 to the cue -0.5 or 0.5 is paid 1 - 0.25 a step.
    policy = zero_policy(f"synthetic:known-return?action=box&episode_length=9&ending={ending}")
    found = evaluate(policy, num_episodes=7, num_envs=3)
    assert found.returns.tolist() == [9 * 0.75] * 7
    assert found.lengths.tolist() == [9] * 7


def test_a_constant_answer_is_right_one_time_in_k() -> None:
    # Logits of 0 choose action 0; the cue is uniform over 4: the mean return tends to L / 4.
    found = evaluate(zero_policy("synthetic:known-return?episode_length=50&num_actions=4"), num_episodes=40)
    standard_error = np.sqrt(50 * 0.25 * 0.75 / 40)
    assert abs(found.returns.mean() - 12.5) < 5 * standard_error
    assert set(found.lengths) == {50}


def test_short_episodes_are_not_favoured() -> None:
    policy = zero_policy(f"{LengthBySeed.__module__}:{LengthBySeed.__name__}")
    found = evaluate(policy, num_episodes=6, num_envs=2, seed=10)  # one environment of each kind
    assert sorted(found.lengths) == [2, 2, 2, 30, 30, 30]
    assert found.returns.tolist() == found.lengths.tolist()
    assert len(evaluate(policy, num_episodes=5, num_envs=2, seed=10).returns) == 5


def test_evaluation_repeats_itself() -> None:
    policy = zero_policy("synthetic:known-return?episode_length=20")
    first, second = (evaluate(policy, num_episodes=10, seed=3) for _ in range(2))
    assert first.returns.tolist() == second.returns.tolist()
    assert first.returns.tolist() != evaluate(policy, num_episodes=10, seed=4).returns.tolist()


@pytest.mark.parametrize("num_env_runners", [1, 2, 9])
def test_runners_change_nothing_but_the_time(num_env_runners: int) -> None:
    policy = zero_policy("synthetic:known-return?episode_length=20")
    alone = evaluate(policy, num_episodes=7, num_envs=3)
    shared = evaluate(policy, num_episodes=7, num_envs=3, num_env_runners=num_env_runners)
    assert shared.returns.tolist() == alone.returns.tolist()
    assert shared.lengths.tolist() == alone.lengths.tolist()


@pytest.mark.parametrize(("episodes", "envs"), [(0, 1), (1, 0)])
def test_nothing_to_play_is_refused(episodes: int, envs: int) -> None:
    with pytest.raises(RequestError, match="at least one episode"):
        evaluate(zero_policy("synthetic:known-return"), num_episodes=episodes, num_envs=envs)
