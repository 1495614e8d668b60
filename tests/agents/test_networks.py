"""Initialisation, shapes and refusals of the networks; the MLP against NumPy."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.encoding import encode
from paceline.agents.networks import ActorCritic
from paceline.errors import SpecError
from paceline.spec import NetworkSpec

VECTOR = spaces.Box(-1, 1, (5,))
IMAGE = spaces.Box(0, 255, (8, 8, 3), np.uint8)


def build(
    space: gymnasium.Space[Any], num_outputs: int = 3, *, drawn: bool = False, **network: Any
) -> tuple[ActorCritic, Any, Any]:
    """Return networks, parameters (fresh, or ``drawn`` at random: quicker for a CNN) and two encoded observations."""
    actor_critic = ActorCritic(NetworkSpec(**network), space, num_outputs)
    space.seed(0)
    observations = jax.tree.map(lambda *leaves: np.stack(leaves), space.sample(), space.sample())
    encoded = encode(space, observations)
    if not drawn:
        return actor_critic, jax.jit(actor_critic.init)(jax.random.key(0), encoded), encoded
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(actor_critic.init, jax.random.key(0), encoded)
    params = jax.tree.map(
        lambda leaf: (rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))).astype(np.float32), shapes
    )
    return actor_critic, params, encoded


def kernels(params: Any) -> dict[str, NDArray[np.float32]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
    return {name: leaf for name, leaf in named.items() if name.endswith("kernel")}


def assert_orthogonal(kernel: NDArray[np.float32], gain: float) -> None:
    """Check that rows or columns, whichever are fewer, are orthogonal and of length ``gain``."""
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-5 * max(1.0, gain**2))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_mlp_is_what_numpy_computes(activation: str) -> None:
    actor_critic, params, encoded = build(VECTOR, drawn=True, hidden_sizes=(7, 4), activation=activation)

    def forward(net: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
        for layer in ("Dense_0", "Dense_1"):
            x = x @ np.asarray(net[layer]["kernel"], np.float64) + np.asarray(net[layer]["bias"])
            x = np.tanh(x) if activation == "tanh" else np.maximum(x, 0)
        return x @ np.asarray(net["Dense_2"]["kernel"], np.float64) + np.asarray(net["Dense_2"]["bias"])

    x = np.asarray(encoded.vector, np.float64)
    logits, values = jax.jit(actor_critic.logits_and_value)(params, encoded)
    np.testing.assert_allclose(logits, forward(params["actor"]["params"], x), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values, forward(params["critic"]["params"], x)[:, 0], rtol=1e-4, atol=1e-6)


def test_one_pass_gives_what_each_head_gives() -> None:
    actor_critic, params, encoded = build(VECTOR, drawn=True)
    logits, values = jax.jit(actor_critic.logits_and_value)(params, encoded)
    np.testing.assert_allclose(logits, jax.jit(actor_critic.logits)(params, encoded), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(values, jax.jit(actor_critic.value)(params, encoded), rtol=1e-5, atol=1e-6)


def test_mlp_weights_are_orthogonal_with_the_gain_of_their_layer() -> None:
    _, params, _ = build(VECTOR, hidden_sizes=(16, 8))
    found = kernels(params)
    gains = {"Dense_0": np.sqrt(2), "Dense_1": np.sqrt(2)}
    for name, kernel in found.items():
        last = 0.01 if name.startswith("actor") else 1.0
        assert_orthogonal(kernel, next((gain for layer, gain in gains.items() if layer in name), last))
    assert len(found) == 6
    biases = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 1]
    assert len(biases) == 6
    assert not any(np.any(bias) for bias in biases)


def test_cnn_weights_are_orthogonal_and_its_heads_are_linear() -> None:
    _, params, _ = build(IMAGE)
    found = kernels(params)
    for name, kernel in found.items():
        gain = 0.01 if name.startswith("actor") else 1.0 if name.startswith("critic") else np.sqrt(2)
        assert_orthogonal(kernel, gain)
    assert sorted(name.split("/")[0] for name in found) == ["actor", "critic", *["torso"] * 4]


@pytest.mark.parametrize("shape", [(8, 8, 3), (64, 64, 3), (4, 84, 84)], ids=str)
def test_cnn_reads_images_of_any_size(shape: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    actor_critic, params, encoded = build(space, num_outputs=15, drawn=True)
    logits, values = jax.jit(actor_critic.logits_and_value)(params, encoded)
    assert logits.shape == (2, 15)
    assert values.shape == (2,)
    assert logits.dtype == values.dtype == np.float32
    assert np.abs(values[0] - values[1]) > 1e-6  # the two images are told apart


def test_images_and_vector_all_reach_the_heads() -> None:
    space = spaces.Dict({"first": IMAGE, "vector": VECTOR, "second": spaces.Box(0, 255, (3, 8, 8), np.uint8)})
    actor_critic, params, encoded = build(space, drawn=True)
    assert kernels(params)["critic/params/Dense_0/kernel"].shape == (512 + 512 + 5, 1)
    value = jax.jit(actor_critic.value)
    before = value(params, encoded)
    first, second = encoded.images
    for other in (
        encoded._replace(vector=encoded.vector + 1),
        encoded._replace(images=(255 - first, second)),
        encoded._replace(images=(first, 255 - second)),
    ):
        assert np.all(np.abs(before - value(params, other)) > 1e-4)


def test_integer_images_are_scaled_to_one_and_encoded_float_images_are_taken_as_they_are() -> None:
    actor_critic, params, encoded = build(IMAGE, drawn=True)
    scaled = encoded._replace(images=(np.asarray(encoded.images[0], np.float32) / 255,))
    value = jax.jit(actor_critic.value)
    np.testing.assert_allclose(value(params, encoded), value(params, scaled), rtol=1e-5, atol=1e-6)


def test_leading_axes_of_a_rollout_are_kept() -> None:
    actor_critic, params, encoded = build(IMAGE, drawn=True)
    rollout = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (3, *x.shape)), encoded)
    value = jax.jit(actor_critic.value)
    values = value(params, rollout)
    assert values.shape == (3, 2)
    np.testing.assert_allclose(values[2], value(params, encoded), rtol=1e-5, atol=1e-6)


def test_a_torso_that_does_not_fit_the_observations_is_refused() -> None:
    with pytest.raises(SpecError, match=r"torso cnn expects image observations .* got Box.*; use torso mlp"):
        ActorCritic(NetworkSpec(torso="cnn"), VECTOR, 2)
    with pytest.raises(SpecError, match=r"torso mlp expects observations without images, got .*; use torso cnn"):
        ActorCritic(NetworkSpec(torso="mlp"), spaces.Dict({"image": IMAGE, "vector": VECTOR}), 2)
    ActorCritic(NetworkSpec(torso="cnn"), IMAGE, 2)
    ActorCritic(NetworkSpec(torso="mlp"), VECTOR, 2)


@pytest.mark.slow
def test_layers_behind_the_convolutions_are_the_spec_s() -> None:
    space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    _, by_default, _ = build(space)
    assert by_default["torso"]["params"]["Dense_0"]["kernel"].shape[-1] == 512
    _, chosen, _ = build(space, hidden_sizes=(24, 16))
    shapes = [chosen["torso"]["params"][f"Dense_{i}"]["kernel"].shape[-1] for i in range(2)]
    assert shapes == [24, 16]
    assert chosen["actor"]["params"]["Dense_0"]["kernel"].shape[0] == 16
