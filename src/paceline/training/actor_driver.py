"""Drivers whose policy sits in the runners: actors return whole fragments, the learner learns from them.

:class:`RunnerSyncDriver` waits for a fragment of every actor, sampled with the newest policy, before each update. The
drivers of :mod:`paceline.training.asynchronous` learn from whatever is there.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from paceline.measure.ledger import OTHER, RUNNER_WAIT, TRANSFER, Ledger
from paceline.rollout.episodes import Episodes
from paceline.rollout.fragments import TIMES, Fragment, FragmentBatch, FragmentLayout
from paceline.spec import RunSpec
from paceline.training.actors.pool import ActorPool
from paceline.training.batches import batch_of, expected_truncations
from paceline.training.driver import join_episodes
from paceline.training.learner_driver import LearnerDriver
from paceline.vector.seeding import derive_seeds

Sampled = list[tuple[int, Fragment]]
"""Complete fragments, each with the index of its actor."""


class ActorDriver(LearnerDriver):
    """What all drivers with actors share: the memory, and the account of the learner's waiting.

    Args:
        spec: the run, with everything filled in.
        pool: the actors; closed by whoever made them.
        ledger: where time goes.
        rollout_length: T of a fragment.
        num_slots: fragments of one actor that may lie unread.

    Raises:
        UnsupportedSpaceError: a space that the agent cannot handle.
    """

    takes_gradients = False
    takes_log_probs = False

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger, *, rollout_length: int, num_slots: int) -> None:
        self._pool = pool
        self._env_steps: NDArray[np.int64] = np.zeros(spec.plan.num_envs, np.int64)
        super().__init__(spec, pool.observation_space, pool.action_space, ledger)
        self._num_slots = num_slots
        self._rollout_length = rollout_length
        self._pack = jax.jit(self._published)

    @property
    def env_steps(self) -> NDArray[np.int64]:
        """Real steps of each environment that were learnt from, or dropped before others that were, int64 ``[N]``."""
        return self._env_steps

    @env_steps.setter
    def env_steps(self, env_steps: NDArray[np.int64]) -> None:
        self._env_steps = env_steps
        self._pool.env_steps = env_steps.copy()

    def _published(self, state: Any) -> jax.Array:
        """Return what actors need of the learner's state, as one vector."""
        return self.learner.agent.pack(state.policy)

    def reset(self) -> None:
        """Have the actors map the memory, compile and reset; seeds follow from the run's seed and its updates."""
        example = self.learner.action_example()
        published = jax.eval_shape(self._published, self.learner.state)
        self.layout = FragmentLayout(
            observation_space=self._pool.observation_space,
            action_shape=tuple(example.shape[1:]),
            action_dtype=str(example.dtype),
            rollout_length=self._rollout_length,
            num_envs=self._pool.num_envs_each,
            num_actors=self._pool.num_actors,
            num_slots=self._num_slots,
            num_parameters=published.size,
            num_gradient=self._gradient_size(),
        )
        seeds = derive_seeds(self.reset_seed(), self.spec.plan.num_envs)
        self._memory = self._pool.begin(
            self.spec, self.layout, seeds, takes_gradients=self.takes_gradients, takes_log_probs=self.takes_log_probs
        )
        self._publish()

    def _gradient_size(self) -> int:
        return 0

    def compile(self) -> float:
        """Compile the update while the actors compile what they need; return the seconds it took."""
        begin = time.perf_counter()
        self._compile_update()
        self._pool.wait_until_begun()
        return time.perf_counter() - begin

    @abstractmethod
    def _compile_update(self) -> None:
        """Compile the update for the run's shapes."""

    @property
    def runner_threads(self) -> list[dict[str, Any]]:
        """Thread settings of each actor."""
        return self._pool.threads

    def take_events(self) -> tuple[str, ...]:
        """Tell of the runners and environments that were replaced since the last call."""
        return self._pool.take_events()

    def _envs_of(self, slot: int) -> slice:
        width = self._pool.num_envs_each
        return slice(slot * width, (slot + 1) * width)

    def _count(self, slot: int, env_steps: NDArray[np.int64]) -> None:
        """Count the steps of an actor's environments, now that an update has learnt from them."""
        self._env_steps[self._envs_of(slot)] = env_steps

    def _forget_open_episodes(self, slot: int) -> None:
        """Start the discounted sums of an actor's rewards anew: its environments were reset."""
        discounted = np.array(self.learner.state.discounted)
        discounted[self._envs_of(slot)] = 0.0
        self.learner.state = replace(self.learner.state, discounted=jnp.asarray(discounted))

    def _publish(self) -> None:
        """Give the actors the newest parameters."""
        with self._ledger.phase(TRANSFER):
            vector: NDArray[np.float32] = np.asarray(self._pack(self.learner.state))
            self._memory.parameters.publish(vector, self.num_updates + 1)

    def _wait(self, interruptible: Callable[[], AbstractContextManager[None]]) -> Sampled:
        """Wait for fragments; what the learner waits for is told by what their actors did meanwhile."""
        clock = self._ledger.clock_ns
        begin_ns = clock()
        with interruptible():
            found = self._pool.wait()
        self._account(begin_ns, clock(), found)
        return found

    def _account(self, begin_ns: int, end_ns: int, found: Sampled) -> None:
        """Divide a wait among the phases that an average actor went through; what is beyond these is waiting."""
        times = np.mean([fragment.times_ns[:-1] for _, fragment in found], axis=0)
        scale = min(1.0, (end_ns - begin_ns) / max(float(times.sum()), 1.0))
        shares = {name: int(taken * scale) for name, taken in zip(TIMES, times.tolist(), strict=True)}
        shares[RUNNER_WAIT] += max(0, end_ns - begin_ns - sum(shares.values()))
        for name, share in shares.items():
            self._ledger.add_ns(name, share)
        if self._ledger.tracer is not None:
            self._ledger.tracer.waited(begin_ns, end_ns, shares)
            for slot, fragment in found:
                took = dict(zip(TIMES, fragment.times_ns.tolist(), strict=False))
                self._ledger.tracer.fragment(slot, int(fragment.began_ns[0]), int(fragment.times_ns[-1]), took)


class RunnerSyncDriver(ActorDriver):
    """Synchronous, with a copy of the policy in each runner: one fragment of each, all of the newest policy.

    Args:
        spec: the run, with everything filled in.
        pool: the actors.
        ledger: where time goes.

    Raises:
        PlanError: the batch is not a multiple of the number of environments.
    """

    def __init__(self, spec: RunSpec, pool: ActorPool, ledger: Ledger) -> None:
        length = spec.plan.rollout_length(spec.algo.batch_size or 0)
        super().__init__(spec, pool, ledger, rollout_length=length, num_slots=1)

    def _compile_update(self) -> None:
        self._batch = FragmentBatch(
            self.layout,
            self._pool.num_actors,
            final_capacity=expected_truncations(
                self._pool.max_episode_steps, self.spec.plan.num_envs, self._rollout_length
            ),
        )
        self.learner.compile(batch_of(self._batch.buffer))

    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        learner, pool = self.learner, self._pool
        for slot in range(pool.num_actors):
            pool.ask(slot)
        with self._ledger.phase(OTHER):
            draws = learner.draws()
        fragments: dict[int, Fragment] = {}
        begin_ns = self._ledger.clock_ns()
        with interruptible():
            while len(fragments) < pool.num_actors:
                fragments.update(pool.wait())
        self._account(begin_ns, self._ledger.clock_ns(), list(fragments.items()))
        with self._ledger.phase(TRANSFER):
            ordered = [fragments[slot] for slot in range(pool.num_actors)]
            self._batch.clear()
            for slot, fragment in enumerate(ordered):
                if fragment.begins_anew:
                    self._forget_open_episodes(slot)
                self._batch.put(slot, fragment)
            episodes = join_episodes([fragment.episodes() for fragment in ordered])
            batch = batch_of(self._batch.buffer)
            num_env_steps = self._batch.buffer.num_env_steps()
        metrics = learner.update(batch, progress, draws)
        for slot, fragment in enumerate(ordered):
            self._count(slot, fragment.env_steps)
        self._publish()
        return num_env_steps, episodes, metrics
