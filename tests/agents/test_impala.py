"""IMPALA against a slow NumPy oracle: the loss, its gradient, and what the weights of an older policy do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from slow_policy import slopes, slow_outputs, slow_rewards
from slow_targets import Steps, slow_vtrace
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
from paceline.agents.experience import Batch, LearnerState, prepare
from paceline.agents.impala import Impala
from paceline.errors import SpecError
from paceline.spec import A2CSpec, ImpalaSpec, NetworkSpec

FIELDS: dict[str, Any] = {
    "batch_size": T * N,
    "learning_rate": 1e-2,
    "gamma": 0.9,
    "max_grad_norm": 0.2,  # low enough that gradients are clipped
    "optimizer": "rmsprop",
    "ent_coef": 0.03,
    "normalize_observations": True,
    "normalize_rewards": True,
    "network": NetworkSpec(hidden_sizes=(4,)),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "bars": {"rho_bar": 1.5, "c_bar": 0.8, "vtrace_lambda": 0.9, "vf_coef": 1.3, "ent_coef": 0.2},
}
RATE = np.float32(1e-2)


@functools.cache
def learner(kind: str = "gaussian", variant: str = "paper") -> Impala:
    spec = ImpalaSpec(**{**FIELDS, **VARIANTS[variant]})
    return Impala(spec, Agent(spec.network, BOX, ACTIONS[kind], normalize_observations=True))


@functools.cache
def update(kind: str = "gaussian", variant: str = "paper") -> Callable[..., Any]:
    return jax.jit(learner(kind, variant).update)


@functools.cache
def prepared(kind: str = "gaussian") -> Callable[..., Any]:
    return jax.jit(functools.partial(prepare, learner(kind).agent, learner(kind).spec))


@functools.cache
def gradient(kind: str = "gaussian", variant: str = "paper") -> Callable[..., Any]:
    """Return the compiled gradient of a batch, (gradient, metrics)."""
    impala = learner(kind, variant)

    def gradient_of(state: LearnerState, batch: Batch) -> Any:
        state, experience = prepare(impala.agent, impala.spec, state, batch)
        return jax.grad(impala.loss, has_aux=True)(state.trainable, batch, experience)

    return jax.jit(gradient_of)


@functools.cache
def seasoned_state(kind: str = "gaussian") -> LearnerState:
    return season(learner(kind))


def on_policy_log_probs(kind: str, batch: Batch) -> Any:
    """Return log-probabilities of the policy under the statistics that the update will use."""
    state, _ = prepared(kind)(seasoned_state(kind), batch)
    return slow_outputs(kind, state, state.trainable, batch).log_probs.astype(np.float32)


def off_policy(kind: str, batch: Batch, shift: float | None = None) -> Batch:
    """Return the batch as if an older policy had acted: by a fixed difference of log-probabilities or random ones."""
    difference = np.random.default_rng(9).normal(scale=0.7, size=(T, N)) if shift is None else shift
    return batch._replace(log_probs=(on_policy_log_probs(kind, batch) + difference).astype(np.float32))


BATCHES: dict[str, Callable[[str], Batch]] = {
    "same step": lambda kind: off_policy(kind, make_batch(kind, **ENDS)),
    "next step": lambda kind: off_policy(kind, next_step_batch(kind)),
}


def slow_loss(
    kind: str, spec: ImpalaSpec, state: LearnerState, trainable: Any, batch: Batch, constants: Any
) -> dict[str, float]:
    """Return the loss at ``trainable`` with the targets of ``constants``, through which no gradient flows."""
    outputs, still = (slow_outputs(kind, state, x, batch) for x in (trainable, constants))
    x: Steps = {
        "rewards": slow_rewards(state, batch),
        "values": still.values,
        "next_values": still.next_values,
        "terminated": batch.terminated,
        "done": batch.terminated | batch.truncated,
    }
    behaviour = still.log_probs if batch.log_probs is None else batch.log_probs
    log_ratios = np.where(batch.valid, still.log_probs - behaviour, 0.0)
    targets, advantages = slow_vtrace(
        log_ratios, x, spec.gamma, rho_bar=spec.rho_bar, c_bar=spec.c_bar, lam=spec.vtrace_lambda
    )
    places = [(t, n) for t in range(T) for n in range(N) if batch.valid[t, n]]
    policy = [-advantages[place] * outputs.log_probs[place] for place in places]
    errors = np.array([targets[place] - outputs.values[place] for place in places])
    ratios = np.array([np.exp(log_ratios[place]) for place in places])
    entropy = float(np.mean([outputs.entropies[place] for place in places]))
    value_loss = float((errors**2).mean() / 2)
    return {
        "loss": float(np.mean(policy)) + spec.vf_coef * value_loss - float(spec.ent_coef or 0) * entropy,
        "policy_loss": float(np.mean(policy)),
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": float(np.mean(ratios - 1 - np.log(ratios))),
        "rho_clipped": float(np.mean(ratios > spec.rho_bar)),
        "explained_variance": 1 - float(errors.var() / np.var([targets[place] for place in places])),
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", BATCHES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ACTIONS)
def test_loss_is_the_papers(kind: str, variant: str, mode: str) -> None:
    impala, batch = learner(kind, variant), BATCHES[mode](kind)
    state, _ = prepared(kind)(seasoned_state(kind), batch)
    _, parts = gradient(kind, variant)(seasoned_state(kind), batch)
    expected = slow_loss(kind, impala.spec, state, state.trainable, batch, state.trainable)
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert 0 < expected["rho_clipped"] < 1  # both branches were taken


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ACTIONS)
def test_gradient_is_the_slope_of_the_oracle_with_targets_held_still(kind: str, variant: str) -> None:
    impala, batch = learner(kind, variant), off_policy(kind, next_step_batch(kind, seed=1))
    state, _ = prepared(kind)(seasoned_state(kind), batch)
    found, _ = gradient(kind, variant)(seasoned_state(kind), batch)
    rng = np.random.default_rng(0)
    places = [tuple(rng.integers(size) for size in leaf.shape) for leaf in arrays(state.trainable)]
    actual = [float(leaf[place]) for leaf, place in zip(arrays(found), places, strict=True)]

    def still(trainable: Any) -> float:
        return slow_loss(kind, impala.spec, state, trainable, batch, state.trainable)["loss"]

    def moving(trainable: Any) -> float:
        return slow_loss(kind, impala.spec, state, trainable, batch, trainable)["loss"]

    assert actual == pytest.approx(slopes(still, state.trainable, places), rel=5e-3, abs=1e-5)
    # A gradient through the targets and their weights would be another one.
    assert actual != pytest.approx(slopes(moving, state.trainable, places), rel=5e-2, abs=1e-4)


# What the weights do.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACTIONS)
def test_on_policy_it_is_a2c(kind: str) -> None:
    spec = A2CSpec(**FIELDS)
    a2c = A2C(spec, learner(kind).agent)
    state, batch = seasoned_state(kind), make_batch(kind, **ENDS)
    expected, expected_metrics = jax.jit(a2c.update)(state, batch, None, RATE)
    for same in (batch, off_policy(kind, batch, shift=0.0)):
        actual, metrics = update(kind)(state, same, None, RATE)
        assert_trees_close(actual, expected, rtol=1e-3, atol=1e-5)
        for name, value in expected_metrics.items():
            assert float(metrics[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5), name
        assert float(metrics["approx_kl"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACTIONS)
def test_actions_that_became_likelier_count_as_on_policy_and_rarer_ones_count_less(kind: str) -> None:
    state, batch = seasoned_state(kind), make_batch(kind, terminations=[(t, n) for t in range(T) for n in range(N)])
    on_policy, metrics = gradient(kind)(state, off_policy(kind, batch, shift=0.0))
    likelier, clipped_metrics = gradient(kind)(state, off_policy(kind, batch, shift=-1.0))
    assert_trees_close(likelier, on_policy, rtol=1e-3, atol=1e-5)  # rho_bar is 1
    assert float(clipped_metrics["rho_clipped"]) == 1
    # Episodes of one step: every weight is e^-1, and the policy's loss and the value's errors are that of it.
    _, rarer = gradient(kind)(state, off_policy(kind, batch, shift=1.0))
    assert float(rarer["policy_loss"]) == pytest.approx(float(metrics["policy_loss"]) / np.e, rel=1e-3)
    assert float(rarer["value_loss"]) == pytest.approx(float(metrics["value_loss"]) / np.e**2, rel=1e-3)
    assert float(rarer["entropy"]) == pytest.approx(float(metrics["entropy"]), rel=1e-4)
    assert float(rarer["approx_kl"]) == pytest.approx(1 / np.e, rel=1e-3)


def test_every_weight_matters_by_itself() -> None:
    state, batch = seasoned_state(), off_policy("gaussian", make_batch(), shift=0.3)
    base, _ = gradient()(state, batch)
    for place in [(0, 0), (3, 1), (T - 1, 0)]:
        other = batch._replace(log_probs=batch.log_probs.copy())
        other.log_probs[place] += 2
        moved, _ = gradient()(state, other)
        assert max(np.abs(a - b).max() for a, b in zip(arrays(moved), arrays(base), strict=True)) > 1e-4


# The whole update.


@pytest.mark.slow
def test_an_update_prepares_takes_the_gradient_and_descends() -> None:
    state, batch = seasoned_state(), off_policy("gaussian", make_batch(**ENDS))
    after, metrics = update()(state, batch, None, RATE)
    found, parts = gradient()(state, batch)
    spec = learner().spec
    flat = np.concatenate([leaf.ravel() for leaf in arrays(found)]).astype(np.float64)
    norm = float(np.linalg.norm(flat))
    assert norm > spec.max_grad_norm

    def step(parameter: Any, slope: Any) -> Any:
        short = np.asarray(slope, np.float64) * spec.max_grad_norm / norm
        mean_square = (1 - spec.rmsprop_decay) * short**2
        return np.asarray(parameter) - float(RATE) * short / np.sqrt(mean_square + spec.optimizer_eps)

    assert_trees_close(after.trainable, jax.tree.map(step, state.trainable, found), rtol=1e-3, atol=1e-5)
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-4)  # before it is clipped
    assert float(metrics["finite"]) == 1
    for name, value in parts.items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    absorbed, _ = prepared()(state, batch)
    assert_trees_close(after.policy.observation_stats, absorbed.policy.observation_stats)
    assert_trees_close(after.return_stats, absorbed.return_stats)


def test_a_learning_rate_of_zero_changes_statistics_and_moments_alone() -> None:
    state, batch = seasoned_state(), off_policy("gaussian", make_batch(**ENDS))
    after, _ = update()(state, batch, None, np.float32(0))
    assert_trees_equal(after.trainable, state.trainable)
    assert not np.array_equal(after.policy.observation_stats.mean, state.policy.observation_stats.mean)
    assert not np.array_equal(after.return_stats.var, state.return_stats.var)
    moved = [not np.array_equal(a, b) for a, b in zip(arrays(after.optimiser), arrays(state.optimiser), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("garbage", [1e30, np.nan, np.inf])
def test_reset_rows_have_no_influence_whatever_they_hold(garbage: float) -> None:
    state, clean = seasoned_state(), off_policy("gaussian", next_step_batch())
    dirty = jax.tree.map(np.copy, clean)
    for place in RESETS:
        for array in (dirty.rewards, dirty.actions, dirty.log_probs):
            array[place] = garbage
    dirty.observations[2, 0] = dirty.observations[0, 1] = garbage  # no value of these is asked for
    expected, actual = (update()(state, batch, None, RATE) for batch in (clean, dirty))
    assert_trees_equal(actual, expected)
    assert float(actual[1]["finite"]) == 1
    assert float(actual[0].policy.observation_stats.count) == 50 + T * N - len(RESETS)


@pytest.mark.parametrize("field", ["rewards", "observations", "actions", "log_probs"])
def test_anything_that_is_not_finite_is_reported(field: str) -> None:
    batch = off_policy("gaussian", make_batch(**ENDS))
    getattr(batch, field)[2, 1] = np.nan
    _, metrics = update()(seasoned_state(), batch, None, np.float32(1e-3))
    assert float(metrics["finite"]) == 0


def test_nothing_is_drawn() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert learner().draws(generator) is None
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("field", ["batch_size", "learning_rate", "ent_coef"])
def test_a_spec_with_open_fields_is_refused(field: str) -> None:
    with pytest.raises(SpecError, match=r"expected a filled-in IMPALA spec.*resolve_algo"):
        Impala(ImpalaSpec(**{**FIELDS, field: None}), learner().agent)
