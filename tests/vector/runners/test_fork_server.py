"""The fork server: loads once, forks on request, ends with its owner."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

import paceline
from paceline.errors import PlanError, ResourceError, RunnerDiedError
from paceline.vector.make import make_vec
from paceline.vector.runners.fork_server import ForkServer, fork_server_refusal
from paceline.vector.runners.forking import RUNNER_MODULES
from paceline.vector.runners.launch import RunnerProcess, end_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
FAKES = Path(__file__).parent.parent / "fakes"
Ended = Callable[[int], bool]
StartRunner = Callable[[], RunnerProcess]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    monkeypatch.syspath_prepend(str(FAKES))
    server = ForkServer(entry="probe_runner:main")
    yield server
    server.close()


@pytest.fixture
def start_runner(server: ForkServer) -> Iterator[StartRunner]:
    runners: list[RunnerProcess] = []
    memory_fd = os.memfd_create("test")

    def start() -> RunnerProcess:
        runners.append(RunnerProcess(len(runners), range(1), memory_fd=memory_fd, launcher=server))
        return runners[-1]

    yield start
    end_all(runners, 0.0)
    os.close(memory_fd)


def look(runner: RunnerProcess) -> object:
    runner.post("look")
    return runner.receive(monotonic() + 60)


def test_everything_that_a_runner_needs_is_loaded_before() -> None:
    """The server passes over what it cannot import; a name that is out of date would only cost time."""
    assert [name for name in RUNNER_MODULES if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("backend", ["shm", "pipe"])
def test_a_forked_runner_finds_everything_loaded(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FAKES))
    env = make_vec("looking_env:LookingEnv", 1, backend=backend, num_env_runners=1, start_method="forkserver")
    env.reset(seed=0)
    (loaded,) = env.call("loaded")
    env.close()
    names = ["paceline.vector.runners.forking", *RUNNER_MODULES]
    script = f"import sys, importlib; [importlib.import_module(name) for name in {names}]; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    own = {name for name in loaded if name.partition(".")[0] in ("paceline", "numpy", "gymnasium", "cloudpickle")}
    new = own - set(done.stdout.split())
    assert "paceline.vector.runners.runner" in own
    assert {name for name in new if not name.startswith("gymnasium.envs.")} == set()


def test_modules_are_loaded_once_and_their_output_is_printed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talks.py").write_text("print('loaded')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    server = ForkServer(preload=("talks", "there_is_no_such_module"), entry="probe_runner:main")
    memory_fd = os.memfd_create("test")
    runners = [RunnerProcess(slot, range(1), memory_fd=memory_fd, launcher=server) for slot in range(2)]
    os.close(memory_fd)
    for runner in runners:
        runner.post("leave")
        assert runner.process.wait(timeout=60) == 0
    end_all(runners, 1.0)
    assert capfd.readouterr().out.split("\n") == ["loaded", *["left in order"] * 2, ""]


def test_kill_9_of_the_server_ends_its_runners_and_is_reported(
    server: ForkServer, start_runner: StartRunner, ended: Ended
) -> None:
    runners = [start_runner(), start_runner()]
    assert all(look(runner) for runner in runners)
    assert server.obituary() is None
    os.kill(server.pid, signal.SIGKILL)
    for runner in runners:
        assert ended(runner.pid)
        with pytest.raises(RunnerDiedError, match="was ended by SIGKILL"):
            runner.receive(monotonic() + 60)
        assert runner.is_dead() and runner.process.poll() == -signal.SIGKILL
        assert f"fork server (pid {server.pid})" in str(runner.launcher.obituary())
    with pytest.raises(ResourceError, match=rf"fork server \(pid {server.pid}\) to start .* but it is gone"):
        start_runner()
    begin = monotonic()
    end_all(runners, 3.0)
    assert monotonic() - begin < 3.0


def test_runners_end_with_a_server_that_is_closed_before_them(
    server: ForkServer, start_runner: StartRunner, ended: Ended
) -> None:
    runner = start_runner()
    server.close()
    server.close()
    assert ended(runner.pid) and ended(server.pid)
    assert runner.process.wait(timeout=60) == -signal.SIGKILL


def test_a_server_that_still_loads_is_closed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_loads.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    server = ForkServer(preload=("never_loads",))
    begin = monotonic()
    server.close()
    assert monotonic() - begin < 5.0
    assert not Path(f"/proc/{server.pid}").exists()


def test_a_forgotten_server_ends(ended: Ended) -> None:
    server = ForkServer()
    pid = server.pid
    del server
    gc.collect()
    assert ended(pid)


def test_a_runner_outlives_its_siblings_and_can_be_replaced(server: ForkServer, start_runner: StartRunner) -> None:
    first, second = start_runner(), start_runner()
    first.post("3")
    assert first.process.wait(timeout=60) == 3
    first.end(monotonic() + 1)
    assert look(start_runner()) and look(second)
    assert Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split() != []


def test_an_answer_that_nobody_waited_for_is_passed_over(server: ForkServer, start_runner: StartRunner) -> None:
    """As after Ctrl-C between a request and its answer."""
    socket.send_fds(server._channel, [json.dumps({"id": 0, "reap": os.getpid()}).encode()], [])
    assert look(start_runner())


def test_a_fork_of_the_owner_leaves_the_server_alone() -> None:
    """In a process of its own: this one may have threads, with which it must not fork."""
    script = """
import os
from paceline.vector.runners.launch import ForkServer, RunnerProcess, end_all
server = ForkServer(entry="probe_runner:main")
runner = RunnerProcess(0, range(1), memory_fd=os.memfd_create("test"), launcher=server)
if os.fork() == 0:
    server.close()
    os._exit(0)
print(os.wait()[1])
runner.post("look")
print(runner.receive()["pid"] == runner.pid, server.start_method)
end_all([runner], 1.0)
"""
    search = os.pathsep.join([str(Path(paceline.__file__).parent.parent), str(FAKES)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["0", "True", "forkserver"], "")


def test_other_systems_are_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fork_server_refusal() is None
    assert "start_method spawn on macOS" in str(fork_server_refusal("darwin"))
    assert "use backend serial or thread" in str(fork_server_refusal("win32"))
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(PlanError, match=r"kernel with pidfd .*use start_method spawn"):
        ForkServer()
