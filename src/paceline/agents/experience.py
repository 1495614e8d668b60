"""What every algorithm learns from, and what every update begins with: statistics merged, observations scaled.

Arrays are time-major: ``[T, N]``, T steps of N environments.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from paceline.agents.agent import Agent, PolicyState
from paceline.agents.encoding import Encoded
from paceline.agents.normalise import RunningStats, merge, scale_rewards
from paceline.agents.returns import discounted_sums
from paceline.spec import ActorCriticSpec


class Batch(NamedTuple):
    """Experience of T steps of N environments, as the environments returned it.

    Attributes:
        observations: ``[T + 1, N, *obs]``; row t is what the action of row t was chosen from.
        actions: ``[T, N, *action]``, before clipping to bounds.
        rewards: float32 ``[T, N]``, raw.
        terminated: bool ``[T, N]``.
        truncated: bool ``[T, N]``.
        valid: bool ``[T, N]``; False in reset rows, which are no experience and never train.
        final_observations: ``[K, *obs]``; true last observations of truncated episodes.
        final_rows: int32 ``[K]``; t * N + n of each of them, or T * N in unused slots.
        log_probs: float32 ``[T, N]``, log μ(a|s) of the policy that acted; None: the current one did.
    """

    observations: Any
    actions: jax.Array
    rewards: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    valid: jax.Array
    final_observations: Any
    final_rows: jax.Array
    log_probs: jax.Array | None = None


@struct.dataclass
class LearnerState:
    """Everything that an update changes.

    Attributes:
        policy: parameters and observation statistics.
        optimiser: the optimiser's moments.
        return_stats: statistics of the discounted return (size 1), or None if rewards are not scaled.
        discounted: the running discounted sum of rewards per environment, float32 ``[N]``.
    """

    policy: PolicyState
    optimiser: Any
    return_stats: RunningStats | None
    discounted: jax.Array

    @property
    def trainable(self) -> tuple[Any, Any]:
        """What gradients are taken of: (params, log_std)."""
        return self.policy.params, self.policy.log_std

    def with_trainable(self, trainable: tuple[Any, Any], optimiser: Any) -> LearnerState:
        """Return the state with other parameters and moments."""
        params, log_std = trainable
        return replace(self, policy=replace(self.policy, params=params, log_std=log_std), optimiser=optimiser)


class Experience(NamedTuple):
    """A batch in the form that losses read.

    Attributes:
        encoded: normalised observations, ``[T + 1, N, ..]``; those that nothing is learnt from are 0.
        actions: ``[T, N, *action]``, before clipping to bounds; 0 in reset rows.
        final: normalised last observations of truncated episodes, ``[K, ..]``.
        rewards: float32 ``[T, N]``, scaled if the run scales them; 0 in reset rows.
        done: bool ``[T, N]``, terminated or truncated.
        weights: float32 ``[T, N]``, 0 in reset rows and 1 elsewhere.
    """

    encoded: Encoded
    actions: jax.Array
    final: Encoded
    rewards: jax.Array
    done: jax.Array
    weights: jax.Array

    @property
    def before(self) -> Encoded:
        """Observations from which the actions were chosen, ``[T, N, ..]``."""
        before: Encoded = jax.tree.map(lambda x: x[:-1], self.encoded)
        return before

    def mean(self, x: jax.Array) -> jax.Array:
        """Return the mean of ``x`` ``[T, N]`` over the rows that count, ``[]``; what stands in others is ignored."""
        counted = jnp.where(self.weights > 0, x, 0.0)  # 0 * NaN is NaN
        return counted.sum() / jnp.maximum(self.weights.sum(), 1.0)


def make_optimiser(spec: Any) -> optax.GradientTransformation:
    """Return gradient clipping and the spec's optimiser; its output times the learning rate is subtracted.

    RMSProp is that of Mnih et al. 2016 without momentum: g ← α g + (1 - α) Δθ², θ ← θ - η Δθ / √(g + ε).
    """
    if spec.optimizer == "adam":
        scale = optax.scale_by_adam(eps=spec.optimizer_eps)
    else:
        scale = optax.scale_by_rms(decay=spec.rmsprop_decay, eps=spec.optimizer_eps, eps_in_sqrt=True)
    return optax.chain(optax.clip_by_global_norm(spec.max_grad_norm), scale)


def fresh_state(
    agent: Agent, spec: ActorCriticSpec, optimiser: optax.GradientTransformation, key: jax.Array, num_envs: int
) -> LearnerState:
    """Return the state before the first update."""
    policy = agent.init(key)
    return LearnerState(
        policy=policy,
        optimiser=optimiser.init((policy.params, policy.log_std)),
        return_stats=RunningStats.create(1) if spec.normalize_rewards else None,
        discounted=jnp.zeros(num_envs),
    )


def prepare(agent: Agent, spec: ActorCriticSpec, state: LearnerState, batch: Batch) -> tuple[LearnerState, Experience]:
    """Merge the batch into the statistics, then scale observations and rewards with them."""
    state = absorb(agent, spec, state, batch)
    return state, scaled(agent, state, batch)


def absorb(agent: Agent, spec: ActorCriticSpec, state: LearnerState, batch: Batch) -> LearnerState:
    """Return the state with the batch merged into the statistics of observations and returns, if it has any."""
    weights = batch.valid.astype(jnp.float32)
    policy, return_stats, discounted = state.policy, state.return_stats, state.discounted
    if policy.observation_stats is not None:
        vector = agent.encode(batch.observations).vector[:-1]
        policy = replace(policy, observation_stats=merge(policy.observation_stats, vector, weights))
    if return_stats is not None:
        rewards = jnp.where(batch.valid, batch.rewards, 0.0)
        done = batch.terminated | batch.truncated
        sums, discounted = discounted_sums(rewards, done, discounted, gamma=spec.gamma)
        return_stats = merge(return_stats, sums[..., None], weights)
    return replace(state, policy=policy, return_stats=return_stats, discounted=discounted)


def scaled(agent: Agent, state: LearnerState, batch: Batch) -> Experience:
    """Return the batch with observations and rewards scaled by the statistics as they are."""
    rewards = jnp.where(batch.valid, batch.rewards, 0.0)
    if state.return_stats is not None:
        rewards = scale_rewards(state.return_stats, rewards)
    none = jnp.zeros_like(batch.valid[:1])
    # The last observation of an episode that terminated has no value; in ``NEXT_STEP`` mode the reset row holds it.
    read = jnp.concatenate([batch.valid, none]) | jnp.concatenate([none, ~batch.terminated])
    encoded = agent.normalise(state.policy, agent.encode(batch.observations))
    # Where an environment was replaced, the step before was the last of its episode that there is: what follows is none
    # of its consequences, and it leads to the last observation that was seen.
    cut_short = jnp.concatenate([~batch.valid[1:], none])
    return Experience(
        encoded=jax.tree.map(lambda x: clear_rows(x, read), encoded),
        actions=clear_rows(batch.actions, batch.valid),
        final=agent.normalise(state.policy, agent.encode(batch.final_observations)),
        rewards=rewards,
        done=batch.terminated | batch.truncated | cut_short,
        weights=batch.valid.astype(jnp.float32),
    )


def clear_rows(x: jax.Array, kept: jax.Array) -> jax.Array:
    """Return ``x`` ``[T, N, ..]`` with 0 where ``kept`` ``[T, N]`` is False."""
    # A weight of 0 does not silence NaN or infinity, in gradients least of all (0 * inf = NaN). Integers (images,
    # labels) are always finite and stay uncopied.
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return jnp.where(kept.reshape(*kept.shape, *(1,) * (x.ndim - kept.ndim)), x, 0)


def next_values(values: jax.Array, final_values: jax.Array, final_rows: jax.Array) -> jax.Array:
    """Return the value of the state that each step led to, ``[T, N]``.

    Row t leads to the observation of row t + 1, except where an episode was cut: there the true last one counts.

    Args:
        values: ``[T + 1, N]``.
        final_values: of true last observations, ``[K]``.
        final_rows: int32 ``[K]``, see :class:`Batch`.
    """
    after = values[1:]
    return after.reshape(-1).at[final_rows].set(final_values, mode="drop").reshape(after.shape)


def explained_variance(targets: jax.Array, predictions: jax.Array, weights: jax.Array) -> jax.Array:
    """Return 1 - Var[target - prediction] / Var[target] over the rows that count, ``[]``."""
    total = jnp.maximum(weights.sum(), 1.0)

    def variance(x: jax.Array) -> jax.Array:
        x = jnp.where(weights > 0, x, 0.0)
        mean = (x * weights).sum() / total
        return (jnp.square(x - mean) * weights).sum() / total

    return 1 - variance(targets - predictions) / jnp.maximum(variance(targets), 1e-8)


def all_finite(tree: Any, *scalars: jax.Array) -> jax.Array:
    """Return 1.0 if every number is finite and 0.0 otherwise, float32 ``[]``."""
    leaves = [jnp.isfinite(leaf).all() for leaf in (*jax.tree.leaves(tree), *scalars)]
    return jnp.stack(leaves).all().astype(jnp.float32)


def global_norm(tree: Any) -> jax.Array:
    """Return the Euclidean norm of all numbers in a tree, ``[]``."""
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def descend(
    optimiser: optax.GradientTransformation, trainable: Any, moments: Any, gradient: Any, learning_rate: jax.Array
) -> tuple[Any, Any]:
    """Take one step down the gradient; return parameters and moments."""
    direction, moments = optimiser.update(gradient, moments)
    return jax.tree.map(lambda p, d: p - learning_rate * d, trainable, direction), moments
