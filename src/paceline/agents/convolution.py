"""A convolution that stays fast inside compiled loops on the CPU.

Within ``jax.lax.scan`` XLA on the CPU runs convolutions and their gradients 20 to 40 times slower than outside of it,
and a whole PPO update is one scan. Matrix products do not suffer, so there a convolution is written as one: the patches
that it reads, side by side, times the kernel.

    y[b, i, j, f] = bias[f] + sum_{u, v, c} kernel[u, v, c, f] x[b, s i + u - p, s j + v - p', c]

with stride s and SAME padding p. Parameters have the names, shapes and initial values of :class:`flax.linen.Conv`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer


class Convolution(nn.Module):
    """A square convolution with SAME padding over the last three axes ``[.., H, W, C]``.

    Attributes:
        features: channels of the result.
        size: side of the kernel.
        stride: of both axes.
        in_loops: whether it is compiled into loops; on the CPU it is then a matrix product.
        kernel_init: initial values of the kernel ``[size, size, C, features]``.
    """

    features: int
    size: int
    stride: int
    in_loops: bool
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ``[.., ceil(H / stride), ceil(W / stride), features]``."""
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        images = x.reshape(-1, *x.shape[-3:])
        if self.in_loops and jax.default_backend() == "cpu":
            found = by_patches(images, kernel, self.stride)
        else:
            found = jax.lax.conv_general_dilated(
                images, kernel, (self.stride, self.stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        return (found + bias).reshape(*x.shape[:-3], *found.shape[1:])


def by_patches(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Return the SAME convolution of ``images`` ``[B, H, W, C]`` with ``kernel`` ``[k, k, C, F]`` as a matrix product.

    Where the stride divides k, blocks of ``stride`` by ``stride`` pixels are moved into the channels first: the patches
    then consist of (k / stride)^2 slices in place of k^2.
    """
    size, _, channels, features = kernel.shape
    height, width = (_padded(images.shape[axis], size, stride) for axis in (1, 2))
    images = jnp.pad(images, ((0, 0), height[1], width[1], (0, 0)))
    if stride > 1 and size % stride == 0:
        across = size // stride
        rows, columns = height[0] + across - 1, width[0] + across - 1
        images = images[:, : rows * stride, : columns * stride]
        blocks = images.reshape(-1, rows, stride, columns, stride, channels).transpose(0, 1, 3, 2, 4, 5)
        images = blocks.reshape(-1, rows, columns, stride * stride * channels)
        kernel = kernel.reshape(across, stride, across, stride, channels, features).transpose(0, 2, 1, 3, 4, 5)
        size, stride = across, 1
    tall, wide = (stride * (outputs - 1) + 1 for outputs, _ in (height, width))
    slices = [
        images[:, row : row + tall : stride, column : column + wide : stride]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.concatenate(slices, axis=-1) @ kernel.reshape(-1, features)


def _padded(length: int, size: int, stride: int) -> tuple[int, tuple[int, int]]:
    """Return the length of the result along one axis, and the zeros before and after it."""
    outputs = -(-length // stride)
    missing = max(0, (outputs - 1) * stride + size - length)
    return outputs, (missing // 2, missing - missing // 2)
