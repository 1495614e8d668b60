"""``paceline.make_vec`` in a training loop of your own: a Gymnasium vector environment in runner processes.

    python examples/vector_loop.py

NumPy alone: no learner of paceline's, no JAX. The "learner" is the cross-entropy method on a linear policy, where each
environment tries its own weights, so that all of them act in one matrix product.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import paceline

NUM_ENVS = 16
GENERATIONS = 8
EPISODE_STEPS = 500
ELITE = 4


def play(
    env: gymnasium.vector.VectorEnv[Any, Any, Any], weights: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Play one episode of every environment with its own weights and return the returns, float64 ``[N]``."""
    observations, _ = env.reset(seed=seed)
    returns = np.zeros(env.num_envs)
    alive = np.ones(env.num_envs, np.bool_)
    for _ in range(EPISODE_STEPS):
        actions = (np.einsum("nd,nd->n", observations, weights) > 0).astype(np.int64)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        returns += rewards * alive
        alive &= ~(terminated | truncated)
        if not alive.any():
            break
    return returns


def main() -> None:
    """Search for weights that balance the pole."""
    rng = np.random.default_rng(0)
    # Two runner processes of eight environments each; leave out num_env_runners to have one per usable core.
    with closing(paceline.make_vec("CartPole-v1", NUM_ENVS, backend="shm", num_env_runners=2)) as env:
        mean, spread = np.zeros(4), np.ones(4)
        for generation in range(GENERATIONS):
            weights = mean + spread * rng.normal(size=(NUM_ENVS, 4))
            returns = play(env, weights, seed=generation)
            elite = weights[np.argsort(returns)[-ELITE:]]
            mean, spread = elite.mean(axis=0), elite.std(axis=0) + 0.05
            print(f"generation {generation}: mean return {returns.mean():6.1f}, best {returns.max():6.1f}")


if __name__ == "__main__":
    main()
