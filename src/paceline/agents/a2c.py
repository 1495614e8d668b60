"""Advantage actor-critic: one gradient step on each batch, towards n-step returns.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning". A2C and A3C share all of it: A2C takes the
gradient of the whole batch where its parameters are (:meth:`GradientStep.update`), A3C has each runner take the
gradient of its own rollout with the parameters that it acted with (:meth:`GradientStep.gradient`), and applies whatever
arrives (:meth:`GradientStep.apply`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from paceline.agents.experience import Batch, Experience, explained_variance, next_values
from paceline.agents.gradient_step import GradientStep
from paceline.agents.returns import gae
from paceline.spec import NStepSpec


class A2C(GradientStep[NStepSpec]):
    """The algorithm for one agent."""

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
