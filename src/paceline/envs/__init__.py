"""Environments: how a name becomes an environment, and synthetic environments of known cost and return.

Importing this package loads Gymnasium, but neither MuJoCo nor JAX nor pydantic: runner processes start from here.
"""

from __future__ import annotations

from paceline.envs.registry import EnvFactory, env_factory, episode_limit, family_of, known_envs, make_env

__all__ = ["EnvFactory", "env_factory", "episode_limit", "family_of", "known_envs", "make_env"]
