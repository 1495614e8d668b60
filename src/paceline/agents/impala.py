"""IMPALA: an actor-critic whose learner corrects by V-trace for the lag of its actors (Espeholt et al. 2018)."""

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
    all_finite,
    descend,
    explained_variance,
    fresh_state,
    global_norm,
    make_optimiser,
    next_values,
    prepare,
)
from paceline.agents.vtrace import vtrace
from paceline.errors import SpecError
from paceline.spec import ImpalaSpec


class Impala:
    """The algorithm for one agent.

    Args:
        spec: hyperparameters, all filled in.
        agent: policy and value function.

    Raises:
        SpecError: a hyperparameter is still None.
    """

    def __init__(self, spec: ImpalaSpec, agent: Agent) -> None:
        if None in (spec.batch_size, spec.learning_rate, spec.ent_coef):
            raise SpecError("expected a filled-in IMPALA spec, got one with empty fields; call resolve_algo first")
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
            batch: T * N steps; ``log_probs`` are those of the policies that sampled them.
            draws: nothing.
            learning_rate: float32 ``[]``.

        Returns:
            The new state, and metrics (float32 scalars; ``finite`` is 0 if anything became NaN or infinite).
        """
        state, experience = prepare(self.agent, self.spec, state, batch)
        gradient, metrics = jax.grad(self.loss, has_aux=True)(state.trainable, batch, experience)
        trainable, moments = descend(self._optimiser, state.trainable, state.optimiser, gradient, learning_rate)
        metrics["grad_norm"] = global_norm(gradient)
        metrics["finite"] = all_finite(trainable, metrics["loss"])
        return state.with_trainable(trainable, moments), metrics

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
