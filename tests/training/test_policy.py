"""Acting on one observation of every kind of space: the same as in a batch, in the form that ``env.step`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from fake_envs import small_spec
from gymnasium import spaces

import paceline
from paceline.agents.agent import Agent
from paceline.envs import make_env
from paceline.errors import RequestError, ResultsError
from paceline.training.policy import Policy


def fresh_policy(env: str) -> Policy:
    spec = small_spec(env)
    made = make_env(spec.env)
    agent = Agent(spec.algo.network, made.observation_space, made.action_space, normalize_observations=True)
    made.close()
    return Policy(agent, agent.init(jax.random.key(1)), spec)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(
    ("obs", "action"),
    [
        ("box", "box"), ("discrete", "discrete"), ("multidiscrete", "multidiscrete"), ("multibinary", "multibinary"),
        ("dict", "discrete"), ("tuple", "box"), ("nested", "multidiscrete"), ("image", "discrete"),
    ],
)  # fmt: skip
def test_one_observation_gives_an_action_that_the_environment_takes(obs: str, action: str, deterministic: bool) -> None:
    policy = fresh_policy(f"synthetic:spaces?obs={obs}&action={action}")
    env = make_env(policy.spec.env)
    observation, _ = env.reset(seed=3)
    for _ in range(3):
        chosen = policy.act(observation, deterministic=deterministic)
        clipped = np.clip(chosen, -1, 1) if action == "box" and not deterministic else chosen
        assert env.action_space.contains(clipped), chosen
        observation, *_ = env.step(clipped)
    env.close()


def stacked(space: spaces.Space[Any], observations: list[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: stacked(inner, [item[key] for item in observations]) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(stacked(inner, [item[i] for item in observations]) for i, inner in enumerate(space.spaces))
    return np.stack([np.asarray(item) for item in observations])


@pytest.mark.parametrize("obs", ["box", "discrete", "nested"])
def test_one_by_one_is_the_same_as_in_a_batch(obs: str) -> None:
    policy = fresh_policy(f"synthetic:spaces?obs={obs}&action=box")
    space = policy.agent.observation_space
    space.seed(0)
    observations = [space.sample() for _ in range(5)]
    batched = policy.act_batch(stacked(space, observations))
    np.testing.assert_allclose([policy.act(item) for item in observations], batched, rtol=1e-5, atol=1e-6)


def test_samples_follow_the_seed() -> None:
    policy = fresh_policy("synthetic:spaces?obs=box&action=box")
    observation = np.zeros(5, np.float32)
    again = Policy(policy.agent, policy.state, policy.spec, seed=0)
    other = Policy(policy.agent, policy.state, policy.spec, seed=1)
    drawn = [[p.act(observation, deterministic=False).tolist() for _ in range(3)] for p in (policy, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


@pytest.mark.parametrize(
    ("obs", "wrong", "sentence"),
    [
        ("box", [0.0, 0.0], r"expected observation of shape \(5,\), got float64 of shape \(2,\)"),
        ("box", "forward", r"expected observation of shape \(5,\), got <U7 of shape \(\)"),
        ("dict", [1, 2], r"a mapping with the keys gear, position, got \[1, 2\]"),
        ("dict", {"gear": 1, "position": [0.0]}, r"expected observation\['position'\] of shape \(3,\)"),
        ("tuple", (1,), r"a tuple of 2, got \(1,\)"),
    ],
)
def test_what_is_no_observation_is_refused(obs: str, wrong: Any, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        fresh_policy(f"synthetic:spaces?obs={obs}").act(wrong)


def test_lists_and_numbers_are_observations_too() -> None:
    policy = fresh_policy("synthetic:spaces?obs=box&action=box")
    assert policy.act([0.1] * 5).tolist() == policy.act(np.full(5, 0.1, np.float32)).tolist()


@pytest.mark.slow
def test_a_trained_policy_is_loaded_from_its_folder(tmp_path: Path) -> None:
    paceline.train(small_spec("synthetic:known-return", budget={"iterations": 2}), out=tmp_path / "run")
    best, last = (Policy.load(tmp_path / "run", which=which) for which in ("best", "last"))
    observation = np.eye(4, dtype=np.float32)
    assert best.act_batch(observation).tolist() == last.act_batch(observation).tolist()
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert Policy.load(checkpoint).spec == best.spec
    with pytest.raises(ResultsError, match="no such folder"):
        Policy.load(tmp_path / "nowhere")
