"""A broken environment is named with its index, seed, step and action, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import paceline
from paceline import make_vec
from paceline.errors import (
    EnvContractError,
    EnvError,
    EnvNotFoundError,
    EnvRaisedError,
    EnvTimeoutError,
    OutOfMemoryError,
    PlanError,
    RequestError,
    RunnerDiedError,
    SpecError,
    UnsupportedSpaceError,
)
from paceline.vector import VecEnv
from paceline.vector.memory import create_block, grow_block

Ended = Callable[[int], bool]
RunToFault = Callable[[VecEnv], EnvError]
SEEDS = [10, 11, 12, 13]
FAULTY = "synthetic:faulty?only_seed=12&at=3&fault="
BY_BACKEND = pytest.mark.parametrize("runners", [0, 2])
CONTRACT_FAULTS = {
    "wrong-shape": r"expected observation .* shape \(3,\) .* got shape \(1,\)",
    "wrong-dtype": r"dtype float32, got dtype float64",
    "wrong-type": r"got list",
    "none-observation": r"got NoneType",
    "wrong-reward": r"reward to be a number, got str",
    "four-values": r"5 values .* got 4",
    "wrong-info": r"info to be a dict, got str",
}


@pytest.fixture
def run_to_fault(ended: Ended) -> Callable[[VecEnv], EnvError]:
    """Step until the environment fails; return the error once nothing of the vector is left."""

    def run(env: VecEnv) -> EnvError:
        env.reset(seed=SEEDS)
        with pytest.raises(EnvError) as caught:
            for _ in range(5):
                env.step(np.array([0, 1, 1, 0]))
        pids = env.runner_pids()
        env.close()
        env.close()
        assert all(ended(pid) for pid in pids)
        return caught.value

    return run


@BY_BACKEND
def test_an_env_that_raises_is_named(runners: int, run_to_fault: RunToFault) -> None:
    error = run_to_fault(make_vec(FAULTY + "raise", 4, num_env_runners=runners))
    assert isinstance(error, EnvRaisedError)
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 3, 1)
    assert "raised RuntimeError: this environment fails at step 3 (env 2, seed 12, step 3, last action 1)" in str(error)
    assert "_fail_outright" in error.original_traceback


@pytest.mark.parametrize(("fault", "message"), CONTRACT_FAULTS.items())
def test_a_broken_contract_is_told(fault: str, message: str, run_to_fault: RunToFault) -> None:
    env = make_vec(FAULTY + fault, 4, backend="serial")
    error = run_to_fault(env)
    assert isinstance(error, EnvContractError)
    assert error.env_index == 2 and error.step == 3
    assert re.search(message, str(error)), str(error)


def test_a_broken_contract_is_told_from_a_runner(run_to_fault: RunToFault) -> None:
    error = run_to_fault(make_vec(FAULTY + "wrong-shape", 4, backend="shm", num_env_runners=2))
    assert isinstance(error, EnvContractError)
    assert (error.env_index, error.seed, error.step) == (2, 12, 3)


@pytest.mark.parametrize(("fault", "how"), [("exit", "exited with status 7"), ("kill", "SIGKILL")])
def test_a_dead_runner_is_told(fault: str, how: str, run_to_fault: RunToFault) -> None:
    error = run_to_fault(make_vec(FAULTY + fault, 4, num_env_runners=2))
    assert isinstance(error, RunnerDiedError)
    assert (error.env_index, error.seed, error.action) == (2, 12, 1)
    assert how in str(error) and "envs 2 to 3" in str(error)


def test_a_runner_killed_between_steps_is_told(ended: Ended) -> None:
    env = make_vec("CartPole-v1", 4, num_env_runners=2)
    env.reset(seed=0)
    os.kill(env.runner_pids()[1], signal.SIGKILL)
    with pytest.raises(RunnerDiedError, match=r"runner 1 .*SIGKILL"):
        for _ in range(3):
            env.step(env.action_space.sample())
    with pytest.raises(RequestError, match="after it failed"):
        env.step(env.action_space.sample())
    with pytest.raises(RequestError, match="after it failed"):
        env.reset()
    env.close()
    assert all(ended(pid) for pid in env.runner_pids())


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="no real-time signals here")
def test_a_runner_killed_by_a_signal_without_a_name_is_told() -> None:
    env = make_vec("CartPole-v1", 2, num_env_runners=1)
    env.reset(seed=0)
    number = signal.SIGRTMIN + 3
    os.kill(env.runner_pids()[0], number)
    with pytest.raises(RunnerDiedError, match=rf"runner 0 .*was ended by signal {number}"):
        for _ in range(3):
            env.step(np.zeros(2, dtype=np.int64))
    env.close()


@pytest.mark.parametrize("fault", ["hang", "hang-in-reset"])
def test_a_hanging_env_is_told(fault: str, ended: Ended) -> None:
    env_id = f"synthetic:faulty?only_seed=12&at={3 if fault == 'hang' else 1}&fault={fault}"
    env = make_vec(env_id, 4, num_env_runners=2, step_timeout_s=0.5)
    with pytest.raises(EnvTimeoutError, match=r"step_timeout_s 0.5") as caught:
        env.reset(seed=SEEDS)
        for _ in range(5):
            env.step(np.array([0, 1, 1, 0]))
    assert (caught.value.env_index, caught.value.seed) == (2, 12)
    env.close()
    assert all(ended(pid) for pid in env.runner_pids())


@BY_BACKEND
def test_an_env_that_fails_to_reset_or_build_is_told(runners: int) -> None:
    with pytest.raises(EnvRaisedError, match="always fails to build"):
        make_vec("synthetic:faulty?fault=raise-in-init", 2, num_env_runners=runners)
    env = make_vec("synthetic:faulty?fault=raise-in-reset&only_seed=11", 4, num_env_runners=runners)
    with pytest.raises(EnvRaisedError, match="fails to reset") as caught:
        env.reset(seed=SEEDS)
    assert (caught.value.env_index, caught.value.seed, caught.value.action) == (1, 11, None)
    env.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, PlanError], ids=["Ctrl-C", "our own"])
def test_environments_already_built_are_closed_if_one_cannot_be(error: type[BaseException]) -> None:
    built: list[Closable] = []

    def build() -> gymnasium.Env[Any, Any]:
        if len(built) == 2:
            raise error("enough")
        built.append(Closable())
        return built[-1]

    with pytest.raises(error, match="enough"):
        make_vec(build, 3, backend="serial")
    assert [env.num_closed for env in built] == [1, 1]


class Closable(gymnasium.Env[Any, Any]):
    """Counts how often it is closed, and fails to close each time."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)
    num_closed = 0

    def close(self) -> None:
        self.num_closed += 1
        raise OSError("the simulator is gone already")


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


@pytest.mark.parametrize("state", ["idle", "hung", "hung off the main thread"])
def test_runners_die_with_a_killed_parent(state: str, tmp_path: Path, ended: Ended) -> None:
    fault = "raise&at=100000" if state == "idle" else "hang&at=2"
    script = textwrap.dedent(f"""
        import sys, threading, time
        import numpy as np
        from paceline import make_vec

        def work():
            env = make_vec("synthetic:faulty?fault={fault}", 4, num_env_runners=2)
            env.reset(seed=0)
            env.step(np.zeros(4, dtype=np.int64))
            env.send(np.zeros(4, dtype=np.int64))
            print(*env.runner_pids(), flush=True)
            threading.Event().wait()

        thread = threading.Thread(target=work, daemon=True)
        thread.start() if {state.endswith("thread")} else work()
        threading.Event().wait()
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parent.parent)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()  # type: ignore[union-attr]
    assert all(ended(pid) for pid in pids)


def test_an_interrupted_step_leaves_a_vector_that_only_closes(ended: Ended) -> None:
    """Ctrl-C in the middle of a step: some runners may have answered, so going on would mix up two steps."""
    env = make_vec("synthetic:sleep?ms=300", 2, num_env_runners=2)
    env.reset(seed=0)
    env.send(np.zeros(2, dtype=np.int64))
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            env.recv()
    finally:
        signal.signal(signal.SIGALRM, previous)
    with pytest.raises(RequestError, match=r"failed .*KeyboardInterrupt"):
        env.recv()
    env.close()
    assert all(ended(pid) for pid in env.runner_pids())


def test_infos_that_cannot_travel_are_told() -> None:
    def build() -> gymnasium.Env[Any, Any]:
        import threading

        import gymnasium
        import numpy as np

        class Locked(gymnasium.Env[Any, Any]):
            def __init__(self) -> None:
                self.observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
                self.action_space = gymnasium.spaces.Discrete(2)

            def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
                return np.zeros(1, np.float32), {}

            def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
                return np.zeros(1, np.float32), 0.0, False, False, {"lock": threading.Lock()}

        return Locked()

    env = make_vec(build, 2, num_env_runners=1)
    env.reset(seed=0)
    with pytest.raises(EnvContractError, match=r"cannot pickle .* infos='none'"):
        env.step(np.zeros(2, dtype=np.int64))
    env.close()
    quiet = make_vec(build, 2, num_env_runners=1, infos="none")
    quiet.reset(seed=0)
    quiet.step(np.zeros(2, dtype=np.int64))
    quiet.close()
