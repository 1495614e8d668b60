"""Action distributions, one per kind of action space.

A distribution turns network outputs (``logits``) and *noise* into actions. Noise is drawn for a whole rollout at once,
keyed by environment and by how many steps that environment has taken (counter-based, Salmon et al. 2011): the action
of environment n at its k-th step is the same whatever the backend, the number of runners or the autoreset mode.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.errors import UnsupportedSpaceError

_LOG_2PI = math.log(2 * math.pi)


class Distribution(ABC):
    """Actions of one space, given network outputs.

    Attributes:
        num_outputs: how many network outputs there are per action.
        noise_shape: shape of the noise that one action takes.
        has_log_std: whether a state-independent ``log_std`` parameter belongs to the policy.
    """

    num_outputs: int
    noise_shape: tuple[int, ...]
    has_log_std: bool = False

    @abstractmethod
    def noise(self, key: jax.Array) -> jax.Array:
        """Draw the noise of one action, float32 ``noise_shape``."""

    @abstractmethod
    def sample(self, logits: jax.Array, log_std: jax.Array | None, noise: jax.Array) -> jax.Array:
        """Return the action ``[.., *action]`` that ``noise`` selects; a sample if the noise is one."""

    @abstractmethod
    def mode(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return the most probable action ``[.., *action]``."""

    @abstractmethod
    def log_prob(self, logits: jax.Array, log_std: jax.Array | None, actions: jax.Array) -> jax.Array:
        """Return log π(a|s), float32 ``[..]``."""

    @abstractmethod
    def entropy(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return H[π(.|s)], float32 ``[..]``."""

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Map actions ``[N, ..]`` to what the environment accepts (bounds, first label)."""
        return actions


class Categorical(Distribution):
    """``Discrete(n)``: softmax over n logits; samples by the Gumbel-max trick, argmax(logits + g)."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.num_outputs = int(space.n)
        self.noise_shape = (self.num_outputs,)
        self._start = int(space.start)

    def noise(self, key: jax.Array) -> jax.Array:
        """Draw Gumbel noise."""
        return jax.random.gumbel(key, self.noise_shape)

    def sample(self, logits: jax.Array, log_std: jax.Array | None, noise: jax.Array) -> jax.Array:
        """Return int32 ``[..]``."""
        return jnp.argmax(logits + noise, axis=-1)

    def mode(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return int32 ``[..]``."""
        return jnp.argmax(logits, axis=-1)

    def log_prob(self, logits: jax.Array, log_std: jax.Array | None, actions: jax.Array) -> jax.Array:
        """Return log softmax(logits)[a]."""
        log_probs = jax.nn.log_softmax(logits)
        # A one-hot product: XLA:CPU differentiates a gather into a slow scatter.
        return (log_probs * jax.nn.one_hot(actions, self.num_outputs)).sum(-1)

    def entropy(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return -Σ p log p."""
        log_probs = jax.nn.log_softmax(logits)
        return -(jnp.exp(log_probs) * log_probs).sum(-1)

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Shift labels by the space's start."""
        return actions + self._start if self._start else actions


class MultiCategorical(Distribution):
    """``MultiDiscrete(nvec)``: independent categoricals, their logits side by side."""

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        self._sizes = tuple(int(n) for n in space.nvec.ravel())
        self._splits = tuple(np.cumsum(self._sizes)[:-1].tolist())
        self._shape = space.nvec.shape
        self._start = np.broadcast_to(space.start, space.nvec.shape)
        self.num_outputs = sum(self._sizes)
        self.noise_shape = (self.num_outputs,)

    def noise(self, key: jax.Array) -> jax.Array:
        """Draw Gumbel noise."""
        return jax.random.gumbel(key, self.noise_shape)

    def sample(self, logits: jax.Array, log_std: jax.Array | None, noise: jax.Array) -> jax.Array:
        """Return int32 ``[.., *nvec.shape]``."""
        return self.mode(logits + noise, log_std)

    def mode(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return int32 ``[.., *nvec.shape]``."""
        parts = [jnp.argmax(part, axis=-1) for part in jnp.split(logits, self._splits, axis=-1)]
        return jnp.stack(parts, axis=-1).reshape(*logits.shape[:-1], *self._shape)

    def log_prob(self, logits: jax.Array, log_std: jax.Array | None, actions: jax.Array) -> jax.Array:
        """Return Σᵢ log softmax(logitsᵢ)[aᵢ]."""
        flat = actions.reshape(*logits.shape[:-1], len(self._sizes))
        parts = jnp.split(logits, self._splits, axis=-1)
        total = jnp.zeros(logits.shape[:-1])
        for i, (size, part) in enumerate(zip(self._sizes, parts, strict=True)):
            total += (jax.nn.log_softmax(part) * jax.nn.one_hot(flat[..., i], size)).sum(-1)
        return total

    def entropy(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return the sum of the parts' entropies."""
        total = jnp.zeros(logits.shape[:-1])
        for part in jnp.split(logits, self._splits, axis=-1):
            log_probs = jax.nn.log_softmax(part)
            total -= (jnp.exp(log_probs) * log_probs).sum(-1)
        return total

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Shift labels by the space's start."""
        return actions + self._start if self._start.any() else actions


class Bernoulli(Distribution):
    """``MultiBinary(n)``: independent coins; p = sigmoid(logit), sampled as logit + logistic noise > 0."""

    def __init__(self, space: spaces.MultiBinary) -> None:
        self._shape = space.shape
        self.num_outputs = math.prod(space.shape)
        self.noise_shape = (self.num_outputs,)

    def noise(self, key: jax.Array) -> jax.Array:
        """Draw logistic noise."""
        return jax.random.logistic(key, self.noise_shape)

    def sample(self, logits: jax.Array, log_std: jax.Array | None, noise: jax.Array) -> jax.Array:
        """Return int8 ``[.., *shape]``."""
        return self.mode(logits + noise, log_std)

    def mode(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return int8 ``[.., *shape]``."""
        return (logits > 0).astype(jnp.int8).reshape(*logits.shape[:-1], *self._shape)

    def log_prob(self, logits: jax.Array, log_std: jax.Array | None, actions: jax.Array) -> jax.Array:
        """Return Σ a log p + (1 - a) log(1 - p)."""
        bits = actions.reshape(logits.shape).astype(jnp.float32)
        return (bits * jax.nn.log_sigmoid(logits) + (1 - bits) * jax.nn.log_sigmoid(-logits)).sum(-1)

    def entropy(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return the sum of the coins' entropies."""
        p = jax.nn.sigmoid(logits)
        return -(p * jax.nn.log_sigmoid(logits) + (1 - p) * jax.nn.log_sigmoid(-logits)).sum(-1)


class DiagGaussian(Distribution):
    """``Box``: independent normals, mean from the network, one ``log_std`` per dimension that no state changes.

    Actions are clipped to the bounds on their way to the environment; the log-probability is of the unclipped action.
    """

    has_log_std = True

    def __init__(self, space: spaces.Box) -> None:
        self._shape = space.shape
        self._low = space.low
        self._high = space.high
        self._bounded = bool(np.isfinite(space.low).any() or np.isfinite(space.high).any())
        self.num_outputs = math.prod(space.shape)
        self.noise_shape = (self.num_outputs,)

    def noise(self, key: jax.Array) -> jax.Array:
        """Draw standard normal noise."""
        return jax.random.normal(key, self.noise_shape)

    def sample(self, logits: jax.Array, log_std: jax.Array | None, noise: jax.Array) -> jax.Array:
        """Return μ + σ ε, float32 ``[.., *shape]``."""
        assert log_std is not None
        return (logits + jnp.exp(log_std) * noise).reshape(*logits.shape[:-1], *self._shape)

    def mode(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return μ."""
        return logits.reshape(*logits.shape[:-1], *self._shape)

    def log_prob(self, logits: jax.Array, log_std: jax.Array | None, actions: jax.Array) -> jax.Array:
        """Return Σ -½((a - μ)/σ)² - log σ - ½ log 2π."""
        assert log_std is not None
        z = (actions.reshape(logits.shape) - logits) * jnp.exp(-log_std)
        return (-0.5 * jnp.square(z) - log_std - 0.5 * _LOG_2PI).sum(-1)

    def entropy(self, logits: jax.Array, log_std: jax.Array | None) -> jax.Array:
        """Return Σ log σ + ½ log 2πe."""
        assert log_std is not None
        return jnp.broadcast_to((log_std + 0.5 * (1 + _LOG_2PI)).sum(-1), logits.shape[:-1])

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Clip to the bounds of the space."""
        return np.clip(actions, self._low, self._high) if self._bounded else actions


def distribution_for(space: gymnasium.Space[Any]) -> Distribution:
    """Return the distribution of ``space``.

    Raises:
        UnsupportedSpaceError: ``space`` is none of Discrete, MultiDiscrete, MultiBinary and a floating-point Box.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(space)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategorical(space)
    if isinstance(space, spaces.MultiBinary):
        return Bernoulli(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return DiagGaussian(space)
    raise UnsupportedSpaceError(
        f"expected an action space of Discrete, MultiDiscrete, MultiBinary or a float Box, got {space}; wrap the "
        f"environment in a gymnasium ActionWrapper that offers one of those"
    )
