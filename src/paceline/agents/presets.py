"""Hyperparameters that suit a kind of environment, for every field that a spec leaves open.

* continuous actions: Huang et al. 2022 (CleanRL's ``ppo_continuous_action``): 2048 steps, 32 minibatches, 10 epochs,
  3e-4 annealed, observations and rewards normalised;
* images: their Atari settings;
* everything else: small batches and a higher learning rate, which solve CartPole within 150,000 steps.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from paceline.agents.encoding import image_spaces
from paceline.agents.networks import default_layers
from paceline.errors import SpecError
from paceline.spec import PPOSpec

_CONTINUOUS: dict[str, Any] = {
    "batch_size": 2048,
    "minibatch_size": 64,
    "num_epochs": 10,
    "learning_rate": 3e-4,
    "ent_coef": 0.0,
    "normalize_observations": True,
    "normalize_rewards": True,
}
_IMAGES: dict[str, Any] = {
    "batch_size": 1024,
    "minibatch_size": 256,
    "num_epochs": 4,
    "learning_rate": 2.5e-4,
    "ent_coef": 0.01,
    "normalize_observations": False,
    "normalize_rewards": False,
}
_DISCRETE: dict[str, Any] = {
    "batch_size": 1024,
    "minibatch_size": 128,
    "num_epochs": 10,
    "learning_rate": 1e-3,
    "ent_coef": 0.0,
    "normalize_observations": False,
    "normalize_rewards": False,
}


def resolve_algo(algo: PPOSpec, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> PPOSpec:
    """Return ``algo`` with every open field filled in for these spaces.

    Raises:
        SpecError: the filled-in batch size is not a multiple of the minibatch size.
    """
    has_images = bool(image_spaces(observation_space))
    if has_images:
        preset = _IMAGES
    elif isinstance(action_space, spaces.Box):
        preset = _CONTINUOUS
    else:
        preset = _DISCRETE
    given = algo.model_dump()
    filled = {name: value if given[name] is None else given[name] for name, value in preset.items()}
    if filled["batch_size"] % filled["minibatch_size"] and algo.minibatch_size is None:
        # An odd batch keeps the preset's minibatch size as nearly as it can.
        filled["minibatch_size"] = _nearest_divisor(filled["batch_size"], filled["minibatch_size"])
    if filled["batch_size"] % filled["minibatch_size"]:
        raise SpecError(
            f"expected batch_size to be a multiple of minibatch_size {filled['minibatch_size']}, got "
            f"{filled['batch_size']}; set both"
        )
    hidden_sizes, activation = default_layers(algo.network, has_images=has_images)
    filled["network"] = algo.network.model_copy(update={"hidden_sizes": hidden_sizes, "activation": activation})
    return algo.model_copy(update=filled)


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    # By ratio, not by difference: 1 is nearer to 64 than 1021 is, but a minibatch of 1 learns nothing.
    return min(divisors, key=lambda d: max(d / wanted, wanted / d))
