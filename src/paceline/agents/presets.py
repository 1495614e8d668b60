"""Hyperparameters that suit a kind of environment, for every field that a spec leaves open.

PPO:

* continuous actions: Huang et al. 2022 (CleanRL's ``ppo_continuous_action``): 2048 steps, 32 minibatches, 10 epochs,
  3e-4 annealed, observations and rewards normalised;
* images: their Atari settings;
* everything else: small batches and a higher learning rate, which solve CartPole within 150,000 steps.

A2C and A3C: small batches, RMSProp (Mnih et al. 2016). IMPALA: Adam, and small batches where there are no images. Its
rewards are normalised for discrete actions, too: on CartPole with two actors, values near 100 made seeds forget what
they had learnt, whatever the batch (80 to 320), the learning rate (5e-4, 1e-3) or the entropy bonus (0, 0.01).
Continuous actions take normalised observations and rewards with all of them.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
from gymnasium import spaces

from paceline.agents.encoding import image_spaces
from paceline.agents.networks import default_layers
from paceline.errors import SpecError
from paceline.spec import AlgoSpec, PPOSpec

Kind = Literal["continuous", "images", "discrete"]

_NORMALISED: dict[str, Any] = {"ent_coef": 0.0, "normalize_observations": True, "normalize_rewards": True}
_RAW: dict[str, Any] = {"normalize_observations": False, "normalize_rewards": False}
_N_STEP: dict[Kind, dict[str, Any]] = {
    "continuous": {"batch_size": 64, "updates_per_iteration": 32, "learning_rate": 1e-3, **_NORMALISED},
    "images": {"batch_size": 80, "updates_per_iteration": 16, "learning_rate": 7e-4, "ent_coef": 0.01, **_RAW},
    "discrete": {"batch_size": 64, "updates_per_iteration": 32, "learning_rate": 1e-3, "ent_coef": 0.0, **_RAW},
}
PRESETS: dict[str, dict[Kind, dict[str, Any]]] = {
    "ppo": {
        "continuous": {
            "batch_size": 2048, "minibatch_size": 64, "num_epochs": 10, "learning_rate": 3e-4, **_NORMALISED,
        },
        "images": {
            "batch_size": 1024, "minibatch_size": 256, "num_epochs": 4, "learning_rate": 2.5e-4, "ent_coef": 0.01,
            **_RAW,
        },
        "discrete": {
            "batch_size": 1024, "minibatch_size": 128, "num_epochs": 10, "learning_rate": 1e-3, "ent_coef": 0.0, **_RAW,
        },
    },
    "a2c": _N_STEP,
    "a3c": _N_STEP,
    "impala": {
        "continuous": {"batch_size": 640, "updates_per_iteration": 4, "learning_rate": 1e-3, **_NORMALISED},
        "images": {"batch_size": 640, "updates_per_iteration": 4, "learning_rate": 6e-4, "ent_coef": 0.01, **_RAW},
        "discrete": {
            "batch_size": 160, "updates_per_iteration": 12, "learning_rate": 1e-3, "ent_coef": 0.0,
            "normalize_observations": False, "normalize_rewards": True,
        },
    },
}  # fmt: skip
"""Values of open fields, by algorithm and kind of environment."""


def kind_of(observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> Kind:
    """Return which presets suit these spaces."""
    if image_spaces(observation_space):
        return "images"
    return "continuous" if isinstance(action_space, spaces.Box) else "discrete"


def resolve_algo(
    algo: AlgoSpec, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]
) -> AlgoSpec:
    """Return ``algo`` with every open field filled in for these spaces.

    Raises:
        SpecError: the filled-in batch size is not a multiple of the minibatch size.
    """
    kind = kind_of(observation_space, action_space)
    given = algo.model_dump()
    filled = {name: value if given[name] is None else given[name] for name, value in PRESETS[algo.name][kind].items()}
    filled.setdefault("updates_per_iteration", algo.updates_per_iteration or 1)
    if isinstance(algo, PPOSpec):
        _fit_minibatches(algo, filled)
    hidden_sizes, activation = default_layers(algo.network, has_images=kind == "images")
    filled["network"] = algo.network.model_copy(update={"hidden_sizes": hidden_sizes, "activation": activation})
    return algo.model_copy(update=filled)


def _fit_minibatches(algo: PPOSpec, filled: dict[str, Any]) -> None:
    if filled["batch_size"] % filled["minibatch_size"] and algo.minibatch_size is None:
        # An odd batch keeps the preset's minibatch size as nearly as it can.
        filled["minibatch_size"] = _nearest_divisor(filled["batch_size"], filled["minibatch_size"])
    if filled["batch_size"] % filled["minibatch_size"]:
        raise SpecError(
            f"expected batch_size to be a multiple of minibatch_size {filled['minibatch_size']}, got "
            f"{filled['batch_size']}; set both"
        )


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    # By ratio, not by difference: 1 is nearer to 64 than 1021 is, but a minibatch of 1 learns nothing.
    return min(divisors, key=lambda d: max(d / wanted, wanted / d))
