"""What acting and learning cost by themselves: timed for a moment, on zeros of the right shapes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import jax
import numpy as np

from paceline.measure.ledger import Ledger
from paceline.rollout.buffer import RolloutBuffer
from paceline.spec import RunSpec
from paceline.training.batches import batch_of
from paceline.training.learner import Learner
from paceline.training.runtime import set_up_jax
from paceline.vector.spaces import zeros

_REPEATS = 3


@dataclass(frozen=True)
class LearnerCosts:
    """What a learner costs on this machine.

    Attributes:
        acting_us: microseconds from observations to actions on the host, by number of environments.
        update_s: seconds of one update.
        compile_s: seconds of compiling both.
        row_bytes: bytes of one step of a batch.
    """

    acting_us: tuple[tuple[int, float], ...]
    update_s: float
    compile_s: float
    row_bytes: int


def measure_learner_costs(
    spec: RunSpec,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    sizes: Sequence[int],
    *,
    budget_s: float = 2.0,
) -> LearnerCosts:
    """Time acting for each of ``sizes`` environments, and one update.

    Args:
        spec: the run, with all algorithm fields filled in; its plan says the threads and the device.
        observation_space: of one environment.
        action_space: of one environment.
        sizes: numbers of environments.
        budget_s: seconds for the updates, beyond the first; acting takes a fraction of that.
    """
    set_up_jax(spec.plan)
    begin = time.perf_counter()
    num_envs = max(size for size in sizes if (spec.algo.batch_size or 1) % size == 0)
    learner = Learner(spec, observation_space, action_space, num_envs, Ledger())
    example = learner.action_example()
    length = (spec.algo.batch_size or 1) // num_envs
    buffer = RolloutBuffer(observation_space, example.shape[1:], example.dtype, length, num_envs)
    buffer.valid[...] = True
    log_probs = np.zeros((length, num_envs), np.float32) if spec.algo.name == "impala" else None
    batch = batch_of(buffer, log_probs=log_probs)
    learner.compile(batch)
    acting = {size: _acting(learner, observation_space, size) for size in sizes}
    compile_s = time.perf_counter() - begin
    update_s = _median_s(lambda: learner.update(batch, 1.0, learner.draws()), budget_s)
    times = tuple((size, 1e6 * _median_s(act, budget_s / 20)) for size, act in acting.items())
    row_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves((buffer.observations, buffer.actions))) // (
        length * num_envs
    )
    return LearnerCosts(times, update_s, compile_s, row_bytes + 12)


def _acting(learner: Learner, observation_space: gymnasium.Space[Any], size: int) -> Callable[[], Any]:
    """Return a compiled call that acts for ``size`` environments as a driver does."""
    agent = learner.agent
    act = jax.jit(agent.act)
    packed = jax.jit(agent.pack)(learner.state.policy)
    steps = np.zeros(size, np.int32)
    like = jax.eval_shape(functools.partial(agent.noise, rollout_length=2), learner.action_key, steps)
    noise = np.zeros(like.shape, like.dtype)
    observations = zeros(observation_space, (size,))

    def once() -> Any:
        return np.asarray(act(packed, noise, steps, observations))

    once()
    return once


def _median_s(call: Callable[[], Any], budget_s: float) -> float:
    """Return the median seconds of a call, made at least a few times."""
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < _REPEATS or (time.perf_counter() - begin < budget_s and len(taken) < 1000):
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return float(np.median(taken))
