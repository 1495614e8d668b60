"""PPO against a slow NumPy oracle: the loss, its gradient, the preparation of a batch and the whole update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from slow_policy import forward, slow_log_prob_and_entropy
from small_batches import ACTIONS, BOX, ENDS, D, N, T, arrays, assert_trees_equal, make_batch, randomise

from paceline.agents.agent import Agent
from paceline.agents.encoding import Encoded
from paceline.agents.experience import Batch, LearnerState
from paceline.agents.ppo import PPO, Samples
from paceline.errors import SpecError
from paceline.spec import NetworkSpec, PPOSpec

FIELDS: dict[str, Any] = {
    "batch_size": T * N,
    "minibatch_size": 4,
    "num_epochs": 2,
    "learning_rate": 1e-2,
    "max_grad_norm": 0.2,  # low enough that gradients are clipped
    "ent_coef": 0.03,
    "normalize_observations": True,
    "normalize_rewards": True,
    "network": NetworkSpec(hidden_sizes=(4,)),
}


@functools.cache
def learner(kind: str = "gaussian", **fields: Any) -> tuple[PPO, Callable[..., Any]]:
    """Return PPO for small spaces and its compiled update; one compilation per kind and spec."""
    spec = PPOSpec(**{**FIELDS, **fields})
    agent = Agent(spec.network, BOX, ACTIONS[kind], normalize_observations=bool(spec.normalize_observations))
    ppo = PPO(spec, agent)
    return ppo, jax.jit(ppo.update)


@functools.cache
def fresh_state(kind: str = "gaussian") -> LearnerState:
    """Return a state whose policy is no longer nearly uniform."""
    ppo, _ = learner(kind)
    return randomise(jax.jit(ppo.init, static_argnums=1)(jax.random.key(0), N))


UNSCALED: dict[str, Any] = {"normalize_observations": False, "normalize_rewards": False}


def unscaled_state() -> LearnerState:
    """Return :func:`fresh_state` for a learner that scales nothing."""
    state = fresh_state()
    return replace(state, policy=replace(state.policy, observation_stats=None), return_stats=None)


def permutations(num_epochs: int = 2, seed: int = 0) -> NDArray[np.int32]:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(T * N) for _ in range(num_epochs)]).astype(np.int32)


# The oracle: float64, loops where loops say more, nothing of JAX.


def slow_loss(kind: str, spec: PPOSpec, trainable: Any, samples: Samples) -> dict[str, float]:
    params, log_std = trainable
    x = np.asarray(samples.encoded.vector, np.float64)
    values = forward(params["critic"], x)[:, 0]
    log_probs, entropies = slow_log_prob_and_entropy(kind, params, log_std, x, np.asarray(samples.actions))
    kept = np.flatnonzero(samples.weights)
    advantages = np.asarray(samples.advantages, np.float64)[kept]
    if spec.normalize_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    eps = spec.clip_coef
    policy, value, kl, clipped = [], [], [], []
    for i, advantage in zip(kept, advantages, strict=True):
        ratio = np.exp(log_probs[i] - float(samples.log_probs[i]))
        policy.append(-min(ratio * advantage, min(max(ratio, 1 - eps), 1 + eps) * advantage))
        error = (values[i] - float(samples.returns[i])) ** 2
        if spec.clip_value_loss:
            old = float(samples.values[i])
            error = max(error, (old + min(max(values[i] - old, -eps), eps) - float(samples.returns[i])) ** 2)
        value.append(error / 2)
        kl.append(ratio - 1 - np.log(ratio))
        clipped.append(abs(ratio - 1) > eps)
    entropy = float(np.mean(entropies[kept]))
    loss = np.mean(policy) + spec.vf_coef * np.mean(value) - float(spec.ent_coef or 0) * entropy
    return {
        "loss": float(loss),
        "policy_loss": float(np.mean(policy)),
        "value_loss": float(np.mean(value)),
        "entropy": entropy,
        "approx_kl": float(np.mean(kl)),
        "clip_fraction": float(np.mean(clipped)),
    }


def random_samples(kind: str, seed: int = 0, num_rows: int = 64, spread: float = 0.5) -> Samples:
    """Return samples of a reference policy near the fresh one: some ratios are clipped, some are not."""
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=(num_rows, D)).astype(np.float32)
    actions: NDArray[Any] = rng.normal(size=(num_rows, 2)).astype(np.float32)
    if kind == "discrete":
        actions = rng.integers(3, size=num_rows)
    policy = fresh_state(kind).policy
    log_probs, _ = slow_log_prob_and_entropy(kind, policy.params, policy.log_std, vector, actions)
    values = forward(policy.params["critic"], vector)[:, 0]
    return Samples(
        Encoded(vector, ()),
        actions,
        (log_probs + rng.normal(scale=spread, size=num_rows)).astype(np.float32),
        rng.normal(1, 2, num_rows).astype(np.float32),
        rng.normal(size=num_rows).astype(np.float32),
        (values + rng.normal(scale=0.4, size=num_rows)).astype(np.float32),
        (rng.random(num_rows) < 0.8).astype(np.float32),
    )


VARIANTS: list[dict[str, Any]] = [
    {},
    {"clip_value_loss": False, "normalize_advantages": False, "ent_coef": 0.0, "vf_coef": 1.3, "clip_coef": 0.1},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=["clipped", "plain"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_loss_is_the_papers(kind: str, variant: dict[str, Any]) -> None:
    ppo, _ = learner(kind, **variant)
    policy = fresh_state(kind).policy
    trainable, samples = (policy.params, policy.log_std), random_samples(kind)
    loss, parts = jax.jit(ppo.loss)(trainable, samples)
    expected = slow_loss(kind, ppo.spec, trainable, samples)
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=2e-4, abs=1e-6), name
    assert float(loss) == float(parts["loss"])
    assert 0.05 < expected["clip_fraction"] < 0.95  # both branches were taken


@pytest.mark.parametrize("kind", ACTIONS)
def test_gradient_is_the_slope_of_the_oracle(kind: str) -> None:
    ppo, _ = learner(kind)
    policy = fresh_state(kind).policy
    trainable, samples = (policy.params, policy.log_std), random_samples(kind, seed=1)
    gradient, _ = jax.jit(jax.grad(ppo.loss, has_aux=True))(trainable, samples)
    leaves, structure = jax.tree.flatten(trainable)
    rng = np.random.default_rng(0)
    for index, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        place = tuple(rng.integers(size) for size in leaf.shape)
        losses = []
        for step in (1e-6, -1e-6):
            moved = [np.array(other, np.float64) for other in leaves]
            moved[index][place] += step
            losses.append(slow_loss(kind, ppo.spec, jax.tree.unflatten(structure, moved), samples)["loss"])
        assert float(slope[place]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=5e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "moves"),
    [
        (1.1, 2.0, -2.2, True),  # inside the clip range
        (1.5, 2.0, -2.4, False),  # already better than 1 + eps: no reason to go on
        (0.5, 2.0, -1.0, True),  # a good action became unlikely: full force back
        (0.5, -2.0, 1.6, False),
        (1.5, -2.0, 3.0, True),
    ],
)
def test_each_case_of_the_clipped_objective(ratio: float, advantage: float, expected: float, moves: bool) -> None:
    ppo, _ = learner("discrete", normalize_advantages=False)
    policy = fresh_state("discrete").policy
    vector, actions = np.array([[0.3, -1.0, 0.7]], np.float32), np.array([1])
    log_prob, _ = slow_log_prob_and_entropy("discrete", policy.params, None, vector, actions)
    samples = Samples(
        Encoded(vector, ()),
        actions,
        (log_prob - np.log(ratio)).astype(np.float32),
        np.float32([advantage]),
        np.float32([0]),
        np.float32([0]),
        np.float32([1]),
    )

    def policy_loss(params: Any) -> jax.Array:
        return ppo.loss((params, None), samples)[1]["policy_loss"]

    value, gradient = jax.jit(jax.value_and_grad(policy_loss))(policy.params)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    assert any(np.any(leaf) for leaf in arrays(gradient["actor"])) == moves


def test_a_ratio_that_overflows_in_a_row_of_weight_zero_is_silent() -> None:
    ppo, _ = learner("discrete")
    policy, samples = fresh_state("discrete").policy, random_samples("discrete")
    gradient_of = jax.jit(jax.grad(ppo.loss, has_aux=True))
    clean = gradient_of((policy.params, None), samples)
    samples.log_probs[samples.weights == 0] = -1e4
    assert_trees_equal(gradient_of((policy.params, None), samples), clean)
    assert np.isfinite(clean[1]["loss"])


# The preparation of a batch.


def slow_prepare(ppo: PPO, state: LearnerState, batch: Batch) -> dict[str, NDArray[Any]]:
    """Statistics, values, rewards, advantages with loops; every statistic over all valid rows, prior neglected."""
    spec, params = ppo.spec, state.policy.params
    valid = np.asarray(batch.valid)
    observations = np.asarray(batch.observations, np.float64)
    mean, std = observations[:-1][valid].mean(0), observations[:-1][valid].std(0)

    def value(observation: NDArray[Any]) -> float:
        return float(forward(params["critic"], np.clip((observation - mean) / std, -10, 10))[0])

    finals = {int(row): final for row, final in zip(batch.final_rows, batch.final_observations, strict=True)}
    sums = np.zeros((T, N))
    for n in range(N):
        total = float(state.discounted[n])
        for t in range(T):
            total = spec.gamma * total + float(batch.rewards[t, n])
            sums[t, n] = total
            total *= not (batch.terminated[t, n] or batch.truncated[t, n])
    rewards = np.clip(np.asarray(batch.rewards) / sums[valid].std(), -10, 10)
    values, deltas, advantages = np.zeros((T, N)), np.zeros((T, N)), np.zeros((T, N))
    for t in range(T):
        for n in range(N):
            values[t, n] = value(observations[t, n])
            successor = finals.get(t * N + n, observations[t + 1, n])
            bootstrap = 0.0 if batch.terminated[t, n] else value(np.asarray(successor, np.float64))
            deltas[t, n] = rewards[t, n] + spec.gamma * bootstrap - values[t, n]
    for t in range(T):
        for n in range(N):
            for k in range(t, T):
                advantages[t, n] += (spec.gamma * spec.gae_lambda) ** (k - t) * deltas[k, n]
                if batch.terminated[k, n] or batch.truncated[k, n]:
                    break
    return {
        "vector": np.clip((observations[:-1] - mean) / std, -10, 10),
        "values": values,
        "advantages": advantages,
        "returns": advantages + values,
    }


@pytest.mark.parametrize("kind", ACTIONS)
def test_preparation_of_a_batch_is_what_loops_compute(kind: str) -> None:
    ppo, _ = learner(kind)
    state = replace(fresh_state(kind), discounted=np.float32([0.7, -0.4]))
    batch = make_batch(kind, **ENDS)
    after, samples = jax.jit(ppo._prepare)(state, batch)
    expected = slow_prepare(ppo, state, batch)
    np.testing.assert_allclose(samples.encoded.vector, expected["vector"].reshape(-1, D), rtol=1e-3, atol=2e-4)
    for name in ("values", "advantages", "returns"):
        np.testing.assert_allclose(getattr(samples, name), expected[name].ravel(), rtol=1e-3, atol=5e-4, err_msg=name)
    log_probs, _ = slow_log_prob_and_entropy(
        kind, state.policy.params, state.policy.log_std, expected["vector"], np.asarray(batch.actions)
    )
    np.testing.assert_allclose(samples.log_probs, log_probs.ravel(), rtol=1e-3, atol=1e-3)
    assert float(after.policy.observation_stats.count) == pytest.approx(T * N, rel=1e-4)
    assert_trees_equal(after.policy.params, state.policy.params)


def test_only_truncated_rows_look_at_the_final_observations() -> None:
    ppo, _ = learner(gae_lambda=0.0, **UNSCALED)
    prepare, state = jax.jit(ppo._prepare), unscaled_state()
    batch = make_batch(**ENDS)
    moved = batch._replace(final_observations=batch.final_observations + 3)  # those of unused slots too
    before, after = (np.asarray(prepare(state, b)[1].advantages).reshape(T, N) for b in (batch, moved))
    np.testing.assert_array_equal(np.abs(before - after) > 1e-6, batch.truncated)


def test_a_terminated_row_looks_at_no_next_observation() -> None:
    ppo, _ = learner(gae_lambda=0.0, **UNSCALED)
    prepare = jax.jit(ppo._prepare)
    batch = make_batch(terminations=[(1, 0)])
    moved = batch._replace(observations=batch.observations.copy())
    moved.observations[2] += 3  # both environments' third observations
    before, after = (np.asarray(prepare(unscaled_state(), b)[1].advantages).reshape(T, N) for b in (batch, moved))
    changed = np.abs(before - after) > 1e-6
    np.testing.assert_array_equal(changed[1], [False, True])  # env 0 terminated there
    np.testing.assert_array_equal(changed[2], [True, True])
    assert not changed[[0, 3, 4, 5]].any()


# The whole update.


def slow_update(ppo: PPO, state: LearnerState, batch: Batch, order: NDArray[np.int32], rate: float) -> Any:
    """One gradient step after the other, with Adam and the clipping of gradients written out."""
    _, samples = jax.jit(ppo._prepare)(state, batch)
    trainable = (state.policy.params, state.policy.log_std)
    first = jax.tree.map(lambda p: np.zeros(p.shape), trainable)
    second = first
    gradient_of = jax.jit(jax.grad(ppo.loss, has_aux=True))
    count, size = 0, int(ppo.spec.minibatch_size or 0)
    for epoch in order:
        for begin in range(0, T * N, size):
            rows = epoch[begin : begin + size]
            gradient, _ = gradient_of(trainable, jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], samples))
            norm = np.sqrt(sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in jax.tree.leaves(gradient)))
            scale = min(1.0, ppo.spec.max_grad_norm / norm)
            gradient = jax.tree.map(lambda g, scale=scale: np.asarray(g, np.float64) * scale, gradient)
            count += 1
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)

            def step(p: Any, m: Any, v: Any, count: int = count) -> NDArray[np.float32]:
                direction = (m / (1 - 0.9**count)) / (np.sqrt(v / (1 - 0.999**count)) + ppo.spec.adam_eps)
                return np.asarray(p - rate * direction, np.float32)

            trainable = jax.tree.map(step, trainable, first, second)
    return trainable


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACTIONS)
def test_update_is_a_loop_over_epochs_and_minibatches(kind: str) -> None:
    ppo, update = learner(kind)
    state, batch, order = fresh_state(kind), make_batch(kind, **ENDS), permutations()
    after, metrics = update(state, batch, order, np.float32(1e-2))
    expected = slow_update(ppo, state, batch, order, 1e-2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
        (after.policy.params, after.policy.log_std),
        expected,
    )
    assert float(metrics["finite"]) == 1
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.slow
def test_a_learning_rate_of_zero_changes_statistics_and_nothing_else() -> None:
    ppo, update = learner()
    state, batch, order = fresh_state(), make_batch(**ENDS), permutations()
    after, metrics = update(state, batch, order, np.float32(0))
    assert_trees_equal(after.policy.params, state.policy.params)
    np.testing.assert_array_equal(after.policy.log_std, state.policy.log_std)
    assert not np.array_equal(after.policy.observation_stats.mean, state.policy.observation_stats.mean)
    # The reference is the policy itself, so every ratio is 1 for as long as the policy stays.
    assert float(metrics["approx_kl"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["clip_fraction"]) == 0
    norms, (_, samples) = [], jax.jit(ppo._prepare)(state, batch)
    gradient_of = jax.jit(jax.grad(ppo.loss, has_aux=True))
    for rows in order.reshape(-1, 4):
        minibatch = jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], samples)
        gradient, _ = gradient_of((state.policy.params, state.policy.log_std), minibatch)
        norms.append(np.linalg.norm(np.concatenate([leaf.ravel() for leaf in arrays(gradient)])))
    assert float(metrics["grad_norm"]) == pytest.approx(np.mean(norms), rel=1e-4)  # before it is clipped
    assert max(norms) > ppo.spec.max_grad_norm


@pytest.mark.parametrize("garbage", [1e30, np.nan, np.inf])
def test_reset_rows_have_no_influence_whatever_they_hold(garbage: float) -> None:
    _, update = learner()
    state = fresh_state()
    clean = make_batch(terminations=[(1, 0), (4, 1)])
    resets = [(2, 0), (5, 1)]  # NEXT_STEP mode: the row after an end is the reset
    for place in resets:
        clean.valid[place] = False
        clean.rewards[place] = 0
    dirty = jax.tree.map(np.copy, clean)
    for place in resets:
        dirty.rewards[place] = garbage
        dirty.actions[place] = garbage
        dirty.observations[place] = garbage
    order = permutations()
    expected, actual = (update(state, batch, order, np.float32(1e-2)) for batch in (clean, dirty))
    assert_trees_equal(actual, expected)
    assert float(actual[1]["finite"]) == 1
    assert float(actual[0].policy.observation_stats.count) == pytest.approx(T * N - 2, rel=1e-4)


def test_next_step_batches_bootstrap_from_the_reset_rows_observation() -> None:
    """The same episode, told as SAME_STEP does (final observation apart) and as NEXT_STEP does (in the reset row)."""
    ppo, _ = learner(**UNSCALED)
    prepare = jax.jit(ppo._prepare)
    state = unscaled_state()
    same = make_batch(truncations=[(2, 0), (2, 1)])
    following = jax.tree.map(np.copy, make_batch(truncations=[(2, 0), (2, 1)]))
    following.observations[3] = same.final_observations[:2]
    following.observations[4:] = same.observations[3:-1]
    following.actions[4:] = same.actions[3:-1]
    following.rewards[3], following.rewards[4:] = 0, same.rewards[3:-1]
    following.valid[3] = False
    following.final_rows[:] = T * N
    a, b = (jax.tree.map(lambda x: np.asarray(x).reshape(T, N, -1), prepare(state, x)[1]) for x in (same, following))
    # Rows 0..2 are the finished episode; what comes later ends at another place of the rollout.
    for name in ("advantages", "returns", "log_probs", "values"):
        np.testing.assert_allclose(getattr(a, name)[:3], getattr(b, name)[:3], rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(b.weights[3], 0)


@pytest.mark.parametrize("field", ["rewards", "observations"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_anything_that_is_not_finite_is_reported(field: str, poison: float) -> None:
    _, update = learner()
    batch = make_batch()
    getattr(batch, field)[2, 1] = poison
    _, metrics = update(fresh_state(), batch, permutations(), np.float32(1e-3))
    assert float(metrics["finite"]) == 0


@pytest.mark.parametrize("field", ["rewards", "observations"])
def test_what_overflows_in_the_statistics_alone_is_reported(field: str) -> None:
    _, update = learner()
    batch = make_batch()
    getattr(batch, field)[2, 1] = 1e25  # finite, but its square is not
    _, metrics = update(fresh_state(), batch, permutations(), np.float32(1e-3))
    assert np.isfinite(metrics["loss"])
    assert float(metrics["finite"]) == 0


def test_explained_variance_is_one_for_a_perfect_critic_up_to_a_constant() -> None:
    ppo, _ = learner()
    samples = random_samples("gaussian")
    perfect = samples._replace(values=samples.returns + 3)
    metrics = ppo._metrics({"loss": np.zeros(1)}, fresh_state(), {}, perfect)
    assert float(metrics["explained_variance"]) == pytest.approx(1, abs=1e-5)
    useless = ppo._metrics({"loss": np.zeros(1)}, fresh_state(), {}, samples._replace(values=samples.returns * 0))
    assert float(useless["explained_variance"]) == pytest.approx(0, abs=1e-5)


def test_a_spec_with_open_fields_is_refused() -> None:
    agent = learner()[0].agent
    with pytest.raises(SpecError, match=r"expected a filled-in PPO spec.*resolve_algo"):
        PPO(PPOSpec(batch_size=8), agent)


# Learning.


def pay(kind: str, cues: NDArray[np.int64], actions: NDArray[Any]) -> NDArray[np.float32]:
    """Return the reward of a bandit whose best answer is told by the cue, 0 or 1: at most 1."""
    if kind == "discrete":
        return np.float32(actions == 2 * cues)
    if kind == "multidiscrete":
        return np.float32((actions == np.stack([cues, 2 - cues], -1)).mean(-1))
    if kind == "multibinary":
        return np.float32((actions == np.stack([cues, 1 - cues], -1)).mean(-1))
    return np.float32(1 - ((np.clip(actions, -1, 1) - (cues[..., None] - 0.5)) ** 2).mean(-1))


BANDITS: dict[str, gymnasium.Space[Any]] = {
    "discrete": spaces.Discrete(3),
    "multidiscrete": spaces.MultiDiscrete([2, 3]),
    "multibinary": spaces.MultiBinary(2),
    "continuous": spaces.Box(-1, 1, (2,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BANDITS)
def test_a_bandit_is_solved_in_a_few_updates(kind: str) -> None:
    rows, envs, epochs = 4, 32, 4
    size = rows * envs
    spec = PPOSpec(
        batch_size=size,
        minibatch_size=32,
        num_epochs=epochs,
        learning_rate=0.02,
        ent_coef=0.0,
        network=NetworkSpec(hidden_sizes=(16,)),
    )
    agent = Agent(spec.network, spaces.Box(0, 1, (2,)), BANDITS[kind], normalize_observations=False)
    ppo = PPO(spec, agent)
    state = ppo.init(jax.random.key(0), envs)
    update, act = jax.jit(ppo.update), jax.jit(agent.act_sampled)
    rng = np.random.default_rng(0)
    ended = np.ones((rows, envs), bool)
    rewards = np.zeros((rows, envs), np.float32)
    for number in range(60):
        cues = rng.integers(2, size=(rows + 1, envs))
        observations = np.eye(2, dtype=np.float32)[cues]
        actions = np.asarray(act(state.policy, jax.random.key(number), observations[:-1].reshape(size, 2)))
        actions = actions.reshape(rows, envs, *actions.shape[1:])
        rewards = pay(kind, cues[:-1], actions)
        batch = Batch(
            observations, actions, rewards, ended, ~ended, ended, observations[0, :1], np.array([size], np.int32)
        )
        order = np.stack([rng.permutation(size) for _ in range(epochs)]).astype(np.int32)
        state, metrics = update(state, batch, order, np.float32(spec.learning_rate or 0))
        assert float(metrics["finite"]) == 1
    cues = np.array([0, 1])
    best = np.asarray(agent.act_deterministic(state.policy, np.eye(2, dtype=np.float32)[cues]))
    assert pay(kind, cues, best) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("with_vector", [True, False], ids=["image and vector", "image alone"])
def test_an_agent_that_sees_images_learns(with_vector: bool) -> None:
    image_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    both = spaces.Dict({"image": image_space, "vector": spaces.Box(-1, 1, (2,))})
    space: gymnasium.Space[Any] = both if with_vector else image_space
    spec = PPOSpec(**{**FIELDS, "batch_size": 4, "minibatch_size": 2, "num_epochs": 1, "normalize_rewards": False})
    agent = Agent(spec.network, space, spaces.Discrete(2), normalize_observations=True)
    ppo = PPO(spec, agent)
    state = jax.jit(ppo.init, static_argnums=1)(jax.random.key(0), 2)
    rng = np.random.default_rng(0)

    def observe(*lead: int) -> Any:
        image = rng.integers(256, size=(*lead, 8, 8, 3)).astype(np.uint8)
        return {"image": image, "vector": rng.normal(size=(*lead, 2)).astype(np.float32)} if with_vector else image

    flags = np.zeros((2, 2), bool)
    batch = Batch(
        observe(3, 2),
        rng.integers(2, size=(2, 2)),
        rng.normal(size=(2, 2)).astype(np.float32),
        flags,
        flags,
        ~flags,
        observe(1),
        np.array([4], np.int32),
    )
    order = np.array([[0, 1, 2, 3]], np.int32)
    after, metrics = jax.jit(ppo.update)(state, batch, order, np.float32(1e-3))
    assert float(metrics["finite"]) == 1
    moved = [
        not np.array_equal(a, b) for a, b in zip(arrays(after.policy.params), arrays(state.policy.params), strict=True)
    ]
    assert all(moved)
