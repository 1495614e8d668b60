"""However a program or a vector environment ends: no process, no shared memory, no open file is left."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import gymnasium
import numpy as np
import pytest

import paceline
from paceline import make_vec
from paceline.errors import EnvError, EnvTimeoutError, RequestError, RunnerDiedError
from paceline.vector import VecEnv, shm
from paceline.vector.arrays import IDLE

Ended = Callable[[int], bool]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
pytestmark = LINUX
BY_METHOD = pytest.mark.parametrize("method", ["spawn", "forkserver"])


@contextmanager
def script(body: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a session of its own; end the whole of it in any case."""
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parent.parent)},
        start_new_session=True,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.kill()
        program.communicate()


def processes_of(program: subprocess.Popen[str]) -> set[int]:
    """Return all processes of the program's session: runners, fork server and the program itself."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                _, _, fields = (folder / "stat").read_text().rpartition(")")
            except OSError:
                continue
            if int(fields.split()[3]) == program.pid:
                found.add(int(folder.name))
    return found


def wait_until_there(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    line = program.stdout.readline()
    if line != "there\n":
        program.kill()
        pytest.fail(f"the program has said {line!r}, and ended: {program.communicate()[1]}")


SHARED = """
    import os, signal, sys, threading, time
    import numpy as np
    from paceline import make_vec

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it

    def make(fault, **kwargs):
        return make_vec(f"synthetic:faulty?fault={fault}", 4, num_env_runners=2, start_method="METHOD", **kwargs)
"""
STATES = {
    "idle": "venv = make('nan&at=10000'); venv.reset(seed=0)",
    "in a step": "venv = make('hang&at=1'); venv.reset(seed=0); venv.send(np.zeros(4, np.int64))",
    "in a reset": "venv = make('hang-in-reset&at=1'); threading.Thread(target=venv.reset, daemon=True).start()",
    "first ready": (
        "venv = make('hang&at=2', batch_size=1); venv.reset(seed=0); venv.send(np.zeros(4, np.int64)); "
        "ids = venv.recv()[1]; venv.send(np.zeros(1, np.int64), ids)"
    ),
    "over pipes": "venv = make('hang&at=1', backend='pipe'); venv.reset(seed=0); venv.send(np.zeros(4, np.int64))",
}


@BY_METHOD
@pytest.mark.parametrize("state", STATES)
def test_nothing_outlives_a_killed_parent(state: str, method: str, tmp_path: Path, ended: Ended) -> None:
    names = shared_memory()
    body = SHARED.replace("METHOD", method) + f"\n    {STATES[state]}\n    print('there', flush=True)\n"
    with script(body + "    threading.Event().wait()\n", tmp_path) as program:
        wait_until_there(program)
        pids = processes_of(program)
        assert len(pids) == (3 if method == "spawn" else 4)
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        deadline = monotonic() + 5.0
        assert all(ended(pid) for pid in pids) and monotonic() < deadline
    assert shared_memory() == names
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_nothing_outlives_a_parent_whose_vector_lives_off_the_main_thread(
    method: str, tmp_path: Path, ended: Ended
) -> None:
    body = (
        SHARED.replace("METHOD", method)
        + """
    def work():
        venv = make('hang&at=2')
        venv.reset(seed=0)
        venv.step(np.zeros(4, np.int64))
        print('there', flush=True)
        venv.step(np.zeros(4, np.int64))

    threading.Thread(target=work, daemon=True).start()
    threading.Event().wait()
"""
    )
    with script(body, tmp_path) as program:
        wait_until_there(program)
        pids = processes_of(program)
        program.kill()
        program.wait()
        assert all(ended(pid) for pid in pids)


@BY_METHOD
@pytest.mark.parametrize("when", ["in a step", "in set-up", "in close"])
def test_ctrl_c_twice_leaves_nothing(when: str, method: str, tmp_path: Path, ended: Ended) -> None:
    """As a terminal sends it, to the whole process group; the second comes while the first is being seen to."""
    body = SHARED.replace("METHOD", method)
    if when == "in a step":
        body += """
    venv = make('hang&at=1')
    venv.reset(seed=0)
    print('there', flush=True)
    venv.step(np.zeros(4, np.int64))
"""
    elif when == "in close":
        body += """
    venv = make('hang-in-close')
    venv.reset(seed=0)
    print('there', flush=True)
    venv.close(timeout=60)
"""
    else:
        body += """
    def build():
        import os, threading
        os.write(1, b'there\\n')  # in one piece: both runners do
        threading.Event().wait()

    make_vec(build, 4, backend='shm', num_env_runners=2, start_method='METHOD')
""".replace("METHOD", method)
    with script(body, tmp_path) as program:
        wait_until_there(program)
        pids = processes_of(program)
        assert len(pids) >= 3
        for _ in range(2):
            os.killpg(program.pid, signal.SIGINT)
        try:
            _, told = program.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the program has not ended: {sorted(processes_of(program))}")
        assert program.returncode in (1, 130, -signal.SIGINT), told
        assert "KeyboardInterrupt" in told
        assert all(ended(pid) for pid in pids)


@BY_METHOD
def test_a_program_may_end_without_close(method: str, tmp_path: Path, ended: Ended) -> None:
    body = (
        SHARED.replace("METHOD", method)
        + """
    venvs = [make('nan&at=10000'), make('nan&at=10000', backend='pipe')]
    for venv in venvs:
        venv.reset(seed=0)
    venvs[0].send(np.zeros(4, np.int64))
    threads = make_vec('synthetic:faulty?fault=hang&at=1', 2, backend='thread', num_env_runners=2)
    threads.reset(seed=0)
    threads.send(np.zeros(2, np.int64))
    print(*venvs[0].runner_pids(), *venvs[1].runner_pids(), flush=True)
"""
    )
    with script(body, tmp_path) as program:
        out, told = program.communicate(timeout=60)
        assert (program.returncode, told) == (0, "")
        assert len(out.split()) == 4 and all(ended(int(pid)) for pid in out.split())


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def end_in_order(venv: VecEnv) -> None:
    venv.step(np.zeros(2, np.int64))
    venv.close()


def end_in_a_step(venv: VecEnv) -> None:
    venv.send(np.zeros(2, np.int64))
    venv.close()
    with pytest.raises(RequestError, match="after close"):
        venv.recv()


def end_by_a_fault(venv: VecEnv) -> None:
    os.kill(venv.runner_pids()[0], signal.SIGKILL)
    with pytest.raises(EnvError):
        for _ in range(3):
            venv.step(np.zeros(2, np.int64))


def end_after_a_replacement(venv: VecEnv) -> None:
    venv.close()
    other = make_vec("CartPole-v1", 2, num_env_runners=2, backend=venv.backend, on_fault="restart")
    other.reset(seed=0)
    os.kill(other.runner_pids()[0], signal.SIGKILL)
    for _ in range(3):
        other.step(np.zeros(2, np.int64))
    assert len(other.faults) == 1
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["shm", "pipe"])
@pytest.mark.parametrize("end", [end_in_order, end_in_a_step, end_by_a_fault, end_after_a_replacement])
def test_files_and_memory_are_given_back(backend: Any, end: Callable[[VecEnv], None], ended: Ended) -> None:
    names, before = shared_memory(), open_files()
    venv = make_vec("CartPole-v1", 2, backend=backend, num_env_runners=2)
    venv.reset(seed=0)
    pids = venv.runner_pids()
    end(venv)
    assert all(ended(pid) for pid in pids)
    venv.close()
    venv.close()
    del venv
    assert (shared_memory(), open_files()) == (names, before)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["shm", "pipe"])
def test_a_vector_that_cannot_be_built_leaves_nothing(backend: Any) -> None:
    before, children = open_files(), processes_below()
    for num_env_runners in (1, 2):
        with pytest.raises(EnvError, match="always fails to build"):
            make_vec("synthetic:faulty?fault=raise-in-init", 2, backend=backend, num_env_runners=num_env_runners)
    assert (open_files(), processes_below()) == (before, children)


def processes_below() -> set[str]:
    return set(Path("/proc/self/task", str(threading.get_native_id()), "children").read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["shm", "pipe", "thread"])
@pytest.mark.parametrize("on_fault", ["raise", "restart"])
def test_a_forgotten_vector_ends(backend: Any, on_fault: Any, ended: Ended) -> None:
    before, files = set(threading.enumerate()), open_files()
    venv = make_vec("CartPole-v1", 2, backend=backend, num_env_runners=2, on_fault=on_fault)
    venv.reset(seed=0)
    venv.send(np.zeros(2, np.int64))
    pids = venv.runner_pids()
    threads = set(threading.enumerate()) - before
    assert len(pids) + len(threads) == 2
    del venv
    gc.collect()
    for thread in threads:
        thread.join(10)
    assert all(ended(pid) for pid in pids) and not any(thread.is_alive() for thread in threads)
    assert open_files() == files


def test_nothing_is_left_of_a_vector_that_fails_once_its_runners_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(shm, "Readiness", refuse)
    before, children = open_files(), processes_below()
    with pytest.raises(OSError, match="Too many open files"):
        make_vec("CartPole-v1", 2, backend="shm", num_env_runners=2)
    assert (open_files(), processes_below()) == (before, children)


@pytest.mark.parametrize("backend", ["shm", "pipe"])
@pytest.mark.parametrize("fault", ["hang", "hang-in-close"])
def test_close_waits_as_long_as_it_is_told(backend: Any, fault: str, ended: Ended) -> None:
    """One runner hangs, the other could end in order; both are gone when close returns."""
    venv = make_vec(f"synthetic:faulty?at=1&only_seed=5&fault={fault}", 2, backend=backend, num_env_runners=2)
    venv.reset(seed=[5, 6])
    venv.send(np.zeros(2, np.int64))
    if fault == "hang":  # a runner that has not begun the step yet would close in order
        wait_until_in_a_step(venv)
    begin = monotonic()
    venv.close(timeout=0.3)
    assert 0.25 < monotonic() - begin < 2.0
    assert all(ended(pid) for pid in venv.runner_pids())


def wait_until_in_a_step(venv: Any) -> None:
    while venv._arrays.cursors[0] == IDLE:
        os.sched_yield()


def test_close_does_not_wait_for_a_runner_that_reads_no_more(ended: Ended) -> None:
    """A pipe that is full takes no word of farewell."""
    venv: Any = make_vec("synthetic:faulty?fault=hang&at=1", 2, backend="pipe", num_env_runners=1)
    venv.reset(seed=0)
    venv.send(np.zeros(2, np.int64))
    wait_until_in_a_step(venv)
    with socket.socket(fileno=os.dup(venv._runners[0].channel.fileno())) as channel:
        channel.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                channel.send(bytes(4096))
        channel.setblocking(True)
    begin = monotonic()
    venv.close(timeout=0.2)
    assert monotonic() - begin < 2.0 and all(ended(pid) for pid in venv.runner_pids())


def test_terminate_ends_at_once(ended: Ended) -> None:
    venv = make_vec("synthetic:faulty?at=1&fault=hang", 2, num_env_runners=2)
    venv.reset(seed=0)
    venv.send(np.zeros(2, np.int64))
    begin = monotonic()
    venv.close(terminate=True)
    assert monotonic() - begin < 1.0 and all(ended(pid) for pid in venv.runner_pids())


def test_a_thread_that_hangs_is_reported_and_left_behind() -> None:
    venv = make_vec(
        "synthetic:faulty?at=1&only_seed=5&fault=hang", 2, backend="thread", num_env_runners=2, step_timeout_s=0.1
    )
    venv.reset(seed=[5, 6])
    with pytest.raises(EnvTimeoutError, match=r"left behind .*\(env 0, seed 5, step 1, last action 1\)"):
        venv.step(np.ones(2, np.int64))
    begin = monotonic()
    venv.close()
    assert monotonic() - begin < 1.0, "known to hang: not waited for"


@pytest.mark.parametrize("fault", ["hang", "hang-in-close"])
def test_a_thread_that_does_not_end_in_time_is_reported(fault: str) -> None:
    venv = make_vec(f"synthetic:faulty?at=1&only_seed=5&fault={fault}", 2, backend="thread", num_env_runners=2)
    venv.reset(seed=[5, 6])
    venv.send(np.zeros(2, np.int64))
    with pytest.warns(RuntimeWarning, match="runner 0 has not; its thread is left behind"):
        venv.close(timeout=0.1)
    venv.close()


@pytest.mark.parametrize("backend", ["serial", "thread", "shm"])
def test_one_that_fails_to_close_keeps_no_other_open(backend: Any, tmp_path: Path) -> None:
    def build() -> gymnasium.Env[Any, Any]:
        from paceline.envs.synthetic import FaultyEnv

        class Closing(FaultyEnv):
            def close(self) -> None:
                with (tmp_path / "closed").open("a") as log:
                    log.write(f"{self._seed}\n")
                super().close()
                raise SystemExit("worse still")

        return Closing("raise-in-close", only_seed=5)

    venv = make_vec(build, 3, backend=backend, num_env_runners=None if backend == "serial" else 1)
    venv.reset(seed=[5, 6, 7])
    venv.close()
    venv.close()
    assert (tmp_path / "closed").read_text().split() == ["5", "6", "7"]


def test_a_fork_of_the_program_ends_nobody_elses_runners(tmp_path: Path) -> None:
    body = (
        SHARED.replace("METHOD", "spawn")
        + """
    venv = make('nan&at=10000')
    venv.reset(seed=0)
    child = os.fork()
    if not child:
        venv.close()
        sys.exit(0)
    os.waitpid(child, 0)
    print(venv.step(np.zeros(4, np.int64))[1].tolist())
    venv.close()
"""
    )
    with script(body, tmp_path) as program:
        out, told = program.communicate(timeout=60)
        assert (out.strip(), told) == ("[1.0, 1.0, 1.0, 1.0]", "")


@pytest.mark.parametrize("backend", ["shm", "pipe"])
@pytest.mark.parametrize("on_fault", ["raise", "restart"])
@pytest.mark.parametrize("call", ["reset", "call", "step"])
def test_a_runner_whose_environment_started_a_process_is_missed(
    backend: Any, on_fault: Any, call: str, tmp_path: Path, ended: Ended
) -> None:
    """The process keeps open whatever the runner had open, so that its channel never comes to an end."""
    log = tmp_path / "children"

    def build() -> gymnasium.Env[Any, Any]:
        from paceline.envs.synthetic import FaultyEnv

        class Starting(FaultyEnv):
            def __init__(self) -> None:
                super().__init__("nan", at=10_000)
                kept = [int(path.name) for path in list(Path("/proc/self/fd").iterdir()) if path.exists()]
                child = subprocess.Popen(["sleep", "600"], pass_fds=kept)
                with log.open("a") as file:
                    file.write(f"{child.pid}\n")

        return Starting()

    venv = make_vec(build, 2, backend=backend, num_env_runners=2, on_fault=on_fault)
    calls: dict[str, Callable[[], Any]] = {
        "reset": lambda: venv.reset(seed=1),
        "call": lambda: venv.call("get_wrapper_attr", "_steps"),
        "step": lambda: venv.step(np.zeros(2, np.int64)),
    }
    try:
        venv.reset(seed=0)
        os.kill(venv.runner_pids()[1], signal.SIGKILL)
        assert ended(venv.runner_pids()[1])
        if on_fault == "raise":
            with pytest.raises(RunnerDiedError, match="SIGKILL"):
                calls[call]()
        else:
            calls[call]()
            assert [fault.env_index for fault in venv.faults] == [1]
    finally:
        venv.close()
        for pid in log.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
