"""What algorithms share that take one gradient step on each batch: all but the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from paceline.agents.agent import Agent
from paceline.agents.experience import (
    Batch,
    Experience,
    LearnerState,
    absorb,
    all_finite,
    descend,
    fresh_state,
    global_norm,
    make_optimiser,
    scaled,
)
from paceline.errors import SpecError
from paceline.spec import ImpalaSpec, NStepSpec

S = TypeVar("S", NStepSpec, ImpalaSpec)


class GradientStep(ABC, Generic[S]):
    """An algorithm for one agent.

    Args:
        spec: hyperparameters, all filled in.
        agent: policy and value function.

    Raises:
        SpecError: a hyperparameter is still None.
    """

    def __init__(self, spec: S, agent: Agent) -> None:
        if None in (spec.batch_size, spec.learning_rate, spec.ent_coef):
            raise SpecError(
                f"expected a filled-in {spec.name.upper()} spec, got one with empty fields; call resolve_algo first"
            )
        self.spec: S = spec
        self.agent = agent
        self._ent_coef = float(spec.ent_coef or 0.0)
        self._optimiser = make_optimiser(spec)

    def init(self, key: jax.Array, num_envs: int) -> LearnerState:
        """Return the state before the first update."""
        return fresh_state(self.agent, self.spec, self._optimiser, key, num_envs)

    def draws(self, generator: np.random.Generator) -> None:  # there is nothing to override
        """Draw nothing: the batch is used once, as a whole."""

    def update(
        self, state: LearnerState, batch: Batch, draws: None, learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Learn from one batch.

        Args:
            state: from :meth:`init` or the last update.
            batch: T * N steps; ``log_probs``, where given, are those of the policies that sampled them.
            draws: nothing.
            learning_rate: float32 ``[]``.

        Returns:
            The new state, and metrics (float32 scalars; ``finite`` is 0 if anything became NaN or infinite).
        """
        state = absorb(self.agent, self.spec, state, batch)
        gradient, metrics = self.gradient(state, batch)
        return self.apply(state, gradient, metrics, learning_rate)

    def gradient(self, state: LearnerState, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        """Return the gradient of the loss, nested as ``state.trainable``, and metrics; statistics stay as they are."""
        experience = scaled(self.agent, state, batch)
        gradient, metrics = jax.grad(self.loss, has_aux=True)(state.trainable, batch, experience)
        return gradient, metrics

    def apply(
        self, state: LearnerState, gradient: Any, metrics: dict[str, jax.Array], learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Take one step down a gradient, wherever it was taken."""
        trainable, moments = descend(self._optimiser, state.trainable, state.optimiser, gradient, learning_rate)
        metrics = {**metrics, "grad_norm": global_norm(gradient)}
        # An infinite reward may leave a finite gradient, which is clipped, and NaN in the statistics.
        statistics = (state.policy.observation_stats, state.return_stats)
        metrics["finite"] = all_finite((trainable, statistics), metrics["loss"])
        return state.with_trainable(trainable, moments), metrics

    @abstractmethod
    def loss(self, trainable: Any, batch: Batch, experience: Experience) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss of a batch and what it is made of.

        Args:
            trainable: (params, log_std).
            batch: T steps of N environments.
            experience: the same, prepared.
        """
