"""The synchronous driver: sample a batch with the newest policy, learn from it, repeat.

The policy sits in the learner's process and acts for all environments at once. The driver knows nothing of how
environments are executed (that is the vector backend's matter) and nothing of the algorithm's equations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.agents.agent import Agent
from paceline.agents.ppo import PPO, Batch, PPOState
from paceline.errors import NonFiniteLossError
from paceline.measure.ledger import LEARNER_UPDATE, OTHER, TRANSFER, Ledger
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.collector import Collector
from paceline.rollout.episodes import Episodes
from paceline.spec import PPOSpec, RunSpec
from paceline.training.checkpoint import Checkpoint
from paceline.vector import make_vec
from paceline.vector.base import ObsTree, VecEnv
from paceline.vector.spaces import zeros

_ENV_STEPS = "env_steps"
STEP_TIMEOUT_S = 600.0
"""Longest step of all environments, where runners step them and the run does not say: so long is only a hang."""


@dataclass(frozen=True)
class Iteration:
    """What one iteration (sample, learn) did."""

    num_env_steps: int
    episodes: Episodes
    metrics: dict[str, float]


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
        step_timeout_s=timeout_s,
    )


class SyncDriver:
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
        algo: PPOSpec = spec.algo
        assert algo.batch_size is not None and algo.num_epochs is not None and algo.learning_rate is not None
        self.spec = spec
        self.batch_size = algo.batch_size
        self.rollout_length = spec.plan.rollout_length(algo.batch_size)
        self.agent = Agent(
            algo.network,
            venv.single_observation_space,
            venv.single_action_space,
            normalize_observations=bool(algo.normalize_observations),
        )
        self._num_epochs = algo.num_epochs
        self._learning_rate = algo.learning_rate
        self._ledger = ledger
        self._algorithm = PPO(algo, self.agent)
        init_key, self._action_key = jax.random.split(jax.random.key(spec.seed))
        self.state: PPOState = jax.jit(self._algorithm.init, static_argnums=1)(init_key, venv.num_envs)
        self.num_updates = 0
        self._act = jax.jit(self.agent.act)
        self._pack = jax.jit(self.agent.pack)
        self._noise = jax.jit(self.agent.noise, static_argnums=2)
        self._updates: dict[int, Any] = {}
        self.late_compile_s = 0.0
        example = jax.eval_shape(
            self.agent.act_deterministic, self.state.policy, jax.tree.map(lambda x: x[None], self._observation_shapes())
        )
        self.buffer = RolloutBuffer(
            venv.single_observation_space,
            example.shape[1:],
            example.dtype,
            self.rollout_length,
            venv.num_envs,
            final_capacity=_expected_truncations(venv, self.rollout_length),
        )
        self._collector = Collector(venv, self.buffer, self.agent.distribution.to_env, ledger)

    @property
    def total_env_steps(self) -> int:
        """Real steps of all environments so far."""
        return int(self._collector.total_steps.sum())

    def reset(self) -> None:
        """Reset the environments; their seeds follow from the run's seed and the number of updates so far."""
        seed = np.random.SeedSequence([self.spec.seed, self.num_updates]).generate_state(1)[0] >> 1
        self._collector.reset(int(seed))

    def checkpoint_state(self) -> dict[str, Any]:
        """Return all arrays that a resumed run needs."""
        return {
            "policy": self.state.policy,
            "optimiser": self.state.optimiser,
            "return_stats": self.state.return_stats,
            _ENV_STEPS: self._collector.total_steps,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``; environments start new episodes, and there may be another number of them.

        Raises:
            ResultsError: it is of another network or algorithm.
        """
        template = self.checkpoint_state()
        arrays = dict(checkpoint.arrays)
        env_steps = arrays.pop(_ENV_STEPS, np.zeros(0, np.int64))
        del template[_ENV_STEPS]
        state = replace(checkpoint, arrays=arrays).restore(template)
        self.state = PPOState(state["policy"], state["optimiser"], state["return_stats"], self.state.discounted)
        self._collector.total_steps = _shared_out(env_steps, len(self._collector.total_steps))
        self.num_updates = int(checkpoint.meta["num_updates"])

    def compile(self) -> float:
        """Compile acting and learning for the run's shapes; return the seconds it took."""
        begin = time.perf_counter()
        noise = self._draw_noise()
        steps = np.zeros(self.buffer.num_envs, np.int32)
        np.asarray(self._act(self._pack(self.state.policy), noise, steps, self.buffer.row(0)))
        self._compiled_update(self._batch(), self._permutations())
        self.late_compile_s = 0.0
        return time.perf_counter() - begin

    def iterate(
        self, progress: float, *, interruptible: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Iteration:
        """Sample one batch and learn from it.

        Args:
            progress: share of the budget that is spent, 0..1; anneals the learning rate.
            interruptible: wraps the sampling. An exception that it raises leaves the driver as it was before the
                iteration, but for the environments.

        Raises:
            EnvError: an environment broke.
            NonFiniteLossError: the update met NaN or infinity; ``state`` is still the last good one.
        """
        with self._ledger.phase(OTHER):
            noise = self._draw_noise()
            permutations = self._permutations()
            packed = self._pack(self.state.policy)
        compiled = self._act

        def act(steps: NDArray[np.int32], observations: ObsTree) -> NDArray[Any]:
            return np.asarray(compiled(packed, noise, steps, observations))

        with interruptible():
            episodes = self._collector.collect(act)
        with self._ledger.phase(TRANSFER):
            batch = self._batch()
            num_env_steps = self.buffer.num_env_steps()
        update = self._compiled_update(batch, permutations)
        with self._ledger.phase(LEARNER_UPDATE):
            rate = self._learning_rate * (1.0 - progress if self.spec.algo.anneal_learning_rate else 1.0)
            state, device_metrics = update(self.state, batch, permutations, np.float32(rate))
            metrics = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
        if not metrics.pop("finite"):
            raise NonFiniteLossError(
                f"update {self.num_updates + 1} produced NaN or infinity (loss {metrics['loss']}); lower "
                f"algo.learning_rate, set algo.normalize_observations=true, or check the environment's rewards"
            )
        self.state = state
        self.num_updates += 1
        metrics["learning_rate"] = rate
        return Iteration(num_env_steps, episodes, metrics)

    def _observation_shapes(self) -> Any:
        return zeros(self.agent.observation_space, ())

    def _draw_noise(self) -> jax.Array:
        first_steps = self._collector.total_steps.astype(np.int32)
        noise: jax.Array = self._noise(self._action_key, first_steps, self.rollout_length)
        return noise

    def _permutations(self) -> NDArray[np.int32]:
        # Drawn here: sorting 16384 random keys takes XLA:CPU 6 ms per epoch, NumPy shuffles them in 0.15 ms.
        generator = np.random.default_rng([self.spec.seed, self.num_updates])
        rows = np.tile(np.arange(self.batch_size, dtype=np.int32), (self._num_epochs, 1))
        return generator.permuted(rows, axis=1)

    def _batch(self) -> Batch:
        buffer = self.buffer
        final_observations, final_rows = buffer.finals()
        return Batch(
            buffer.observations,
            buffer.actions,  # type: ignore[arg-type]  # NumPy arrays enter the compiled update as they are
            buffer.rewards,  # type: ignore[arg-type]
            buffer.terminated,  # type: ignore[arg-type]
            buffer.truncated,  # type: ignore[arg-type]
            buffer.valid,  # type: ignore[arg-type]
            final_observations,
            final_rows,  # type: ignore[arg-type]
        )

    def _compiled_update(self, batch: Batch, permutations: NDArray[np.int32]) -> Any:
        capacity = len(batch.final_rows)
        if capacity not in self._updates:
            begin_ns = self._ledger.clock_ns()
            lowered = jax.jit(self._algorithm.update).lower(self.state, batch, permutations, np.float32(0))
            self._updates[capacity] = lowered.compile()
            duration_ns = self._ledger.clock_ns() - begin_ns
            # More episodes were cut than there was room for: compiling anew is no part of the iteration either.
            self._ledger.exclude_ns(duration_ns)
            self.late_compile_s += duration_ns * 1e-9
        return self._updates[capacity]


def _shared_out(env_steps: NDArray[np.int64], num_envs: int) -> NDArray[np.int64]:
    """Return steps per environment, int64 ``[num_envs]``, that add up to those of however many there were before."""
    if len(env_steps) == num_envs:
        return np.asarray(env_steps, np.int64)
    each, rest = divmod(int(env_steps.sum()), num_envs)
    return np.full(num_envs, each, np.int64) + (np.arange(num_envs) < rest)


def _expected_truncations(venv: VecEnv, rollout_length: int) -> int:
    """Return how many truncated episodes a rollout is expected to hold at most, a power of two."""
    limit = getattr(venv.spec, "max_episode_steps", None) or rollout_length
    return 1 << math.ceil(math.log2(venv.num_envs * math.ceil(rollout_length / limit)))
