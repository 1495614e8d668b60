"""A convolution as a matrix product is a convolution: held against JAX's own, gradients too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from paceline.agents.convolution import Convolution, by_patches

SHAPES = [(84, 84), (16, 16), (5, 7), (3, 3), (1, 1), (10, 33)]
KERNELS = [(8, 4), (4, 2), (3, 1), (3, 2), (5, 3), (1, 1), (2, 2)]


def jax_convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("size", "stride"), KERNELS)
def test_patches_times_kernel_is_the_convolution(shape: tuple[int, int], size: int, stride: int) -> None:
    random = np.random.default_rng(0)
    images = jnp.asarray(random.normal(size=(2, *shape, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(size, size, 3, 4)), jnp.float32)
    expected = jax_convolution(images, kernel, stride)
    found = by_patches(images, kernel, stride)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "stride"), KERNELS)
def test_gradients_are_those_of_the_convolution(size: int, stride: int) -> None:
    random = np.random.default_rng(1)
    images = jnp.asarray(random.normal(size=(2, 12, 12, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(size, size, 3, 4)), jnp.float32)

    def loss(convolve: object, images: jax.Array, kernel: jax.Array) -> jax.Array:
        assert callable(convolve)
        return jnp.sum(jnp.tanh(convolve(images, kernel, stride)))

    expected = jax.grad(lambda *given: loss(jax_convolution, *given), argnums=(0, 1))(images, kernel)
    found = jax.grad(lambda *given: loss(by_patches, *given), argnums=(0, 1))(images, kernel)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_parameters_are_those_of_flax_and_so_are_results_with_any_leading_axes() -> None:
    init = nn.initializers.orthogonal(np.sqrt(2))
    images = jnp.asarray(np.random.default_rng(2).normal(size=(3, 2, 12, 12, 4)), jnp.float32)
    flax = nn.Conv(8, (4, 4), (2, 2), kernel_init=init)
    params = flax.init(jax.random.key(0), images)
    for in_loops in (True, False):
        ours = Convolution(8, 4, 2, in_loops, init)
        same = ours.init(jax.random.key(0), images)
        jax.tree.map(np.testing.assert_array_equal, params, same)
        np.testing.assert_allclose(ours.apply(params, images), flax.apply(params, images), rtol=1e-4, atol=1e-5)


def test_inside_a_loop_the_compiled_program_has_no_convolution() -> None:
    kernel = jnp.ones((4, 4, 3, 8))
    module = Convolution(8, 4, 2, True, nn.initializers.ones)
    params = {"params": {"kernel": kernel, "bias": jnp.zeros(8)}}

    def loop(images: jax.Array) -> jax.Array:
        def body(total: jax.Array, one: jax.Array) -> tuple[jax.Array, None]:
            return total + jnp.sum(jnp.asarray(module.apply(params, one))), None

        return jax.lax.scan(body, jnp.zeros(()), images)[0]

    text = jax.jit(loop).lower(jnp.ones((3, 2, 12, 12, 3))).as_text()
    assert "convolution" not in text
