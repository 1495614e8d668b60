"""Policy and value networks.

Without images the policy and the value function are two separate MLPs; with images they share a convolutional torso
(Mnih et al. 2015), as is usual for each kind (Andrychowicz et al. 2021, "What matters for on-policy deep actor-critic
methods?"). Weights are orthogonal: gain sqrt(2) in hidden layers, 0.01 in the policy's last, 1 in the value's last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import orthogonal

from paceline.agents.convolution import Convolution
from paceline.agents.encoding import Encoded, image_spaces
from paceline.errors import SpecError
from paceline.spec import NetworkSpec

Params = Any
"""Parameters of a network: ``{"actor": .., "critic": .., "torso": .. (images only)}``."""

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": jnp.tanh, "relu": nn.relu}

_CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Filters, side and stride of each."""


class Mlp(nn.Module):
    """``[.., D] -> [.., num_outputs]`` through ``hidden_sizes`` layers."""

    hidden_sizes: tuple[int, ...]
    num_outputs: int
    output_gain: float
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the network."""
        for size in self.hidden_sizes:
            x = _ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=orthogonal(np.sqrt(2)))(x))
        return nn.Dense(self.num_outputs, kernel_init=orthogonal(self.output_gain))(x)


class CnnTorso(nn.Module):
    """Images ``[.., H, W, C]`` and a vector ``[.., D]`` to features ``[.., F + D]``.

    F is the last of ``hidden_sizes``, once per image. The three convolutions of Mnih et al. 2015, with SAME padding so
    that small images work too. Integer images are divided by 255; images of floating point come scaled from
    :func:`paceline.agents.encoding.encode`. ``in_loops``: it is compiled into loops, see
    :mod:`paceline.agents.convolution`.
    """

    hidden_sizes: tuple[int, ...]
    activation: str
    in_loops: bool

    @nn.compact
    def __call__(self, encoded: Encoded) -> jax.Array:
        """Apply the torso."""
        features: list[jax.Array] = []
        for image in encoded.images:
            x = image.astype(jnp.float32) / 255.0 if jnp.issubdtype(image.dtype, jnp.integer) else image
            for number, (num_filters, size, stride) in enumerate(_CONVOLUTIONS, len(_CONVOLUTIONS) * len(features)):
                convolution = Convolution(
                    num_filters, size, stride, self.in_loops, orthogonal(np.sqrt(2)), name=f"Conv_{number}"
                )
                x = nn.relu(convolution(x))
            x = x.reshape(*x.shape[:-3], -1)
            for width in self.hidden_sizes:
                x = _ACTIVATIONS[self.activation](nn.Dense(width, kernel_init=orthogonal(np.sqrt(2)))(x))
            features.append(x)
        return jnp.concatenate([*features, encoded.vector], axis=-1)


class ActorCritic:
    """Policy and value function of one observation space.

    Args:
        spec: sizes and kind of the networks.
        observation_space: a space that :func:`paceline.agents.encoding.check_observation_space` accepts.
        num_outputs: how many numbers per observation the action distribution needs.

    Raises:
        SpecError: ``spec.torso`` does not fit the observations.
    """

    def __init__(self, spec: NetworkSpec, observation_space: gymnasium.Space[Any], num_outputs: int) -> None:
        images = image_spaces(observation_space)
        if spec.torso == "cnn" and not images:
            raise SpecError(
                f"network.torso cnn expects image observations (a Box of rank 3), got {observation_space}; use torso "
                f"mlp"
            )
        if spec.torso == "mlp" and images:
            raise SpecError(
                f"network.torso mlp expects observations without images, got {observation_space}; use torso cnn"
            )
        hidden_sizes, activation = default_layers(spec, has_images=bool(images))
        self._acting_torso = CnnTorso(hidden_sizes, activation, in_loops=False) if images else None
        self._learning_torso = CnnTorso(hidden_sizes, activation, in_loops=True) if images else None
        # Behind a shared torso one linear layer per head is the usual choice.
        hidden = () if images else hidden_sizes
        self._actor = Mlp(hidden, num_outputs, 0.01, activation)
        self._critic = Mlp(hidden, 1, 1.0, activation)

    def init(self, key: jax.Array, example: Encoded) -> Params:
        """Return fresh parameters for observations shaped like ``example``."""
        actor_key, critic_key, torso_key = jax.random.split(key, 3)
        params: dict[str, Any] = {}
        features = example.vector
        if self._acting_torso is not None:
            params["torso"] = self._acting_torso.init(torso_key, example)
            features = _features(self._acting_torso, params, example)
        params["actor"] = self._actor.init(actor_key, features)
        params["critic"] = self._critic.init(critic_key, features)
        return params

    def logits(self, params: Params, encoded: Encoded) -> jax.Array:
        """Return the action distribution's parameters, float32 ``[.., num_outputs]``, as an actor needs them."""
        return _apply(self._actor, params["actor"], _features(self._acting_torso, params, encoded))

    def value(self, params: Params, encoded: Encoded) -> jax.Array:
        """Return V(s), float32 ``[..]``."""
        return _apply(self._critic, params["critic"], _features(self._learning_torso, params, encoded))[..., 0]

    def logits_and_value(self, params: Params, encoded: Encoded) -> tuple[jax.Array, jax.Array]:
        """Return both heads from one pass through the torso."""
        features = _features(self._learning_torso, params, encoded)
        logits = _apply(self._actor, params["actor"], features)
        return logits, _apply(self._critic, params["critic"], features)[..., 0]


def default_layers(spec: NetworkSpec, *, has_images: bool) -> tuple[tuple[int, ...], str]:
    """Return ``spec``'s hidden sizes and activation, with what it leaves open filled in."""
    hidden_sizes = spec.hidden_sizes if spec.hidden_sizes is not None else ((512,) if has_images else (64, 64))
    return hidden_sizes, spec.activation or ("relu" if has_images else "tanh")


def _features(torso: CnnTorso | None, params: Params, encoded: Encoded) -> jax.Array:
    return encoded.vector if torso is None else _apply(torso, params["torso"], encoded)


def _apply(module: nn.Module, params: Params, inputs: Any) -> jax.Array:
    # Flax types the result of ``apply`` as anything that a module may return.
    return cast(jax.Array, module.apply(params, inputs))
