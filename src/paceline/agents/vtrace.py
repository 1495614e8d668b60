"""V-trace: value targets and advantages for experience of an older policy (Espeholt et al. 2018, "IMPALA").

Arrays are time-major: ``[T, N]``, T steps of N environments.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class VTrace(NamedTuple):
    """Targets ``[T, N]``: ``values`` vₛ for the value function, ``advantages`` for the policy."""

    values: jax.Array
    advantages: jax.Array


def vtrace(
    log_ratios: jax.Array,
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    *,
    gamma: float,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
    trace_lambda: float = 1.0,
) -> VTrace:
    """Return the V-trace targets (Espeholt et al. 2018, eq. 1 and section 4.2).

        ρₜ = min(ρ̄, π(aₜ|sₜ) / μ(aₜ|sₜ)),  cₜ = λ min(c̄, π(aₜ|sₜ) / μ(aₜ|sₜ))
        δₜ = ρₜ (rₜ + γ V(s'ₜ) - V(sₜ))
        vₜ - V(sₜ) = δₜ + γ cₜ (vₜ₊₁ - V(sₜ₊₁))
        Aₜ = ρₜ (rₜ + γ v'ₜ - V(sₜ)),  v'ₜ = vₜ₊₁ within an episode, V(s'ₜ) at the end of a trajectory

    s'ₜ is the state that the step led to; where the episode terminated it is worth nothing, where it was truncated it
    is the true last state, and in neither case does the trace run on into the next episode. With π = μ and λ = 1, vₜ
    is the n-step return.

    Args:
        log_ratios: log π(aₜ|sₜ) - log μ(aₜ|sₜ), float ``[T, N]``.
        rewards: rₜ, float ``[T, N]``.
        values: V(sₜ), float ``[T, N]``.
        next_values: V(s'ₜ), float ``[T, N]``.
        terminated: bool ``[T, N]``.
        done: bool ``[T, N]``; terminated or truncated.
        gamma: discount γ.
        rho_bar: ρ̄.
        c_bar: c̄.
        trace_lambda: λ.
    """
    ratios = jnp.exp(log_ratios)
    rho = jnp.minimum(rho_bar, ratios)
    traces = gamma * trace_lambda * jnp.minimum(c_bar, ratios)
    bootstrap = jnp.where(terminated, 0.0, next_values)
    deltas = rho * (rewards + gamma * bootstrap - values)

    def backward(excess: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        delta, trace, ended = step
        # Not a product with 1 - done: whatever stands in the next episode's rows, NaN included, stays there.
        excess = delta + jnp.where(ended, 0.0, trace * excess)
        return excess, excess

    _, excesses = jax.lax.scan(backward, jnp.zeros_like(deltas[0]), (deltas, traces, done), reverse=True)
    targets = values + excesses
    after = jnp.where(done[:-1], bootstrap[:-1], targets[1:])
    following = jnp.concatenate([after, bootstrap[-1:]])
    return VTrace(targets, rho * (rewards + gamma * following - values))
