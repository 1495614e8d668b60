"""Exported policies: plain arrays that act as the policy does, through the reader that users are given."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_envs import fresh_policy

from paceline.agents.normalise import RunningStats
from paceline.envs import make_env
from paceline.errors import OutputError
from paceline.training.export import describe_space
from paceline.training.policy import Policy

READER = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "numpy_policy.py"))


def read_meta(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        meta: dict[str, Any] = json.loads(str(arrays["meta"]))
    return meta


def with_statistics(policy: Policy) -> Policy:
    """Return the policy with statistics of observations as training leaves them."""
    state = policy.state
    assert state.observation_stats is not None
    size = state.observation_stats.mean.size
    mean, var = jax.random.normal(jax.random.key(2), (2, size))
    stats = RunningStats(mean, jnp.square(var) + 0.1, jnp.asarray(100.0))
    # Outputs far from each other, so that rounding cannot change which one is the largest.
    params = {**state.params, "actor": jax.tree.map(lambda leaf: leaf * 3 + 0.1, state.params["actor"])}
    changed = dataclasses.replace(state, observation_stats=stats, params=params)
    return Policy(policy.agent, changed, policy.spec)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1", "synthetic:spaces?obs=box&action=box"])
def test_ten_lines_of_numpy_act_as_the_policy(env: str, activation: str, tmp_path: Path) -> None:
    algo = {
        "batch_size": 64, "minibatch_size": 32, "num_epochs": 1, "normalize_observations": True,
        "network": {"hidden_sizes": [32, 16], "activation": activation},
    }  # fmt: skip
    policy = with_statistics(fresh_policy(env, algo=algo))
    weights = dict(np.load(policy.export(tmp_path / "policy.npz"), allow_pickle=False))
    space = policy.agent.observation_space
    generator = np.random.default_rng(0)
    for _ in range(50):
        observation = generator.normal(size=space.shape).astype(np.float32) * 2
        np.testing.assert_allclose(READER["act"](weights, observation), policy.act(observation), rtol=1e-5, atol=1e-5)


def test_arrays_are_named_by_layer_and_described(tmp_path: Path) -> None:
    policy = fresh_policy("Pendulum-v1", algo={"batch_size": 64, "minibatch_size": 32, "normalize_observations": True})
    path = policy.export(tmp_path / "folder" / "policy.npz")
    weights = np.load(path, allow_pickle=False)
    assert {name: weights[name].shape for name in weights.files if name.startswith("actor/")} == {
        "actor/dense_0/kernel": (3, 64), "actor/dense_0/bias": (64,),
        "actor/dense_1/kernel": (64, 64), "actor/dense_1/bias": (64,),
        "actor/dense_2/kernel": (64, 1), "actor/dense_2/bias": (1,),
    }  # fmt: skip
    assert {"critic/dense_2/kernel", "observation/mean", "observation/var", "log_std", "action/low"} <= set(weights)
    meta = read_meta(path)
    assert (meta["format"], meta["activation"], meta["distribution"]) == ("paceline.policy", "tanh", "normal")
    assert meta["action_space"] == {"type": "Box", "shape": [1], "dtype": "float32"}
    assert meta["layers"]["actor"] == ["dense_0", "dense_1", "dense_2"]
    assert list(tmp_path.rglob("*.*")) == [path]  # nothing half-written beside it


@pytest.mark.parametrize("obs", ["nested", pytest.param("image", marks=pytest.mark.slow), "multibinary"])
def test_every_space_is_described_as_json(obs: str, tmp_path: Path) -> None:
    path = fresh_policy(f"synthetic:spaces?obs={obs}&action=multidiscrete").export(tmp_path / "policy.npz")
    meta = read_meta(path)
    env = make_env(f"synthetic:spaces?obs={obs}&action=multidiscrete")
    assert meta["observation_space"] == json.loads(json.dumps(describe_space(env.observation_space)))
    assert meta["torso"] == ("cnn" if obs == "image" else "mlp")


def test_discrete_spaces_keep_their_first_label() -> None:
    described: dict[str, Any] = describe_space(gymnasium.spaces.Tuple((gymnasium.spaces.Discrete(3, start=-1),)))
    assert described == {"type": "Tuple", "spaces": [{"type": "Discrete", "shape": [], "n": 3, "start": -1}]}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="give another --out"):
        fresh_policy("CartPole-v1").export(tmp_path / "file" / "policy.npz")
