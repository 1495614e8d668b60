"""Runner processes: started clean and quickly, ended in every case."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import paceline
from paceline import make_vec
from paceline.errors import EnvRaisedError, PlanError
from paceline.vector.runners.placement import usable_cores

Ended = Callable[[int], bool]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


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


def test_a_forgotten_vector_ends_its_runners(ended: Ended) -> None:
    env = make_vec("CartPole-v1", 2, num_env_runners=1)
    env.reset(seed=0)
    pids = env.runner_pids()
    del env
    gc.collect()
    assert all(ended(pid) for pid in pids)


def test_a_vector_closes_while_a_step_is_under_way(ended: Ended) -> None:
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
        from paceline import EnvSpec, make_vec
        from paceline.envs import env_factory
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
        specs = EnvSpec(id="__main__:MyEnv"), env_factory(MyEnv).spec  # what paceline.train makes of a function
        for env in (MyEnv, lambda: MyEnv(), "Mine-v0", "__main__:MyEnv", *specs):
            vec = make_vec(env, 4, backend="shm", num_env_runners=2)
            vec.reset(seed=0)
            print(vec.step(np.array([0, 1, 1, 0]))[0][:, 0].tolist())
            vec.close()
        """,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["script starts", *["[0.0, 1.0, 1.0, 0.0]"] * 6]


def test_a_program_that_ends_without_close_is_quiet(tmp_path: Path, ended: Ended) -> None:
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


@pytest.mark.slow
def test_train_takes_a_function_of_the_users_script_into_runners(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import gymnasium, paceline
        from paceline import Plan
        from paceline.errors import SpecError

        def build(longest=20):
            return gymnasium.make("CartPole-v1", max_episode_steps=longest)

        fields = dict(
            algo={"name": "ppo", "batch_size": 16, "minibatch_size": 16, "num_epochs": 1},
            budget={"iterations": 1},
            plan=Plan(num_env_runners=2, num_envs_per_env_runner=1, device="cpu"),
        )
        result = paceline.train(build, out="run", **fields)
        print(result.outcome, result.env_id)
        try:
            paceline.train(lambda: build(5), out="other", **fields)
        except SpecError as error:
            print(error)
        """,
    )
    outcome, refused = done.stdout.splitlines()
    assert (outcome, done.stderr) == ("ok __main__:build", "")
    assert refused.startswith("expected an environment that its name finds again, got __main__:<lambda>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "script.py"]


@pytest.mark.parametrize("backend", ["shm", "pipe"])
def test_a_callable_that_cannot_be_pickled_is_refused(backend: Any) -> None:
    lock = threading.Lock()

    def build() -> gymnasium.Env[Any, Any]:
        with lock:
            return gymnasium.make("CartPole-v1")

    with pytest.raises(PlanError, match=r"callables that can be sent .*build: TypeError: .*lock.*serial or thread"):
        make_vec(build, 2, backend=backend, num_env_runners=2)


class Unloadable:
    """A callable that travels well and does not arrive."""

    def __call__(self) -> gymnasium.Env[Any, Any]:
        return gymnasium.make("CartPole-v1")

    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("backend", ["shm", "pipe"])
def test_a_callable_that_a_runner_cannot_load_is_told(backend: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EnvRaisedError, match=r"runner process can load, got ValueError: .*no number") as caught:
        make_vec(Unloadable(), 2, backend=backend, num_env_runners=2)
    assert "_unpickle_factories" in caught.value.original_traceback and caught.value.env_index == 0
    assert capfd.readouterr().err == ""


class Unsendable(Inspected):
    """Its spaces cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space.lock = threading.Lock()  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", ["shm", "pipe"])
def test_spaces_that_cannot_be_pickled_are_told(
    backend: Any, by_value: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EnvRaisedError, match=r"could not be built: TypeError: .*lock") as caught:
        make_vec(lambda: Unsendable(), 2, backend=backend, num_env_runners=2)
    assert "send_message" in caught.value.original_traceback and capfd.readouterr().err == ""
