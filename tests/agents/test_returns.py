"""Advantages and discounted sums against the papers' sums, written out as loops."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from slow_targets import Steps, one_trajectory, random_steps, slow_gae, slow_return, slow_sums

from paceline.agents.returns import discounted_sums, gae

# Traced discounts: one compilation per shape, whatever hypothesis draws.
_gae = jax.jit(
    lambda rewards, values, next_values, terminated, done, gamma, lam: gae(
        rewards, values, next_values, terminated, done, gamma=gamma, gae_lambda=lam
    )
)
_sums = jax.jit(lambda rewards, done, carry, gamma: discounted_sums(rewards, done, carry, gamma=gamma))


def run_gae(x: Steps, gamma: float, lam: float) -> NDArray[np.float32]:
    return np.asarray(
        _gae(
            x["rewards"], x["values"], x["next_values"], x["terminated"], x["done"], np.float32(gamma), np.float32(lam)
        )
    )


steps = st.builds(
    random_steps,
    seed=st.integers(0, 2**31),
    num_steps=st.sampled_from([1, 2, 9]),
    num_envs=st.sampled_from([1, 3]),
    end_share=st.sampled_from([0.0, 0.3, 0.9]),
)
shares = st.floats(0.0, 1.0, width=32)


@given(steps, shares, shares)
@settings(max_examples=60, deadline=None)
def test_gae_is_the_sum_of_the_paper(x: Steps, gamma: float, lam: float) -> None:
    np.testing.assert_allclose(run_gae(x, gamma, lam), slow_gae(x, gamma, lam), rtol=2e-4, atol=2e-5)


@given(steps, shares)
@settings(max_examples=40, deadline=None)
def test_with_lambda_1_advantage_is_return_minus_value(x: Steps, gamma: float) -> None:
    x = one_trajectory(x)
    np.testing.assert_allclose(run_gae(x, gamma, 1.0) + x["values"], slow_return(x, gamma), rtol=2e-4, atol=2e-5)


@given(steps, shares)
@settings(max_examples=40, deadline=None)
def test_with_lambda_0_advantage_is_the_one_step_error(x: Steps, gamma: float) -> None:
    td_error = x["rewards"] + gamma * np.where(x["terminated"], 0, x["next_values"]) - x["values"]
    np.testing.assert_allclose(run_gae(x, gamma, 0.0), td_error, rtol=1e-5, atol=1e-6)


def test_gae_of_an_episode_worked_by_hand() -> None:
    # gamma = 1/2, lambda = 1/2; truncated after step 1 (last state worth 8), terminated after step 2.
    column: Steps = {
        "rewards": np.array([[1.0], [2.0], [3.0]], np.float32),
        "values": np.array([[1.0], [2.0], [4.0]], np.float32),
        "next_values": np.array([[2.0], [8.0], [100.0]], np.float32),
        "terminated": np.array([[False], [False], [True]]),
        "done": np.array([[False], [True], [True]]),
    }
    # delta = 1 + 1 - 1 = 1;  2 + 4 - 2 = 4;  3 + 0 - 4 = -1;  A_0 = 1 + 1/4 * 4
    np.testing.assert_allclose(run_gae(column, 0.5, 0.5)[:, 0], [2.0, 4.0, -1.0])


def test_termination_forgets_the_last_state_and_truncation_does_not() -> None:
    x = random_steps(3, 9, 3)
    other = {**x, "next_values": x["next_values"] + 1000}
    changed = np.abs(run_gae(x, 0.9, 0.0) - run_gae(other, 0.9, 0.0)) > 1
    np.testing.assert_array_equal(changed, ~x["terminated"])
    assert (x["done"] & ~x["terminated"]).any()
    assert x["terminated"].any()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_follows_an_episode_never_leaks_into_it(poison: float) -> None:
    x = random_steps(1, 9, 3, end_share=0.0)
    x["done"][4] = True
    clean = run_gae(x, 0.99, 0.95)
    x["rewards"][5:] = poison
    np.testing.assert_array_equal(run_gae(x, 0.99, 0.95)[:5], clean[:5])


@given(
    seed=st.integers(0, 2**31),
    num_steps=st.sampled_from([1, 2, 9]),
    gamma=shares,
    end_share=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_discounted_sums_restart_with_each_episode(seed: int, num_steps: int, gamma: float, end_share: float) -> None:
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(num_steps, 2)).astype(np.float32)
    done = rng.random((num_steps, 2)) < end_share
    carry = rng.normal(size=2).astype(np.float32)
    sums, last = _sums(rewards, done, carry, np.float32(gamma))
    expected = slow_sums(rewards, done, carry, gamma)
    np.testing.assert_allclose(sums, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(last, np.where(done[-1], 0, expected[-1]), rtol=2e-4, atol=2e-5)


def test_discounted_sums_go_on_from_one_rollout_to_the_next() -> None:
    rng = np.random.default_rng(0)
    rewards, done = rng.normal(size=(8, 3)).astype(np.float32), rng.random((8, 3)) < 0.2
    zeros, gamma = np.zeros(3, np.float32), np.float32(0.9)
    whole, end = _sums(rewards, done, zeros, gamma)
    first, carry = _sums(rewards[:4], done[:4], zeros, gamma)
    second, end_of_second = _sums(rewards[4:], done[4:], carry, gamma)
    np.testing.assert_array_equal(whole, np.concatenate([first, second]))
    np.testing.assert_array_equal(end, end_of_second)
