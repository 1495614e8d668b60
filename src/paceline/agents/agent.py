"""What every algorithm shares: the policy, its normalisers, and how observations become actions.

Everything here is a pure function of its arguments; the drivers in ``training`` compile and call them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from paceline.agents.distributions import Distribution, distribution_for
from paceline.agents.encoding import Encoded, check_observation_space, encode, vector_size
from paceline.agents.networks import ActorCritic, Params
from paceline.agents.normalise import RunningStats, normalise
from paceline.spec import NetworkSpec
from paceline.vector.spaces import zeros


@struct.dataclass
class PolicyState:
    """All that acting needs; what a copy of the policy consists of.

    Attributes:
        params: network parameters.
        log_std: state-independent log standard deviation ``[A]``, or None.
        observation_stats: statistics that scale the encoded vector, or None.
    """

    params: Params
    log_std: jax.Array | None
    observation_stats: RunningStats | None


class Agent:
    """The policy and value function of one environment's spaces.

    Args:
        network: sizes and kind of the networks.
        observation_space: of a single environment.
        action_space: of a single environment.
        normalize_observations: whether the encoded vector is scaled by running statistics.

    Raises:
        UnsupportedSpaceError: a space that cannot be encoded or acted in.
        SpecError: ``network`` does not fit the observations.
    """

    def __init__(
        self,
        network: NetworkSpec,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        normalize_observations: bool,
    ) -> None:
        check_observation_space(observation_space)
        self.observation_space = observation_space
        self.action_space = action_space
        self.distribution: Distribution = distribution_for(action_space)
        self.network = ActorCritic(network, observation_space, self.distribution.num_outputs)
        self._log_std_init = network.log_std_init
        self.normalize_observations = normalize_observations and vector_size(observation_space) > 0
        shapes = jax.eval_shape(lambda key: _acting_part(self.init(key)), jax.random.key(0))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        self._unpack: Callable[[jax.Array], PolicyState] = ravel_pytree(zeros)[1]

    def init(self, key: jax.Array) -> PolicyState:
        """Return a fresh policy."""
        encoded = encode(self.observation_space, zeros(self.observation_space, (1,)))
        stats = RunningStats.create(vector_size(self.observation_space)) if self.normalize_observations else None
        distribution = self.distribution
        log_std = jnp.full(distribution.num_outputs, self._log_std_init) if distribution.has_log_std else None
        return PolicyState(self.network.init(key, encoded), log_std, stats)

    def encode(self, observations: Any) -> Encoded:
        """Encode raw observations ``[.., *obs]``; not yet normalised."""
        return encode(self.observation_space, observations)

    def normalise(self, policy: PolicyState, encoded: Encoded) -> Encoded:
        """Scale the encoded vector by the policy's running statistics, if it has any."""
        if policy.observation_stats is None:
            return encoded
        return encoded._replace(vector=normalise(policy.observation_stats, encoded.vector))

    def noise(self, key: jax.Array, first_steps: jax.Array, rollout_length: int, first_env: int = 0) -> jax.Array:
        """Draw the noise of a rollout.

        Args:
            key: the run's action key; the same for the whole run.
            first_steps: how many steps each environment has taken so far, int32 ``[N]``.
            rollout_length: T.
            first_env: index of the first of these N environments among all.

        Returns:
            float32 ``[T, N, *noise]``; row t of environment n depends on key, first_env + n and
            first_steps[n] + t alone.
        """

        def one(env_id: jax.Array, step: jax.Array) -> jax.Array:
            return self.distribution.noise(jax.random.fold_in(jax.random.fold_in(key, env_id), step))

        env_ids = first_env + jnp.arange(first_steps.shape[0])
        steps = first_steps[None, :] + jnp.arange(rollout_length)[:, None]
        return jax.vmap(jax.vmap(one), in_axes=(None, 0))(env_ids, steps)

    def pack(self, policy: PolicyState) -> jax.Array:
        """Return all that acting needs as one vector, float32 ``[P]``.

        One argument instead of a dozen: passing arguments is a third of the cost of acting for a few environments.
        """
        return ravel_pytree(_acting_part(policy))[0]

    def act(self, packed: jax.Array, noise: jax.Array, rows: jax.Array, observations: Any) -> jax.Array:
        """Sample actions.

        Args:
            packed: the policy, from :meth:`pack`.
            noise: float32 ``[T, N, *noise]`` from :meth:`noise`.
            rows: row of ``noise`` to use per environment, int32 ``[N]``.
            observations: raw, ``[N, *obs]``.

        Returns:
            ``[N, *action]``.
        """
        policy = self._unpack(packed)
        logits = self.network.logits(policy.params, self.normalise(policy, self.encode(observations)))
        selected = noise[rows, jnp.arange(noise.shape[1])]
        return self.distribution.sample(logits, policy.log_std, selected)

    def log_probs(self, packed: jax.Array, observations: Any, actions: jax.Array) -> jax.Array:
        """Return log π(a|s) of actions that :meth:`act` gave, float32 ``[..]``.

        Args:
            packed: the policy, from :meth:`pack`.
            observations: raw, ``[.., *obs]``.
            actions: ``[.., *action]``, before clipping to bounds.
        """
        policy = self._unpack(packed)
        logits = self.network.logits(policy.params, self.normalise(policy, self.encode(observations)))
        return self.distribution.log_prob(logits, policy.log_std, actions)

    def act_deterministic(self, policy: PolicyState, observations: Any) -> jax.Array:
        """Return the most probable action, ``[N, *action]``."""
        logits = self.network.logits(policy.params, self.normalise(policy, self.encode(observations)))
        return self.distribution.mode(logits, policy.log_std)

    def act_sampled(self, policy: PolicyState, key: jax.Array, observations: Any) -> jax.Array:
        """Sample actions with noise from ``key``, ``[N, *action]``; for evaluation."""
        logits = self.network.logits(policy.params, self.normalise(policy, self.encode(observations)))
        noise = jax.vmap(self.distribution.noise)(jax.random.split(key, logits.shape[0]))
        return self.distribution.sample(logits, policy.log_std, noise)


def _acting_part(policy: PolicyState) -> PolicyState:
    return replace(policy, params={name: part for name, part in policy.params.items() if name != "critic"})
