"""A policy and a value function in float64: loops where loops say more, nothing of JAX but its trees.

``trainable`` is (params, log_std) of a network with one hidden layer of tanh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from paceline.agents.experience import Batch, LearnerState

Floats = NDArray[np.float64]


def forward(net: Any, x: NDArray[Any]) -> Floats:
    layers = net["params"]
    hidden = np.tanh(x @ np.asarray(layers["Dense_0"]["kernel"], np.float64) + np.asarray(layers["Dense_0"]["bias"]))
    return hidden @ np.asarray(layers["Dense_1"]["kernel"], np.float64) + np.asarray(layers["Dense_1"]["bias"])


def slow_log_prob_and_entropy(
    kind: str, params: Any, log_std: Any, x: NDArray[Any], actions: NDArray[Any]
) -> tuple[Floats, Floats]:
    logits = forward(params["actor"], x)
    if kind == "discrete":
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        chosen = np.take_along_axis(log_probs, actions[..., None], -1)[..., 0]
        return chosen, -(np.exp(log_probs) * log_probs).sum(-1)
    std = np.exp(np.asarray(log_std, np.float64))
    density = np.exp(-(((actions - logits) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    return np.log(density).sum(-1), np.full(x.shape[:-1], np.log(std * np.sqrt(2 * np.pi * np.e)).sum())


class Outputs(NamedTuple):
    """What a policy makes of a batch, ``[T, N]`` each; ``next_values`` are those of the states that steps led to."""

    log_probs: Floats
    entropies: Floats
    values: Floats
    next_values: Floats


def slow_outputs(kind: str, state: LearnerState, trainable: Any, batch: Batch) -> Outputs:
    """Return what ``trainable`` makes of a batch, scaled by the statistics of ``state``."""
    params, log_std = trainable

    def scale(observations: Any) -> Floats:
        x, stats = np.asarray(observations, np.float64), state.policy.observation_stats
        if stats is None:
            return x
        return np.clip((x - np.asarray(stats.mean)) / np.sqrt(np.asarray(stats.var, np.float64) + 1e-8), -10, 10)

    x = scale(batch.observations)
    log_probs, entropies = slow_log_prob_and_entropy(kind, params, log_std, x[:-1], np.asarray(batch.actions))
    values = forward(params["critic"], x)[..., 0]
    successors = values[1:].copy()
    num_envs = successors.shape[1]
    for row, observation in zip(batch.final_rows, batch.final_observations, strict=True):
        if row < successors.size:
            successors[row // num_envs, row % num_envs] = forward(params["critic"], scale(observation))[0]
    return Outputs(log_probs, entropies, values[:-1], successors)


def slow_rewards(state: LearnerState, batch: Batch) -> Floats:
    """Return rewards scaled by the statistics of ``state``."""
    rewards = np.asarray(batch.rewards, np.float64)
    if state.return_stats is None:
        return rewards
    return np.clip(rewards / np.sqrt(float(state.return_stats.var[0]) + 1e-8), -10, 10)


def slopes(loss_of: Callable[[Any], float], trainable: Any, places: list[tuple[int, ...]]) -> list[float]:
    """Return the slope of a loss at one place of each leaf, by central differences."""
    leaves, structure = jax.tree.flatten(trainable)
    found = []
    for index, place in enumerate(places):
        losses = []
        for step in (1e-6, -1e-6):
            moved = [np.array(leaf, np.float64) for leaf in leaves]
            moved[index][place] += step
            losses.append(loss_of(jax.tree.unflatten(structure, moved)))
        found.append((losses[0] - losses[1]) / 2e-6)
    return found
