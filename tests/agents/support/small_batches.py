"""Experience of small spaces, as environments return it, and what compares trees of arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.algorithm import Algorithm
from paceline.agents.experience import Batch, LearnerState
from paceline.agents.normalise import RunningStats

T, N, D = 6, 2, 3
BOX = spaces.Box(-np.inf, np.inf, (D,))
ACTIONS: dict[str, gymnasium.Space[Any]] = {"gaussian": spaces.Box(-1, 1, (2,)), "discrete": spaces.Discrete(3)}
ENDS: dict[str, Any] = {"terminations": [(1, 0)], "truncations": [(3, 0), (0, 1), (T - 1, 1)]}
"""Where episodes end, for :func:`make_batch`."""


def make_batch(kind: str = "gaussian", *, seed: int = 0, terminations: Any = (), truncations: Any = ()) -> Batch:
    """Return experience that ends at the given (t, n), as ``SAME_STEP`` mode delivers it."""
    rng = np.random.default_rng(seed)
    terminated, truncated = np.zeros((T, N), bool), np.zeros((T, N), bool)
    for place in terminations:
        terminated[place] = True
    for place in truncations:
        truncated[place] = True
    finals = np.zeros((4, D), np.float32)
    finals[: len(truncations)] = rng.normal(size=(len(truncations), D))
    rows = np.full(4, T * N, np.int32)
    rows[: len(truncations)] = [t * N + n for t, n in truncations]
    actions = rng.integers(3, size=(T, N)) if kind == "discrete" else rng.normal(size=(T, N, 2)).astype(np.float32)
    return Batch(
        observations=(rng.normal(size=(T + 1, N, D)) * [1, 5, 0.1] + [0, 3, 0]).astype(np.float32),
        actions=actions.astype(np.int32) if kind == "discrete" else actions,
        rewards=rng.normal(size=(T, N)).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        valid=np.ones((T, N), bool),
        final_observations=finals,
        final_rows=rows,
    )


def next_step_batch(kind: str = "gaussian", *, seed: int = 0) -> Batch:
    """Return experience as ``NEXT_STEP`` mode delivers it: a reset row after each end, with the last observation.

    Environment 0 terminates in row 1 and is truncated in the last; environment 1 is truncated in row 2, and begins
    with the reset row of an episode that ended in the batch before.
    """
    batch = make_batch(kind, seed=seed, terminations=[(1, 0)])
    batch.truncated[2, 1] = batch.truncated[T - 1, 0] = True
    for place in RESETS:
        batch.valid[place] = False
        batch.rewards[place] = 0
    return batch


RESETS = [(2, 0), (0, 1), (3, 1)]
"""Reset rows (t, n) of :func:`next_step_batch`."""


def randomise(state: LearnerState) -> LearnerState:
    """Return a state whose policy is no longer nearly uniform."""
    rng = np.random.default_rng(42)

    def draw(leaf: jax.Array) -> NDArray[np.float32]:
        return rng.normal(scale=0.5, size=leaf.shape).astype(np.float32)

    policy = replace(
        state.policy,
        params=jax.tree.map(draw, state.policy.params),
        log_std=None if state.policy.log_std is None else draw(state.policy.log_std),
    )
    return replace(state, policy=policy)


def season(algorithm: Algorithm) -> LearnerState:
    """Return a state with a policy that is not uniform and statistics that have seen 50 steps; nothing is compiled."""
    shapes = jax.eval_shape(lambda key: algorithm.init(key, N), jax.random.key(0))
    state = randomise(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    seen = RunningStats(np.float32([0.2, 3, 0]), np.float32([1, 16, 0.04]), np.float32(50))
    returns = RunningStats(np.float32([0.5]), np.float32([2.25]), np.float32(50))
    return replace(state, policy=replace(state.policy, observation_stats=seen), return_stats=returns)


def arrays(tree: Any) -> list[NDArray[Any]]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_trees_equal(left: Any, right: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


def assert_trees_close(left: Any, right: Any, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)
