"""What is read off one environment of Gymnasium before N of them are simulated."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from paceline.errors import PlanError

Env = gymnasium.Env[Any, Any]


def options_of(env: Any, spec: EnvSpec | None) -> dict[str, Any]:
    """Return every keyword argument that an environment was built with, defaults included."""
    parameters = inspect.signature(type(env).__init__).parameters.values()
    options = {item.name: item.default for item in parameters if item.default is not inspect.Parameter.empty}
    given = dict(spec.kwargs) if spec is not None else {}
    return {**options, **given}


def step_limit(spec: EnvSpec | None) -> int:
    """Return after how many steps an episode is cut; more than anybody takes where there is no limit."""
    limit = spec.max_episode_steps if spec is not None else None
    return limit if limit is not None and limit > 0 else np.iinfo(np.int64).max


def refuse_wrappers(env: Env) -> None:
    """Refuse an environment that is wrapped in more than Gymnasium's own checks and time limit.

    Raises:
        PlanError: it is.
    """
    harmless = (OrderEnforcing, PassiveEnvChecker, TimeLimit)
    while isinstance(env, gymnasium.Wrapper):
        if type(env) not in harmless:
            raise PlanError(
                f"expected an environment without wrappers for backend native, got {type(env).__name__}; use backend "
                f"shm or serial"
            )
        env = env.env
