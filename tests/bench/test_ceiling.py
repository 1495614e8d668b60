from __future__ import annotations

import os

import pytest

from paceline.bench.ceiling import FreeRunning, Loop, LoopRequest
from paceline.envs import env_factory
from paceline.errors import EnvRaisedError, RunnerDiedError


def request(env_id: str, num_envs: int = 2, seed: int = 0) -> LoopRequest:
    return LoopRequest(env_factory(env_id), num_envs, "random", seed)


def test_the_loop_steps_all_its_environments_alike() -> None:
    loop = Loop(request("synthetic:known-return", 3))
    window, cpu_s = loop.measure(0.02)
    loop.close()
    assert window.num_env_steps == 3 * window.num_batches > 0
    assert cpu_s > 0


def test_free_running_processes_are_added_up_and_end() -> None:
    free = FreeRunning([request("synthetic:sleep?ms=2", 1, seed) for seed in range(3)])
    pids = free.pids
    assert len(set(pids)) == 3
    window, _ = free.measure(0.1)
    assert window.num_env_steps >= 3 * window.num_batches
    rate = window.num_env_steps / window.wall_ns
    assert 0 < rate <= 3 / 2e6 * 1.01  # three that sleep 2 ms a step
    free.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_environment_that_raises_there_is_told_here() -> None:
    with pytest.raises(EnvRaisedError, match="always fails to build"):
        FreeRunning([request("synthetic:faulty?fault=raise-in-init")])


def test_a_process_that_dies_is_told() -> None:
    free = FreeRunning([request("synthetic:faulty?fault=kill&at=5"), request("synthetic:sleep?ms=1")])
    with pytest.raises(RunnerDiedError, match="free-running process died"):
        free.measure(0.05)
    free.close()
