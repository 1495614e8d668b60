"""The learner: agent, algorithm and everything that an update changes, whoever samples the experience."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from paceline.agents.agent import Agent
from paceline.agents.algorithm import make_algorithm
from paceline.agents.experience import Batch, LearnerState
from paceline.errors import NonFiniteLossError
from paceline.measure.ledger import LEARNER_UPDATE, Ledger
from paceline.spec import RunSpec
from paceline.training.checkpoint import Checkpoint
from paceline.vector.spaces import zeros


class Learner:
    """Turns batches into parameters.

    Args:
        spec: the run, with all algorithm fields filled in.
        observation_space: of a single environment.
        action_space: of a single environment.
        num_envs: columns N of a batch.
        ledger: where time goes.

    Attributes:
        state: what the last update left.
        num_updates: how many there were.
        num_iterations: how many iterations there were, of one update or several; the driver counts.
        late_compile_s: seconds of compilation that came after :meth:`compile`.

    Raises:
        UnsupportedSpaceError: a space that the agent cannot handle.
    """

    def __init__(
        self,
        spec: RunSpec,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
        ledger: Ledger,
    ) -> None:
        algo = spec.algo
        assert algo.batch_size is not None and algo.learning_rate is not None
        self.spec = spec
        self.batch_size = algo.batch_size
        self.agent = make_agent(spec, observation_space, action_space)
        self.num_updates = self.num_iterations = 0
        self.late_compile_s = 0.0
        self._learning_rate = algo.learning_rate
        self._ledger = ledger
        self._algorithm = make_algorithm(algo, self.agent)
        init_key, self.action_key = jax.random.split(jax.random.key(spec.seed))
        self.state: LearnerState = jax.jit(self._algorithm.init, static_argnums=1)(init_key, num_envs)
        self._updates: dict[tuple[int, ...], Any] = {}

    def draws(self) -> Any:
        """Return what the next update needs at random."""
        return self._algorithm.draws(np.random.default_rng([self.spec.seed, self.num_updates]))

    def action_example(self) -> jax.ShapeDtypeStruct:
        """Return shape and dtype of one environment's action as the policy gives it, with a leading axis of 1."""
        observations = zeros(self.agent.observation_space, (1,))
        example: jax.ShapeDtypeStruct = jax.eval_shape(self.agent.act_deterministic, self.state.policy, observations)
        return example

    def compile(self, batch: Batch) -> None:
        """Compile the update for batches of this shape."""
        self._compiled(batch, self.draws())
        self.late_compile_s = 0.0

    def update(self, batch: Batch, progress: float, draws: Any) -> dict[str, float]:
        """Learn from a batch and return metrics.

        Args:
            batch: the experience.
            progress: share of the budget that is spent, 0..1; anneals the learning rate.
            draws: from :meth:`draws`.

        Raises:
            NonFiniteLossError: the update met NaN or infinity; ``state`` is still the last good one.
        """
        update = self._compiled(batch, draws)
        with self._ledger.phase(LEARNER_UPDATE):
            rate = self.learning_rate(progress)
            state, device_metrics = update(self.state, batch, draws, np.float32(rate))
            metrics = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
        return self.accept(state, metrics, rate)

    def learning_rate(self, progress: float) -> float:
        """Return the learning rate at a share of the budget."""
        return self._learning_rate * (1.0 - progress if self.spec.algo.anneal_learning_rate else 1.0)

    def accept(self, state: LearnerState, metrics: dict[str, float], rate: float) -> dict[str, float]:
        """Take over what an update gave, if all of it is finite.

        Raises:
            NonFiniteLossError: it is not; ``state`` is still the last good one.
        """
        if not metrics.pop("finite"):
            raise NonFiniteLossError(
                f"update {self.num_updates + 1} produced NaN or infinity (loss {metrics['loss']}); lower "
                f"algo.learning_rate, set algo.normalize_observations=true, or check the environment's rewards"
            )
        self.state = state
        self.num_updates += 1
        return {**metrics, "learning_rate": rate}

    def forget_open_episodes(self) -> None:
        """Start the discounted sums of rewards anew: the environments were reset."""
        self.state = replace(self.state, discounted=jnp.zeros_like(self.state.discounted))

    def checkpoint_state(self) -> dict[str, Any]:
        """Return all arrays of the learner that a resumed run needs."""
        return {
            "policy": self.state.policy,
            "optimiser": self.state.optimiser,
            "return_stats": self.state.return_stats,
        }

    def restore(self, checkpoint: Checkpoint, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the learner's part of a checkpoint.

        Args:
            checkpoint: where it comes from.
            arrays: those of its arrays that are the learner's.

        Raises:
            ResultsError: it is of another network or algorithm.
        """
        state = replace(checkpoint, arrays=dict(arrays)).restore(self.checkpoint_state())
        self.state = LearnerState(state["policy"], state["optimiser"], state["return_stats"], self.state.discounted)
        self.num_updates = int(checkpoint.meta["num_updates"])
        self.num_iterations = int(checkpoint.meta.get("num_iterations", self.num_updates))

    def _compiled(self, batch: Batch, draws: Any) -> Any:
        # All that can differ from batch to batch: how many truncated episodes there is room for.
        shape = (len(batch.final_rows), *batch.rewards.shape)
        if shape not in self._updates:
            begin_ns = self._ledger.clock_ns()
            lowered = jax.jit(self._algorithm.update).lower(self.state, batch, draws, np.float32(0))
            self._updates[shape] = lowered.compile()
            duration_ns = self._ledger.clock_ns() - begin_ns
            # More episodes were cut than there was room for: compiling anew is no part of the iteration either.
            self._ledger.exclude_ns(duration_ns)
            self.late_compile_s += duration_ns * 1e-9
        return self._updates[shape]


def make_agent(spec: RunSpec, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> Agent:
    """Return the agent of a run.

    Raises:
        UnsupportedSpaceError: a space that it cannot handle.
    """
    return Agent(
        spec.algo.network,
        observation_space,
        action_space,
        normalize_observations=bool(spec.algo.normalize_observations),
    )
