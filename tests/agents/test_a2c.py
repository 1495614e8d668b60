"""A2C against a slow NumPy oracle: the loss, its gradient, and how gradients are taken and applied."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from gymnasium import spaces
from slow_policy import slopes, slow_outputs, slow_rewards
from slow_targets import Steps, slow_gae, slow_return
from small_batches import (
    ACTIONS,
    BOX,
    ENDS,
    RESETS,
    N,
    T,
    arrays,
    assert_trees_close,
    assert_trees_equal,
    make_batch,
    next_step_batch,
    season,
)

from paceline.agents.a2c import A2C
from paceline.agents.agent import Agent
from paceline.agents.experience import Batch, LearnerState, absorb
from paceline.errors import SpecError
from paceline.spec import A2CSpec, A3CSpec, NetworkSpec

FIELDS: dict[str, Any] = {
    "batch_size": T * N,
    "learning_rate": 1e-2,
    "gamma": 0.9,
    "max_grad_norm": 0.2,  # low enough that gradients are clipped
    "ent_coef": 0.03,
    "normalize_observations": True,
    "normalize_rewards": True,
    "network": NetworkSpec(hidden_sizes=(4,)),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "gae": {"gae_lambda": 0.7, "normalize_advantages": True, "vf_coef": 1.3, "ent_coef": 0.2},
}
BATCHES: dict[str, Callable[[str], Batch]] = {
    "same step": lambda kind: make_batch(kind, **ENDS),
    "next step": next_step_batch,
}


@functools.cache
def learner(kind: str = "gaussian", variant: str = "paper") -> A2C:
    spec = A2CSpec(**{**FIELDS, **VARIANTS[variant]})
    return A2C(spec, Agent(spec.network, BOX, ACTIONS[kind], normalize_observations=True))


@functools.cache
def compiled(name: str, kind: str = "gaussian", variant: str = "paper") -> Callable[..., Any]:
    return jax.jit(getattr(learner(kind, variant), name))


@functools.cache
def seasoned_state(kind: str = "gaussian") -> LearnerState:
    return season(learner(kind))


# The oracle. ``constants`` is what the advantages are taken from, which no gradient flows through.


def slow_advantages(kind: str, spec: A2CSpec, state: LearnerState, trainable: Any, batch: Batch) -> Any:
    """Return advantages and value targets, ``[T, N]``."""
    outputs = slow_outputs(kind, state, trainable, batch)
    x: Steps = {
        "rewards": slow_rewards(state, batch),
        "values": outputs.values,
        "next_values": outputs.next_values,
        "terminated": batch.terminated,
        "done": batch.terminated | batch.truncated,
    }
    if spec.gae_lambda == 1:
        returns = slow_return(x, spec.gamma)
        return returns - outputs.values, returns
    advantages = slow_gae(x, spec.gamma, spec.gae_lambda)
    return advantages, advantages + outputs.values


def slow_loss(
    kind: str, spec: A2CSpec, state: LearnerState, trainable: Any, batch: Batch, constants: Any
) -> dict[str, float]:
    outputs = slow_outputs(kind, state, trainable, batch)
    advantages, returns = slow_advantages(kind, spec, state, constants, batch)
    places = [(t, n) for t in range(T) for n in range(N) if batch.valid[t, n]]
    counted = np.array([advantages[place] for place in places])
    if spec.normalize_advantages:
        counted = (counted - counted.mean()) / (counted.std() + 1e-8)
    policy = [-advantage * outputs.log_probs[place] for advantage, place in zip(counted, places, strict=True)]
    errors = np.array([returns[place] - outputs.values[place] for place in places])
    entropy = float(np.mean([outputs.entropies[place] for place in places]))
    value_loss = float((errors**2).mean() / 2)
    return {
        "loss": float(np.mean(policy)) + spec.vf_coef * value_loss - float(spec.ent_coef or 0) * entropy,
        "policy_loss": float(np.mean(policy)),
        "value_loss": value_loss,
        "entropy": entropy,
        "explained_variance": 1 - float(errors.var() / np.var([returns[place] for place in places])),
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", BATCHES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ACTIONS)
def test_loss_is_the_papers(kind: str, variant: str, mode: str) -> None:
    a2c, state, batch = learner(kind, variant), seasoned_state(kind), BATCHES[mode](kind)
    _, parts = compiled("gradient", kind, variant)(state, batch)
    expected = slow_loss(kind, a2c.spec, state, state.trainable, batch, state.trainable)
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=5e-4, abs=1e-5), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ACTIONS)
def test_gradient_is_the_slope_of_the_oracle_with_advantages_held_still(kind: str, variant: str) -> None:
    a2c, state, batch = learner(kind, variant), seasoned_state(kind), next_step_batch(kind, seed=1)
    gradient, _ = compiled("gradient", kind, variant)(state, batch)
    rng = np.random.default_rng(0)
    places = [tuple(rng.integers(size) for size in leaf.shape) for leaf in arrays(state.trainable)]
    actual = [float(leaf[place]) for leaf, place in zip(arrays(gradient), places, strict=True)]

    def still(trainable: Any) -> float:
        return slow_loss(kind, a2c.spec, state, trainable, batch, state.trainable)["loss"]

    def moving(trainable: Any) -> float:
        return slow_loss(kind, a2c.spec, state, trainable, batch, trainable)["loss"]

    assert actual == pytest.approx(slopes(still, state.trainable, places), rel=5e-3, abs=1e-5)
    # A gradient through advantages and returns would be another one.
    assert actual != pytest.approx(slopes(moving, state.trainable, places), rel=5e-2, abs=1e-4)


def test_targets_are_n_step_returns_worked_by_hand() -> None:
    """A critic that says 8 everywhere, gamma 1/2, rewards 1, 2, 3: cut after them, truncated, or terminated."""
    spec = A2CSpec(batch_size=3, learning_rate=0.1, ent_coef=0.0, gamma=0.5, network=NetworkSpec(hidden_sizes=(4,)))
    a2c = A2C(spec, Agent(spec.network, BOX, ACTIONS["discrete"], normalize_observations=False))
    state = season(a2c)
    state = replace(state, policy=replace(state.policy, observation_stats=None), return_stats=None)
    critic = jax.tree.map(np.zeros_like, state.policy.params["critic"])
    critic["params"]["Dense_1"]["bias"] = np.float32([8])
    state = replace(state, policy=replace(state.policy, params={**state.policy.params, "critic": critic}))
    flags = np.zeros((3, 1), bool)
    batch = Batch(
        np.ones((4, 1, 3), np.float32), np.zeros((3, 1), np.int32), np.float32([[1], [2], [3]]),
        flags, flags, ~flags, np.ones((1, 3), np.float32), np.int32([3]),
    )  # fmt: skip
    terminated = batch._replace(terminated=np.array([[False], [True], [False]]))
    truncated = batch._replace(truncated=np.array([[False], [True], [False]]), final_rows=np.int32([1]))
    gradient = jax.jit(a2c.gradient)
    for case, returns in (
        (batch, [1 + 2 / 2 + 3 / 4 + 8 / 8, 2 + 3 / 2 + 8 / 4, 3 + 8 / 2]),
        (terminated, [1 + 2 / 2, 2, 3 + 8 / 2]),
        (truncated, [1 + 2 / 2 + 8 / 4, 2 + 8 / 2, 3 + 8 / 2]),
    ):
        expected = np.mean((np.array(returns) - 8) ** 2) / 2
        assert float(gradient(state, case)[1]["value_loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACTIONS)
def test_an_update_absorbs_takes_the_gradient_and_applies_it(kind: str) -> None:
    a2c, state, batch, rate = learner(kind), seasoned_state(kind), make_batch(kind, **ENDS), np.float32(1e-2)
    whole, metrics = compiled("update", kind)(state, batch, None, rate)
    absorbed = jax.jit(functools.partial(absorb, a2c.agent, a2c.spec))(state, batch)
    gradient, parts = compiled("gradient", kind)(absorbed, batch)
    pieces, metrics_of_pieces = compiled("apply", kind)(absorbed, gradient, parts, rate)
    assert_trees_close(whole, pieces)
    assert_trees_close(metrics, metrics_of_pieces, atol=1e-5)
    assert float(metrics["finite"]) == 1
    norm = np.linalg.norm(np.concatenate([leaf.ravel() for leaf in arrays(gradient)]))
    assert float(metrics["grad_norm"]) == pytest.approx(float(norm), rel=1e-4)  # before it is clipped
    assert norm > a2c.spec.max_grad_norm


def test_an_infinite_reward_is_seen_in_the_statistics_though_the_gradient_is_finite() -> None:
    a2c, state, batch = learner(), seasoned_state(), make_batch(**ENDS)
    gradient, parts = compiled("gradient")(state, batch)  # as an actor takes it, before the learner's statistics
    spoiled = batch._replace(rewards=np.where(np.arange(T)[:, None] == 1, np.inf, batch.rewards).astype(np.float32))
    absorbed = jax.jit(functools.partial(absorb, a2c.agent, a2c.spec))(state, spoiled)
    assert float(compiled("apply")(state, gradient, parts, np.float32(1e-2))[1]["finite"]) == 1
    assert float(compiled("apply")(absorbed, gradient, parts, np.float32(1e-2))[1]["finite"]) == 0


def test_gradients_are_applied_one_after_the_other_by_rmsprop() -> None:
    a2c, state, rate = learner(), seasoned_state(), 1e-2
    spec, expected = a2c.spec, jax.tree.map(lambda p: np.asarray(p, np.float64), state.trainable)
    squares = jax.tree.map(np.zeros_like, expected)
    for seed in range(3):
        gradient, parts = compiled("gradient")(state, make_batch(seed=seed, **ENDS))
        state, _ = compiled("apply")(state, gradient, parts, np.float32(rate))
        norm = np.sqrt(sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in jax.tree.leaves(gradient)))
        short = jax.tree.map(lambda g, norm=norm: np.asarray(g) * min(1, spec.max_grad_norm / norm), gradient)
        squares = jax.tree.map(
            lambda s, g: spec.rmsprop_decay * s + (1 - spec.rmsprop_decay) * g**2, squares, short
        )  # fmt: skip
        expected = jax.tree.map(
            lambda p, s, g: p - rate * g / np.sqrt(s + spec.optimizer_eps), expected, squares, short
        )
    assert_trees_close(state.trainable, expected, rtol=1e-3, atol=1e-5)


def test_a_gradient_leaves_the_state_to_whoever_applies_it() -> None:
    """A3C's runners take gradients with the statistics that were published to them."""
    state, batch = seasoned_state(), make_batch(**ENDS)
    _, parts = compiled("gradient")(state, batch)
    other = replace(
        state,
        optimiser=jax.tree.map(lambda leaf: leaf + 1, state.optimiser),
        discounted=state.discounted + 1,
    )
    assert_trees_equal(compiled("gradient")(other, batch)[1], parts)
    gradient, parts = compiled("gradient")(state, batch)
    after, _ = compiled("apply")(state, gradient, parts, np.float32(1e-2))
    assert_trees_equal(after.policy.observation_stats, state.policy.observation_stats)
    assert_trees_equal(after.return_stats, state.return_stats)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACTIONS)
def test_the_gradient_of_a_batch_is_the_mean_of_its_environments(kind: str) -> None:
    """What A3C's runners push adds up to what A2C would have taken of them all."""
    state, batch = seasoned_state(kind), make_batch(kind, **ENDS)
    whole, _ = compiled("gradient", kind)(state, batch)
    parts = []
    for n in range(N):
        rows = np.array([row // N if row < T * N and row % N == n else T for row in batch.final_rows], np.int32)
        part = Batch(
            batch.observations[:, [n]],
            *(array[:, [n]] for array in batch[1:6]),
            batch.final_observations,
            rows,
        )
        parts.append(compiled("gradient", kind)(replace(state, discounted=np.zeros(1, np.float32)), part)[0])
    assert_trees_close(whole, jax.tree.map(lambda *leaves: sum(leaves) / N, *parts), rtol=1e-3, atol=1e-5)


def test_a_learning_rate_of_zero_changes_statistics_and_moments_alone() -> None:
    state, batch = seasoned_state(), make_batch(**ENDS)
    after, metrics = compiled("update")(state, batch, None, np.float32(0))
    assert_trees_equal(after.trainable, state.trainable)
    assert not np.array_equal(after.policy.observation_stats.mean, state.policy.observation_stats.mean)
    assert not np.array_equal(after.return_stats.var, state.return_stats.var)
    assert float(metrics["grad_norm"]) > 0
    moved = [not np.array_equal(a, b) for a, b in zip(arrays(after.optimiser), arrays(state.optimiser), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("garbage", [1e30, np.nan, np.inf])
def test_reset_rows_have_no_influence_whatever_they_hold(garbage: float) -> None:
    state, clean = seasoned_state(), next_step_batch()
    dirty = jax.tree.map(np.copy, clean)
    for place in RESETS:
        dirty.rewards[place] = garbage
        dirty.actions[place] = garbage
    # Row (3, 1) holds where a truncated episode was cut, whose value counts; that of (2, 0) terminated, that of (0, 1)
    # ended in the batch before.
    dirty.observations[2, 0] = dirty.observations[0, 1] = garbage
    expected, actual = (compiled("update")(state, batch, None, np.float32(1e-2)) for batch in (clean, dirty))
    assert_trees_equal(actual, expected)
    assert float(actual[1]["finite"]) == 1
    assert float(actual[0].policy.observation_stats.count) == 50 + T * N - len(RESETS)


def test_an_episode_that_ends_in_the_last_row_may_end_anywhere() -> None:
    """A simulation that fails returns NaN and terminates; in NEXT_STEP mode that is the batch's last observation."""
    clean = make_batch(terminations=[(T - 1, 0)])
    dirty = clean._replace(observations=clean.observations.copy())
    dirty.observations[T, 0] = np.nan
    expected, actual = (compiled("update")(seasoned_state(), batch, None, np.float32(1e-2)) for batch in (clean, dirty))
    assert_trees_equal(actual, expected)
    assert float(actual[1]["finite"]) == 1


def test_a_truncated_episode_is_worth_what_its_reset_row_shows() -> None:
    state, batch = seasoned_state(), next_step_batch()
    moved = batch._replace(observations=batch.observations.copy())
    moved.observations[3, 1] += 3
    before, after = (compiled("gradient")(state, x)[1]["value_loss"] for x in (batch, moved))
    assert abs(float(before) - float(after)) > 1e-3


@pytest.mark.parametrize("field", ["rewards", "observations", "actions", "final_observations"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_anything_that_is_not_finite_is_reported(field: str, poison: float) -> None:
    batch = make_batch(**ENDS)
    place = 0 if field == "final_observations" else (2, 1)
    # An infinite observation would be clipped like any other that is far away.
    getattr(batch, field)[place] = np.nan if field == "final_observations" else poison
    _, metrics = compiled("update")(seasoned_state(), batch, None, np.float32(1e-3))
    assert float(metrics["finite"]) == 0


def test_a_batch_of_nothing_but_reset_rows_changes_nothing() -> None:
    batch = make_batch()
    batch.valid[:] = False
    state = seasoned_state()
    after, metrics = compiled("update")(state, batch, None, np.float32(1e-2))
    assert_trees_equal(after.trainable, state.trainable)
    assert float(metrics["finite"]) == 1
    assert float(metrics["grad_norm"]) == 0


def test_nothing_is_drawn() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert learner().draws(generator) is None
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("cls", [A2CSpec, A3CSpec])
@pytest.mark.parametrize("field", ["batch_size", "learning_rate", "ent_coef"])
def test_a_spec_with_open_fields_is_refused(cls: type[A2CSpec] | type[A3CSpec], field: str) -> None:
    with pytest.raises(SpecError, match=rf"expected a filled-in {cls().name.upper()} spec.*resolve_algo"):
        A2C(cls(**{**FIELDS, field: None}), learner().agent)


@pytest.mark.slow
def test_an_agent_that_sees_images_alone_learns() -> None:
    space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    spec = A2CSpec(**{**FIELDS, "batch_size": 4, "normalize_rewards": False})
    a2c = A2C(spec, Agent(spec.network, space, spaces.Discrete(2), normalize_observations=True))
    state = jax.jit(a2c.init, static_argnums=1)(jax.random.key(0), 2)
    rng, flags = np.random.default_rng(0), np.zeros((2, 2), bool)
    batch = Batch(
        rng.integers(256, size=(3, 2, 8, 8, 3)).astype(np.uint8), rng.integers(2, size=(2, 2)),
        rng.normal(size=(2, 2)).astype(np.float32), flags, flags, ~flags,
        rng.integers(256, size=(1, 8, 8, 3)).astype(np.uint8), np.array([4], np.int32),
    )  # fmt: skip
    after, metrics = jax.jit(a2c.update)(state, batch, None, np.float32(1e-3))
    assert float(metrics["finite"]) == 1
    moved = [
        not np.array_equal(a, b) for a, b in zip(arrays(after.policy.params), arrays(state.policy.params), strict=True)
    ]
    assert all(moved)
