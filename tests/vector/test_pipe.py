"""One message per runner and step, each way: large ones, many under way, and in between a reset."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest

from paceline import make_vec


def build_large() -> gymnasium.Env[Any, Any]:
    import gymnasium
    import numpy as np

    class Large(gymnasium.Env[Any, Any]):
        """Observations of 800 kB, many times what a pipe holds, told by the action."""

        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (100_000,), np.float64)
        action_space = gymnasium.spaces.Box(-np.inf, np.inf, (5_000,), np.float64)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return np.full(100_000, float(seed or 0)), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return np.full(100_000, action.sum()), float(action[0]), False, False, {}

    return Large()


@pytest.mark.usefixtures("by_value")
@pytest.mark.parametrize("batch_size", [4, 1])
def test_messages_larger_than_a_pipe_pass(batch_size: int) -> None:
    with closing(make_vec(build_large, 4, backend="pipe", num_env_runners=2, batch_size=batch_size)) as venv:
        observations, _ = venv.reset(seed=[1, 2, 3, 4])
        assert observations[:, 0].tolist() == observations[:, -1].tolist() == [1, 2, 3, 4]
        for count in range(3):
            actions = np.zeros((4, 5_000))
            actions[:, 0] = np.arange(4) + count
            venv.send(actions)
            batch, _ = venv.recv(np.arange(4))
            assert batch.rewards.tolist() == batch.observations[:, -1].tolist() == actions[:, 0].tolist()


def test_a_runner_may_have_several_steps_under_way() -> None:
    """Sent one by one; each answer names its environments, and those that are not awaited are kept."""
    env = "synthetic:faulty?fault=nan&at=10000"
    with closing(make_vec(env, 4, backend="pipe", num_env_runners=2, batch_size=1)) as venv:
        venv.reset(seed=[5, 6, 7, 8])
        for index in (3, 0, 2, 1):
            venv.send(np.zeros(1, np.int64), [index])
        batch, _ = venv.recv([2])
        assert batch.observations.tolist() == [[1, 1, 7]]
        venv.send(np.zeros(1, np.int64), [2])
        batch, ids = venv.recv([0, 1, 2, 3])
        assert ids.tolist() == [0, 1, 2, 3] and batch.observations[:, 0].tolist() == [1, 1, 2, 1]


def test_a_reset_beside_steps_loses_none_of_them() -> None:
    env = "synthetic:faulty?fault=nan&at=10000"
    with closing(make_vec(env, 4, backend="pipe", num_env_runners=2, batch_size=1)) as venv:
        venv.reset(seed=[5, 6, 7, 8])
        venv.send(np.zeros(3, np.int64), [0, 2, 3])
        observations, _ = venv.reset(seed=[None, 9, None, None], mask=np.array([False, True, False, False]))
        assert observations[1].tolist() == [0, 0, 9]
        batch, ids = venv.recv([0, 2, 3])
        assert ids.tolist() == [0, 2, 3] and batch.observations[:, 0].tolist() == [1, 1, 1]


def test_what_runners_count_arrives() -> None:
    with closing(make_vec("synthetic:sleep?us=200", 4, backend="pipe", num_env_runners=2)) as venv:
        venv.reset(seed=0)
        before = venv.busy_ns()
        venv.step(np.zeros(4, np.int64))
        assert (venv.busy_ns() - before >= 2 * 200_000).all()


@pytest.mark.usefixtures("by_value")
def test_neither_end_writes_into_a_pipe_that_the_other_does_not_read() -> None:
    """A runner that tells of 800 kB while it is sent eight messages of 40 kB: a pipe holds about 200 kB."""
    with closing(make_vec(build_large, 8, backend="pipe", num_env_runners=1, batch_size=1)) as venv:
        venv.reset(seed=0)
        for index in range(8):
            venv.send(np.full((1, 5_000), float(index)), [index])
        batch, _ = venv.recv(np.arange(8))
        assert batch.rewards.tolist() == list(range(8))
