"""The synchronous driver: sample a batch with the newest policy, learn from it, repeat.

The policy sits in the learner's process and acts for all environments at once. The driver knows nothing of how
environments are executed (that is the vector backend's matter) and nothing of the algorithm's equations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.measure.ledger import OTHER, TRANSFER, Ledger
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.collector import ActFunction, Collector
from paceline.rollout.episodes import Episodes
from paceline.rollout.pipelined import PipelinedCollector
from paceline.spec import RunSpec
from paceline.training.batches import batch_of, expected_truncations
from paceline.training.learner_driver import LearnerDriver
from paceline.vector import make_vec
from paceline.vector.base import EnvIds, ObsTree, VecEnv
from paceline.vector.faults import OnFault

STEP_TIMEOUT_S = 600.0
"""Longest step of all environments, where runners step them and the run does not say: so long is only a hang."""


def make_training_vec(spec: RunSpec, autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP) -> VecEnv:
    """Build the environments of a run as its plan says.

    Raises:
        PlanError: the run limits the time of a step, which only runners can.
        PacelineError: the environments cannot be built.
    """
    timeout_s = spec.step_timeout_s
    if timeout_s is None and spec.plan.resolved_backend in ("shm", "pipe", "thread"):
        timeout_s = STEP_TIMEOUT_S
    return make_vec(
        spec.env,
        spec.plan.num_envs,
        plan=spec.plan,
        autoreset_mode=autoreset_mode,
        infos="none",
        copy=False,
        on_fault=on_fault(spec),
        max_restarts=spec.max_restarts,
        step_timeout_s=timeout_s,
    )


def on_fault(spec: RunSpec) -> OnFault:
    """Return what a run does about environments that break."""
    return "restart" if spec.max_restarts else "raise"


class SyncDriver(LearnerDriver):
    """Owns environments, buffer and learner of one run.

    Args:
        spec: the run, with all algorithm fields filled in.
        venv: the environments; closed by whoever made them.
        ledger: where time goes.

    Raises:
        PlanError: the batch is not a multiple of the number of environments.
        UnsupportedSpaceError: a space that the agent cannot handle.
    """

    def __init__(self, spec: RunSpec, venv: VecEnv, ledger: Ledger) -> None:
        self._env_steps: NDArray[np.int64] = np.zeros(venv.num_envs, np.int64)
        super().__init__(spec, venv.single_observation_space, venv.single_action_space, ledger)
        self.rollout_length = spec.plan.rollout_length(self.learner.batch_size)
        self._venv = venv
        self._num_faults = 0
        agent = self.learner.agent
        self._act = jax.jit(agent.act)
        self._pack = jax.jit(agent.pack)
        self._noise = jax.jit(agent.noise, static_argnums=2)
        example = self.learner.action_example()
        limit = getattr(venv.spec, "max_episode_steps", None)
        self.buffer = RolloutBuffer(
            venv.single_observation_space,
            example.shape[1:],
            example.dtype,
            self.rollout_length,
            venv.num_envs,
            final_capacity=expected_truncations(limit, venv.num_envs, self.rollout_length),
        )
        self._collector = self._make_collector(venv)

    @property
    def env_steps(self) -> NDArray[np.int64]:
        """Real steps of each environment that were learnt from, int64 ``[N]``; the collector may have taken more."""
        return self._env_steps

    @env_steps.setter
    def env_steps(self, env_steps: NDArray[np.int64]) -> None:
        self._env_steps = env_steps
        self._collector.total_steps = env_steps.copy()

    def _make_collector(self, venv: VecEnv) -> Any:
        return Collector(venv, self.buffer, self.learner.agent.distribution.to_env, self._ledger)

    def _collect(self, packed: jax.Array, noise: jax.Array) -> Episodes:
        compiled = self._act

        def act(steps: NDArray[np.int32], observations: ObsTree) -> NDArray[Any]:
            return np.asarray(compiled(packed, noise, steps, observations))

        episodes: Episodes = self._collector.collect(act)
        return episodes

    def _compile_acting(self, packed: jax.Array, noise: jax.Array) -> None:
        np.asarray(self._act(packed, noise, np.zeros(self.buffer.num_envs, np.int32), self.buffer.row(0)))

    def reset(self) -> None:
        """Reset the environments; their seeds follow from the run's seed and the number of updates so far."""
        self._collector.reset(self.reset_seed())
        self.learner.forget_open_episodes()
        self.buffer.shrink_finals()

    def compile(self) -> float:
        """Compile acting and learning for the run's shapes; return the seconds it took."""
        begin = time.perf_counter()
        self._compile_acting(self._pack(self.learner.state.policy), self._draw_noise())
        self.learner.compile(batch_of(self.buffer))
        return time.perf_counter() - begin

    def take_events(self) -> tuple[str, ...]:
        """Tell of the environments that were replaced since the last call."""
        known, self._num_faults = self._num_faults, len(self._venv.faults)
        most = self.spec.max_restarts
        return tuple(
            f"env {fault.env_index} was replaced (replacement {known + k} of at most {most}): {fault.message}"
            for k, fault in enumerate(self._venv.faults[known:], start=1)
        )

    def _update(
        self, progress: float, interruptible: Callable[[], AbstractContextManager[None]]
    ) -> tuple[int, Episodes, dict[str, float]]:
        learner = self.learner
        with self._ledger.phase(OTHER):
            noise = self._draw_noise()
            draws = learner.draws()
            packed = self._pack(learner.state.policy)
        with interruptible():
            episodes = self._collect(packed, noise)
        with self._ledger.phase(TRANSFER):
            batch = batch_of(self.buffer)
            num_env_steps = self.buffer.num_env_steps()
        metrics = learner.update(batch, progress, draws)
        self._env_steps = self._collector.total_steps.copy()
        return num_env_steps, episodes, metrics

    def _draw_noise(self) -> jax.Array:
        first_steps = self._collector.total_steps.astype(np.int32)
        noise: jax.Array = self._noise(self.learner.action_key, first_steps, self.rollout_length)
        return noise


class PipelinedDriver(SyncDriver):
    """As :class:`SyncDriver`, but one half of the environments steps while the policy acts for the other half."""

    def _make_collector(self, venv: VecEnv) -> Any:
        return PipelinedCollector(venv, self.buffer, self.learner.agent.distribution.to_env, self._ledger)

    def _collect(self, packed: jax.Array, noise: jax.Array) -> Episodes:
        episodes: Episodes = self._collector.collect([self._act_for(half, packed, noise) for half in self._halves])
        return episodes

    def _act_for(self, half: EnvIds, packed: jax.Array, noise: jax.Array) -> ActFunction:
        compiled, own = self._act, noise[:, half]

        def act(steps: NDArray[np.int32], observations: ObsTree) -> NDArray[Any]:
            return np.asarray(compiled(packed, own, steps, observations))

        return act

    def _compile_acting(self, packed: jax.Array, noise: jax.Array) -> None:
        for half in self._halves:
            observations = self.buffer.some_of(0, half)
            self._act_for(half, packed, noise)(np.zeros(len(half), np.int32), observations)

    @property
    def _halves(self) -> tuple[EnvIds, EnvIds]:
        halves: tuple[EnvIds, EnvIds] = self._collector.halves
        return halves
