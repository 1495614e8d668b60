"""The oracle: one plain environment and the rules of autoreset in their plainest form."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from paceline.vector.conformance.equality import as_arrays, mapped

Env = gymnasium.Env[Any, Any]


class Row(NamedTuple):
    """What one step of one environment must look like in a batch.

    Attributes:
        observation: tree of arrays.
        reward: 0 in a reset row.
        terminated: the episode ended.
        truncated: the episode was cut short.
        reset_row: the action was ignored, this is the reset that follows an end (``NEXT_STEP``).
        final_observation: the true last one, None while the episode goes on.
        info: the environment's info; in ``SAME_STEP`` mode, at the end of an episode, that of the reset.
        final_info: ``SAME_STEP`` mode, at the end of an episode: the info of the last step; else None.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    reset_row: bool
    final_observation: Any
    info: dict[str, Any]
    final_info: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        """Whether the episode ended in this step."""
        return self.terminated or self.truncated


class ReferenceEnv:
    """A plain environment, stepped as Gymnasium's documentation says of each autoreset mode.

    Args:
        env: the environment.
        mode: Gymnasium's autoreset mode.

    Attributes:
        observation: the last one that a batch must show.
        over: whether the next step is a reset (``NEXT_STEP``), or forbidden (``DISABLED``).
        num_steps: calls of :meth:`step` since the beginning.
    """

    def __init__(self, env: Env, mode: AutoresetMode) -> None:
        self.env = env
        self.mode = mode
        self.over = False
        self.observation: Any = None
        self.num_steps = 0

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
        """Begin an episode and return its info."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.observation = as_arrays(self.env.observation_space, observation)
        self.over = False
        return deepcopy(info)

    def step(self, action: Any) -> Row:
        """Step once, as ``mode`` says."""
        self.num_steps += 1
        if self.over and self.mode is AutoresetMode.NEXT_STEP:
            info = self.reset(None, None)
            return Row(self.observation, 0.0, False, False, True, None, info, None)
        observation, reward, terminated, truncated, info = deepcopy(self.env.step(action))
        self.observation = as_arrays(self.env.observation_space, observation)
        final_observation = final_info = None
        self.over = bool(terminated or truncated)
        if self.over:
            final_observation = self.observation
            if self.mode is AutoresetMode.SAME_STEP:
                final_info, info = info, self.reset(None, None)
        return Row(
            self.observation, float(reward), bool(terminated), bool(truncated), False, final_observation, info,
            final_info,
        )  # fmt: skip


class ActionTable:
    """Actions ``[K, N, ...]``, drawn once: environment i takes action ``[k % K, i]`` in its k-th step.

    So each environment's actions are the same whichever environments share a batch with it.

    Args:
        space: action space of one environment.
        num_envs: N.
        num_actions: K.
        seed: of the draw.
    """

    def __init__(self, space: gymnasium.Space[Any], num_envs: int, num_actions: int = 64, seed: int = 5) -> None:
        batched = batch_space(space, num_envs)
        batched.seed(seed)
        draws = [batched.sample() for _ in range(num_actions)]
        self._num_actions = num_actions
        self._table = _stacked(draws)

    def batch(self, steps: NDArray[np.int64], env_ids: NDArray[np.int64]) -> Any:
        """Return the actions of environments ``env_ids`` ``[B]`` in their ``steps``-th step ``[B]``, fresh arrays."""
        return mapped(lambda table: table[steps % self._num_actions, env_ids], self._table)

    def single(self, step: int, env_id: int) -> Any:
        """Return the action of one environment as it gets it: scalars of the discrete spaces are NumPy's."""
        return mapped(lambda table: table[step % self._num_actions, env_id], self._table)


def _stacked(trees: list[Any]) -> Any:
    head = trees[0]
    if isinstance(head, dict):
        return {key: _stacked([tree[key] for tree in trees]) for key in head}
    if isinstance(head, tuple):
        return tuple(_stacked([tree[k] for tree in trees]) for k in range(len(head)))
    return np.stack(trees)
