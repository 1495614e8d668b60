"""Let a policy act with NumPy alone: no JAX, no paceline, ten lines to port to any other language.

From the repository's root:

    paceline train HalfCheetah-v5 --minutes 2 --out runs/halfcheetah
    paceline export runs/halfcheetah --to numpy --out policy.npz
    python examples/numpy_policy.py policy.npz

It is for vector observations (a ``Box``) and for ``Box`` and ``Discrete`` actions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np


def act(weights: Mapping[str, Any], observation: Any) -> Any:
    """Return the most probable action for one observation."""
    meta = json.loads(str(weights["meta"]))
    x = np.asarray(observation, np.float32).ravel()
    if meta["normalises_observations"]:
        x = (x - weights["observation/mean"]) / np.sqrt(weights["observation/var"] + meta["observation_epsilon"])
        x = np.clip(x, -meta["observation_clip"], meta["observation_clip"])
    for layer in meta["layers"]["actor"]:
        x = x @ weights[f"actor/{layer}/kernel"] + weights[f"actor/{layer}/bias"]
        if layer != meta["layers"]["actor"][-1]:
            x = np.tanh(x) if meta["activation"] == "tanh" else np.maximum(x, 0.0)
    if meta["distribution"] == "categorical":
        return int(x.argmax()) + meta["action_space"]["start"]
    return np.clip(x.reshape(meta["action_space"]["shape"]), weights["action/low"], weights["action/high"])


def play(path: str, seed: int = 7) -> float:
    """Play one episode of the environment that the policy was trained in; return the undiscounted return."""
    weights = dict(np.load(path, allow_pickle=False))
    described = json.loads(str(weights["meta"]))["env"]
    env = gymnasium.make(described["id"], **described["kwargs"])
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(act(weights, observation))
        total += float(reward)
        over = terminated or truncated
    env.close()
    return total


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected a file made by paceline export: python examples/numpy_policy.py policy.npz")
    print(f"return {play(sys.argv[1]):,.1f}")
