"""Load the policy of a finished run and let it act in an environment of your own making.

From the repository's root:

    paceline train --config configs/cartpole.yaml --out runs/cartpole
    python examples/use_policy.py runs/cartpole

What it plays is one episode; `paceline evaluate runs/cartpole --episodes 100` plays many and gives an interval.
"""

from __future__ import annotations

import sys

import paceline


def play(folder: str, seed: int = 7) -> float:
    """Play one episode with the best checkpoint in ``folder`` and return the undiscounted return."""
    policy = paceline.Policy.load(folder)  # which="last" for the newest; a checkpoint's own folder works as well
    env = paceline.make_env(policy.spec.env)
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        action = policy.act(observation)  # deterministic=False samples
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        over = terminated or truncated
    env.close()
    return total


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected the --out folder of a training run: python examples/use_policy.py runs/cartpole")
    print(f"return {play(sys.argv[1]):,.1f}")
