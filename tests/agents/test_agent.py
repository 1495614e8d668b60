"""The policy: noise keyed by environment and step, and acting on raw observations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.agent import Agent, PolicyState
from paceline.agents.normalise import RunningStats
from paceline.errors import UnsupportedSpaceError
from paceline.spec import NetworkSpec

BOX = spaces.Box(-np.inf, np.inf, (3,))
NETWORK = NetworkSpec(hidden_sizes=(4,))
KEY = jax.random.key(11)


# Compiled whole, as drivers do: operation by operation takes several times as long.


@functools.cache
def compiled(agent: Agent, name: str, *static: int) -> Callable[..., Any]:
    return jax.jit(getattr(agent, name), static_argnums=static)


def init(agent: Agent, key: jax.Array) -> PolicyState:
    state: PolicyState = compiled(agent, "init")(key)
    return state


def noise_of(agent: Agent, key: jax.Array, first_steps: NDArray[np.int32], rollout_length: int) -> NDArray[np.float32]:
    return np.asarray(compiled(agent, "noise", 2)(key, first_steps, rollout_length))


def pack(agent: Agent, policy: PolicyState) -> NDArray[np.float32]:
    return np.asarray(compiled(agent, "pack")(policy))


def act(agent: Agent, policy: PolicyState, *arguments: Any) -> NDArray[Any]:
    return np.asarray(compiled(agent, "act")(pack(agent, policy), *arguments))


def mode(agent: Agent, policy: PolicyState, observations: Any) -> NDArray[Any]:
    return np.asarray(compiled(agent, "act_deterministic")(policy, observations))


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent(NETWORK, BOX, spaces.Box(-1, 1, (2,)), normalize_observations=True)


@pytest.fixture(scope="module")
def discrete_agent() -> Agent:
    return Agent(NETWORK, BOX, spaces.Discrete(4), normalize_observations=False)


def test_noise_is_the_same_however_a_run_is_cut_into_rollouts(agent: Agent) -> None:
    start = np.array([0, 5, 1000], np.int32)
    whole = np.asarray(noise_of(agent, KEY, start, 8))
    assert whole.shape == (8, 3, 2)
    assert whole.dtype == np.float32
    halves = [noise_of(agent, KEY, start, 4), noise_of(agent, KEY, start + 4, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(halves))


def test_noise_of_an_environment_does_not_depend_on_how_many_there_are(agent: Agent) -> None:
    few, many = noise_of(agent, KEY, np.zeros(3, np.int32), 4), noise_of(agent, KEY, np.zeros(16, np.int32), 4)
    np.testing.assert_array_equal(few, many[:, :3])


@pytest.mark.slow
@pytest.mark.parametrize("first_env", [0, 1, 3, 7])
def test_the_noise_of_some_environments_is_their_columns_of_the_noise_of_all(agent: Agent, first_env: int) -> None:
    """Runners draw the noise of their own environments; together it is what the learner would have drawn."""
    start = np.array([0, 5, 1000, 2, 2, 0, 7, 9], np.int32)
    whole = noise_of(agent, KEY, start, 4)
    share = np.asarray(compiled(agent, "noise", 2)(KEY, start[first_env:], 4, first_env))
    np.testing.assert_array_equal(share, whole[:, first_env:])
    assert first_env == 0 or not np.array_equal(noise_of(agent, KEY, start[first_env:], 4), share)


def test_noise_differs_between_environments_steps_and_runs(agent: Agent) -> None:
    noise = np.asarray(noise_of(agent, KEY, np.zeros(16, np.int32), 4))
    other = np.asarray(noise_of(agent, jax.random.key(12), np.zeros(16, np.int32), 4))
    assert len(np.unique(np.concatenate([noise, other]))) == 2 * noise.size


def test_an_environment_that_lags_behind_takes_its_own_row_of_the_noise(agent: Agent) -> None:
    policy = init(agent, jax.random.key(0))
    observations = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    noise = noise_of(agent, KEY, np.zeros(3, np.int32), 4)
    together = [np.asarray(act(agent, policy, noise, np.full(3, t), observations)) for t in range(4)]
    mixed = np.asarray(act(agent, policy, noise, np.array([3, 0, 2]), observations))
    np.testing.assert_array_equal(mixed, [together[3][0], together[0][1], together[2][2]])


def test_gaussian_actions_are_mean_plus_noise(agent: Agent) -> None:
    policy = replace(init(agent, jax.random.key(0)), log_std=np.log([0.5, 2.0]).astype(np.float32))
    observations = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    noise = noise_of(agent, KEY, np.zeros(3, np.int32), 2)
    mean = np.asarray(mode(agent, policy, observations))
    sampled = act(agent, policy, noise, np.ones(3, np.int32), observations)
    np.testing.assert_allclose(sampled, mean + np.asarray(noise[1]) * [0.5, 2.0], rtol=1e-5)


def test_deviation_begins_where_the_network_says() -> None:
    narrow = Agent(
        NetworkSpec(hidden_sizes=(4,), log_std_init=-2.0), BOX, spaces.Box(-1, 1, (2,)), normalize_observations=False
    )
    np.testing.assert_array_equal(init(narrow, KEY).log_std, np.full(2, -2.0, np.float32))


def likely(logits: NDArray[Any], log_std: Any, actions: NDArray[Any]) -> NDArray[np.float64]:
    """Return log-probabilities of actions in float64, from logits."""
    if log_std is None:
        shares = np.exp(logits.astype(np.float64))
        shares /= shares.sum(-1, keepdims=True)
        return np.log(np.take_along_axis(shares, actions[..., None], -1)[..., 0])
    std = np.exp(np.asarray(log_std, np.float64))
    density = np.exp(-(((actions - logits) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    return np.log(density).sum(-1)


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_log_probs_are_those_of_the_logits_that_acting_sampled_from(
    kind: str, agent: Agent, discrete_agent: Agent
) -> None:
    chosen = agent if kind == "gaussian" else discrete_agent
    policy = init(chosen, jax.random.key(0))
    if kind == "gaussian":
        stats = RunningStats(np.array([1, 2, 3], np.float32), np.array([4, 9, 16], np.float32), np.float32(100))
        policy = replace(policy, log_std=np.log([0.5, 2.0]).astype(np.float32), observation_stats=stats)
    observations = np.random.default_rng(0).normal(1, 3, size=(4, 3, 3)).astype(np.float32)
    noise = noise_of(chosen, KEY, np.zeros(3, np.int32), 4)
    actions = np.stack([act(chosen, policy, noise, np.full(3, t), observations[t]) for t in range(4)])
    log_probs = np.asarray(compiled(chosen, "log_probs")(pack(chosen, policy), observations, actions))
    assert log_probs.shape == (4, 3)
    assert log_probs.dtype == np.float32

    @jax.jit
    def from_logits(policy: PolicyState) -> tuple[jax.Array, jax.Array]:
        logits = chosen.network.logits(policy.params, chosen.normalise(policy, chosen.encode(observations)))
        return logits, chosen.distribution.log_prob(logits, policy.log_std, actions)

    logits, by_distribution = map(np.asarray, from_logits(policy))
    np.testing.assert_allclose(log_probs, likely(logits, policy.log_std, actions), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_probs, by_distribution, rtol=1e-5, atol=1e-6)
    # One row at a time is the same: actors ask for a whole rollout, and it was acted step by step.
    rows = [compiled(chosen, "log_probs")(pack(chosen, policy), observations[t], actions[t]) for t in range(4)]
    np.testing.assert_allclose(log_probs, np.stack(rows), rtol=1e-5, atol=1e-6)


def test_observations_are_scaled_by_the_statistics_of_the_policy(agent: Agent) -> None:
    fresh = init(agent, jax.random.key(0))
    stats = RunningStats(np.array([1, 2, 3], np.float32), np.array([4, 9, 16], np.float32), np.float32(100))
    scaled = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    raw = scaled * np.float32([2, 3, 4]) + np.float32([1, 2, 3])
    np.testing.assert_allclose(
        mode(agent, replace(fresh, observation_stats=stats), raw),
        mode(agent, fresh, scaled),
        rtol=1e-4,
        atol=1e-6,
    )


def test_what_is_not_asked_for_is_not_there(agent: Agent, discrete_agent: Agent) -> None:
    with_stats, plain = init(agent, jax.random.key(0)), init(discrete_agent, jax.random.key(0))
    assert with_stats.log_std is not None
    assert with_stats.log_std.shape == (2,)
    assert with_stats.observation_stats is not None
    assert plain.log_std is None
    assert plain.observation_stats is None
    images = Agent(NETWORK, spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Discrete(2), normalize_observations=True)
    assert not images.normalize_observations  # there is no vector to normalise


def test_the_packed_policy_holds_what_acting_needs_and_nothing_of_the_critic(agent: Agent) -> None:
    policy = init(agent, jax.random.key(0))
    without_critic = replace(policy, params={"actor": policy.params["actor"]})
    packed = np.asarray(pack(agent, policy))
    assert packed.dtype == np.float32
    assert packed.size == sum(leaf.size for leaf in jax.tree.leaves(without_critic))
    other = replace(policy, params={**policy.params, "critic": jax.tree.map(np.ones_like, policy.params["critic"])})
    np.testing.assert_array_equal(pack(agent, other), packed)


def test_init_depends_on_the_key_alone(discrete_agent: Agent) -> None:
    first, again = init(discrete_agent, jax.random.key(3)), init(discrete_agent, jax.random.key(3))
    other = init(discrete_agent, jax.random.key(4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernel = ("actor", "params", "Dense_0", "kernel")
    left, right = first.params, other.params
    for name in kernel:
        left, right = left[name], right[name]
    assert not np.array_equal(left, right)


def test_sampled_actions_follow_their_key(discrete_agent: Agent) -> None:
    policy = init(discrete_agent, jax.random.key(0))
    observations = np.zeros((64, 3), np.float32)
    sample = compiled(discrete_agent, "act_sampled")
    first, again = sample(policy, jax.random.key(1), observations), sample(policy, jax.random.key(1), observations)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, sample(policy, jax.random.key(2), observations))
    assert set(np.asarray(first).tolist()) == {0, 1, 2, 3}


def test_building_a_policy_draws_nothing_from_the_spaces() -> None:
    """With backend serial they are environment 0's own: drawing from them would change its data, and no other's."""
    parts = {"image": spaces.Box(0, 255, (8, 8, 3), np.uint8), "label": spaces.Discrete(3, start=5), "vector": BOX}
    space, action_space = spaces.Dict(parts, seed=4), spaces.Discrete(2, seed=5)

    def states() -> list[Any]:
        return [part.np_random.bit_generator.state for part in (*space.spaces.values(), space, action_space)]

    before = states()
    agent = Agent(NETWORK, space, action_space, normalize_observations=True)
    policy = jax.eval_shape(agent.init, KEY)
    assert states() == before
    assert policy.observation_stats is not None
    assert policy.observation_stats.mean.shape == (6,)


def test_spaces_that_cannot_be_handled_are_refused() -> None:
    with pytest.raises(UnsupportedSpaceError, match="observation space"):
        Agent(NETWORK, spaces.Text(3), spaces.Discrete(2), normalize_observations=False)
    with pytest.raises(UnsupportedSpaceError, match="action space"):
        Agent(NETWORK, BOX, spaces.Text(3), normalize_observations=False)
