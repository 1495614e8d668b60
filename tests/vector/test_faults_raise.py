"""``on_fault="raise"``: the error names environment, seed, step and last action, and the vector is at an end."""

from __future__ import annotations

import os
import re
import signal
import traceback
from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from paceline import make_vec
from paceline.errors import (
    EnvContractError,
    EnvError,
    EnvRaisedError,
    EnvTimeoutError,
    PlanError,
    RequestError,
    RunnerDiedError,
    RunnerMemoryError,
)
from paceline.vector import VecEnv

Ended = Callable[[int], bool]
SEEDS = [10, 11, 12, 13]
ACTIONS = np.array([0, 1, 1, 0])
FAULTY = "synthetic:faulty?only_seed=12&at=3&fault="
RUNNERS = {"serial": None, "thread": 2, "pipe": 2, "shm": 2}
BY_BACKEND = pytest.mark.parametrize("backend", RUNNERS)
BY_PROCESS = pytest.mark.parametrize("backend", ["pipe", "shm"])
MESSAGES = {
    "raise": (EnvRaisedError, r"raised RuntimeError: this environment fails at step 3 \("),
    "raise-unpicklable": (EnvRaisedError, r"raised _UnpicklableError: this environment fails at step 3 \("),
    "system-exit": (EnvRaisedError, r"raised SystemExit: 3 \("),
    "wrong-shape": (EnvContractError, r"expected observation .* shape \(3,\) .* got shape \(1,\)"),
    "wrong-dtype": (EnvContractError, r"dtype float32, got dtype float64"),
    "wrong-type": (EnvContractError, r"got list"),
    "none-observation": (EnvContractError, r"got NoneType"),
    "wrong-reward": (EnvContractError, r"reward to be a number, got str"),
    "four-values": (EnvContractError, r"5 values .* got 4"),
    "wrong-info": (EnvContractError, r"info to be a dict, got str"),
    "nan": (EnvContractError, r"expected observation to be numbers, got NaN at \[0\] \(3 of 3\)"),
    "nan-reward": (EnvContractError, r"expected a reward that is a number, got NaN"),
}
TRAVELLING = ["raise-unpicklable", "system-exit", "wrong-shape", "nan"]


def run_to_fault(venv: VecEnv, ended: Ended) -> EnvError:
    """Step until the environment fails; return the error once nothing of the vector is left."""
    pids = venv.runner_pids()
    with pytest.raises(EnvError) as caught:
        venv.reset(seed=SEEDS)
        for _ in range(10):
            venv.step(ACTIONS)
    calls: list[Callable[[], Any]] = [lambda: venv.step(ACTIONS), venv.reset, venv.recv, lambda: venv.call("spec")]
    for call in calls:
        with pytest.raises(RequestError, match="after it failed"):
            call()
    assert all(ended(pid) for pid in pids), "runners end with the vector, not with its close()"
    venv.close()
    venv.close()
    assert venv.faults == ()
    return caught.value


@pytest.mark.parametrize(
    ("backend", "fault"),
    [("serial", fault) for fault in MESSAGES]  # the loop is the same in all; these show that errors travel
    + [(backend, fault) for backend in ("thread", "pipe", "shm") for fault in TRAVELLING],
)
def test_what_breaks_a_step_is_told(backend: Any, fault: str, ended: Ended) -> None:
    error = run_to_fault(make_vec(FAULTY + fault, 4, backend=backend, num_env_runners=RUNNERS[backend]), ended)
    kind, message = MESSAGES[fault]
    assert type(error) is kind and re.search(message, str(error)), str(error)
    assert str(error).endswith("(env 2, seed 12, step 3, last action 1)")
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 3, 1)
    assert "Traceback" in error.original_traceback
    if "raise" in fault or fault == "system-exit":
        assert "_fail_outright" in error.original_traceback, "the line in the environment's own code"


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("last", [False, True], ids=["within an episode", "in its last step"])
@pytest.mark.parametrize("nested", [False, True])
def test_nan_is_told_wherever_it_stands(nested: bool, last: bool, mode: AutoresetMode, ended: Ended) -> None:
    env = f"{FAULTY}nan&nested={str(nested).lower()}&episode_length={3 if last else 10}"
    error = run_to_fault(make_vec(env, 4, backend="serial", autoreset_mode=mode), ended)
    what = "final observation" if last and mode is AutoresetMode.SAME_STEP else "observation"
    place = r"\['rest'\]\[1\] to be numbers, got NaN \(1 of 1\)" if nested else r" to be numbers, got NaN at \[0\]"
    assert re.match(f"expected {what}{place}", str(error)), str(error)
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 3, 1)


@pytest.mark.parametrize("backend", ["serial", "shm"])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(
    ("fault", "message"),
    [("raise-in-reset", "RuntimeError: this environment fails to reset"), ("nan-in-reset", "observation .* NaN")],
)
def test_what_breaks_the_next_episode_is_told(
    backend: Any, mode: AutoresetMode, fault: str, message: str, ended: Ended
) -> None:
    env = f"{FAULTY}{fault}&episode_length=5"  # at step 3, so in the reset after step 5
    venv = make_vec(env, 4, backend=backend, num_env_runners=RUNNERS[backend], autoreset_mode=mode)
    error = run_to_fault(venv, ended)
    assert re.search(message, str(error)), str(error)
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 5, 1)


@BY_BACKEND
@pytest.mark.parametrize("fault", ["raise-in-reset", "nan-in-reset"])
def test_what_breaks_the_first_episode_is_told(backend: Any, fault: str, ended: Ended) -> None:
    env = f"synthetic:faulty?fault={fault}&only_seed=12"
    error = run_to_fault(make_vec(env, 4, backend=backend, num_env_runners=RUNNERS[backend]), ended)
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 0, None)


@BY_BACKEND
def test_an_environment_that_cannot_be_built_is_told(backend: Any) -> None:
    with pytest.raises(EnvRaisedError, match=r"always fails to build \(env 0\)") as caught:
        make_vec("synthetic:faulty?fault=raise-in-init", 2, backend=backend, num_env_runners=RUNNERS[backend])
    assert caught.value.env_index == 0 and "Traceback" in caught.value.original_traceback


@pytest.mark.parametrize("error", [KeyboardInterrupt, PlanError], ids=["Ctrl-C", "our own"])
@pytest.mark.parametrize("backend", ["serial", "thread"])
def test_environments_already_built_are_closed_if_one_cannot_be(backend: Any, error: type[BaseException]) -> None:
    built: list[Closable] = []

    def build() -> gymnasium.Env[Any, Any]:
        if len(built) == 2:
            raise error("enough")
        built.append(Closable())
        return built[-1]

    with pytest.raises(error, match="enough"):
        make_vec(build, 3, backend=backend)
    assert [env.num_closed for env in built] == [1, 1]


class Closable(gymnasium.Env[Any, Any]):
    """Counts how often it is closed, and fails to close each time."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)
    num_closed = 0

    def close(self) -> None:
        self.num_closed += 1
        raise OSError("the simulator is gone already")


@BY_PROCESS
@pytest.mark.parametrize(("fault", "how"), [("exit", "exited with status 7"), ("kill", "SIGKILL")])
def test_a_dead_runner_is_told(backend: Any, fault: str, how: str, ended: Ended) -> None:
    error = run_to_fault(make_vec(FAULTY + fault, 4, backend=backend, num_env_runners=2), ended)
    assert isinstance(error, RunnerDiedError)
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 3, 1)
    assert how in str(error) and "envs 2 to 3" in str(error)


@BY_PROCESS
def test_the_step_is_counted_over_resets_and_episodes(backend: Any, ended: Ended) -> None:
    """Rows that are resets are none of the steps that the environment had taken."""
    env = "synthetic:faulty?only_seed=12&at=8&fault=kill&episode_length=3"
    venv = make_vec(env, 4, backend=backend, num_env_runners=2)
    venv.reset(seed=SEEDS)
    for _ in range(3):  # the first episode
        venv.step(ACTIONS)
    venv.reset(seed=SEEDS)
    error = run_to_fault(venv, ended)  # resets once more, then 3 steps, a reset, and the second step after it
    assert (error.env_index, error.step) == (2, 8)


@BY_PROCESS
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, getattr(signal, "SIGRTMIN", 34) + 3])
def test_a_runner_killed_between_steps_is_told(backend: Any, number: int, ended: Ended) -> None:
    venv = make_vec("CartPole-v1", 4, backend=backend, num_env_runners=2)
    venv.reset(seed=SEEDS)
    os.kill(venv.runner_pids()[1], number)
    error = run_to_fault_without_reset(venv)
    assert isinstance(error, RunnerDiedError) and re.search("runner 1 .*envs 2 to 3", str(error)), str(error)
    assert "signal" in str(error) or "SIG" in str(error)
    assert all(ended(pid) for pid in venv.runner_pids())
    venv.close()


def run_to_fault_without_reset(venv: VecEnv) -> EnvError:
    with pytest.raises(EnvError) as caught:
        for _ in range(3):
            venv.step(ACTIONS)
    return caught.value


@BY_PROCESS
@pytest.mark.parametrize("call", ["reset", "call", "set_attr"])
def test_a_runner_that_is_dead_is_told_by_every_call(backend: Any, call: str, ended: Ended) -> None:
    venv = make_vec("CartPole-v1", 4, backend=backend, num_env_runners=2)
    venv.reset(seed=0)
    os.kill(venv.runner_pids()[0], signal.SIGKILL)
    with pytest.raises(RunnerDiedError, match=r"runner 0 .*SIGKILL"):
        if call == "reset":
            venv.reset()
        elif call == "call":
            venv.call("gravity")
        else:
            venv.set_attr("gravity", 1.0)
    assert all(ended(pid) for pid in venv.runner_pids())
    with pytest.raises(RequestError, match="after it failed"):
        venv.step(ACTIONS)
    venv.close()


@pytest.mark.parametrize("backend", ["thread", "pipe", "shm"])
@pytest.mark.parametrize("fault", ["hang", "hang-in-reset"])
@pytest.mark.parametrize("batch_size", [4, 1])
def test_a_hanging_environment_is_told(backend: Any, fault: str, batch_size: int, ended: Ended) -> None:
    at = 3 if fault == "hang" else 1
    env = f"synthetic:faulty?only_seed=12&at={at}&fault={fault}"
    venv = make_vec(env, 4, backend=backend, num_env_runners=2, step_timeout_s=0.4, batch_size=batch_size)
    error = run_to_fault(venv, ended)
    assert isinstance(error, EnvTimeoutError) and "step_timeout_s 0.4" in str(error)
    expected = (2, 12, 3, 1) if fault == "hang" else (2, 12, 0, None)
    assert (error.env_index, error.seed, error.step, error.action) == expected
    assert ("left behind" in str(error)) == (backend == "thread")


@BY_PROCESS
def test_an_error_that_nobody_catches_shows_the_environments_own_lines(backend: Any) -> None:
    with closing(make_vec(FAULTY + "raise", 4, backend=backend, num_env_runners=2)) as venv:
        venv.reset(seed=SEEDS)
        with pytest.raises(EnvRaisedError) as at:
            for _ in range(5):
                venv.step(ACTIONS)
    printed = "".join(traceback.format_exception(at.value))
    assert "faulty.py" in printed and "RuntimeError: this environment fails at step 3" in printed
    assert len(str(at.value).splitlines()) == 1


@BY_PROCESS
def test_of_several_that_hang_the_first_is_told(backend: Any) -> None:
    with closing(
        make_vec("synthetic:faulty?fault=hang&at=1", 4, backend=backend, num_env_runners=2, step_timeout_s=0.4)
    ) as venv:
        venv.reset(seed=SEEDS)
        with pytest.raises(EnvTimeoutError) as at:
            venv.step(ACTIONS)
        assert (at.value.env_index, at.value.seed) == (0, SEEDS[0])


@pytest.mark.parametrize("backend", ["pipe", "shm"])
def test_a_leak_is_told_before_the_kernel_acts(backend: Any, ended: Ended) -> None:
    """The second runner grows by 40 MiB a step; a look at the memory, which comes once a second, is due at once."""
    env = "synthetic:faulty?only_seed=12&at=3&fault=leak&mib=40"
    venv = make_vec(env, 4, backend=backend, num_env_runners=2, memory_limit_bytes=200 * 2**20)
    venv.reset(seed=SEEDS)
    with pytest.raises(RunnerMemoryError, match=r"at most 200 MiB .* got \d+ MiB; runner 1 \(envs 2 to 3\)") as at:
        for _ in range(12):
            venv._next_watch_s = 0.0
            venv.step(ACTIONS)
    before, after = (int(number) for number in re.findall(r"from (\d+) to (\d+) MiB", str(at.value))[0])
    assert after - before >= 80 and at.value.env_index is None, "which of the two it is, nobody can tell"
    assert all(ended(pid) for pid in venv.runner_pids())
    venv.close()


@BY_PROCESS
def test_infos_that_cannot_travel_are_told(backend: Any, ended: Ended) -> None:
    error = run_to_fault(make_vec(FAULTY + "unpicklable-info", 4, backend=backend, num_env_runners=2), ended)
    assert isinstance(error, EnvContractError)
    assert re.search(r"cannot pickle .* infos='none'", str(error))
    assert (error.env_index, error.seed, error.step, error.action) == (2, 12, 3, 1)
    quiet = make_vec(FAULTY + "unpicklable-info", 4, backend=backend, num_env_runners=2, infos="none")
    quiet.reset(seed=SEEDS)
    for _ in range(5):
        quiet.step(ACTIONS)
    quiet.close()


def test_an_exception_that_has_no_message_is_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise TypeError("not even that")

    class Silent(gymnasium.Env[Any, Any]):
        observation_space = spaces.Box(0, 1, (1,))
        action_space = spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            raise Mute

    venv = make_vec(Silent, 1, backend="serial")
    with pytest.raises(EnvRaisedError, match=r"raised Mute: \(its message cannot be had: TypeError\)"):
        venv.reset()
    venv.close()


class Stepping(gymnasium.Env[Any, Any]):
    """Whatever ``step`` is."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, step: Any) -> None:
        if step is not None:
            self.step = step

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(
    ("step", "kind", "message"),
    [
        (lambda: None, EnvRaisedError, r"raised TypeError: .* takes 0 positional arguments but 1 was given \("),
        ([].pop, EnvRaisedError, r"raised IndexError: pop from empty list \("),
        (list, EnvRaisedError, r"raised TypeError: 'numpy.int64' object is not iterable \("),
        ([].append, EnvContractError, r"expected step to return .* got NoneType; return all five \("),
    ],
    ids=["of another signature", "written in C", "a class", "returns None"],
)
def test_a_step_that_raises_at_once_is_told_from_one_that_returns_nothing(
    step: Any, kind: type[EnvError], message: str, mode: AutoresetMode
) -> None:
    """The environment before it has just returned what it should: that is no part of it."""
    factories: Any = [lambda: Stepping(None), lambda: Stepping(step)]
    venv = make_vec(factories, 2, backend="serial", autoreset_mode=mode)
    venv.reset(seed=[8, 9])
    with pytest.raises(EnvError, match=message) as caught:
        venv.step(np.array([0, 1]))
    assert type(caught.value) is kind
    assert (caught.value.env_index, caught.value.seed, caught.value.step, caught.value.action) == (1, 9, 1, 1)
    venv.close()


@BY_PROCESS
def test_of_several_that_break_at_once_the_first_is_told(backend: Any, ended: Ended) -> None:
    error = run_to_fault(make_vec("synthetic:faulty?at=2", 4, backend=backend, num_env_runners=2), ended)
    assert (error.env_index, error.seed) == (0, 10)


def test_an_interrupted_step_leaves_a_vector_that_only_closes(ended: Ended) -> None:
    """Ctrl-C in the middle of a step: some runners may have answered, so going on would mix up two steps."""
    venv = make_vec("synthetic:sleep?ms=300", 2, num_env_runners=2)
    venv.reset(seed=0)
    venv.send(np.zeros(2, dtype=np.int64))
    interrupt_after(0.05, venv.recv)
    with pytest.raises(RequestError, match=r"failed .*KeyboardInterrupt"):
        venv.recv()
    venv.close()
    assert all(ended(pid) for pid in venv.runner_pids())


@BY_PROCESS
@pytest.mark.usefixtures("by_value")
def test_an_interrupted_call_leaves_no_answer_for_the_next(backend: Any, ended: Ended) -> None:
    venv = make_vec(build_waiting, 2, backend=backend, num_env_runners=2)
    venv.reset(seed=0)
    interrupt_after(0.05, lambda: venv.call("wait"))
    with pytest.raises(RequestError, match=r"failed .*KeyboardInterrupt"):
        venv.call("spec")
    venv.close()
    assert all(ended(pid) for pid in venv.runner_pids())


def build_waiting() -> gymnasium.Env[Any, Any]:
    from paceline.envs.synthetic import FaultyEnv

    class Waiting(FaultyEnv):
        def wait(self) -> None:
            import threading

            threading.Event().wait()

    return Waiting("nan", at=1000)


def interrupt_after(seconds: float, call: Callable[[], Any]) -> None:
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.signal(signal.SIGALRM, previous)
