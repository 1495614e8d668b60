"""``paceline.make_vec`` under Stable-Baselines3: its PPO, our runners.

    python examples/sb3_make_vec.py

Where Stable-Baselines3's own ``SubprocVecEnv`` takes a process and a pickle for every environment, these share two
processes and their memory; data and training are the same. (Needs ``pip install stable-baselines3``.)
"""

from __future__ import annotations

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import paceline
from paceline.vector.sb3 import SB3VecEnv


def main() -> None:
    """Train for a few thousand steps and compare the returns before and after."""
    venv = paceline.make_vec(
        "CartPole-v1",
        num_envs=8,
        backend="shm",  # leave it out to have the quickest for this environment
        num_env_runners=2,
        autoreset_mode="same_step",  # as Stable-Baselines3 wants it
        infos="none",  # it needs none of the environment's own
    )
    env = VecMonitor(SB3VecEnv(venv))
    model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, n_epochs=10, learning_rate=1e-3, device="cpu", seed=1)
    before, _ = evaluate_policy(model, env, n_eval_episodes=8)
    model.learn(12_288)
    after, _ = evaluate_policy(model, env, n_eval_episodes=8)
    print(f"mean return {before:.1f} before, {after:.1f} after {model.num_timesteps:,} steps")
    env.close()


if __name__ == "__main__":
    main()
