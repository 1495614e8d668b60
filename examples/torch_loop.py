"""A small PyTorch training loop for Gymnasium's vector environments, and the one line that makes it paceline's.

    python examples/torch_loop.py                # paceline
    python examples/torch_loop.py gymnasium      # Gymnasium

Advantage actor-critic (Mnih et al. 2016) on CartPole-v1, with PyTorch and Gymnasium alone. Nothing but the line that
makes the environments differs: ``make_vec`` returns a ``gymnasium.vector.VectorEnv`` that behaves as Gymnasium's own.
With the same seeds both train the very same policy, digit for digit. (Needs ``pip install torch``.)
"""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

import paceline

NUM_ENVS = 16
ROLLOUT = 16
UPDATES = 80
GAMMA = 0.98
SEEDS = list(range(NUM_ENVS))


def make_env(library: str) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Make the environments: this is the line to change."""
    if library == "gymnasium":
        return gymnasium.make_vec("CartPole-v1", num_envs=NUM_ENVS, vectorization_mode="async")
    return paceline.make_vec("CartPole-v1", num_envs=NUM_ENVS)


def train(env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> list[float]:
    """Train, and return the mean length of the episodes that ended in each quarter of the updates."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
    critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=5e-3)
    observations, _ = env.reset(seed=SEEDS)
    over = np.zeros(NUM_ENVS, np.bool_)
    lengths, ended = np.zeros(NUM_ENVS), []
    quarters = []
    for update in range(UPDATES):
        log_probs, entropies, values, rewards, goes_on, is_step = [], [], [], [], [], []
        for _ in range(ROLLOUT):
            inputs = torch.as_tensor(observations)
            policy = torch.distributions.Categorical(logits=actor(inputs))
            actions = policy.sample()
            observations, reward, terminated, truncated, _ = env.step(actions.numpy())
            is_step.append(~over)  # Gymnasium's default mode: the row after an episode's end is its reset, not a step
            over = terminated | truncated
            lengths += is_step[-1]
            ended += lengths[over].tolist()
            lengths[over] = 0
            log_probs.append(policy.log_prob(actions))
            entropies.append(policy.entropy())
            values.append(critic(inputs).squeeze(-1))
            rewards.append(reward)
            goes_on.append(~over)
        with torch.no_grad():
            target = critic(torch.as_tensor(observations)).squeeze(-1)
        targets = []
        for reward, alive in zip(reversed(rewards), reversed(goes_on), strict=True):
            target = torch.as_tensor(reward, dtype=torch.float32) + GAMMA * target * torch.as_tensor(alive)
            targets.insert(0, target)
        mask = torch.as_tensor(np.stack(is_step))
        advantages = (torch.stack(targets) - torch.stack(values))[mask]
        gains = torch.stack(log_probs)[mask] * advantages.detach()
        loss = -gains.mean() + 0.5 * advantages.square().mean() - 0.01 * torch.stack(entropies)[mask].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*actor.parameters(), *critic.parameters()], 0.5)
        optimizer.step()
        if (update + 1) % (UPDATES // 4) == 0:
            quarters.append(float(np.mean(ended)))
            ended = []
    return quarters


def main(library: str) -> None:
    """Train and print the mean episode length of each quarter."""
    with closing(make_env(library)) as env:
        for number, length in enumerate(train(env), 1):
            print(f"quarter {number}: mean episode {length:.4f} steps")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "paceline")
