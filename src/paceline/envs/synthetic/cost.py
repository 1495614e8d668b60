"""Environments whose step costs a known time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.errors import SpecError

_OBSERVATION_SIZE = 4


class _CostEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A walk on the unit circle whose step costs ``us * exp(sigma * z - sigma^2 / 2)`` microseconds, z ~ N(0, 1).

    The mean cost is ``us`` whatever ``sigma`` is. Costs come from a generator of their own, so that they do not change
    the data; observations are ``[cos, sin, step / episode_length, last action]`` of an angle that each action turns.

    Args:
        us: mean cost of a step, microseconds.
        sigma: spread of the log-normal cost; 0 for a constant one.
        reset_us: cost of a reset, microseconds.
        episode_length: steps until the episode is truncated.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(
        self,
        us: float = 100.0,
        sigma: float = 0.0,
        reset_us: float = 0.0,
        episode_length: int = 1000,
    ) -> None:
        if us < 0 or sigma < 0 or reset_us < 0 or episode_length < 1:
            raise SpecError(
                f"expected us, sigma and reset_us of at least 0 and episode_length of at least 1, got us={us}, "
                f"sigma={sigma}, reset_us={reset_us}, episode_length={episode_length}"
            )
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (_OBSERVATION_SIZE,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._mean_s = us * 1e-6
        self._sigma = sigma
        self._reset_s = reset_us * 1e-6
        self._episode_length = episode_length
        self._costs = np.random.default_rng(0)
        self._angle = 0.0
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode at a random angle."""
        begin = self._clock()
        super().reset(seed=seed)
        if seed is not None:
            self._costs = np.random.default_rng([seed, 1])
        self._angle = float(self.np_random.uniform(-math.pi, math.pi))
        self._step = 0
        self._spend(begin, self._reset_s)
        return self._observe(0), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Turn by 0.1 rad, left (0) or right (1); the reward is the cosine of the angle."""
        begin = self._clock()
        turn = int(action)
        self._step += 1
        self._angle += 0.1 if turn else -0.1
        observation = self._observe(turn)
        cost_s = self._mean_s
        if self._sigma:
            cost_s *= math.exp(self._sigma * self._costs.standard_normal() - self._sigma**2 / 2)
        self._spend(begin, cost_s)
        return observation, float(observation[0]), False, self._step >= self._episode_length, {}

    def _observe(self, action: int) -> NDArray[np.float32]:
        angle = self._angle
        return np.array(
            (math.cos(angle), math.sin(angle), min(1.0, self._step / self._episode_length), action), dtype=np.float32
        )

    def _clock(self) -> float:
        raise NotImplementedError

    def _spend(self, begin: float, cost_s: float) -> None:
        raise NotImplementedError


class BusyEnv(_CostEnv):
    """Computes for a known time a step; see the base class for the walk.

    Args:
        us: mean cost of a step, microseconds.
        sigma: spread of the log-normal cost; 0 for a constant one.
        reset_us: cost of a reset, microseconds.
        episode_length: steps until the episode is truncated.
        clock: ``cpu`` spends processor time, as real work does: when runners outnumber cores, each gets its share.
            ``wall`` spins until the wall clock says so, which hides that processes take cores from each other.
    """

    def __init__(
        self,
        us: float = 100.0,
        sigma: float = 0.0,
        reset_us: float = 0.0,
        episode_length: int = 1000,
        clock: Literal["cpu", "wall"] = "cpu",
    ) -> None:
        super().__init__(us, sigma, reset_us, episode_length)
        if clock not in ("cpu", "wall"):
            raise SpecError(f"expected clock cpu or wall, got {clock!r}")
        self._now: Callable[[], float] = time.thread_time if clock == "cpu" else time.perf_counter

    def _clock(self) -> float:
        return self._now()

    def _spend(self, begin: float, cost_s: float) -> None:
        now, end = self._now, begin + cost_s
        while now() < end:
            pass


class SleepEnv(_CostEnv):
    """Sleeps for a known time a step, as an environment does that waits for a simulator or a network.

    Args:
        us: mean cost of a step, microseconds (default 2000).
        ms: the same in milliseconds; give one of the two.
        sigma: spread of the log-normal cost; 0 for a constant one.
        reset_us: cost of a reset, microseconds.
        episode_length: steps until the episode is truncated.
    """

    def __init__(
        self,
        us: float | None = None,
        ms: float | None = None,
        sigma: float = 0.0,
        reset_us: float = 0.0,
        episode_length: int = 1000,
    ) -> None:
        if us is not None and ms is not None:
            raise SpecError(f"expected us or ms, got both (us={us}, ms={ms})")
        mean_us = us if us is not None else (2.0 if ms is None else ms) * 1000.0
        super().__init__(mean_us, sigma, reset_us, episode_length)
        self._now: Callable[[], float] = time.perf_counter
        self._sleep: Callable[[float], None] = time.sleep

    def _clock(self) -> float:
        return self._now()

    def _spend(self, begin: float, cost_s: float) -> None:
        rest = begin + cost_s - self._now()
        if rest > 0:
            self._sleep(rest)
