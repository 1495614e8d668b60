"""A policy as plain NumPy arrays in one ``.npz``: whoever reads it needs neither JAX nor paceline.

    actor/dense_0/kernel, actor/dense_0/bias, ..     x @ kernel + bias; the activation after every layer but the last
    critic/dense_0/kernel, ..                        the value function, in the same form
    torso/conv_0/kernel, torso/dense_0/kernel, ..    images only: what actor and critic share
    observation/mean, observation/var                where observations are normalised
    log_std                                          where actions are continuous
    action/low, action/high                          bounds of continuous actions
    meta                                             JSON text: activation, spaces, distribution, how to normalise

Everything reads with ``np.load(path, allow_pickle=False)``. ``examples/numpy_policy.py`` is a reader.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.agent import Agent, PolicyState
from paceline.agents.encoding import image_spaces
from paceline.agents.networks import default_layers
from paceline.measure.result import dump_json
from paceline.measure.store import write_atomically
from paceline.spec import RunSpec

FORMAT = "paceline.policy"
FORMAT_VERSION = 1
_CLIP, _EPSILON = 10.0, 1e-8  # those of paceline.agents.normalise.normalise
_DISTRIBUTIONS = {
    spaces.Box: "normal", spaces.Discrete: "categorical", spaces.MultiDiscrete: "multi_categorical",
    spaces.MultiBinary: "bernoulli",
}  # fmt: skip


def policy_arrays(agent: Agent, state: PolicyState, spec: RunSpec) -> dict[str, NDArray[Any]]:
    """Return the arrays of a policy by name, float32 but for ``meta``, a JSON text.

    Args:
        agent: networks and spaces.
        state: parameters and statistics.
        spec: the run that the policy comes from.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for part, tree in state.params.items():
        for layer, values in tree["params"].items():
            for name, value in values.items():
                arrays[f"{part}/{layer.lower()}/{name}"] = np.asarray(value)
    if state.observation_stats is not None:
        arrays["observation/mean"] = np.asarray(state.observation_stats.mean)
        arrays["observation/var"] = np.asarray(state.observation_stats.var)
    if state.log_std is not None:
        arrays["log_std"] = np.asarray(state.log_std)
    if isinstance(agent.action_space, spaces.Box):
        arrays["action/low"] = np.asarray(agent.action_space.low, np.float32)
        arrays["action/high"] = np.asarray(agent.action_space.high, np.float32)
    arrays["meta"] = np.array(dump_json(_meta(agent, state, spec)))
    return arrays


def write_numpy(arrays: dict[str, NDArray[Any]], path: Path) -> Path:
    """Write the arrays to an ``.npz`` that appears whole or not at all, and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # its stubs take the first array for allow_pickle
    write_atomically(path, content.getvalue(), advice="give another --out")
    return path


def _meta(agent: Agent, state: PolicyState, spec: RunSpec) -> dict[str, Any]:
    has_images = bool(image_spaces(agent.observation_space))
    hidden_sizes, activation = default_layers(spec.algo.network, has_images=has_images)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "env": spec.env.model_dump(mode="json"),
        "algo": spec.algo.name,
        "torso": "cnn" if has_images else "mlp",
        "hidden_sizes": hidden_sizes,
        "activation": activation,
        "layers": {part: [layer.lower() for layer in tree["params"]] for part, tree in state.params.items()},
        "normalises_observations": state.observation_stats is not None,
        "observation_clip": _CLIP,
        "observation_epsilon": _EPSILON,
        "distribution": next(name for kind, name in _DISTRIBUTIONS.items() if isinstance(agent.action_space, kind)),
        "observation_space": describe_space(agent.observation_space),
        "action_space": describe_space(agent.action_space),
    }


def describe_space(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """Return a space as JSON data, in the order in which its parts are encoded."""
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: describe_space(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [describe_space(part) for part in space.spaces]}
    described: dict[str, Any] = {"type": type(space).__name__, "shape": list(space.shape or ())}
    if isinstance(space, spaces.Discrete):
        return {**described, "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            **described,
            "nvec": space.nvec.tolist(),
            "start": np.broadcast_to(space.start, space.nvec.shape).tolist(),
        }
    return {**described, "dtype": str(space.dtype)}
