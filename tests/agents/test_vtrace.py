"""V-trace against equation 1 of Espeholt et al. 2018, and the properties that the paper names."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from slow_targets import Steps, one_trajectory, random_steps, slow_return, slow_vtrace

from paceline.agents.returns import gae
from paceline.agents.vtrace import VTrace, vtrace

# Traced hyperparameters: one compilation per shape, whatever hypothesis draws.
_vtrace = jax.jit(
    lambda log_ratios, x, gamma, rho_bar, c_bar, lam: vtrace(
        log_ratios, x["rewards"], x["values"], x["next_values"], x["terminated"], x["done"],
        gamma=gamma, rho_bar=rho_bar, c_bar=c_bar, trace_lambda=lam,
    )
)  # fmt: skip
_gae = jax.jit(
    lambda x, gamma: gae(
        x["rewards"], x["values"], x["next_values"], x["terminated"], x["done"], gamma=gamma, gae_lambda=1.0
    )
)


def run(
    log_ratios: NDArray[Any], x: Steps, gamma: float, *, rho_bar: float = 1.0, c_bar: float = 1.0, lam: float = 1.0
) -> VTrace:
    numbers = map(np.float32, (gamma, rho_bar, c_bar, lam))
    return VTrace(*map(np.asarray, _vtrace(log_ratios.astype(np.float32), x, *numbers)))


def random_ratios(seed: int, x: Steps, spread: float = 1.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(scale=spread, size=x["rewards"].shape).astype(np.float32)


seeds = st.integers(0, 2**31)
steps = st.builds(
    random_steps,
    seed=seeds,
    num_steps=st.sampled_from([1, 2, 9]),
    num_envs=st.sampled_from([1, 3]),
    end_share=st.sampled_from([0.0, 0.3, 0.9]),
)
shares = st.floats(0.0, 1.0, width=32)
bars = st.floats(0.125, 4.0, width=32)


@given(steps, seeds, shares, bars, bars, shares)
@settings(max_examples=80, deadline=None)
def test_targets_are_the_sum_of_the_paper(
    x: Steps, seed: int, gamma: float, rho_bar: float, c_bar: float, lam: float
) -> None:
    ratios = random_ratios(seed, x)
    actual = run(ratios, x, gamma, rho_bar=rho_bar, c_bar=c_bar, lam=lam)
    values, advantages = slow_vtrace(ratios, x, gamma, rho_bar=rho_bar, c_bar=c_bar, lam=lam)
    # Traces above 1 let terms grow to thousands that cancel: single precision is relative to the largest.
    scale = max(1.0, float(np.abs(values).max()))
    np.testing.assert_allclose(actual.values, values, rtol=5e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(actual.advantages, advantages, rtol=5e-4, atol=1e-3 * scale)


def test_a_trajectory_worked_by_hand() -> None:
    # gamma 1/2, rho_bar 2, c_bar 1, lambda 1; ratios 4, 1/2, 1; the second episode terminates in its only row.
    x: Steps = {
        "rewards": np.array([[1.0], [2.0], [3.0]], np.float32),
        "values": np.array([[1.0], [2.0], [4.0]], np.float32),
        "next_values": np.array([[2.0], [8.0], [100.0]], np.float32),
        "terminated": np.array([[False], [False], [True]]),
        "done": np.array([[False], [True], [True]]),
    }
    actual = run(np.log([[4.0], [0.5], [1.0]]), x, 0.5, rho_bar=2.0)
    # delta = 2 (1 + 1 - 1) = 2;  1/2 (2 + 4 - 2) = 2;  3 - 4 = -1.  v_1 = 2 + 2;  v_0 = 1 + 2 + 1/2 * 1 * 2
    np.testing.assert_allclose(actual.values[:, 0], [4.0, 4.0, 3.0])
    # 2 (1 + 1/2 v_1 - 1);  1/2 (2 + 1/2 * 8 - 2);  3 - 4
    np.testing.assert_allclose(actual.advantages[:, 0], [4.0, 2.0, -1.0])


@given(steps, shares)
@settings(max_examples=40, deadline=None)
def test_on_policy_with_lambda_1_targets_are_n_step_returns(x: Steps, gamma: float) -> None:
    x = one_trajectory(x)
    actual = run(np.zeros_like(x["rewards"]), x, gamma)
    np.testing.assert_allclose(actual.values, slow_return(x, gamma), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(actual.advantages, _gae(x, np.float32(gamma)), rtol=2e-4, atol=2e-5)


@given(steps, seeds, shares)
@settings(max_examples=30, deadline=None)
def test_with_lambda_0_targets_are_one_step_targets(x: Steps, seed: int, gamma: float) -> None:
    ratios = random_ratios(seed, x)
    actual = run(ratios, x, gamma, lam=0.0)
    rho = np.minimum(1, np.exp(ratios))
    td_error = x["rewards"] + gamma * np.where(x["terminated"], 0, x["next_values"]) - x["values"]
    np.testing.assert_allclose(actual.values, x["values"] + rho * td_error, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_two_episodes_in_one_trace_are_two_traces(end: str, cut: int) -> None:
    x, gamma = random_steps(4, 9, 3, end_share=0.0), 0.97
    x["done"][cut - 1] = True
    x["terminated"][cut - 1] = end == "terminated"
    ratios = random_ratios(5, x)
    together = run(ratios, x, gamma)
    first, second = ({name: part[rows] for name, part in x.items()} for rows in (slice(cut), slice(cut, None)))
    apart = run(ratios[:cut], first, gamma), run(ratios[cut:], second, gamma)
    for name in VTrace._fields:
        joined = np.concatenate([getattr(part, name) for part in apart])
        np.testing.assert_allclose(getattr(together, name), joined, rtol=1e-6, atol=1e-6)
    # Without the end they would differ: this trace does run over the cut.
    endless = {**x, "done": np.zeros_like(x["done"]), "terminated": np.zeros_like(x["terminated"])}
    assert (np.abs(run(ratios, endless, gamma).values - together.values)[:cut] > 1e-3).any()


@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_follows_an_episode_never_leaks_into_it(end: str, poison: float) -> None:
    x = random_steps(1, 9, 3, end_share=0.0)
    x["done"][4] = True
    x["terminated"][4] = end == "terminated"
    ratios = random_ratios(2, x)
    clean = run(ratios, x, 0.99)
    for array in (x["rewards"], x["values"], x["next_values"], ratios):
        array[5:] = poison
    if end == "terminated":
        x["next_values"][4] = poison  # the state behind a termination has no value
    dirty = run(ratios, x, 0.99)
    np.testing.assert_array_equal(dirty.values[:5], clean.values[:5])
    np.testing.assert_array_equal(dirty.advantages[:5], clean.advantages[:5])
    assert not np.isfinite(dirty.values[5:]).any()


def test_termination_forgets_the_last_state_and_truncation_does_not() -> None:
    x = random_steps(3, 9, 3)
    other = {**x, "next_values": x["next_values"] + 1000}
    zeros = np.zeros_like(x["rewards"])
    changed = np.abs(run(zeros, x, 0.9, lam=0.0).values - run(zeros, other, 0.9, lam=0.0).values) > 1
    np.testing.assert_array_equal(changed, ~x["terminated"])
    # Advantages look at the next state's value only where the trajectory was cut.
    changed = np.abs(run(zeros, x, 0.9, lam=0.0).advantages - run(zeros, other, 0.9, lam=0.0).advantages) > 1
    assert changed[x["done"] & ~x["terminated"]].all()
    assert not changed[x["terminated"]].any()


@given(steps, seeds, bars, bars)
@settings(max_examples=30, deadline=None)
def test_weights_above_the_bars_count_as_the_bars(x: Steps, seed: int, rho_bar: float, c_bar: float) -> None:
    ratios = np.abs(random_ratios(seed, x)) + np.float32(np.log(max(rho_bar, c_bar)) + 0.01)
    clipped = run(ratios, x, 0.9, rho_bar=rho_bar, c_bar=c_bar)
    larger = run(ratios + 5, x, 0.9, rho_bar=rho_bar, c_bar=c_bar)
    np.testing.assert_array_equal(clipped.values, larger.values)
    np.testing.assert_array_equal(clipped.advantages, larger.advantages)


def test_each_bar_clips_its_own_weight() -> None:
    x = random_steps(7, 9, 3, end_share=0.0)
    ratios = np.full_like(x["rewards"], np.log(2.0))
    free = run(ratios, x, 0.9, rho_bar=100.0, c_bar=100.0)
    low_c = run(ratios, x, 0.9, rho_bar=100.0, c_bar=1.0)
    low_rho = run(ratios, x, 0.9, rho_bar=1.0, c_bar=100.0)
    # The last row has a temporal difference and no trace: c_bar does nothing there, rho_bar halves it.
    np.testing.assert_array_equal(low_c.values[-1], free.values[-1])
    excess = free.values - x["values"]
    np.testing.assert_allclose(low_rho.values[-1] - x["values"][-1], excess[-1] / 2, rtol=1e-4, atol=1e-6)
    # rho_bar scales every temporal difference alike and leaves traces alone; c_bar changes all rows but the last.
    np.testing.assert_allclose(low_rho.values - x["values"], excess / 2, rtol=1e-3, atol=1e-4)
    assert (np.abs(low_c.values - free.values)[:-1] > 1e-4).all()


def test_a_ratio_that_overflows_is_clipped() -> None:
    x = random_steps(8, 9, 3)
    finite, overflowing = (run(np.full_like(x["rewards"], ratio), x, 0.9) for ratio in (0.0, 1e4))
    np.testing.assert_array_equal(finite.values, overflowing.values)
    np.testing.assert_array_equal(finite.advantages, overflowing.advantages)


# The fixed point (theorem 1 of the paper), by enumeration of every trajectory of a small MDP.

S, A, LENGTH, GAMMA = 2, 2, 3, 0.8
TRANSITIONS = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.5, 0.5], [0.05, 0.95]]])  # P(s' | s, a)
REWARDS = np.array([[1.0, -2.0], [0.5, 3.0]])  # r(s, a)
TARGET = np.array([[0.9, 0.1], [0.4, 0.6]])  # pi(a | s)
BEHAVIOUR = np.array([[0.3, 0.7], [0.8, 0.2]])  # mu(a | s)


def value_of(policy: NDArray[Any]) -> NDArray[np.float64]:
    """Solve V = r + gamma P V."""
    moves = np.einsum("sa,sax->sx", policy, TRANSITIONS)
    return np.linalg.solve(np.eye(S) - GAMMA * moves, (policy * REWARDS).sum(1))


def between(rho_bar: float) -> NDArray[np.float64]:
    """Return the policy whose value V-trace finds: min(rho_bar mu, pi), normalised."""
    clipped = np.minimum(rho_bar * BEHAVIOUR, TARGET)
    return clipped / clipped.sum(1, keepdims=True)


def expected_targets(values: NDArray[Any], rho_bar: float, c_bar: float) -> NDArray[np.float64]:
    """Return E_mu[v_0] from each state, over all trajectories of ``LENGTH`` steps."""
    targets = []
    paths = list(itertools.product(itertools.product(range(A), range(S)), repeat=LENGTH))
    for start in range(S):
        weights = np.ones(len(paths))
        shape = (LENGTH, len(paths))
        ratios = np.zeros(shape)
        x: Steps = {name: np.zeros(shape, np.float32) for name in ("rewards", "values", "next_values")}
        x["terminated"] = x["done"] = np.zeros(shape, bool)
        for n, path in enumerate(paths):
            state = start
            for t, (action, following) in enumerate(path):
                weights[n] *= BEHAVIOUR[state, action] * TRANSITIONS[state, action, following]
                ratios[t, n] = np.log(TARGET[state, action] / BEHAVIOUR[state, action])
                x["rewards"][t, n] = REWARDS[state, action]
                x["values"][t, n], x["next_values"][t, n] = values[state], values[following]
                state = following
        assert weights.sum() == pytest.approx(1)
        targets.append(float(weights @ run(ratios, x, GAMMA, rho_bar=rho_bar, c_bar=c_bar).values[0]))
    return np.array(targets)


@pytest.mark.parametrize("c_bar", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("rho_bar", [0.7, 1.0, 100.0])
def test_the_fixed_point_is_the_value_of_a_policy_that_rho_bar_chooses_and_c_bar_does_not(
    rho_bar: float, c_bar: float
) -> None:
    fixed = value_of(between(rho_bar))
    np.testing.assert_allclose(expected_targets(fixed, rho_bar, c_bar), fixed, rtol=1e-4, atol=1e-4)
    if rho_bar <= 1:  # any other value is moved, that of the target policy too
        on_target = value_of(TARGET)
        assert np.abs(expected_targets(on_target, rho_bar, c_bar) - on_target).max() > 0.05
    else:
        np.testing.assert_allclose(fixed, value_of(TARGET))


def test_targets_contract_towards_the_fixed_point() -> None:
    fixed = value_of(between(1.0))
    for values in (fixed + 10, fixed - 5, np.zeros(S), fixed + np.array([3.0, -3.0])):
        distance = np.abs(values - fixed).max()
        assert np.abs(expected_targets(values, 1.0, 1.0) - fixed).max() < 0.9 * distance
