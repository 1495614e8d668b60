"""What a driver needs to know of an algorithm, and which algorithms there are."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import numpy as np

from paceline.agents.a2c import A2C
from paceline.agents.agent import Agent
from paceline.agents.experience import Batch, LearnerState
from paceline.agents.impala import Impala
from paceline.agents.ppo import PPO
from paceline.spec import ActorCriticSpec, ImpalaSpec, NStepSpec, PPOSpec


class Algorithm(Protocol):
    """From a batch of experience to new parameters, as pure functions."""

    def init(self, key: jax.Array, num_envs: int) -> LearnerState:
        """Return the state before the first update."""

    def draws(self, generator: np.random.Generator) -> Any:
        """Return what one update needs at random, drawn on the host."""

    def update(
        self, state: LearnerState, batch: Batch, draws: Any, learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Learn from one batch; return the new state and metrics, float32 scalars.

        ``finite`` among them is 0 if anything became NaN or infinite.
        """


def make_algorithm(spec: ActorCriticSpec, agent: Agent) -> Algorithm:
    """Return the algorithm that ``spec`` names.

    Raises:
        SpecError: a hyperparameter is still None.
    """
    if isinstance(spec, PPOSpec):
        return PPO(spec, agent)
    if isinstance(spec, ImpalaSpec):
        return Impala(spec, agent)
    assert isinstance(spec, NStepSpec)
    return A2C(spec, agent)
