"""From Gymnasium observations to arrays that a network reads.

An observation is a tree (array, dict or tuple of arrays). Images (rank 3) stay images, those of floating point scaled
by the upper bound that their space states; everything else becomes one float32 vector: boxes are flattened,
``Discrete`` and ``MultiDiscrete`` become one-hot, the parts are concatenated in the order of the space.
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
            and Tuple; an image has no pixels; or there is nothing to observe at all.
    """
    _check_parts(space)
    if not vector_size(space) and not image_spaces(space):
        raise UnsupportedSpaceError(
            f"expected an observation space that holds at least one number, got {space}; have the environment observe "
            f"something, if only a constant Box of shape (1,)"
        )


def _check_parts(space: gymnasium.Space[Any]) -> None:
    if isinstance(space, spaces.Dict):
        for part in space.spaces.values():
            _check_parts(part)
    elif isinstance(space, spaces.Tuple):
        for part in space.spaces:
            _check_parts(part)
    elif is_image(space) and 0 in (space.shape or ()):
        raise UnsupportedSpaceError(
            f"expected an image with at least one pixel and one channel, got an observation of shape {space.shape}; "
            f"leave this part out of the observation space"
        )
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
        images.append(_scaled(space, _channels_last(space, jnp.asarray(observation))))
    else:
        value = jnp.asarray(observation)
        rank = len(space.shape or ())
        vectors.append(value.reshape(*value.shape[: value.ndim - rank], -1).astype(jnp.float32))


def _scaled(space: spaces.Box, image: jax.Array) -> jax.Array:
    # Integer images keep their dtype until the network reads them: stored as floats, a batch would be four times as
    # large. Floats gain nothing by waiting, and only the space knows their bound.
    high = float(space.high.flat[0])
    if not np.issubdtype(space.dtype, np.floating) or not 1 < high < np.inf or (space.high != high).any():
        return image
    return image / high


def _channels_last(space: spaces.Box, image: jax.Array) -> jax.Array:
    # Stacked frames come as [C, H, W]. The two axes that are equal are height and width; where that does not tell, the
    # channel axis is the one that is small.
    first, middle, last = space.shape
    square = (first == middle) != (middle == last)
    channels_first = middle == last if square else first < last and first <= 16
    return jnp.moveaxis(image, -3, -1) if channels_first else image
