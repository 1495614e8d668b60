"""Gradients as vectors: what an asynchronous actor returns beside its fragment, and what it needs to take it.

Both sides of A3C use one :class:`GradientCodec`, so that a vector means the same in the actor and in the learner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from paceline.agents.a2c import A2C
from paceline.agents.agent import Agent
from paceline.agents.experience import Batch, LearnerState, absorb
from paceline.rollout.fragments import Fragment, FragmentLayout
from paceline.spec import NStepSpec
from paceline.training.batches import batch_of, expected_truncations

_LEAST_ROOM = 32
_METRICS = ("entropy", "explained_variance", "loss", "policy_loss", "value_loss")
"""Metrics of a gradient, which travel behind it, in this order."""


class GradientCodec:
    """Turns what an actor needs, and what it returns, into vectors and back.

    Args:
        spec: hyperparameters, all filled in.
        agent: policy and value function.

    Attributes:
        num_parameters: length of what the learner publishes: parameters and statistics.
        num_gradient: length of what an actor returns: gradient and metrics.
    """

    def __init__(self, spec: NStepSpec, agent: Agent) -> None:
        self.algorithm = A2C(spec, agent)
        self._agent = agent
        state = self.algorithm.init(jax.random.key(0), 1)
        published, self._unpack = _flat((state.policy, state.return_stats))
        gradient, self._unpack_gradient = _flat(state.trainable)
        self.num_parameters = len(published)
        self._num_trainable = len(gradient)
        self.num_gradient = len(gradient) + len(_METRICS)

    def pack(self, state: LearnerState) -> jax.Array:
        """Return parameters and statistics as one vector, float32 ``[P]``."""
        return ravel_pytree((state.policy, state.return_stats))[0]

    def acting_part(self, published: jax.Array) -> jax.Array:
        """Return what acting needs of a published vector, as :meth:`Agent.pack` gives it."""
        policy, _ = self._unpack(published)
        return self._agent.pack(policy)

    def gradient(self, published: jax.Array, batch: Batch) -> jax.Array:
        """Return gradient and metrics of a batch at the published parameters, float32 ``[G]``."""
        policy, return_stats = self._unpack(published)
        state = LearnerState(policy, None, return_stats, jnp.zeros(batch.rewards.shape[1]))
        gradient, metrics = self.algorithm.gradient(state, batch)
        return jnp.concatenate([ravel_pytree(gradient)[0], jnp.stack([metrics[name] for name in _METRICS])])

    def absorb(self, state: LearnerState, first: jax.Array, batch: Batch) -> LearnerState:
        """Return the state with an actor's fragment merged into its statistics.

        Args:
            state: the learner's.
            first: index of the actor's first environment, int32 ``[]``.
            batch: the fragment.
        """
        width = batch.rewards.shape[1]
        own = jax.lax.dynamic_slice(state.discounted, (first,), (width,))
        absorbed = absorb(self._agent, self.algorithm.spec, replace(state, discounted=own), batch)
        together = jax.lax.dynamic_update_slice(state.discounted, absorbed.discounted, (first,))
        return replace(absorbed, discounted=together)

    def apply(
        self, state: LearnerState, returned: jax.Array, learning_rate: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Take one step down a gradient that an actor returned, ``[G]``."""
        metrics = {name: returned[self._num_trainable + k] for k, name in enumerate(_METRICS)}
        return self.algorithm.apply(
            state, self._unpack_gradient(returned[: self._num_trainable]), metrics, learning_rate
        )


class GradientTaker:
    """The actor's side: takes the gradient of its own fragment with the parameters that acted.

    Args:
        codec: what vectors mean.
        room: how many truncated episodes of a fragment there is room for at first.
    """

    def __init__(self, codec: GradientCodec, room: int) -> None:
        self._room = room
        self._acting_part = jax.jit(codec.acting_part)
        self._gradient = jax.jit(codec.gradient)

    def acting_part(self, published: NDArray[np.float32]) -> jax.Array:
        """Return what acting needs of what the learner published."""
        part: jax.Array = self._acting_part(published)
        return part

    def take(self, published: NDArray[np.float32], fragment: Fragment) -> None:
        """Write the gradient of a fragment, which is complete but for this, into it."""
        fragment.gradient[...] = np.asarray(self._gradient(published, gradient_batch(fragment, self._room)))


def room_for_finals(max_episode_steps: int | None, layout: FragmentLayout) -> int:
    """Return for how many cut episodes there is room: to compile anew would look like an actor that hangs."""
    return max(_LEAST_ROOM, expected_truncations(max_episode_steps, layout.num_envs, layout.rollout_length))


def gradient_batch(fragment: Fragment, room: int) -> Batch:
    """Return a fragment as a batch of its own: views, and one shape while no more than ``room`` episodes are cut."""
    return batch_of(fragment.buffer, finals=fragment.padded_finals(room))


def _flat(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    flat, unravel = ravel_pytree(tree)
    return flat, unravel
