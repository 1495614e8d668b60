"""Gradients travel as vectors, and what comes out is what went in."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
from gymnasium import spaces

from paceline.agents.agent import Agent
from paceline.agents.experience import Batch, LearnerState, absorb
from paceline.spec import A3CSpec, NetworkSpec
from paceline.training.actors.gradients import GradientCodec

T, N = 4, 2
BOX = spaces.Box(-np.inf, np.inf, (3,))
pytestmark = pytest.mark.slow  # each function that is compared is compiled twice


@functools.cache
def codec() -> GradientCodec:
    spec = A3CSpec(
        batch_size=T * N, learning_rate=1e-2, ent_coef=0.01, normalize_observations=True, normalize_rewards=True,
        network=NetworkSpec(hidden_sizes=(4,)),
    )  # fmt: skip
    return GradientCodec(spec, Agent(spec.network, BOX, spaces.Box(-1, 1, (2,)), normalize_observations=True))


def batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    flags = np.zeros((T, N), bool)
    values: Any = (
        rng.normal(size=(T + 1, N, 3)).astype(np.float32), rng.normal(size=(T, N, 2)).astype(np.float32),
        rng.normal(size=(T, N)).astype(np.float32), rng.random((T, N)) < 0.2, flags, ~flags,
        np.zeros((1, 3), np.float32), np.int32([T * N]),
    )  # fmt: skip
    return Batch(*values)


def state(num_envs: int = N) -> LearnerState:
    return jax.jit(codec().algorithm.init, static_argnums=1)(jax.random.key(3), num_envs)


def assert_close(left: Any, right: Any) -> None:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_published_acts_as_the_policy() -> None:
    published = codec().pack(state())
    assert published.shape == (codec().num_parameters,)
    np.testing.assert_array_equal(codec().acting_part(published), codec()._agent.pack(state().policy))


def test_a_gradient_that_travelled_steps_as_one_that_did_not() -> None:
    algorithm, rate = codec().algorithm, np.float32(1e-2)
    returned = jax.jit(codec().gradient)(codec().pack(state()), batch(1))
    assert returned.shape == (codec().num_gradient,)
    after, metrics = jax.jit(codec().apply)(state(), returned, rate)
    gradient, direct_metrics = jax.jit(algorithm.gradient)(state(), batch(1))
    expected, expected_metrics = jax.jit(algorithm.apply)(state(), gradient, direct_metrics, rate)
    assert_close(after, expected)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_fragment_is_merged_into_the_statistics_of_its_own_environments() -> None:
    merged = jax.jit(codec().absorb)(state(3 * N), np.int32(N), batch(2))
    alone = jax.jit(functools.partial(absorb, codec()._agent, codec().algorithm.spec))(state(N), batch(2))
    assert_close(merged.policy.observation_stats, alone.policy.observation_stats)
    assert_close(merged.return_stats, alone.return_stats)
    np.testing.assert_allclose(merged.discounted[N : 2 * N], alone.discounted, rtol=1e-5)
    assert not np.any(merged.discounted[:N]) and not np.any(merged.discounted[2 * N :])
