"""Distributions against scipy, and samples against the probabilities that they should have."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.distributions import Bernoulli, Categorical, DiagGaussian, MultiCategorical, distribution_for
from paceline.errors import UnsupportedSpaceError

NUM_DRAWS = 20_000
# A fixed seed makes these tests deterministic; the bound says how unlikely a correct sampler's draw may be.
LEAST_P = 1e-3


def draw(distribution: Any, logits: NDArray[np.float32], log_std: Any = None, count: int = NUM_DRAWS) -> NDArray[Any]:
    def many(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = jax.vmap(distribution.noise)(jax.random.split(key, count))
        repeated = jnp.broadcast_to(jnp.asarray(logits), (count, *np.shape(logits)))
        return noise, distribution.sample(repeated, log_std, noise)

    # One program instead of dozens of operations compiled one by one: most of these tests' time is compilation.
    noise, actions = jax.jit(many)(jax.random.key(7))
    assert noise.shape == (count, *distribution.noise_shape)
    return np.asarray(actions)


def log_prob(distribution: Any, logits: Any, log_std: Any, actions: Any) -> NDArray[np.float32]:
    return np.asarray(jax.jit(distribution.log_prob)(logits, log_std, actions))


def entropy(distribution: Any, logits: Any, log_std: Any) -> NDArray[np.float32]:
    return np.asarray(jax.jit(distribution.entropy)(logits, log_std))


def random_logits(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(scale=1.5, size=shape).astype(np.float32)


def softmax(x: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.exp(x.astype(np.float64) - x.max())
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_categorical_log_prob_and_entropy_are_scipys(lead: tuple[int, ...]) -> None:
    distribution, logits = Categorical(spaces.Discrete(4)), random_logits(0, *lead, 4)
    entropies = entropy(distribution, logits, None)
    assert entropies.shape == lead
    for index in np.ndindex(*lead):
        p = softmax(logits[index])
        np.testing.assert_allclose(entropies[index], scipy.stats.entropy(p), rtol=1e-5)
    for action in range(4):
        log_probs = log_prob(distribution, logits, None, np.full(lead, action))
        assert log_probs.shape == lead
        for index in np.ndindex(*lead):
            np.testing.assert_allclose(log_probs[index], np.log(softmax(logits[index])[action]), rtol=1e-4, atol=1e-6)


def test_categorical_samples_have_the_probabilities_of_the_softmax() -> None:
    logits = random_logits(1, 5)
    actions = draw(Categorical(spaces.Discrete(5)), logits)
    counts = np.bincount(actions, minlength=5)
    assert scipy.stats.chisquare(counts, softmax(logits) * NUM_DRAWS).pvalue > LEAST_P


def test_categorical_survives_extreme_logits() -> None:
    distribution, logits = Categorical(spaces.Discrete(3)), np.array([1e4, 0.0, -1e4], np.float32)
    assert float(entropy(distribution, logits, None)) == pytest.approx(0, abs=1e-6)
    assert float(log_prob(distribution, logits, None, 2)) == pytest.approx(-2e4)
    gradient = jax.jit(jax.grad(lambda x: distribution.log_prob(x, None, jnp.asarray(1))))(logits)
    np.testing.assert_allclose(gradient, [-1, 1, 0], atol=1e-6)


def test_categorical_log_prob_differentiates_as_softmax_does() -> None:
    distribution, logits = Categorical(spaces.Discrete(4)), random_logits(3, 4)
    gradient = jax.jit(jax.grad(lambda x: distribution.log_prob(x, None, jnp.asarray(2))))(logits)
    np.testing.assert_allclose(gradient, np.eye(4)[2] - softmax(logits), atol=1e-6)


def test_discrete_labels_are_shifted_for_the_environment_only() -> None:
    space = spaces.Discrete(3, start=-5)
    distribution = Categorical(space)
    actions = draw(distribution, np.zeros(3, np.float32), count=200)
    assert set(actions.tolist()) == {0, 1, 2}
    sent = distribution.to_env(actions)
    assert set(sent.tolist()) == {-5, -4, -3}
    assert np.issubdtype(sent.dtype, np.integer)
    assert all(space.contains(action) for action in sent[:10])


NVECS: list[Any] = [[2, 4, 3], [[2, 3], [4, 2]]]


@pytest.mark.parametrize("nvec", NVECS, ids=str)
def test_multidiscrete_log_prob_and_entropy_are_the_sums_of_the_parts(nvec: Any) -> None:
    space = spaces.MultiDiscrete(nvec)
    distribution = MultiCategorical(space)
    sizes = space.nvec.ravel()
    logits = random_logits(4, 6, int(sizes.sum()))
    rng = np.random.default_rng(5)
    actions = np.stack([rng.integers(space.nvec) for _ in range(6)])
    log_probs = log_prob(distribution, logits, None, actions)
    entropies = entropy(distribution, logits, None)
    for b in range(6):
        parts = [softmax(part) for part in np.split(logits[b], np.cumsum(sizes)[:-1])]
        expected = sum(np.log(p[a]) for p, a in zip(parts, actions[b].ravel(), strict=True))
        np.testing.assert_allclose(log_probs[b], expected, rtol=1e-5)
        np.testing.assert_allclose(entropies[b], sum(scipy.stats.entropy(p) for p in parts), rtol=1e-5)


@pytest.mark.parametrize("nvec", NVECS, ids=str)
def test_multidiscrete_samples_each_part_by_its_own_logits_and_independently(nvec: Any) -> None:
    space = spaces.MultiDiscrete(nvec)
    sizes = space.nvec.ravel()
    logits = random_logits(6, int(sizes.sum()))
    actions = draw(MultiCategorical(space), logits)
    assert actions.shape == (NUM_DRAWS, *space.shape)
    flat = actions.reshape(NUM_DRAWS, -1)
    parts = [softmax(part) for part in np.split(logits, np.cumsum(sizes)[:-1])]
    for i, p in enumerate(parts):
        counts = np.bincount(flat[:, i], minlength=len(p))
        assert scipy.stats.chisquare(counts, p * NUM_DRAWS).pvalue > LEAST_P
    if len(parts) > 1:
        joint = np.bincount(flat[:, 0] * len(parts[1]) + flat[:, 1], minlength=len(parts[0]) * len(parts[1]))
        assert scipy.stats.chisquare(joint, np.outer(parts[0], parts[1]).ravel() * NUM_DRAWS).pvalue > LEAST_P


def test_multidiscrete_labels_are_shifted_for_the_environment() -> None:
    space = spaces.MultiDiscrete([2, 3], start=[10, -1])
    distribution = MultiCategorical(space)
    sent = distribution.to_env(draw(distribution, np.zeros(5, np.float32), count=100))
    assert {tuple(row) for row in sent.tolist()} == {(a, b) for a in (10, 11) for b in (-1, 0, 1)}
    assert all(space.contains(row) for row in sent[:10].astype(space.dtype))


@pytest.mark.parametrize("shape", [3, (2, 2)])
def test_bernoulli_is_scipys(shape: Any) -> None:
    space = spaces.MultiBinary(shape)
    distribution = Bernoulli(space)
    logits = random_logits(8, 4, distribution.num_outputs)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    bits = np.random.default_rng(9).integers(2, size=(4, *space.shape)).astype(np.int8)
    expected = scipy.stats.bernoulli.logpmf(bits.reshape(4, -1), p).sum(-1)
    np.testing.assert_allclose(log_prob(distribution, logits, None, bits), expected, rtol=1e-5)
    np.testing.assert_allclose(entropy(distribution, logits, None), scipy.stats.bernoulli.entropy(p).sum(-1), rtol=1e-5)


def test_bernoulli_samples_have_the_probabilities_of_the_sigmoid() -> None:
    space = spaces.MultiBinary((2, 2))
    logits = random_logits(10, 4)
    actions = draw(Bernoulli(space), logits)
    assert actions.shape == (NUM_DRAWS, 2, 2)
    assert actions.dtype == np.int8
    assert space.contains(actions[0])
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for ones, share in zip(actions.reshape(NUM_DRAWS, 4).sum(0), p, strict=True):
        assert scipy.stats.binomtest(int(ones), NUM_DRAWS, share).pvalue > LEAST_P


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_gaussian_log_prob_and_entropy_are_scipys(shape: tuple[int, ...]) -> None:
    distribution = DiagGaussian(spaces.Box(-1, 1, shape))
    size = distribution.num_outputs
    means, log_std = random_logits(11, 5, size), random_logits(12, size) * 0.5
    actions = random_logits(13, 5, *shape) * 3
    expected = scipy.stats.norm.logpdf(actions.reshape(5, size), means, np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(log_prob(distribution, means, log_std, actions), expected, rtol=1e-4)
    np.testing.assert_allclose(
        entropy(distribution, means, log_std),
        np.full(5, scipy.stats.norm.entropy(0, np.exp(log_std)).sum()),
        rtol=1e-5,
    )


def test_gaussian_samples_are_normal_about_the_mean() -> None:
    distribution = DiagGaussian(spaces.Box(-1, 1, (2,)))
    means, log_std = np.array([3.0, -40.0], np.float32), jnp.log(jnp.array([0.5, 4.0]))
    actions = draw(distribution, means, log_std)
    for i, (mean, std) in enumerate([(3.0, 0.5), (-40.0, 4.0)]):
        assert scipy.stats.kstest(actions[:, i], scipy.stats.norm(mean, std).cdf).pvalue > LEAST_P
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.03


def test_gaussian_is_clipped_on_its_way_to_the_environment_only() -> None:
    space = spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([0.5, 2.0], np.float32))
    distribution = DiagGaussian(space)
    raw = np.array([[5.0, 5.0], [-5.0, -5.0], [0.25, 1.0]], np.float32)
    sent = distribution.to_env(raw)
    np.testing.assert_array_equal(sent, [[0.5, 2.0], [-1.0, -5.0], [0.25, 1.0]])
    assert sent.dtype == np.float32
    np.testing.assert_array_equal(raw[0], [5.0, 5.0])
    # The density is of what was drawn: two draws that clip to the same action differ in it.
    log_probs = log_prob(distribution, np.zeros((2, 2)), np.zeros(2), np.array([[5.0, 0.0], [6.0, 0.0]]))
    assert float(log_probs[0] - log_probs[1]) == pytest.approx((36 - 25) / 2)


def test_unbounded_actions_pass_as_they_are() -> None:
    raw = np.array([[1e6]], np.float32)
    sent = DiagGaussian(spaces.Box(-np.inf, np.inf, (1,))).to_env(raw)
    assert sent is raw


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(4), spaces.MultiDiscrete([[2, 3], [4, 2]]), spaces.MultiBinary(3), spaces.Box(-9, 9, (2,))],
    ids=lambda space: type(space).__name__,
)
def test_the_mode_is_the_most_probable_action(space: gymnasium.Space[Any]) -> None:
    distribution = distribution_for(space)
    logits = random_logits(14, distribution.num_outputs)
    log_std = jnp.zeros(distribution.num_outputs) if distribution.has_log_std else None
    mode = jax.jit(distribution.mode)(logits, log_std)
    best = float(log_prob(distribution, logits, log_std, mode))
    others = draw(distribution, logits, log_std, count=500)
    log_probs = log_prob(distribution, np.broadcast_to(logits, (500, *logits.shape)), log_std, others)
    assert float(log_probs.max()) <= best + 1e-5
    assert float(log_probs.min()) < best - 0.1


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(4),
        spaces.Box(0, 9, (2,), np.int64),
        spaces.Dict({"a": spaces.Discrete(2)}),
        spaces.Box(0, 255, (2,), np.uint8),
    ],
    ids=str,
)
def test_other_action_spaces_are_refused_with_the_way_out(space: gymnasium.Space[Any]) -> None:
    with pytest.raises(UnsupportedSpaceError, match=r"expected an action space of .* got .*; wrap .*ActionWrapper"):
        distribution_for(space)
