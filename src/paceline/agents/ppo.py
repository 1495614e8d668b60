"""Proximal policy optimisation, from a batch of experience to new parameters, as one pure function.

Schulman et al. 2017 (the clipped objective), Schulman et al. 2016 (advantages), with the implementation details of
Huang et al. 2022, "The 37 implementation details of proximal policy optimization". Read :meth:`PPO.update` first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from paceline.agents.agent import Agent
from paceline.agents.encoding import Encoded
from paceline.agents.experience import (
    Batch,
    LearnerState,
    all_finite,
    clear_rows,
    descend,
    explained_variance,
    fresh_state,
    global_norm,
    next_values,
    prepare,
)
from paceline.agents.returns import gae
from paceline.errors import SpecError
from paceline.spec import PPOSpec


class Samples(NamedTuple):
    """What the loss reads, one row per step: leading axis B = T * N, or a minibatch of it."""

    encoded: Encoded
    actions: jax.Array
    log_probs: jax.Array
    advantages: jax.Array
    returns: jax.Array
    values: jax.Array
    weights: jax.Array


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

    def init(self, key: jax.Array, num_envs: int) -> LearnerState:
        """Return the state before the first update."""
        return fresh_state(self.agent, self.spec, self._optimiser, key, num_envs)

    def draws(self, generator: np.random.Generator) -> NDArray[np.int32]:
        """Return a permutation of the batch per epoch, int32 ``[num_epochs, B]``."""
        # Drawn here: sorting 16384 random keys takes XLA:CPU 6 ms per epoch, NumPy shuffles them in 0.15 ms.
        rows = np.tile(np.arange(self.spec.batch_size or 0, dtype=np.int32), (self.spec.num_epochs or 0, 1))
        return generator.permuted(rows, axis=1)

    def update(
        self, state: LearnerState, batch: Batch, draws: Any, learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Learn from one batch: all epochs, all minibatches.

        Args:
            state: from :meth:`init` or the last update.
            batch: T * N steps that ``state.policy`` sampled.
            draws: int32 ``[num_epochs, B]``; each row a permutation of 0..B-1.
            learning_rate: float32 ``[]``.

        Returns:
            The new state, and metrics (float32 scalars; ``finite`` is 0 if anything became NaN or infinite).
        """
        state, samples = self._prepare(state, batch)
        num_minibatches = draws.shape[1] // self._minibatch_size
        rows = draws.reshape(-1, num_minibatches, self._minibatch_size)

        def minibatch_step(carry: Any, minibatch_rows: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            trainable, optimiser = carry
            minibatch = jax.tree.map(lambda x: x[minibatch_rows], samples)
            gradient, metrics = jax.grad(self.loss, has_aux=True)(trainable, minibatch)
            trainable, optimiser = descend(self._optimiser, trainable, optimiser, gradient, learning_rate)
            metrics["grad_norm"] = global_norm(gradient)
            return (trainable, optimiser), metrics

        def epoch(carry: Any, epoch_rows: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            return jax.lax.scan(minibatch_step, carry, epoch_rows)

        (trainable, optimiser), history = jax.lax.scan(epoch, (state.trainable, state.optimiser), rows)
        return state.with_trainable(trainable, optimiser), self._metrics(history, state, trainable, samples)

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

    def _prepare(self, state: LearnerState, batch: Batch) -> tuple[LearnerState, Samples]:
        """Merge statistics, then compute values, reference log-probabilities, advantages and returns."""
        spec, agent = self.spec, self.agent
        state, experience = prepare(agent, spec, state, batch)
        policy, weights = state.policy, experience.weights
        # The reference policy is the current one under the merged statistics, so every ratio starts at exactly 1.
        logits, values = agent.network.logits_and_value(policy.params, experience.encoded)
        log_probs = agent.distribution.log_prob(logits[:-1], policy.log_std, batch.actions)
        after = next_values(values, agent.network.value(policy.params, experience.final), batch.final_rows)
        advantages = gae(
            experience.rewards, values[:-1], after, batch.terminated, experience.done,
            gamma=spec.gamma, gae_lambda=spec.gae_lambda,
        )  # fmt: skip
        samples = Samples(
            experience.before, batch.actions, log_probs, advantages, advantages + values[:-1], values[:-1], weights
        )
        # The size is named, not inferred with -1: beside images alone, the encoded vector has no numbers at all.
        samples = jax.tree.map(lambda x: clear_rows(x, batch.valid).reshape(weights.size, *x.shape[2:]), samples)
        return state, samples

    def _metrics(
        self, history: dict[str, jax.Array], state: LearnerState, trainable: Any, samples: Samples
    ) -> dict[str, jax.Array]:
        metrics = {name: values.mean() for name, values in history.items()}
        metrics["explained_variance"] = explained_variance(samples.returns, samples.values, samples.weights)
        # What overflows in the statistics would scale every later reward, or a part of every observation, to nothing.
        statistics = (state.policy.observation_stats, state.return_stats)
        metrics["finite"] = all_finite((trainable, statistics), metrics["loss"])
        return metrics
