"""Asynchronous drivers: actors never wait for the learner, and the learner never for the slowest of them.

An actor goes on as long as one of its slots is free, which bounds how far it can lag behind (back-pressure). Fragments
are taken in the order in which they become complete.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paceline.measure.ledger import LEARNER_UPDATE, OTHER, TRANSFER, Ledger
from paceline.rollout.episodes import Episodes
from paceline.rollout.fragments import Fragment, FragmentBatch
from paceline.spec import ImpalaSpec, NStepSpec, RunSpec
from paceline.training.actor_driver import ActorDriver, Sampled
from paceline.training.actors.gradients import GradientCodec, gradient_batch
from paceline.training.actors.pool import ActorPool
from paceline.training.batches import batch_of, expected_truncations
from paceline.training.driver import join_episodes

_LEAST_SLOTS = 2
"""Of an actor: one that it fills, and one that waits for the learner."""


class _AsyncDriver(ActorDriver):
    """What asynchronous drivers share: the queue of fragments, and the account of lag."""

    def __init__(
        self, spec: RunSpec, pool: ActorPool, ledger: Ledger, *, rollout_length: int, num_fragments: int = 1
    ) -> None:
        # All of a batch must find room, or actor and learner would wait for each other; and one more to go on with.
        num_slots = max(_LEAST_SLOTS, 1 + math.ceil(num_fragments / pool.num_actors))
        super().__init__(spec, pool, ledger, rollout_length=rollout_length, num_slots=num_slots)
        self._ready: deque[tuple[int, Fragment]] = deque()
        self._flowing = False

    def _next(self, count: int, interruptible: Callable[[], AbstractContextManager[None]]) -> Sampled:
        """Return the next ``count`` fragments, waiting for them if need be."""
        if not self._flowing:
            self._flowing = True
            for slot in range(self._pool.num_actors):
                self._pool.ask(slot, self._num_slots)
        while len(self._ready) < count:
            self._ready.extend(self._wait(interruptible))
        return [self._ready.popleft() for _ in range(count)]

    def _lag(self, fragments: Sequence[Fragment]) -> dict[str, float]:
        """Return by how many updates the policies that acted are older than the one that learns."""
        lags = [self.num_updates + 1 - fragment.version for fragment in fragments]
        return {"lag_min": min(lags), "lag_mean": sum(lags) / len(lags), "lag_max": max(lags)}


class ImpalaDriver(_AsyncDriver):
    """IMPALA: the learner batches trajectories of whichever actors are first.

    Args:
        spec: the run, with everything filled in.
        pool: the actors.
        ledger: where time goes.
    """

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger) -> None:
        assert isinstance(spec.algo, ImpalaSpec) and spec.algo.rollout_length and spec.algo.batch_size
        length, width = spec.algo.rollout_length, spec.plan.num_envs_per_env_runner
        self._num_fragments = spec.algo.batch_size // (length * width)
        super().__init__(spec, pool, ledger, rollout_length=length, num_fragments=self._num_fragments)

    def _compile_update(self) -> None:
        num_envs = self._num_fragments * self._pool.num_envs_each
        self._batch = FragmentBatch(
            self.layout,
            self._num_fragments,
            final_capacity=expected_truncations(self._pool.max_episode_steps, num_envs, self._rollout_length),
        )
        # Of each environment, whichever actor's fragments a batch holds.
        self._discounted = np.zeros(self.spec.plan.num_envs, np.float32)
        self.learner.state = replace(self.learner.state, discounted=jnp.zeros(num_envs))
        self.learner.compile(self._as_batch())

    def _as_batch(self) -> Any:
        return batch_of(self._batch.buffer, log_probs=self._batch.log_probs)

    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        learner = self.learner
        taken = self._next(self._num_fragments, interruptible)
        with self._ledger.phase(TRANSFER):
            fragments = [fragment for _, fragment in taken]
            self._batch.fill(fragments)
            episodes = join_episodes([fragment.episodes() for fragment in fragments])
            num_env_steps = self._batch.buffer.num_env_steps()
            lag = self._lag(fragments)
            for slot, _ in taken:
                self._pool.ask(slot)
            width = self._pool.num_envs_each
            env_ids = np.concatenate([np.arange(slot * width, (slot + 1) * width) for slot, _ in taken])
            learner.state = replace(learner.state, discounted=jnp.asarray(self._discounted[env_ids]))
        metrics = learner.update(self._as_batch(), progress, None)
        self._publish()
        self._discounted[env_ids] = np.asarray(learner.state.discounted)
        return num_env_steps, episodes, metrics | lag


class A3CDriver(_AsyncDriver):
    """A3C: runners take gradients of their own fragments; the learner applies them as they come.

    Args:
        spec: the run, with everything filled in.
        pool: the actors.
        ledger: where time goes.
    """

    takes_gradients = True

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger) -> None:
        assert isinstance(spec.algo, NStepSpec) and spec.algo.batch_size
        length = spec.algo.batch_size // spec.plan.num_envs_per_env_runner
        super().__init__(spec, pool, ledger, rollout_length=length)
        self._codec = GradientCodec(spec.algo, self.learner.agent)

    def _published(self, state: Any) -> jax.Array:
        return self._codec.pack(state)

    def _gradient_size(self) -> int:
        return self._codec.num_gradient

    def _compile_update(self) -> None:
        self._has_statistics = bool(self.spec.algo.normalize_observations or self.spec.algo.normalize_rewards)
        self._absorb = jax.jit(self._codec.absorb)
        self._apply = jax.jit(self._codec.apply)
        state = self.learner.state
        self._apply(state, np.zeros(self._codec.num_gradient, np.float32), np.float32(0))
        if self._has_statistics:
            self._absorb(state, np.int32(0), gradient_batch(self._memory.slots[0][0]))

    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        learner = self.learner
        ((slot, fragment),) = self._next(1, interruptible)
        with self._ledger.phase(OTHER):
            episodes = fragment.episodes()
            num_env_steps = fragment.buffer.num_env_steps()
            lag = self._lag([fragment])
        with self._ledger.phase(LEARNER_UPDATE):
            rate = learner.learning_rate(progress)
            state = learner.state
            if self._has_statistics:
                first = np.int32(slot * self._pool.num_envs_each)
                state = self._absorb(state, first, gradient_batch(fragment))
            state, device_metrics = self._apply(state, fragment.gradient, np.float32(rate))
            metrics = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
        metrics = learner.accept(state, metrics, rate)
        self._publish()
        self._pool.ask(slot)
        return num_env_steps, episodes, metrics | lag
