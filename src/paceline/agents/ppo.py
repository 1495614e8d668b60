"""Proximal policy optimisation, from a batch of experience to new parameters, as one pure function.

Schulman et al. 2017 (the clipped objective), Schulman et al. 2016 (advantages), with the implementation details of
Huang et al. 2022, "The 37 implementation details of proximal policy optimization". Read :meth:`PPO.update` first.
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
from paceline.agents.returns import discounted_sums, gae
from paceline.errors import SpecError
from paceline.spec import PPOSpec


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
    """

    observations: Any
    actions: jax.Array
    rewards: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    valid: jax.Array
    final_observations: Any
    final_rows: jax.Array


class Samples(NamedTuple):
    """What the loss reads, one row per step: leading axis B = T * N, or a minibatch of it."""

    encoded: Encoded
    actions: jax.Array
    log_probs: jax.Array
    advantages: jax.Array
    returns: jax.Array
    values: jax.Array
    weights: jax.Array


@struct.dataclass
class PPOState:
    """Everything that an update changes.

    Attributes:
        policy: parameters and observation statistics.
        optimiser: Adam's moments.
        return_stats: statistics of the discounted return (size 1), or None if rewards are not scaled.
        discounted: the running discounted sum of rewards per environment, float32 ``[N]``.
    """

    policy: PolicyState
    optimiser: Any
    return_stats: RunningStats | None
    discounted: jax.Array


class PPO:
    """The algorithm for one agent and one batch shape.

    Args:
        spec: hyperparameters, all filled in.
        agent: policy and value function.

    Raises:
        SpecError: a hyperparameter is still None.
    """

    def __init__(self, spec: PPOSpec, agent: Agent) -> None:
        if None in (spec.batch_size, spec.minibatch_size, spec.num_epochs, spec.learning_rate, spec.ent_coef):
            raise SpecError("expected a filled-in PPO spec, got one with empty fields; call resolve_algo first")
        self.spec = spec
        self.agent = agent
        self._minibatch_size = int(spec.minibatch_size or 0)
        self._ent_coef = float(spec.ent_coef or 0.0)
        self._optimiser = optax.chain(
            optax.clip_by_global_norm(spec.max_grad_norm), optax.scale_by_adam(eps=spec.adam_eps)
        )

    def init(self, key: jax.Array, num_envs: int) -> PPOState:
        """Return the state before the first update."""
        policy = self.agent.init(key)
        return PPOState(
            policy=policy,
            optimiser=self._optimiser.init((policy.params, policy.log_std)),
            return_stats=RunningStats.create(1) if self.spec.normalize_rewards else None,
            discounted=jnp.zeros(num_envs),
        )

    def update(
        self, state: PPOState, batch: Batch, permutations: jax.Array, learning_rate: jax.Array
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        """Learn from one batch: all epochs, all minibatches.

        Args:
            state: from :meth:`init` or the last update.
            batch: T * N steps that ``state.policy`` sampled.
            permutations: int32 ``[num_epochs, B]``; each row a permutation of 0..B-1.
            learning_rate: float32 ``[]``.

        Returns:
            The new state, and metrics (float32 scalars; ``finite`` is 0 if anything became NaN or infinite).
        """
        state, samples = self._prepare(state, batch)
        num_minibatches = permutations.shape[1] // self._minibatch_size
        rows = permutations.reshape(-1, num_minibatches, self._minibatch_size)

        def minibatch_step(carry: Any, minibatch_rows: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            trainable, optimiser = carry
            minibatch = jax.tree.map(lambda x: x[minibatch_rows], samples)
            gradient, metrics = jax.grad(self.loss, has_aux=True)(trainable, minibatch)
            direction, optimiser = self._optimiser.update(gradient, optimiser)
            trainable = jax.tree.map(lambda p, d: p - learning_rate * d, trainable, direction)
            metrics["grad_norm"] = jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient)))
            return (trainable, optimiser), metrics

        def epoch(carry: Any, epoch_rows: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            return jax.lax.scan(minibatch_step, carry, epoch_rows)

        trainable = (state.policy.params, state.policy.log_std)
        (trainable, optimiser), history = jax.lax.scan(epoch, (trainable, state.optimiser), rows)
        params, log_std = trainable
        state = replace(state, policy=replace(state.policy, params=params, log_std=log_std), optimiser=optimiser)
        return state, self._metrics(history, trainable, samples)

    def loss(self, trainable: Any, samples: Samples) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss of a minibatch and what it is made of.

            r(θ) = π_θ(a|s) / π_old(a|s)
            L_clip = -E[min(r Â, clip(r, 1-ε, 1+ε) Â)]
            L = L_clip + c_v E[½(V_θ(s) - R)²] - c_e E[H(π_θ(.|s))]

        Args:
            trainable: (params, log_std).
            samples: M rows.
        """
        spec = self.spec
        params, log_std = trainable
        logits, values = self.agent.network.logits_and_value(params, samples.encoded)
        distribution = self.agent.distribution

        def mean(x: jax.Array) -> jax.Array:
            return (x * samples.weights).sum() / jnp.maximum(samples.weights.sum(), 1.0)

        advantages = samples.advantages
        if spec.normalize_advantages:
            centred = advantages - mean(advantages)
            advantages = centred / (jnp.sqrt(mean(jnp.square(centred))) + 1e-8)

        log_ratio = distribution.log_prob(logits, log_std, samples.actions) - samples.log_probs
        log_ratio = jnp.where(samples.weights > 0, log_ratio, 0.0)  # a ratio that overflows would outlive a weight of 0
        ratio = jnp.exp(log_ratio)
        clipped = jnp.clip(ratio, 1 - spec.clip_coef, 1 + spec.clip_coef)
        policy_loss = -mean(jnp.minimum(ratio * advantages, clipped * advantages))

        value_error = jnp.square(values - samples.returns)
        if spec.clip_value_loss:
            near_old = samples.values + jnp.clip(values - samples.values, -spec.clip_coef, spec.clip_coef)
            value_error = jnp.maximum(value_error, jnp.square(near_old - samples.returns))
        value_loss = 0.5 * mean(value_error)

        entropy = mean(distribution.entropy(logits, log_std))
        loss = policy_loss + spec.vf_coef * value_loss - self._ent_coef * entropy
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": mean((ratio - 1) - log_ratio),  # Schulman's low-variance estimate
            "clip_fraction": mean((jnp.abs(ratio - 1) > spec.clip_coef).astype(jnp.float32)),
        }

    def _prepare(self, state: PPOState, batch: Batch) -> tuple[PPOState, Samples]:
        """Merge statistics, then compute values, reference log-probabilities, advantages and returns."""
        spec, agent = self.spec, self.agent
        weights = batch.valid.astype(jnp.float32)
        policy = state.policy
        encoded = agent.encode(batch.observations)
        if policy.observation_stats is not None:
            stats = merge(policy.observation_stats, encoded.vector[:-1], weights)
            policy = replace(policy, observation_stats=stats)
        encoded = agent.normalise(policy, encoded)

        done = batch.terminated | batch.truncated
        rewards = jnp.where(batch.valid, batch.rewards, 0.0)
        return_stats, discounted = state.return_stats, state.discounted
        if return_stats is not None:
            sums, discounted = discounted_sums(rewards, done, discounted, gamma=spec.gamma)
            return_stats = merge(return_stats, sums[..., None], weights)
            rewards = scale_rewards(return_stats, rewards)

        # The reference policy is the current one under the merged statistics, so every ratio starts at exactly 1.
        logits, values = agent.network.logits_and_value(policy.params, encoded)
        log_probs = agent.distribution.log_prob(logits[:-1], policy.log_std, batch.actions)
        final = agent.normalise(policy, agent.encode(batch.final_observations))
        final_values = agent.network.value(policy.params, final)
        # Row t leads to the observation of row t + 1, except where an episode was cut: there the true last one counts.
        next_values = values[1:].reshape(-1).at[batch.final_rows].set(final_values, mode="drop").reshape(rewards.shape)
        advantages = gae(
            rewards, values[:-1], next_values, batch.terminated, done, gamma=spec.gamma, gae_lambda=spec.gae_lambda
        )
        before = jax.tree.map(lambda x: x[:-1], encoded)
        samples = Samples(before, batch.actions, log_probs, advantages, advantages + values[:-1], values[:-1], weights)
        # The size is named, not inferred with -1: beside images alone, the encoded vector has no numbers at all.
        samples = jax.tree.map(
            lambda x: _clear_where_invalid(x, batch.valid).reshape(weights.size, *x.shape[2:]), samples
        )
        return replace(state, policy=policy, return_stats=return_stats, discounted=discounted), samples

    def _metrics(self, history: dict[str, jax.Array], trainable: Any, samples: Samples) -> dict[str, jax.Array]:
        metrics = {name: values.mean() for name, values in history.items()}
        total = jnp.maximum(samples.weights.sum(), 1.0)

        def variance(x: jax.Array) -> jax.Array:
            mean = (x * samples.weights).sum() / total
            return (jnp.square(x - mean) * samples.weights).sum() / total

        residual = variance(samples.returns - samples.values)
        metrics["explained_variance"] = 1 - residual / jnp.maximum(variance(samples.returns), 1e-8)
        leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(trainable)]
        finite = jnp.stack([*leaves, jnp.isfinite(metrics["loss"])]).all()
        metrics["finite"] = finite.astype(jnp.float32)
        return metrics


def _clear_where_invalid(x: jax.Array, valid: jax.Array) -> jax.Array:
    # A weight of 0 does not silence NaN or infinity (0 * inf = NaN), so reset rows are emptied as well. Integer leaves
    # (images, labels) are always finite and stay uncopied.
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return jnp.where(valid.reshape(*valid.shape, *(1,) * (x.ndim - valid.ndim)), x, 0)
