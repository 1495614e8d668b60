"""Runners are started alike by every start method, and end, reported truly, in every case."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import paceline
from paceline.errors import OutOfMemoryError, PlanError, ResourceError, RunnerDiedError
from paceline.vector.runners import launch
from paceline.vector.runners.fork_server import ForkServer
from paceline.vector.runners.launch import (
    FEWEST_TO_FORK,
    Launcher,
    RunnerArguments,
    RunnerProcess,
    StartMethod,
    default_start_method,
    end_all,
    make_launcher,
    modules_to_preload,
    refused_start,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
FAKES = Path(__file__).parent.parent / "fakes"
METHODS: tuple[StartMethod, ...] = ("spawn", "forkserver")
FDS = [field.name for field in dataclasses.fields(RunnerArguments) if field.name.endswith("_fd")]
Ended = Callable[[int], bool]


@pytest.fixture(autouse=True)
def importable_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.syspath_prepend(str(FAKES))


@contextmanager
def runners_of(launcher: Launcher, count: int, **options: Any) -> Iterator[list[RunnerProcess]]:
    runners: list[RunnerProcess] = []
    memory_fd = os.memfd_create("test")
    try:
        for slot in range(count):
            runners.append(
                RunnerProcess(slot, range(slot, slot + 1), memory_fd=memory_fd, launcher=launcher, **options)
            )
        yield runners
    finally:
        os.close(memory_fd)
        end_all(runners, 0.0)
        launcher.close()


def probe(method: StartMethod | None, count: int, **options: Any) -> Launcher:
    return make_launcher(method, count, entry="probe_runner:main", **options)


def looks_of(method: StartMethod) -> list[dict[str, Any]]:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        with runners_of(probe(method, 2, threads=3), 2, cores=sorted(os.sched_getaffinity(0))[:1]) as runners:
            for runner in runners:
                runner.post("look")
            return [runner.receive(monotonic() + 60) for runner in runners]
    finally:
        os.close(inherited)


def test_a_forked_runner_is_as_clean_as_a_spawned_one() -> None:
    spawned, forked = looks_of("spawn"), looks_of("forkserver")
    for look in [*spawned, *forked]:
        assert look["fds"] == sorted([*FDS, "stdin", "stdout", "stderr"])
        assert look["heavy"] == [] and look["threads"] == (1, "3") and look["stdin"] == os.devnull
        assert look["cores"] == sorted(os.sched_getaffinity(0))[:1]
    alike = ("signals", "mask", "argv", "main", "cwd", "fds")
    for one, other in zip(spawned, forked, strict=True):
        assert {name: one[name] for name in alike} == {name: other[name] for name in alike}
    assert {look["ppid"] for look in spawned} == {os.getpid()}
    assert os.getpid() not in {look["ppid"] for look in forked}
    assert [look["comm"] for look in forked] == ["paceline-0", "paceline-1"]
    for draws in zip(*(look["random"] for look in forked), strict=True):
        assert len(set(draws)) == len(draws), "forks must not draw the same numbers"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("command", "status", "told"),
    [("3", 3, "exited with status 3"), ("raise", 1, "exited with status 1"), ("leave", 0, "exited with status 0")],
)
def test_exit_status_is_told(
    method: StartMethod, command: str, status: int, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with runners_of(probe(method, 1), 1) as (runner,):
        runner.post(command)
        assert runner.process.wait(timeout=60) == runner.process.poll() == runner.process.wait() == status
        with pytest.raises(RunnerDiedError, match=told):
            runner.receive(monotonic() + 60)
        assert not Path(f"/proc/{runner.pid}").exists(), "no zombie is left"
        runner.process.kill()  # as Popen's: of an ended process, nothing
    out, err = capfd.readouterr()
    assert ("ValueError: broken on purpose" in err) == (command == "raise")
    assert out == ("left in order\n" if command == "leave" else "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_told(method: StartMethod, number: signal.Signals) -> None:
    with runners_of(probe(method, 2), 2) as runners:
        victim, other = runners
        os.kill(victim.pid, number)
        with pytest.raises(RunnerDiedError, match=f"runner 0 .*was ended by {number.name}"):
            victim.receive(monotonic() + 60)
        assert victim.process.wait(timeout=60) == -number
        assert victim.is_dead() and not other.is_dead()
        other.post("look")
        assert other.receive(monotonic() + 60)["pid"] == other.pid


@pytest.mark.parametrize("method", METHODS)
def test_a_runner_that_hangs_is_killed_in_time(method: StartMethod, ended: Ended) -> None:
    with runners_of(probe(method, 2), 2) as runners:
        for runner in runners:
            runner.post("hang")
            assert runner.receive(monotonic() + 60) == "hanging"
        with pytest.raises(subprocess.TimeoutExpired):
            runners[0].process.wait(timeout=0.01)
        begin = monotonic()
        end_all(runners, 0.2)
        end_all(runners, 0.2)
        assert monotonic() - begin < 5.0
        assert [runner.process.poll() for runner in runners] == [-signal.SIGKILL] * 2
    assert all(ended(runner.pid) for runner in runners)


@pytest.mark.parametrize("method", METHODS)
def test_shared_memory_reaches_the_runner(method: StartMethod) -> None:
    launcher = probe(method, 1)
    memory_fd = os.memfd_create("test")
    os.write(memory_fd, b"seen")
    os.lseek(memory_fd, 0, os.SEEK_SET)
    runner = RunnerProcess(0, range(1), memory_fd=memory_fd, launcher=launcher)
    os.close(memory_fd)
    try:
        runner.post("memory")
        assert runner.receive(monotonic() + 60) == b"seen"
    finally:
        end_all([runner], 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_open(method: StartMethod) -> None:
    def num_fds() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = num_fds()
    with runners_of(probe(method, 2), 2):
        assert num_fds() > before
    assert num_fds() == before


SCRIPT = """
import os, sys
from paceline.vector.runners.launch import RunnerProcess, make_launcher
launcher = make_launcher(sys.argv[1], 2, entry="probe_runner:main")
memory_fd = os.memfd_create("test")
runners = [RunnerProcess(slot, range(slot, slot + 1), memory_fd=memory_fd, launcher=launcher) for slot in range(2)]
for runner in runners:
    runner.post("hang")
    runner.receive()
if sys.argv[2] == "forks" and os.fork() == 0:
    os.read(int(sys.argv[3]), 1)
    os._exit(0)
print(*(runner.pid for runner in runners), getattr(launcher, "pid", runners[0].pid), flush=True)
os.read(0, 1)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("forks", ["forks", "alone"])
def test_kill_9_of_the_parent_leaves_nothing(method: StartMethod, forks: str, ended: Ended) -> None:
    """Nor when the parent has forked: its fork keeps the lifelines open for as long as it lives."""
    held_read, held_write = os.pipe()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(paceline.__file__).parent.parent), str(FAKES)]),
    }
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, method, forks, str(held_read)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        pass_fds=[held_read],
    ) as parent:
        os.close(held_read)
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
        begin = monotonic()
        assert len(pids) == 3 and all(ended(pid) for pid in pids)
        assert monotonic() - begin < 5.0
        os.close(held_write)  # the fork of the parent ends, too


def test_the_start_method_follows_the_number_of_runners() -> None:
    methods = {count: default_start_method(count) for count in range(1, 40)}
    assert [count for count, method in methods.items() if method == "forkserver"] == list(range(FEWEST_TO_FORK, 40))
    assert {default_start_method(count, "darwin") for count in range(1, 40)} == {"spawn"}
    assert probe(None, 1).start_method == "spawn"
    launcher = probe(None, FEWEST_TO_FORK)
    assert launcher.start_method == "forkserver"
    launcher.close()


def test_a_thread_in_what_is_preloaded_is_refused_or_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = probe("forkserver", 1, preload=("json", "starts_a_thread"))
    told = r"starts_a_thread; leave it out of preload, or use start_method spawn"
    with pytest.raises(PlanError, match=told), runners_of(asked, 1):
        pass
    chosen = probe(None, FEWEST_TO_FORK, preload=("starts_a_thread",))
    with runners_of(chosen, 2) as runners:
        assert chosen.start_method == "spawn"
        runners[1].post("look")
        assert runners[1].receive(monotonic() + 60)["ppid"] == os.getpid()


def test_wrong_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match="expected start_method to be spawn or forkserver, got 'fork'"):
        make_launcher("fork", 2)  # type: ignore[arg-type]
    monkeypatch.setattr("paceline.vector.runners.bootstrap.os.name", "nt")
    with pytest.raises(PlanError, match=r"expected Linux or macOS .*use backend serial or thread"):
        make_launcher("spawn", 1).start("a runner", {})


def test_a_refusal_of_the_system_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(refused_start("runner 1", OSError(errno.EAGAIN, "no"))) is ResourceError
    assert type(refused_start("runner 1", OSError(errno.ENOMEM, "no"))) is OutOfMemoryError

    class Refusing(ForkServer):
        def __init__(self, **kwargs: Any) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(launch, "ForkServer", Refusing)
    with pytest.raises(ResourceError, match=r"start the fork server, got Too many open files; .*ulimit -n"):
        make_launcher("forkserver", 2)


def test_only_what_gymnasium_ships_is_preloaded() -> None:
    assert modules_to_preload("HalfCheetah-v5") == ("gymnasium.envs.mujoco.half_cheetah_v5",)
    assert modules_to_preload("CartPole-v1") == ("gymnasium.envs.classic_control.cartpole",)
    assert modules_to_preload("synthetic:busy") == modules_to_preload("package.module:Env") == ()
