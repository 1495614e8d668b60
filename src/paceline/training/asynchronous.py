"""Asynchronous drivers: actors never wait for the learner, and the learner never for the slowest of them.

An actor goes on as long as one of its slots is free (back-pressure). Fragments are taken in the order in which they
become complete; the learner copies or uses each at once, so that one slow actor keeps no other from going on. What was
sampled with a policy that is older than ``max_lag`` updates is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from paceline.measure.ledger import LEARNER_UPDATE, OTHER, TRANSFER, Ledger
from paceline.rollout.episodes import Episodes
from paceline.rollout.fragments import Fragment, FragmentBatch
from paceline.spec import A3CSpec, ImpalaSpec, RunSpec
from paceline.training.actor_driver import ActorDriver
from paceline.training.actors.gradients import GradientCodec, gradient_batch, room_for_finals
from paceline.training.actors.pool import ActorPool
from paceline.training.batches import batch_of, expected_truncations
from paceline.training.driver import join_episodes

_NUM_SLOTS = 2
"""Of an actor: one that it fills, and one that waits for the learner."""


class _AsyncDriver(ActorDriver):
    """What asynchronous drivers share: the queue of fragments, and the account of lag."""

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger, *, rollout_length: int) -> None:
        assert isinstance(spec.algo, ImpalaSpec | A3CSpec)
        super().__init__(spec, pool, ledger, rollout_length=rollout_length, num_slots=_NUM_SLOTS)
        self._max_lag = spec.algo.max_lag
        self._ready: deque[tuple[int, Fragment]] = deque()
        self._num_stale = 0
        self._flowing = False

    def _next(self, interruptible: Callable[[], AbstractContextManager[None]]) -> tuple[int, Fragment]:
        """Return the next fragment and its actor, waiting for it if need be."""
        if not self._flowing:
            self._flowing = True
            for slot in range(self._pool.num_actors):
                self._pool.ask(slot, _NUM_SLOTS)
        while True:
            while not self._ready:
                self._ready.extend(self._wait(interruptible))
            slot, fragment = self._ready.popleft()
            if self._lag_of(fragment) <= self._max_lag:
                if fragment.begins_anew:
                    self._forget_open_episodes(slot)
                return slot, fragment
            self._num_stale += 1
            self._forget_open_episodes(slot)  # rewards are missing
            self._pool.ask(slot)

    def _lag_of(self, fragment: Fragment) -> int:
        """Return by how many updates the policy that acted is older than the one that learns."""
        return self.num_updates + 1 - fragment.version

    def _lag_metrics(self, lags: Sequence[int]) -> dict[str, float]:
        num_stale, self._num_stale = self._num_stale, 0
        return {
            "lag_min": min(lags),
            "lag_mean": sum(lags) / len(lags),
            "lag_max": max(lags),
            "num_stale_fragments": num_stale,
        }


class ImpalaDriver(_AsyncDriver):
    """IMPALA: the learner batches trajectories of whichever actors are first.

    Args:
        spec: the run, with everything filled in.
        pool: the actors.
        ledger: where time goes.
    """

    takes_log_probs = True

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger) -> None:
        assert isinstance(spec.algo, ImpalaSpec) and spec.algo.rollout_length and spec.algo.batch_size
        length, width = spec.algo.rollout_length, spec.plan.num_envs_per_env_runner
        self._num_fragments = spec.algo.batch_size // (length * width)
        self._sums_rewards = bool(spec.algo.normalize_rewards)
        # Discounted sums of rewards of each environment, whichever actor's fragments a batch holds.
        self._discounted = np.zeros(spec.plan.num_envs, np.float32)
        # Of the batch that is being filled: actors, and steps of their environments, to be counted once it is learnt.
        self._taken: list[tuple[int, NDArray[np.int64]]] = []
        super().__init__(spec, pool, ledger, rollout_length=length)

    def _compile_update(self) -> None:
        num_envs = self._num_fragments * self._pool.num_envs_each
        self._batch = FragmentBatch(
            self.layout,
            self._num_fragments,
            final_capacity=expected_truncations(self._pool.max_episode_steps, num_envs, self._rollout_length),
        )
        self.learner.state = replace(self.learner.state, discounted=jnp.zeros(num_envs))
        self.learner.compile(self._as_batch())

    def _as_batch(self) -> Any:
        return batch_of(self._batch.buffer, log_probs=self._batch.log_probs)

    def _forget_open_episodes(self, slot: int) -> None:
        self._discounted[self._envs_of(slot)] = 0.0

    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        learner, width = self.learner, self._pool.num_envs_each
        self._begin_batch()
        episodes, lags = [], []
        discounted = np.zeros(self._num_fragments * width, np.float32)
        for place in range(self._num_fragments):
            slot, fragment = self._next(interruptible)
            with self._ledger.phase(TRANSFER):
                self._batch.put(place, fragment)
                self._taken.append((slot, fragment.env_steps.copy()))
                episodes.append(fragment.episodes())
                lags.append(self._lag_of(fragment))
                if self._sums_rewards:
                    own = self._envs_of(slot)
                    discounted[place * width : (place + 1) * width] = self._discounted[own]
                    self._discounted[own] = self._carried_on(self._discounted[own], fragment)
                self._pool.ask(slot)
        with self._ledger.phase(TRANSFER):
            num_env_steps = self._batch.buffer.num_env_steps()
            learner.state = replace(learner.state, discounted=jnp.asarray(discounted))
        metrics = learner.update(self._as_batch(), progress, None)
        for slot, env_steps in self._taken:
            self._count(slot, env_steps)
        self._taken.clear()
        self._publish()
        return num_env_steps, join_episodes(episodes), metrics | self._lag_metrics(lags)

    def _begin_batch(self) -> None:
        """Begin to fill the batch; what lies in it already belongs to a batch that was broken off, and is dropped."""
        for slot, _ in self._taken:
            self._forget_open_episodes(slot)  # rewards are missing
        self._taken.clear()
        self._batch.clear()

    def _carried_on(self, sums: NDArray[np.float32], fragment: Fragment) -> NDArray[np.float32]:
        """Return the discounted sums of rewards ``[E]`` at the end of a fragment that they were ``sums`` before.

        A batch may hold two fragments of one actor, the second of which goes on where the first ends.
        """
        buffer, gamma = fragment.buffer, np.float32(self.spec.algo.gamma)
        rewards = np.where(buffer.valid, buffer.rewards, np.float32(0.0))
        for reward, done in zip(rewards, buffer.terminated | buffer.truncated, strict=True):
            sums = np.where(done, np.float32(0.0), gamma * sums + reward)
        return sums


class A3CDriver(_AsyncDriver):
    """A3C: runners take gradients of their own fragments; the learner applies them as they come.

    Args:
        spec: the run, with everything filled in.
        pool: the actors.
        ledger: where time goes.
    """

    takes_gradients = True

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger) -> None:
        assert isinstance(spec.algo, A3CSpec) and spec.algo.batch_size
        length = spec.algo.batch_size // spec.plan.num_envs_per_env_runner
        super().__init__(spec, pool, ledger, rollout_length=length)
        self._codec = GradientCodec(spec.algo, self.learner.agent)

    def _published(self, state: Any) -> jax.Array:
        return self._codec.pack(state)

    def _gradient_size(self) -> int:
        return self._codec.num_gradient

    def _compile_update(self) -> None:
        self._has_statistics = bool(self.spec.algo.normalize_observations or self.spec.algo.normalize_rewards)
        self._room = room_for_finals(self._pool.max_episode_steps, self.layout)
        self._absorb = jax.jit(self._codec.absorb)
        self._apply = jax.jit(self._codec.apply)
        state = self.learner.state
        self._apply(state, np.zeros(self._codec.num_gradient, np.float32), np.float32(0))
        if self._has_statistics:
            self._absorb(state, np.int32(0), gradient_batch(self._memory.slots[0][0], self._room))

    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        learner = self.learner
        slot, fragment = self._next(interruptible)
        with self._ledger.phase(OTHER):
            episodes = fragment.episodes()
            num_env_steps = fragment.buffer.num_env_steps()
            lag = self._lag_metrics([self._lag_of(fragment)])
        with self._ledger.phase(LEARNER_UPDATE):
            rate = learner.learning_rate(progress)
            state = learner.state
            if self._has_statistics:
                first = np.int32(slot * self._pool.num_envs_each)
                state = self._absorb(state, first, gradient_batch(fragment, self._room))
            state, device_metrics = self._apply(state, fragment.gradient, np.float32(rate))
            metrics = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
        metrics = learner.accept(state, metrics, rate)
        self._count(slot, fragment.env_steps)
        self._publish()
        self._pool.ask(slot)
        return num_env_steps, episodes, metrics | lag
