"""Runners on a system without eventfd, epoll and pidfd, as macOS is: whatever is called after a death, it is told."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline import make_vec
from paceline.errors import EnvTimeoutError, ResourceError, RunnerDiedError
from paceline.vector.runners.launch import RunnerProcess, SpawnLauncher, end_all

LACKING = ((os, "eventfd"), (select, "epoll"), (os, "pidfd_open"))
BY_PROCESS = pytest.mark.parametrize("backend", ["shm", "pipe"])
NOOP = np.zeros(2, np.int64)
CALLS: dict[str, Any] = {
    "step": lambda venv: venv.step(NOOP),
    "reset": lambda venv: venv.reset(seed=[7, 8]),
    "call": lambda venv: venv.call("get_wrapper_attr", "_steps"),
    "set_attr": lambda venv: venv.set_attr("colour", "green"),
}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Take from this process, and from its runners, what only Linux has."""
    for module, name in LACKING:
        monkeypatch.delattr(module, name, raising=False)
    lines = [f"import {module.__name__}; vars({module.__name__}).pop({name!r}, None)" for module, name in LACKING]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    yield


def make(backend: Any, fault: str = "nan&at=10000", **kwargs: Any) -> Any:
    return make_vec(f"synthetic:faulty?fault={fault}", 2, backend=backend, num_env_runners=2, **kwargs)


def kill(pid: int) -> None:
    """Kill a runner and wait for its end; that is left for its owner to find."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@BY_PROCESS
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("elsewhere")
def test_a_death_is_told_by_whatever_comes_next(backend: Any, call: str) -> None:
    with closing(make(backend)) as venv:
        venv.reset(seed=[5, 6])
        venv.step(NOOP)
        kill(venv.runner_pids()[1])
        with pytest.raises(RunnerDiedError, match=r"runner 1 .*SIGKILL"):
            CALLS[call](venv)


@BY_PROCESS
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.usefixtures("elsewhere")
def test_deaths_between_steps_and_within_are_mended(backend: Any, batch_size: int) -> None:
    with closing(make(backend, "kill&at=3&only_seed=6", on_fault="restart", batch_size=batch_size)) as venv:
        venv.reset(seed=[5, 6])
        restarted = np.zeros(2, np.int64)
        for count in range(6):
            if count == 4:
                kill(venv.runner_pids()[0])
            venv.send(NOOP)
            batch, _ = venv.recv([0, 1])
            restarted += batch.restarted
        assert restarted.tolist() == [1, 1]
        assert [(fault.env_index, fault.step) for fault in venv.faults] == [(1, 3), (0, 5)]
        kill(venv.runner_pids()[1])
        observations, _ = venv.reset(seed=[7, 8])
        assert observations[0].tolist() == [0, 0, 7] and len(venv.faults) == 3


@BY_PROCESS
@pytest.mark.usefixtures("elsewhere")
def test_one_that_hangs_is_told(backend: Any) -> None:
    with closing(make(backend, "hang&at=2&only_seed=6", step_timeout_s=0.3)) as venv:
        venv.reset(seed=[5, 6])
        venv.step(NOOP)
        with pytest.raises(EnvTimeoutError, match="env 1, seed 6, step 2"):
            venv.step(NOOP)


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOSYS])
def test_where_a_sandbox_refuses_pidfds_the_channel_tells_of_a_death(
    refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    with closing(make("shm", on_fault="restart")) as venv:
        venv.reset(seed=[5, 6])
        kill(venv.runner_pids()[0])
        assert venv.step(NOOP)[4]["restarted"].tolist() == [True, False]


def test_a_lack_of_descriptors_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    with pytest.raises(ResourceError, match=r"Too many open files; .*ulimit -n"):
        make("shm")


@BY_PROCESS
@pytest.mark.usefixtures("elsewhere", "by_value")
@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_an_environment_forks_does_not_hide_the_runners_death(
    backend: Any, batch_size: int, tmp_path: Path
) -> None:
    """A fork has copies of all that the runner has open."""
    log = tmp_path / "children"

    def build() -> Any:
        from paceline.envs.synthetic import FaultyEnv

        child = os.fork()
        if not child:
            while True:
                signal.pause()
        with log.open("a") as file:
            file.write(f"{child}\n")
        return FaultyEnv("nan", at=10_000)

    try:
        with closing(make_vec(build, 2, backend=backend, num_env_runners=2, batch_size=batch_size)) as venv:
            venv.reset(seed=[5, 6])
            kill(venv.runner_pids()[1])
            venv.send(NOOP)
            with pytest.raises(RunnerDiedError, match=r"runner 1 .*SIGKILL"):
                for _ in range(2):
                    venv.recv()
    finally:
        for pid in log.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


SAID = "said last"


@pytest.mark.parametrize("death", ["seen by a descriptor", "asked for"])
@pytest.mark.parametrize("message", ["none", "whole", "half"])
def test_a_wait_ends_with_the_runner_though_its_child_keeps_everything_open(
    death: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said before is heard; of what it began to say, nothing."""
    if death == "asked for":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fakes"))
    memory_fd, write_fd = os.pipe()
    runner = RunnerProcess(0, range(1), memory_fd=memory_fd, launcher=SpawnLauncher(entry="leaving_runner:main"))
    try:
        runner.post(message)
        assert runner.receive() == "child started"
        if message != "none":
            select.select([runner.channel], [], [])
        kill(runner.pid)
        if message == "whole":
            assert runner.receive() == SAID
        with pytest.raises(RunnerDiedError, match="SIGKILL"):
            runner.receive()
    finally:
        end_all([runner], 0.0)
        os.close(write_fd)  # the child reads the other end, and leaves
        os.close(memory_fd)
