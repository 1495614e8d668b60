"""Running statistics that scale observations and rewards.

Statistics are merged once per batch, before the update that trains on it (Chan et al. 1979, parallel variance), and
stay fixed while the next batch is sampled; so every copy of the policy can share one version of them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class RunningStats:
    """Mean and variance of everything merged so far.

    Attributes:
        mean: float32 ``[D]``.
        var: float32 ``[D]``, population variance.
        count: float32 ``[]``, how many samples; starts near zero so that the first batch decides.
    """

    mean: jax.Array
    var: jax.Array
    count: jax.Array

    @classmethod
    def create(cls, size: int) -> RunningStats:
        """Return statistics of nothing: mean 0, variance 1."""
        return cls(jnp.zeros(size), jnp.ones(size), jnp.asarray(1e-4))


def merge(stats: RunningStats, samples: jax.Array, weights: jax.Array) -> RunningStats:
    """Return ``stats`` with a batch merged in.

    Args:
        stats: what was known before.
        samples: float ``[.., D]``.
        weights: 0 or 1 per sample, float ``[..]``; rows of weight 0 are ignored.
    """
    samples = samples.reshape(-1, samples.shape[-1])
    weights = weights.reshape(-1, 1)
    samples = jnp.where(weights > 0, samples, 0.0)  # 0 * NaN is NaN
    batch_count = weights.sum()
    safe_count = jnp.maximum(batch_count, 1.0)
    batch_mean = (samples * weights).sum(0) / safe_count
    batch_var = (jnp.square(samples - batch_mean) * weights).sum(0) / safe_count
    total = stats.count + batch_count
    delta = batch_mean - stats.mean
    mean = stats.mean + delta * batch_count / total
    spread = stats.var * stats.count + batch_var * batch_count + jnp.square(delta) * stats.count * batch_count / total
    return RunningStats(mean, spread / total, total)


def normalise(stats: RunningStats, vector: jax.Array, *, clip: float = 10.0) -> jax.Array:
    """Return (x - mean) / sqrt(var + 1e-8), clipped to ±``clip``; ``[.., D]``."""
    return jnp.clip((vector - stats.mean) * jax.lax.rsqrt(stats.var + 1e-8), -clip, clip)


def scale_rewards(stats: RunningStats, rewards: jax.Array, *, clip: float = 10.0) -> jax.Array:
    """Return rewards divided by the standard deviation of the discounted return, clipped to ±``clip``.

    Rewards are not centred: that would change which policy is best (Engstrom et al. 2020, "Implementation matters").
    """
    return jnp.clip(rewards * jax.lax.rsqrt(stats.var[0] + 1e-8), -clip, clip)
