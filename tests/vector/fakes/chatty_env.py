"""A wrapper that puts all kinds of things into infos; in a module of its own, so that runners load nothing else."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from paceline.envs import env_factory


class Chatty(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Puts numbers, arrays, words and dicts into infos, some of them now and then."""

    def __init__(self, env: gymnasium.Env[Any, Any], gain: float = 1.0) -> None:
        super().__init__(env)
        self.gain = gain
        self.count = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return observation, {**info, "fresh": True, "options": str(kwargs.get("options"))}

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        told: dict[str, Any] = {**info, "count": self.count, "where": np.arange(2) + self.count, "nested": {"a": 1.5}}
        if self.count % 2:
            told["odd"] = "yes"
        return observation, self.gain * float(reward), terminated, truncated, told

    def answer(self, number: int, *, more: int = 0) -> int:
        return number + more + self.count


def cartpole() -> gymnasium.Env[Any, Any]:
    return Chatty(env_factory("CartPole-v1")())


def truncated() -> gymnasium.Env[Any, Any]:
    return Chatty(env_factory("synthetic:busy?us=0&episode_length=5")())


class Fitful(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Returns numbers as infos, but is silent, or says something else, every third step, as its seed tells."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.count = 0

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.count = seed or 0
        return self.env.reset(seed=seed, **kwargs)

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, reward, terminated, truncated, _ = self.env.step(action)
        told = ({"x": 0.5 * self.count, "n": self.count}, {}, {"x": 0.5 * self.count, "n": self.count, "more": 1})
        return observation, reward, terminated, truncated, told[(self.count // 4) % 3]


def fitful() -> gymnasium.Env[Any, Any]:
    return Fitful(env_factory("synthetic:busy?us=0&episode_length=1000")())
