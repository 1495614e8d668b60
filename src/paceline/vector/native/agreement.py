"""Whether batched NumPy gives the very numbers of Gymnasium's classic-control environments here.

What both compute is the same, but who computes it is not: a vectorised sine may be another program than a scalar one,
depending on NumPy's version and on the processor, and a later Gymnasium may compute otherwise. So a few environments
are stepped both ways, once in a process and task, before the batched way is offered.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random

from paceline.vector.native.classic_task import ClassicTask
from paceline.vector.native.template import options_of

NEWEST_KNOWN = (1, 4)
"""The last minor version of Gymnasium whose classic-control tasks are known to be those that are mirrored here."""
_NUM_ENVS = 11
"""More than a vector register holds, and no multiple of it: what is left over may take another way."""
_NUM_STEPS = 24


def disagreement(entry_point: str, task: type[ClassicTask]) -> str | None:
    """Return None if ``task`` gives the data of Gymnasium's class, else what is different, for a sentence.

    Args:
        entry_point: ``module:Class`` of Gymnasium's environment.
        task: what mirrors it.
    """
    if tuple(int(part) for part in re.findall(r"\d+", gymnasium.__version__)[:2]) > NEWEST_KNOWN:
        return f"Gymnasium {gymnasium.__version__}, which is newer than those it is known to equal"
    if not _agrees(entry_point, task):
        return f"other digits than those of Gymnasium {gymnasium.__version__} (NumPy {np.__version__}, this processor)"
    return None


@cache
def _agrees(entry_point: str, task_class: type[ClassicTask]) -> bool:
    """Step both from the same seeds with the same actions; an environment that ends begins anew."""
    module, _, name = entry_point.partition(":")
    envs: list[Any] = [getattr(import_module(module), name)() for _ in range(_NUM_ENVS)]
    task = task_class(options_of(envs[0], None))
    rngs = [np_random(index)[0] for index in range(_NUM_ENVS)]
    state = np.empty((task.size, _NUM_ENVS))
    observations = np.empty((_NUM_ENVS, *envs[0].observation_space.shape), np.float32)
    envs[0].action_space.seed(0)

    def starts_alike(index: int, seed: int | None) -> bool:
        state[:, index] = task.draw_state(rngs[index], None)
        row = slice(index, index + 1)
        task.observe_start(state[:, row], observations[row])
        return np.array_equal(observations[index], envs[index].reset(seed=seed)[0])

    if not all(starts_alike(index, index) for index in range(_NUM_ENVS)):
        return False
    for _ in range(_NUM_STEPS):
        actions = np.array([envs[0].action_space.sample() for _ in envs])
        rewards, terminated = task.move(state, actions)
        task.observe(state, observations)
        outcomes = zip(np.broadcast_to(rewards, _NUM_ENVS), np.broadcast_to(terminated, _NUM_ENVS), strict=True)
        for index, (env, ours) in enumerate(zip(envs, outcomes, strict=True)):
            observation, reward, ended, *_ = env.step(actions[index])
            theirs = np.asarray(env.state, np.float64)
            if not np.array_equal(observation, observations[index]) or (reward, ended) != ours:
                return False
            if not np.array_equal(theirs, state[: len(theirs), index]) or (ended and not starts_alike(index, None)):
                return False
    return True
