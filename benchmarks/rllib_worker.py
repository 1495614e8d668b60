"""PPO of RLlib's new API stack for a few iterations, in an interpreter that has Ray and nothing of paceline.

Called by ``benchmarks.train_vs_peers``; prints steps per second as JSON.

    python benchmarks/rllib_worker.py ENV RUNNERS ENVS BATCH MINIBATCH ITERATIONS
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig


def measure(env: str, runners: int, envs: int, batch: int, minibatch: int, iterations: int) -> float:
    """Return steps per second, the median over iterations after the first."""
    ray.init(num_cpus=max(2, os.cpu_count() or 2), include_dashboard=False, log_to_driver=False)
    config = (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=envs)
        .training(
            train_batch_size_per_learner=batch,
            minibatch_size=minibatch,
            num_epochs=10,
            lr=3e-4,
            gamma=0.99,
            lambda_=0.95,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh"))
    )
    algorithm = config.build_algo()
    times = []
    for _ in range(iterations + 1):
        begin = time.perf_counter()
        algorithm.train()
        times.append(time.perf_counter() - begin)
    algorithm.stop()
    ray.shutdown()
    return batch / statistics.median(times[1:])


if __name__ == "__main__":
    print(json.dumps({"sps": measure(sys.argv[1], *(int(value) for value in sys.argv[2:]))}))
