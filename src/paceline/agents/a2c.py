"""Advantage actor-critic: one gradient step on each batch, towards n-step returns.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning". A2C and A3C share all of it: A2C takes the
gradient of the whole batch where its parameters are (:meth:`A2C.update`), A3C has each runner take the gradient of its
own rollout with the parameters that it acted with (:meth:`A2C.gradient`), and applies whatever arrives
(:meth:`A2C.apply`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paceline.agents.agent import Agent
from paceline.agents.experience import (
    Batch,
    Experience,
    LearnerState,
    absorb,
    all_finite,
    descend,
    explained_variance,
    fresh_state,
    global_norm,
    make_optimiser,
    next_values,
    scaled,
)
from paceline.agents.returns import gae
from paceline.errors import SpecError
from paceline.spec import NStepSpec


class A2C:
    """The algorithm for one agent.

    Args:
        spec: hyperparameters, all filled in.
        agent: policy and value function.

    Raises:
        SpecError: a hyperparameter is still None.
    """

    def __init__(self, spec: NStepSpec, agent: Agent) -> None:
        if None in (spec.batch_size, spec.learning_rate, spec.ent_coef):
            raise SpecError("expected a filled-in A2C spec, got one with empty fields; call resolve_algo first")
        self.spec = spec
        self.agent = agent
        self._ent_coef = float(spec.ent_coef or 0.0)
        self._optimiser = make_optimiser(spec)

    def init(self, key: jax.Array, num_envs: int) -> LearnerState:
        """Return the state before the first update."""
        return fresh_state(self.agent, self.spec, self._optimiser, key, num_envs)

    def draws(self, generator: np.random.Generator) -> None:
        """Draw nothing: the batch is used once, as a whole."""

    def update(
        self, state: LearnerState, batch: Batch, draws: None, learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Learn from one batch.

        Args:
            state: from :meth:`init` or the last update.
            batch: T * N steps that ``state.policy`` sampled.
            draws: nothing.
            learning_rate: float32 ``[]``.

        Returns:
            The new state, and metrics (float32 scalars; ``finite`` is 0 if anything became NaN or infinite).
        """
        state = absorb(self.agent, self.spec, state, batch)
        gradient, metrics = self.gradient(state, batch)
        return self.apply(state, gradient, metrics, learning_rate)

    def gradient(self, state: LearnerState, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        """Return the gradient of the loss, nested as ``state.trainable``, and metrics; statistics stay as they are."""
        experience = scaled(self.agent, state, batch)
        gradient, metrics = jax.grad(self.loss, has_aux=True)(state.trainable, batch, experience)
        return gradient, metrics

    def apply(
        self, state: LearnerState, gradient: Any, metrics: dict[str, jax.Array], learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Take one step down a gradient, wherever it was taken."""
        trainable, moments = descend(self._optimiser, state.trainable, state.optimiser, gradient, learning_rate)
        metrics = {**metrics, "grad_norm": global_norm(gradient)}
        metrics["finite"] = all_finite(trainable, metrics["loss"])
        return state.with_trainable(trainable, moments), metrics

    def loss(self, trainable: Any, batch: Batch, experience: Experience) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss of a batch and what it is made of.

            Aₜ = Σₖ (γλ)ᵏ δₜ₊ₖ,  with λ = 1:  Rₜ - V(sₜ),  Rₜ = rₜ + γ rₜ₊₁ + .. + γⁿ V(sₜ₊ₙ)
            L = -E[Aₜ log π_θ(aₜ|sₜ)] + c_v E[½(Rₜ - V_θ(sₜ))²] - c_e E[H(π_θ(.|sₜ))]

        Advantages and returns are constants: no gradient flows through them.

        Args:
            trainable: (params, log_std).
            batch: T steps of N environments.
            experience: the same, prepared.
        """
        spec, network, distribution = self.spec, self.agent.network, self.agent.distribution
        params, log_std = trainable
        mean = experience.mean
        logits, all_values = network.logits_and_value(params, experience.encoded)
        final_values = network.value(params, experience.final)
        values = all_values[:-1]
        advantages = jax.lax.stop_gradient(
            gae(
                experience.rewards,
                values,
                next_values(all_values, final_values, batch.final_rows),
                batch.terminated,
                experience.done,
                gamma=spec.gamma,
                gae_lambda=spec.gae_lambda,
            )
        )
        returns = advantages + jax.lax.stop_gradient(values)
        if spec.normalize_advantages:
            centred = advantages - mean(advantages)
            advantages = centred / (jnp.sqrt(mean(jnp.square(centred))) + 1e-8)
        log_probs = distribution.log_prob(logits[:-1], log_std, experience.actions)
        policy_loss = -mean(advantages * log_probs)
        value_loss = 0.5 * mean(jnp.square(values - returns))
        entropy = mean(distribution.entropy(logits[:-1], log_std))
        loss = policy_loss + spec.vf_coef * value_loss - self._ent_coef * entropy
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "explained_variance": explained_variance(returns, values, experience.weights),
        }
