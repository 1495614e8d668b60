"""Runner processes: started clean and quickly, ended in every case."""

from __future__ import annotations

import gc
import os
import select
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import paceline
from paceline import make_vec
from paceline.vector.placement import usable_cores

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def ended(pid: int) -> bool:
    """Wait until a process is gone, ten seconds at most."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 10.0)[0])
    finally:
        os.close(pidfd)


class Inspected(gymnasium.Env[Any, Any]):
    """Tells about the process it lives in."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def look(self) -> dict[str, Any]:
        heavy = ("jax", "torch", "pydantic", "matplotlib", "psutil")
        return {
            "pid": os.getpid(),
            "heavy": [name for name in heavy if name in sys.modules],
            "threads": os.environ["OMP_NUM_THREADS"],
            "cores": sorted(os.sched_getaffinity(0)),
            "path": sys.path,
        }


def build_inspected() -> gymnasium.Env[Any, Any]:
    return Inspected()


@pytest.fixture
def by_value() -> Any:
    """Send this module's functions by value: a runner cannot import a test module."""
    import cloudpickle

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@LINUX
def test_runners_are_clean_processes(by_value: None) -> None:
    env = make_vec(build_inspected, 4, num_env_runners=2, runner_threads=3, runner_cores=[usable_cores()[:1], []])
    try:
        looks = env.call("look")
    finally:
        env.close()
    assert [look["pid"] for look in looks] == [pid for pid in env.runner_pids() for _ in range(2)]
    assert all(look["heavy"] == [] for look in looks)
    assert all(look["threads"] == "3" for look in looks)
    assert looks[0]["cores"] == usable_cores()[:1] and looks[2]["cores"] == usable_cores()
    assert looks[0]["path"] == sys.path


@LINUX
def test_everything_is_released() -> None:
    def state() -> tuple[set[str], int]:
        return {path.name for path in Path("/dev/shm").iterdir()}, len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    before = state()
    env = make_vec("CartPole-v1", 4, num_env_runners=2)
    env.reset(seed=0)
    assert state()[0] == before[0], "the shared memory has no name"
    env.close()
    env.close()
    del env
    gc.collect()
    assert state() == before


def test_a_forgotten_vector_ends_its_runners() -> None:
    env = make_vec("CartPole-v1", 2, num_env_runners=1)
    env.reset(seed=0)
    pids = env.runner_pids()
    del env
    gc.collect()
    assert all(ended(pid) for pid in pids)


def test_a_vector_closes_while_a_step_is_under_way() -> None:
    env = make_vec("synthetic:sleep?ms=20", 2, num_env_runners=2)
    env.reset(seed=0)
    env.send(np.zeros(2, dtype=np.int64))
    env.close()
    assert all(ended(pid) for pid in env.runner_pids())


def run_script(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(body))
    environment = {**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    """Runners must not import the user's script again, and its own classes must reach them."""
    done = run_script(
        tmp_path,
        """
        import gymnasium, numpy as np
        from paceline import make_vec
        print("script starts")

        class MyEnv(gymnasium.Env):
            observation_space = gymnasium.spaces.Box(0, 9, (2,), np.float32)
            action_space = gymnasium.spaces.Discrete(2)
            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                return np.ones(2, np.float32), {}
            def step(self, action):
                return np.full(2, action, np.float32), 1.0, False, False, {}

        gymnasium.register("Mine-v0", entry_point=MyEnv)
        for env in (MyEnv, lambda: MyEnv(), "Mine-v0", "__main__:MyEnv"):
            vec = make_vec(env, 4, backend="shm", num_env_runners=2)
            vec.reset(seed=0)
            print(vec.step(np.array([0, 1, 1, 0]))[0][:, 0].tolist())
            vec.close()
        """,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["script starts", *["[0.0, 1.0, 1.0, 0.0]"] * 4]


def test_a_program_that_ends_without_close_is_quiet(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        from paceline import make_vec
        env = make_vec("HalfCheetah-v5", 2, num_env_runners=2)
        env.reset(seed=0)
        print(*env.runner_pids())
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(ended(int(pid)) for pid in done.stdout.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py"], "no MUJOCO_LOG.TXT either"
