"""Evaluation: how well a policy does over whole episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.errors import RequestError
from paceline.training.policy import Policy
from paceline.vector import make_vec


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted, unscaled returns and lengths of the episodes, ``[num_episodes]``."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]


def evaluate(
    policy: Policy,
    *,
    num_episodes: int,
    num_envs: int = 10,
    num_env_runners: int = 0,
    seed: int = 1_000_003,
    deterministic: bool = True,
) -> Evaluation:
    """Play ``num_episodes`` whole episodes.

    Every environment plays a quota of episodes that is fixed beforehand; taking the first ones to finish instead would
    favour short episodes.

    Args:
        policy: the policy.
        num_episodes: how many episodes.
        num_envs: how many environments play at once; which episodes are played follows from it and from ``seed``.
        num_env_runners: processes that step them; 0: this one. It changes the time that it takes, never the episodes.
        seed: seed of the environments; unlike any that training uses by default.
        deterministic: take the most probable action instead of a sample.

    Raises:
        RequestError: fewer than one episode or environment, or fewer than no runners.
        EnvError: an environment broke.
    """
    if num_episodes < 1 or num_envs < 1 or num_env_runners < 0:
        raise RequestError(
            f"expected at least one episode and one environment, got {num_episodes} episodes, "
            f"{num_envs} environments and {num_env_runners} runners; ask for more"
        )
    num_envs = min(num_envs, num_episodes)
    quota = np.full(num_envs, num_episodes // num_envs)
    quota[: num_episodes % num_envs] += 1
    returns: list[list[float]] = [[] for _ in range(num_envs)]
    lengths: list[list[int]] = [[] for _ in range(num_envs)]
    num_env_runners = min(num_env_runners, num_envs)
    venv = make_vec(
        policy.spec.env,
        num_envs,
        backend="shm" if num_env_runners else "serial",
        num_env_runners=num_env_runners or None,
        autoreset_mode=AutoresetMode.SAME_STEP,
        infos="none",
        copy=False,
    )
    try:
        observations, _ = venv.reset(seed=seed)
        total, steps = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        while any(len(done) < wanted for done, wanted in zip(returns, quota, strict=True)):
            venv.send(policy.act_batch(observations, deterministic=deterministic))
            batch, _ = venv.recv()
            observations = batch.observations
            total += batch.rewards
            steps += 1
            for n in np.flatnonzero(batch.terminated | batch.truncated):
                if len(returns[n]) < quota[n]:
                    returns[n].append(float(total[n]))
                    lengths[n].append(int(steps[n]))
                total[n], steps[n] = 0.0, 0
    finally:
        venv.close()
    return Evaluation(
        np.array([value for done in returns for value in done]), np.array([value for done in lengths for value in done])
    )
