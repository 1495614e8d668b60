"""IMPALA: an actor-critic whose learner corrects by V-trace for the lag of its actors (Espeholt et al. 2018)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from paceline.agents.experience import Batch, Experience, explained_variance, next_values
from paceline.agents.gradient_step import GradientStep
from paceline.agents.vtrace import vtrace
from paceline.spec import ImpalaSpec


class Impala(GradientStep[ImpalaSpec]):
    """The algorithm for one agent; ``log_probs`` of its batches are those of the policies that sampled them."""

    def loss(self, trainable: Any, batch: Batch, experience: Experience) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss of a batch and what it is made of.

            L = -E[Aₜ log π_θ(aₜ|sₜ)] + c_v E[½(vₜ - V_θ(sₜ))²] - c_e E[H(π_θ(.|sₜ))]

        with the targets vₜ and the advantages Aₜ of :func:`paceline.agents.vtrace.vtrace`, which are constants: no
        gradient flows through them.

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
        log_probs = distribution.log_prob(logits[:-1], log_std, experience.actions)
        behaviour = log_probs if batch.log_probs is None else batch.log_probs
        log_ratios = jnp.where(experience.weights > 0, log_probs - behaviour, 0.0)
        targets = jax.lax.stop_gradient(
            vtrace(
                log_ratios,
                experience.rewards,
                values,
                next_values(all_values, final_values, batch.final_rows),
                batch.terminated,
                experience.done,
                gamma=spec.gamma,
                rho_bar=spec.rho_bar,
                c_bar=spec.c_bar,
                trace_lambda=spec.vtrace_lambda,
            )
        )
        policy_loss = -mean(targets.advantages * log_probs)
        value_loss = 0.5 * mean(jnp.square(values - targets.values))
        entropy = mean(distribution.entropy(logits[:-1], log_std))
        loss = policy_loss + spec.vf_coef * value_loss - self._ent_coef * entropy
        ratios = jnp.exp(log_ratios)
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": mean((ratios - 1) - log_ratios),  # of the acting policy from this one
            "rho_clipped": mean((ratios > spec.rho_bar).astype(jnp.float32)),
            "explained_variance": explained_variance(targets.values, values, experience.weights),
        }
