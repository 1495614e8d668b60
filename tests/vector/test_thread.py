"""Environments in threads: each in its own, for its whole life, and nobody waits for one that hangs."""

from __future__ import annotations

import gc
import threading
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest

from paceline import make_vec
from paceline.errors import EnvRaisedError


class Whereabouts(gymnasium.Env[Any, Any]):
    """Notes in which thread it is used; meets the others at a gate where it is told to."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, gate: threading.Barrier | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self._gate = gate

    def _note(self, what: str) -> None:
        self.seen.append((what, threading.current_thread().name))
        if self._gate is not None:
            self._gate.wait(10)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._note("reset")
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._note("step")
        return np.zeros(1, np.float32), 0.0, bool(action), False, {}

    def close(self) -> None:
        self._note("close")


def test_an_environment_is_reset_stepped_and_closed_in_one_thread() -> None:
    envs = [Whereabouts() for _ in range(4)]
    rest = iter(envs)
    venv = make_vec(lambda: next(rest), 4, backend="thread", num_env_runners=2)
    venv.reset(seed=0)
    venv.step(np.array([1, 0, 1, 0]))
    venv.step(np.zeros(4, np.int64))
    venv.close()
    for index, env in enumerate(envs):
        wanted = ["reset", "step", "reset" if index % 2 == 0 else "step", "close"]
        assert env.seen == [(what, f"paceline-runner-{index // 2}") for what in wanted]


def test_steps_and_resets_of_runners_run_at_the_same_time() -> None:
    """Each call waits at the gate for one of the other runner: one after the other they would never pass."""
    gate = threading.Barrier(2)
    with closing(make_vec(lambda: Whereabouts(gate), 2, backend="thread", num_env_runners=2)) as venv:
        venv.reset(seed=0)
        venv.step(np.zeros(2, np.int64))
        assert not gate.broken


def test_a_masked_reset_leaves_steps_of_others_under_way() -> None:
    env = "synthetic:faulty?fault=nan&at=10000"
    with closing(make_vec(env, 4, backend="thread", num_env_runners=2, batch_size=1)) as venv:
        venv.reset(seed=[5, 6, 7, 8])
        venv.send(np.zeros(3, np.int64), [0, 1, 3])
        observations, _ = venv.reset(seed=[None, None, 9, None], mask=np.array([False, False, True, False]))
        assert observations[2].tolist() == [0, 0, 9]
        batch, ids = venv.recv([0, 1, 3])
        assert ids.tolist() == [0, 1, 3] and batch.observations[:, 0].tolist() == [1, 1, 1]


def test_an_error_of_a_thread_is_raised_in_the_callers() -> None:
    venv = make_vec("synthetic:faulty?fault=system-exit&at=1", 2, backend="thread", num_env_runners=2)
    venv.reset(seed=[5, 6])
    before = threading.active_count()
    with pytest.raises(EnvRaisedError, match=r"SystemExit: 3 \(env 0, seed 5, step 1, last action 1\)") as caught:
        venv.step(np.ones(2, np.int64))
    assert isinstance(caught.value.__cause__, SystemExit)
    venv.close()
    assert threading.active_count() == before - 2


def test_threads_end_with_their_vector() -> None:
    before = set(threading.enumerate())  # among them those that other tests had to leave behind
    venv = make_vec("CartPole-v1", 4, backend="thread", num_env_runners=3)
    assert len(set(threading.enumerate()) - before) == 3
    venv.close()
    assert not set(threading.enumerate()) - before
    venv = make_vec("CartPole-v1", 4, backend="thread", num_env_runners=3)
    runners = set(threading.enumerate()) - before
    del venv
    gc.collect()
    for thread in runners:
        thread.join(10)
    assert len(runners) == 3 and not set(threading.enumerate()) - before
