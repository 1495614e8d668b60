"""An environment that tells which modules its process has loaded."""

from __future__ import annotations

import sys

from gymnasium.envs.classic_control.cartpole import CartPoleEnv


class LookingEnv(CartPoleEnv):
    def loaded(self) -> list[str]:
        return sorted(sys.modules)
