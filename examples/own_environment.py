"""An environment of your own in a file, trained under its name ``package.module:callable``.

From the repository's root (the working directory is importable):

    paceline train examples.own_environment:Thermostat --total-steps 40000 --out runs/thermostat
    paceline sweep examples.own_environment:Thermostat --num-env-runners 0,1,2 --num-envs-per-env-runner 4,16
    paceline evaluate runs/thermostat --episodes 20

or, from Python: ``python examples/own_environment.py [DIR]``.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import paceline


class Thermostat(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Hold a room at 20 degrees: the action heats or cools, and the weather outside drifts.

    The observation is (error, outside), both in tens of degrees: float32 ``[2]``. The action is the power in [-1, 1].
    The reward is the negative squared error, so 0 is the best return there is.

    An episode is *truncated* after ``episode_length`` steps: time is up, but the room goes on, and paceline bootstraps
    from its last state. It is *terminated* when the room freezes or boils: from there on there is nothing to gain.

    Args:
        episode_length: steps of an episode.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  # Gymnasium's own form

    def __init__(self, episode_length: int = 100) -> None:
        self.observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._length = episode_length
        self._step = 0
        self._error = 0.0
        self._outside = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start at a random temperature."""
        super().reset(seed=seed)  # makes self.np_random: the only source of chance, so that a seed repeats everything
        self._step = 0
        self._error, self._outside = (float(value) for value in self.np_random.uniform(-1.0, 1.0, 2))
        return self._observe(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Heat, leak, drift."""
        self._step += 1
        self._error += 0.3 * float(action[0]) + 0.1 * (self._outside - self._error)
        self._outside = float(np.clip(self._outside + self.np_random.normal(0.0, 0.05), -2.0, 2.0))
        terminated = abs(self._error) > 5.0
        return self._observe(), -(self._error**2), terminated, self._step >= self._length, {}

    def _observe(self) -> NDArray[np.float32]:
        return np.array([self._error, self._outside], np.float32)


def main(out: str) -> None:
    """Train it from Python; the same as the command above."""
    plan = paceline.Plan(num_env_runners=0, num_envs_per_env_runner=8)
    run = paceline.RunSpec(
        env=paceline.EnvSpec(id="examples.own_environment:Thermostat", kwargs={"episode_length": 100}),
        plan=plan,
        budget=paceline.Budget(total_steps=40_960),
    )
    result = paceline.train(run, out=out)
    assert result.summary is not None
    first, last = result.iterations[0], result.iterations[-1]
    print(f"{result.outcome}: {result.summary.avg_sps:,.0f} steps/s with plan {plan.label}")
    print(f"mean return {first.episode_return_mean:,.1f} at first, {last.episode_return_mean:,.1f} at last")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/thermostat")
