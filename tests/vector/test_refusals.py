"""Requests that make no sense are refused in a sentence, and leave everything as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from paceline import make_vec
from paceline.errors import EnvNotFoundError, OutOfMemoryError, RequestError, SpecError, UnsupportedSpaceError
from paceline.vector.runners.memory import create_block, grow_block

BY_BACKEND = pytest.mark.parametrize("runners", [0, 2])


class Unsupported(gymnasium.Env[Any, Any]):
    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self.observation_space = space
        self.action_space = spaces.Discrete(2)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (spaces.Text(5), "Text"),
        (spaces.Sequence(spaces.Discrete(2)), "Sequence"),
        (spaces.Graph(spaces.Box(0, 1, (2,)), None), "Graph"),
        (spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1, (2,))]), "OneOf"),
        (spaces.Dict({"a": spaces.Tuple((spaces.Text(3),))}), r"Text at observation\['a'\]\[0\]"),
    ],
)
def test_unsupported_spaces_are_refused(space: gymnasium.Space[Any], name: str) -> None:
    with pytest.raises(UnsupportedSpaceError, match=f"Box, Discrete, .* got {name}"):
        make_vec(lambda: Unsupported(space), 2, backend="serial")


def test_unsupported_spaces_are_refused_by_a_runner() -> None:
    def build() -> gymnasium.Env[Any, Any]:
        from gymnasium import spaces  # cloudpickle does not see what a class body takes from the module

        class Talking(gymnasium.Env[Any, Any]):
            observation_space = spaces.Text(5)
            action_space = spaces.Discrete(2)

        return Talking()

    with pytest.raises(UnsupportedSpaceError, match="got Text"):
        make_vec(build, 2, backend="shm", num_env_runners=1)


@BY_BACKEND
def test_wrong_requests_are_refused(runners: int) -> None:
    with pytest.raises(EnvNotFoundError, match="CartPole-v1"):
        make_vec("CartPol-v1", 2, num_env_runners=runners)
    with pytest.raises(SpecError, match="unexpected keyword argument 'gravityy'"):
        make_vec("CartPole-v1", 2, num_env_runners=runners, env_kwargs={"gravityy": 3})


def test_calls_out_of_order_are_refused() -> None:
    env = make_vec("CartPole-v1", 2, backend="serial")
    with pytest.raises(RequestError, match=r"call reset\(\) first"):
        env.step(np.zeros(2, dtype=np.int64))
    env.reset(seed=0)
    with pytest.raises(RequestError, match="send before recv"):
        env.recv()
    env.send(np.zeros(2, dtype=np.int64))
    with pytest.raises(RequestError, match="recv after send"):
        env.send(np.zeros(2, dtype=np.int64))
    with pytest.raises(RequestError, match="recv after send"):
        env.reset()
    env.recv()
    env.close()
    with pytest.raises(RequestError, match="after close"):
        env.reset()


BAD_ACTIONS: list[tuple[Callable[[], Any], str]] = [
    (lambda: np.zeros(3, dtype=np.int64), r"shape \(2,\), got \(3,\)"),
    (lambda: np.zeros((2, 1), dtype=np.int64), r"shape \(2,\), got \(2, 1\)"),
    (lambda: np.zeros(2, dtype=np.float32), "dtype int64, got float32"),
    (lambda: 1, r"got \(\)"),
]


@pytest.mark.parametrize(("actions", "message"), BAD_ACTIONS)
def test_actions_that_do_not_fit_are_refused(actions: Callable[[], Any], message: str) -> None:
    env = make_vec("CartPole-v1", 2, backend="serial")
    env.reset(seed=0)
    with pytest.raises(RequestError, match=message):
        env.step(actions())
    env.step(np.zeros(2, dtype=np.int64))  # nothing was started, so the environment goes on
    env.close()


def test_no_room_for_shared_memory_is_told() -> None:
    fd = create_block()
    try:
        with pytest.raises(OutOfMemoryError, match=r"MiB of shared memory .* use fewer environments"):
            grow_block(fd, 2**60)
    finally:
        os.close(fd)
