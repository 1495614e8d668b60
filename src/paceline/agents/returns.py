"""Advantages and returns.

Arrays are time-major: ``[T, N]``, T steps of N environments.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def gae(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    *,
    gamma: float,
    gae_lambda: float,
) -> jax.Array:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16), with truncation told from termination.

        δₜ = rₜ + γ (1 - terminatedₜ) V(s'ₜ) - V(sₜ)
        Aₜ = δₜ + γ λ (1 - doneₜ) Aₜ₊₁

    s'ₜ is the state that the step led to: the true last state where an episode ended, never the first of the next one.

    Args:
        rewards: rₜ, float ``[T, N]``.
        values: V(sₜ), float ``[T, N]``.
        next_values: V(s'ₜ), float ``[T, N]``.
        terminated: bool ``[T, N]``; the state s'ₜ is worth nothing by definition.
        done: bool ``[T, N]``; terminated or truncated.
        gamma: discount γ.
        gae_lambda: λ.

    Returns:
        Aₜ, float ``[T, N]``; the return target is A + V.
    """
    deltas = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    decay = gamma * gae_lambda

    def backward(advantage: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, ended = step
        # Not a product with 1 - done: whatever stands in the next episode's rows, NaN included, stays there.
        advantage = delta + jnp.where(ended, 0.0, decay * advantage)
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(deltas[0]), (deltas, done), reverse=True)
    return advantages


def discounted_sums(
    rewards: jax.Array, done: jax.Array, carry: jax.Array, *, gamma: float
) -> tuple[jax.Array, jax.Array]:
    """Return the running discounted sum of past rewards, Gₜ = γ Gₜ₋₁ + rₜ, restarted after each episode.

    Args:
        rewards: float ``[T, N]``.
        done: bool ``[T, N]``.
        carry: Gₜ₋₁ of the first row (0 where an episode has just ended), float ``[N]``.
        gamma: discount γ.

    Returns:
        G, float ``[T, N]``, and the carry for the next call, float ``[N]``.
    """

    def forward(total: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward, ended = step
        total = gamma * total + reward
        return jnp.where(ended, 0.0, total), total

    carry, sums = jax.lax.scan(forward, carry, (rewards, done))
    return sums, carry
