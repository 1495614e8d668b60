"""What every update begins and ends with, against NumPy: statistics, scaling, bootstrap values, optimisers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from slow_targets import slow_sums
from small_batches import (
    ACTIONS,
    BOX,
    ENDS,
    RESETS,
    D,
    N,
    T,
    arrays,
    assert_trees_close,
    assert_trees_equal,
    make_batch,
    next_step_batch,
)

from paceline.agents import experience
from paceline.agents.agent import Agent
from paceline.agents.encoding import Encoded
from paceline.agents.experience import Batch, Experience, LearnerState
from paceline.agents.normalise import RunningStats
from paceline.spec import A2CSpec, ActorCriticSpec, ImpalaSpec, NetworkSpec, NStepSpec

GAMMA = 0.9
NETWORK = NetworkSpec(hidden_sizes=(4,))
next_values = jax.jit(experience.next_values)


@functools.cache
def agent_and_spec(scales: bool = True) -> tuple[Agent, ActorCriticSpec]:
    spec = A2CSpec(gamma=GAMMA, normalize_observations=scales, normalize_rewards=scales, network=NETWORK)
    return Agent(NETWORK, BOX, ACTIONS["gaussian"], normalize_observations=scales), spec


@functools.cache
def compiled(name: str, scales: bool = True) -> Callable[..., Any]:
    """Return one of the preparing functions, compiled for :func:`agent_and_spec`."""
    agent, spec = agent_and_spec(scales)
    if name == "scaled":
        return jax.jit(functools.partial(experience.scaled, agent))
    return jax.jit(functools.partial(getattr(experience, name), agent, spec))


@functools.cache
def seasoned_state(scales: bool = True) -> LearnerState:
    """Return a state whose statistics have seen 50 steps before."""
    agent, spec = agent_and_spec(scales)
    optimiser = experience.make_optimiser(spec)
    state = jax.jit(lambda key: experience.fresh_state(agent, spec, optimiser, key, N))(jax.random.key(0))
    state = replace(state, discounted=np.float32([0.7, -0.4]))
    if not scales:
        return state
    seen = RunningStats(np.float32([1, 2, 3]), np.float32([4, 0.5, 1]), np.float32(50))
    returns = RunningStats(np.float32([0.5]), np.float32([2.25]), np.float32(50))
    return replace(state, policy=replace(state.policy, observation_stats=seen), return_stats=returns)


def slow_merge(stats: RunningStats, samples: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Return mean, variance and number of what was seen before and the samples ``[B, D]`` together."""
    before, count = float(stats.count), float(stats.count) + len(samples)
    mean = (before * np.asarray(stats.mean, np.float64) + samples.sum(0)) / count
    second = before * (np.asarray(stats.var, np.float64) + np.asarray(stats.mean, np.float64) ** 2)
    return mean, (second + (samples.astype(np.float64) ** 2).sum(0)) / count - mean**2, count


def assert_merged(after: RunningStats, before: RunningStats, samples: NDArray[Any]) -> None:
    mean, var, count = slow_merge(before, samples)
    np.testing.assert_allclose(after.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.var, var, rtol=1e-4, atol=1e-5)
    assert float(after.count) == count


BATCHES: dict[str, Callable[[], Batch]] = {"same step": lambda: make_batch(**ENDS), "next step": next_step_batch}


@pytest.mark.parametrize("mode", BATCHES)
def test_a_batch_is_merged_into_both_statistics_once(mode: str) -> None:
    state, batch = seasoned_state(), BATCHES[mode]()
    after = compiled("absorb")(state, batch)
    # Row T belongs to the next batch: it would be counted twice.
    assert_merged(after.policy.observation_stats, state.policy.observation_stats, batch.observations[:-1][batch.valid])
    sums = slow_sums(batch.rewards, batch.terminated | batch.truncated, np.asarray(state.discounted), GAMMA)
    assert_merged(after.return_stats, state.return_stats, sums[batch.valid][:, None])
    np.testing.assert_allclose(
        after.discounted, np.where((batch.terminated | batch.truncated)[-1], 0, sums[-1]), rtol=1e-5
    )
    assert_trees_equal((after.trainable, after.optimiser), (state.trainable, state.optimiser))


def test_without_statistics_nothing_is_merged_and_nothing_scaled() -> None:
    state, batch = seasoned_state(scales=False), make_batch(**ENDS)
    after, prepared = compiled("prepare", scales=False)(state, batch)
    assert after.policy.observation_stats is None
    assert after.return_stats is None
    assert_trees_equal(after, state)
    np.testing.assert_array_equal(prepared.rewards, batch.rewards)
    np.testing.assert_array_equal(prepared.encoded.vector[:-1], batch.observations[:-1])
    np.testing.assert_array_equal(prepared.final.vector, batch.final_observations)


@pytest.mark.parametrize("garbage", [1e30, np.nan, np.inf, -np.inf])
def test_reset_rows_never_count_whatever_they_hold(garbage: float) -> None:
    state, clean = seasoned_state(), next_step_batch()
    dirty = jax.tree.map(np.copy, clean)
    for place in RESETS:
        dirty.rewards[place] = garbage
        dirty.actions[place] = garbage
    # Only what follows a termination, or an end in the batch before, is read by nobody: (3, 1) is worth a bootstrap.
    dirty.observations[2, 0] = dirty.observations[0, 1] = garbage
    expected, actual = (compiled("prepare")(state, batch) for batch in (clean, dirty))
    assert_trees_equal(actual[0], expected[0])
    for name in ("rewards", "done", "weights", "final"):
        assert_trees_equal(getattr(actual[1], name), getattr(expected[1], name))
    for leaf in arrays(actual[1]):
        assert np.isfinite(leaf).all()
    assert not np.asarray(actual[1].rewards)[~clean.valid].any()
    np.testing.assert_array_equal(actual[1].weights, clean.valid)
    np.testing.assert_array_equal(np.asarray(actual[1].actions)[clean.valid], clean.actions[clean.valid])


def test_an_observation_is_kept_wherever_a_value_of_it_counts() -> None:
    batch = next_step_batch()
    vector = np.asarray(compiled("scaled", scales=False)(seasoned_state(scales=False), batch).encoded.vector)
    kept = (vector == batch.observations).all(-1)
    cleared = (vector == 0).all(-1)
    # Environment 0 ends in row 1, environment 1 before row 0; in row (3, 1) stands where a truncated episode was cut.
    expected = np.ones((T + 1, N), bool)
    expected[2, 0] = expected[0, 1] = False
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(cleared, ~expected)


def test_what_follows_a_termination_in_the_last_row_is_not_kept() -> None:
    batch = make_batch(terminations=[(T - 1, 0)], truncations=[(T - 1, 1)])
    batch.observations[T, 0] = np.nan
    vector = np.asarray(compiled("scaled")(seasoned_state(), batch).encoded.vector)
    np.testing.assert_array_equal(vector[T, 0], 0)
    assert (vector[T, 1] != 0).all()


def test_the_step_before_an_environment_was_replaced_is_the_last_of_its_trace() -> None:
    batch = make_batch(**ENDS)
    batch.valid[3, 1] = False
    done = np.asarray(compiled("scaled")(seasoned_state(), batch).done)
    ended = batch.terminated | batch.truncated
    assert done[2, 1] and not ended[2, 1]
    ended[2, 1] = True
    np.testing.assert_array_equal(done, ended)


def test_preparing_is_absorbing_and_then_scaling() -> None:
    state, batch = seasoned_state(), make_batch(**ENDS)
    after, prepared = compiled("prepare")(state, batch)
    absorbed = compiled("absorb")(state, batch)
    assert_trees_close(after, absorbed)
    assert_trees_close(prepared, compiled("scaled")(absorbed, batch), atol=1e-5)


def test_scaling_takes_the_statistics_as_they_are() -> None:
    state, batch = seasoned_state(), make_batch(**ENDS)
    prepared = compiled("scaled")(state, batch)

    def scale(x: NDArray[Any]) -> NDArray[Any]:
        return np.clip((x - np.array([1, 2, 3])) / np.sqrt([4, 0.5, 1]), -10, 10)

    np.testing.assert_allclose(prepared.encoded.vector[:-1], scale(batch.observations[:-1]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prepared.before.vector, prepared.encoded.vector[:-1])
    np.testing.assert_allclose(prepared.final.vector, scale(batch.final_observations), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prepared.rewards, batch.rewards / 1.5, rtol=1e-5)
    np.testing.assert_array_equal(prepared.done, batch.terminated | batch.truncated)


def weighted(weights: NDArray[Any]) -> Experience:
    nothing = np.zeros((T, N), np.float32)
    return Experience(Encoded(nothing, ()), nothing, Encoded(nothing, ()), nothing, nothing, weights)


def test_a_mean_is_over_the_rows_that_count() -> None:
    rng = np.random.default_rng(0)
    x, valid = rng.normal(size=(T, N)).astype(np.float32), rng.random((T, N)) < 0.7
    expected = float(x[valid].astype(np.float64).mean())
    x[~valid] = np.nan
    assert float(weighted(valid.astype(np.float32)).mean(x)) == pytest.approx(expected, rel=1e-5)
    assert float(weighted(np.zeros((T, N), np.float32)).mean(x)) == 0


def test_a_truncated_row_leads_to_its_final_observation_and_others_to_the_next_row() -> None:
    values = np.arange(2 * 4, dtype=np.float32).reshape(4, 2)
    # Rows (0, 1) and (2, 0) of 3 x 2; the last slot is unused.
    after = next_values(values, np.float32([100, 200, 999]), np.int32([1, 4, 6]))
    np.testing.assert_array_equal(after, [[2, 100], [4, 5], [200, 7]])


@given(st.integers(0, 2**31), st.lists(st.integers(0, T * N - 1), unique=True, max_size=5))
@settings(max_examples=30, deadline=None)
def test_next_values_are_what_a_loop_looks_up(seed: int, rows: list[int]) -> None:
    rng = np.random.default_rng(seed)
    values, finals = rng.normal(size=(T + 1, N)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    slots = np.full(5, T * N, np.int32)
    slots[: len(rows)] = rows
    expected = np.zeros((T, N), np.float32)
    for t in range(T):
        for n in range(N):
            cut = t * N + n in rows
            expected[t, n] = finals[rows.index(t * N + n)] if cut else values[t + 1, n]
    np.testing.assert_array_equal(next_values(values, finals, slots), expected)


def test_explained_variance_is_the_share_of_the_targets_variance_that_predictions_explain() -> None:
    rng = np.random.default_rng(3)
    targets, errors = rng.normal(2, 3, (T, N)).astype(np.float32), rng.normal(1, 0.5, (T, N)).astype(np.float32)
    valid = rng.random((T, N)) < 0.7
    weights = valid.astype(np.float32)
    expected = 1 - errors[valid].var() / targets[valid].var()
    predictions = targets - errors
    predictions[~valid] = np.nan  # what stands in reset rows does not matter
    explained = experience.explained_variance(targets, predictions, weights)
    assert float(explained) == pytest.approx(float(expected), rel=1e-4)
    assert 0 < expected < 1
    # A constant error explains everything, a constant prediction nothing, and worse than that is negative.
    assert float(experience.explained_variance(targets, targets + 3, weights)) == pytest.approx(1, abs=1e-5)
    assert float(experience.explained_variance(targets, targets * 0, weights)) == pytest.approx(0, abs=1e-5)
    assert float(experience.explained_variance(targets, -targets, weights)) == pytest.approx(-3, rel=1e-4)


# Optimisers.

PARAMETERS = {"a": np.float32([[0.3, -1.0], [2.0, 0.01]]), "b": np.float32([1.0])}


def gradients(count: int, scale: float = 1.0) -> list[Any]:
    rng = np.random.default_rng(5)
    return [
        jax.tree.map(lambda p: (rng.normal(size=p.shape) * scale).astype(np.float32), PARAMETERS) for _ in range(count)
    ]


def run_optimiser(spec: NStepSpec | ImpalaSpec, steps: list[Any], rate: float) -> Any:
    optimiser = experience.make_optimiser(spec)
    trainable, moments = PARAMETERS, optimiser.init(PARAMETERS)
    step = jax.jit(functools.partial(experience.descend, optimiser))
    for gradient in steps:
        trainable, moments = step(trainable, moments, gradient, np.float32(rate))
    return trainable


def slow_clip(gradient: Any, max_norm: float) -> Any:
    norm = np.sqrt(sum((leaf.astype(np.float64) ** 2).sum() for leaf in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda leaf: leaf.astype(np.float64) * min(1.0, max_norm / norm), gradient)


def slow_rmsprop(steps: list[Any], rate: float, decay: float, eps: float, max_norm: float, *, inside: bool) -> Any:
    trainable = jax.tree.map(lambda p: p.astype(np.float64), PARAMETERS)
    squares = jax.tree.map(np.zeros_like, trainable)
    for gradient in steps:
        gradient = slow_clip(gradient, max_norm)
        squares = jax.tree.map(lambda s, g: decay * s + (1 - decay) * g**2, squares, gradient)
        trainable = jax.tree.map(
            lambda p, s, g: p - rate * g / (np.sqrt(s + eps) if inside else np.sqrt(s) + eps),
            trainable,
            squares,
            gradient,
        )
    return trainable


@pytest.mark.parametrize("cls", [A2CSpec, ImpalaSpec])
def test_rmsprop_is_that_of_mnih_et_al(cls: type[A2CSpec] | type[ImpalaSpec]) -> None:
    spec = cls(optimizer="rmsprop", rmsprop_decay=0.9, optimizer_eps=0.1, max_grad_norm=1e9)
    steps = gradients(5)
    actual = run_optimiser(spec, steps, 0.05)
    assert_trees_close(actual, slow_rmsprop(steps, 0.05, 0.9, 0.1, 1e9, inside=True), rtol=1e-5)
    outside = slow_rmsprop(steps, 0.05, 0.9, 0.1, 1e9, inside=False)
    assert np.abs(np.asarray(actual["a"]) - outside["a"]).max() > 0.01  # epsilon's place does matter here


def test_adam_is_that_of_kingma_and_ba() -> None:
    steps, rate, eps = gradients(5), 0.05, 1e-3
    actual = run_optimiser(A2CSpec(optimizer="adam", optimizer_eps=eps, max_grad_norm=1e9), steps, rate)
    trainable = jax.tree.map(lambda p: p.astype(np.float64), PARAMETERS)
    first = second = jax.tree.map(np.zeros_like, trainable)
    for count, gradient in enumerate(steps, start=1):
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g.astype(np.float64) ** 2, second, gradient)
        trainable = jax.tree.map(
            lambda p, m, v, k=count: p - rate * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + eps),
            trainable,
            first,
            second,
        )
    assert_trees_close(actual, trainable, rtol=1e-4)


def test_gradients_are_clipped_by_the_norm_of_all_of_them() -> None:
    steps = [*gradients(2), *gradients(2, scale=1e-3)]  # two that are too long, two that are not
    spec = A2CSpec(rmsprop_decay=0.9, optimizer_eps=0.1, max_grad_norm=0.5)
    actual = run_optimiser(spec, steps, 0.05)
    assert_trees_close(actual, slow_rmsprop(steps, 0.05, 0.9, 0.1, 0.5, inside=True), rtol=1e-5)
    unclipped = slow_rmsprop(steps, 0.05, 0.9, 0.1, 1e9, inside=True)
    assert np.abs(np.asarray(actual["a"]) - unclipped["a"]).max() > 0.01


def test_a_step_goes_down_by_the_learning_rate_and_changes_only_moments_at_zero() -> None:
    spec = A2CSpec(max_grad_norm=1e9)
    assert_trees_equal(run_optimiser(spec, gradients(2), 0.0), PARAMETERS)
    near, far = (run_optimiser(spec, gradients(1), rate) for rate in (0.01, 0.02))
    assert_trees_close(jax.tree.map(lambda p, q: 2 * (q - p), PARAMETERS, near),
                       jax.tree.map(lambda p, q: q - p, PARAMETERS, far), rtol=1e-3)  # fmt: skip
    moved = np.asarray(near["b"]) - PARAMETERS["b"]
    assert np.sign(moved) == -np.sign(gradients(1)[0]["b"])


def test_the_global_norm_is_that_of_all_numbers() -> None:
    flat = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(PARAMETERS)])
    assert float(experience.global_norm(PARAMETERS)) == pytest.approx(float(np.linalg.norm(flat)), rel=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_enough(poison: float) -> None:
    assert float(experience.all_finite(PARAMETERS, np.float32(1))) == 1
    assert float(experience.all_finite((PARAMETERS, None), np.float32(3e38))) == 1  # no log_std, and large
    assert float(experience.all_finite(PARAMETERS, np.float32(1), np.float32(poison))) == 0
    for name, leaf in PARAMETERS.items():
        bad = leaf.copy()
        bad.flat[-1] = poison
        assert float(experience.all_finite({**PARAMETERS, name: bad}, np.float32(1))) == 0


@pytest.mark.parametrize("scales", [True, False])
def test_a_fresh_state_has_seen_nothing(scales: bool) -> None:
    agent, spec = agent_and_spec(scales)
    optimiser = experience.make_optimiser(spec)
    state, policy = jax.jit(lambda key: (experience.fresh_state(agent, spec, optimiser, key, 5), agent.init(key)))(
        jax.random.key(0)
    )
    assert_trees_equal(state.policy, policy)
    np.testing.assert_array_equal(state.discounted, np.zeros(5))
    assert not any(leaf.any() for leaf in arrays(state.optimiser))
    assert (state.return_stats is not None) == scales
    if scales:
        assert state.return_stats.mean.shape == (1,)
        assert state.policy.observation_stats.mean.shape == (D,)
        assert float(state.return_stats.count) < 1e-3


def test_other_parameters_leave_the_rest_of_a_state_alone() -> None:
    state = seasoned_state()
    other = jax.tree.map(lambda leaf: leaf + 1, state.trainable)
    after = state.with_trainable(other, "moments")
    assert_trees_equal(after.trainable, other)
    assert after.optimiser == "moments"
    assert after.policy.observation_stats is state.policy.observation_stats
    assert (after.return_stats, after.discounted) == (state.return_stats, state.discounted)
