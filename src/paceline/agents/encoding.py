"""From Gymnasium observations to arrays that a network reads.

An observation is a tree (array, dict or tuple of arrays). Images (rank 3) stay images; everything else becomes one
float32 vector: boxes are flattened, ``Discrete`` and ``MultiDiscrete`` become one-hot, the parts are concatenated in
the order of the space.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from paceline.errors import UnsupportedSpaceError


class Encoded(NamedTuple):
    """An encoded observation: ``vector`` float32 ``[.., D]`` (D may be 0) and images ``[.., H, W, C]``."""

    vector: jax.Array
    images: tuple[jax.Array, ...]


def is_image(space: gymnasium.Space[Any]) -> bool:
    """Return whether ``space`` is an image: a ``Box`` of rank 3."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def check_observation_space(space: gymnasium.Space[Any]) -> None:
    """Refuse spaces that cannot be encoded.

    Raises:
        UnsupportedSpaceError: ``space``, or a part of it, is none of Box, Discrete, MultiDiscrete, MultiBinary, Dict
            and Tuple.
    """
    if isinstance(space, spaces.Dict):
        for part in space.spaces.values():
            check_observation_space(part)
    elif isinstance(space, spaces.Tuple):
        for part in space.spaces:
            check_observation_space(part)
    elif not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise UnsupportedSpaceError(
            f"expected an observation space made of Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple, got "
            f"{type(space).__name__}; wrap the environment in a gymnasium ObservationWrapper that maps it to one of "
            f"those"
        )


def vector_size(space: gymnasium.Space[Any]) -> int:
    """Return D, the length of the encoded vector."""
    if isinstance(space, spaces.Dict):
        return sum(vector_size(part) for part in space.spaces.values())
    if isinstance(space, spaces.Tuple):
        return sum(vector_size(part) for part in space.spaces)
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if is_image(space):
        return 0
    return math.prod(space.shape or ())


def image_spaces(space: gymnasium.Space[Any]) -> tuple[spaces.Box, ...]:
    """Return the image parts of ``space`` in order."""
    if isinstance(space, spaces.Dict):
        return tuple(image for part in space.spaces.values() for image in image_spaces(part))
    if isinstance(space, spaces.Tuple):
        return tuple(image for part in space.spaces for image in image_spaces(part))
    return (space,) if isinstance(space, spaces.Box) and is_image(space) else ()


def encode(space: gymnasium.Space[Any], observation: Any) -> Encoded:
    """Encode ``observation``, whose leaves carry any leading axes ``[..]`` before the shape of ``space``.

    Returns:
        ``Encoded`` with the same leading axes.
    """
    vectors: list[jax.Array] = []
    images: list[jax.Array] = []
    _encode_part(space, observation, vectors, images)
    if vectors:
        vector = vectors[0] if len(vectors) == 1 else jnp.concatenate(vectors, axis=-1)
    else:
        vector = jnp.zeros((*images[0].shape[:-3], 0), jnp.float32)
    return Encoded(vector, tuple(images))


def _encode_part(
    space: gymnasium.Space[Any], observation: Any, vectors: list[jax.Array], images: list[jax.Array]
) -> None:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            _encode_part(part, observation[key], vectors, images)
    elif isinstance(space, spaces.Tuple):
        for part, value in zip(space.spaces, observation, strict=True):
            _encode_part(part, value, vectors, images)
    elif isinstance(space, spaces.Discrete):
        vectors.append(jax.nn.one_hot(jnp.asarray(observation) - int(space.start), int(space.n)))
    elif isinstance(space, spaces.MultiDiscrete):
        start = np.broadcast_to(space.start, space.nvec.shape)
        value = (jnp.asarray(observation) - start).reshape(*jnp.shape(observation)[: -space.nvec.ndim], -1)
        hots = [jax.nn.one_hot(value[..., i], int(n)) for i, n in enumerate(space.nvec.ravel())]
        vectors.append(jnp.concatenate(hots, axis=-1))
    elif isinstance(space, spaces.Box) and is_image(space):
        images.append(_channels_last(space, jnp.asarray(observation)))
    else:
        value = jnp.asarray(observation)
        rank = len(space.shape or ())
        vectors.append(value.reshape(*value.shape[: value.ndim - rank], -1).astype(jnp.float32))


def _channels_last(space: spaces.Box, image: jax.Array) -> jax.Array:
    # Stacked frames come as [C, H, W]. The two axes that are equal are height and width; where that does not tell, the
    # channel axis is the one that is small.
    first, middle, last = space.shape
    square = (first == middle) != (middle == last)
    channels_first = middle == last if square else first < last and first <= 16
    return jnp.moveaxis(image, -3, -1) if channels_first else image
