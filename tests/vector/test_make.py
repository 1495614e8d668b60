"""make_vec: a real Gymnasium vector environment, however it is asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import ClipReward, NormalizeObservation, RecordEpisodeStatistics

from paceline import Plan, make_vec
from paceline.envs import env_factory
from paceline.errors import PlanError, RequestError
from paceline.spec import EnvSpec
from paceline.vector import SerialVecEnv, ShmVecEnv, VecEnv, make
from paceline.vector.choose import Choice
from paceline.vector.native import native_way
from paceline.vector.runners.processes import partition
from paceline.vector.seeding import derive_seeds


def test_plan_decides_backend_and_runners() -> None:
    serial = make_vec("CartPole-v1", plan=Plan(num_env_runners=0, num_envs_per_env_runner=3))
    assert isinstance(serial, SerialVecEnv) and serial.num_envs == 3 and serial.num_env_runners == 0
    shm = make_vec(
        EnvSpec(id="CartPole-v1"), 4, plan=Plan(num_env_runners=2, num_envs_per_env_runner=2, pin_cores=True)
    )
    assert isinstance(shm, ShmVecEnv) and len(shm.runner_pids()) == shm.num_env_runners == 2
    shm.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs of at least 1, got 0; give num_envs or a plan"),
        ({"num_envs": None}, "num_envs of at least 1, got None; give"),
        ({"num_envs": 2, "backend": "serial", "num_env_runners": 1}, "use backend shm"),
        ({"num_envs": 2, "backend": "shm", "num_env_runners": 0}, "at least 1 for backend shm, got 0; leave it out"),
        ({"num_envs": 2, "num_env_runners": 3}, "at most one runner per environment"),
        ({"num_envs": 2, "backend": "serial", "step_timeout_s": 1.0}, "use backend shm"),
        ({"num_envs": 2, "num_env_runners": 1, "step_timeout_s": -1.0}, "step_timeout_s above 0"),
        ({"num_envs": 2, "infos": "some"}, "all, final or none, got 'some'; use one"),
        ({"num_envs": 2, "autoreset_mode": "sometimes"}, "NEXT_STEP, SAME_STEP, DISABLED, got 'sometimes'; use one"),
        ({"num_envs": 2, "num_env_runners": 2, "runner_cores": [[0]]}, "one list each"),
        ({"num_envs": 5, "plan": Plan(num_envs_per_env_runner=4)}, "num_envs 4 as the plan says"),
        ({"num_envs": 4, "plan": Plan(num_envs_per_env_runner=4), "backend": "serial"}, "put them into the plan"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_vec("CartPole-v1", **arguments)


FOR_PROCESSES: dict[str, Any] = {
    "memory_limit_bytes": 2**30, "start_method": "spawn", "runner_threads": 2, "runner_cores": [[]],
}  # fmt: skip


@pytest.mark.parametrize("name", FOR_PROCESSES)
@pytest.mark.parametrize("backend", ["serial", "thread", "native", "auto"])
def test_what_only_runner_processes_heed_is_refused_by_the_others(name: str, backend: Any) -> None:
    runners = {"num_env_runners": 0} if backend == "auto" else {}
    where = "serial" if backend == "auto" else backend
    message = f"runner processes for {name}, got {where}; use backend shm or pipe, or leave {name} out"
    with pytest.raises(PlanError, match=message):
        make_vec("CartPole-v1", 2, backend=backend, **runners, **{name: FOR_PROCESSES[name]})


@pytest.mark.parametrize("name", FOR_PROCESSES)
def test_what_only_runner_processes_heed_makes_auto_take_them(name: str) -> None:
    env = make_vec("CartPole-v1", 1, **{name: FOR_PROCESSES[name]})
    assert (env.backend, env.num_env_runners) == ("shm", 1)
    assert f"{name} needs processes, so no step was tried out in this one" in env.backend_reason
    env.close()


def test_what_a_plan_says_of_runners_is_not_held_against_its_threads() -> None:
    plan = Plan(backend="thread", num_env_runners=2, num_envs_per_env_runner=1, runner_threads=2)
    env = make_vec("CartPole-v1", plan=plan)
    assert (env.backend, env.backend_reason) == ("thread", "thread: the plan asks for it")
    env.close()


CALLER = """
import numpy as np
from paceline import make_vec

venv = make_vec("synthetic:faulty?fault={fault}&at=2", 2, on_fault="restart"{more})
venv.reset(seed=0)
venv.step(np.zeros(2, np.int64))
*_, infos = venv.step(np.zeros(2, np.int64))
print(venv.backend, infos["restarted"].tolist(), sorted({{fault.kind for fault in venv.faults}}))
print(venv.backend_reason)
venv.close()
"""


@pytest.mark.parametrize(
    ("fault", "more", "kind"),
    [
        ("kill", "", "RunnerDiedError"),
        ("exit", "", "RunnerDiedError"),
        ("hang", ", step_timeout_s=0.5", "EnvTimeoutError"),
    ],
)
def test_auto_lets_no_environment_that_may_break_into_the_callers_process(fault: str, more: str, kind: str) -> None:
    caller = [sys.executable, "-c", CALLER.format(fault=fault, more=more)]
    done = subprocess.run(caller, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told, reason = done.stdout.splitlines()
    assert told == f"shm [True, True] ['{kind}']"
    assert "on_fault restart" in reason and "no step was tried out in this one" in reason


def test_auto_does_not_wait_for_an_environment_that_hangs_and_may_be_replaced() -> None:
    script = (
        "from paceline import make_vec\n"
        "make_vec('synthetic:faulty?fault=hang&at=1', 2, on_fault='restart').close()\n"
        "print('made')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "made\n", "")


@pytest.mark.parametrize("has_processes", [True, False])
def test_auto_chooses_processes_only_where_there_can_be_any(has_processes: bool) -> None:
    def choose(num_env_runners: int | None = None, env_id: str = "synthetic:sleep?ms=2", **asked: Any) -> Any:
        envs = [env_factory(env_id)] * 4
        return make._choose("auto", num_env_runners, envs, has_processes=has_processes, **asked)

    processes = "shm" if has_processes else "thread"
    given = choose(2)
    assert (given.backend, given.num_env_runners) == (processes, 2)
    assert given.reason.startswith(f"{processes}: num_env_runners was given, and ")
    assert choose(0) == Choice("serial", 0, "serial: num_env_runners is 0")
    assert choose(better_in_process=["on_fault restart"]).backend == processes
    assert choose().backend == "thread"
    assert has_processes or choose(env_id="synthetic:busy?us=2000").backend == "serial"
    assert choose(process_only=["memory_limit_bytes"]).backend == "shm", "which refuses, and says where it runs"


def test_environments_are_divided_evenly() -> None:
    for num_envs in range(1, 20):
        for runners in range(1, num_envs + 1):
            parts = partition(num_envs, runners)
            assert [index for part in parts for index in part] == list(range(num_envs))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1 and len(parts) == runners


def test_seeds_depend_on_seed_and_index_alone() -> None:
    assert derive_seeds(7, 5) == derive_seeds(7, 9)[:5]
    many = [seed for root in range(20) for seed in derive_seeds(root, 50)]
    assert len(set(many)) == len(many)
    assert all(0 <= seed < 2**31 for seed in many)


def test_seeds_are_recorded_and_reproduce() -> None:
    env = make_vec("CartPole-v1", 3, backend="serial")
    first, _ = env.reset()  # without a seed: drawn, and told
    assert all(isinstance(seed, int) for seed in env.env_seeds)
    again, _ = env.reset(seed=list(env.env_seeds))
    np.testing.assert_array_equal(first, again)
    seeds = env.env_seeds
    other, _ = env.reset()  # generators go on
    assert env.env_seeds == seeds and not np.array_equal(first, other)
    with pytest.raises(RequestError, match="list of 3"):
        env.reset(seed=[1, 2])
    with pytest.raises(RequestError, match="0 or more"):
        env.reset(seed=-1)
    for mask in (np.zeros(3, bool), np.ones(2, bool), [True] * 3, np.ones(3)):
        with pytest.raises(RequestError, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
    env.close()


@pytest.fixture(params=[0, 2], ids=["serial", "shm"])
def cartpoles(request: pytest.FixtureRequest) -> Any:
    env = make_vec("CartPole-v1", 3, num_env_runners=request.param, env_kwargs={"max_episode_steps": 6})
    yield env
    env.close()


def test_gymnasiums_wrappers_accept_it(cartpoles: VecEnv) -> None:
    assert isinstance(cartpoles, gymnasium.vector.VectorEnv)
    assert cartpoles.spec is not None and cartpoles.spec.id == "CartPole-v1"
    wrapped = NormalizeObservation(ClipReward(RecordEpisodeStatistics(cartpoles), 0.0, 0.5))
    wrapped.action_space.seed(0)
    observations, _ = wrapped.reset(seed=5)
    assert wrapped.observation_space.contains(observations.astype(np.float32))
    lengths = []
    for _ in range(15):
        *_, infos = wrapped.step(wrapped.action_space.sample())
        if "episode" in infos:
            lengths += infos["episode"]["l"][infos["_episode"]].tolist()
    assert lengths and set(lengths) <= set(range(1, 7)) and max(lengths) == 6


def test_copies_are_independent_and_views_are_not(cartpoles: VecEnv) -> None:
    first, _ = cartpoles.reset(seed=1)
    kept = first.copy()
    second, rewards, *_ = cartpoles.step(np.zeros(3, dtype=np.int64))
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second) and rewards.dtype == np.float64
    cartpoles.send(np.zeros(3, dtype=np.int64))
    batch, _ = cartpoles.recv()
    cartpoles.send(np.zeros(3, dtype=np.int64))
    assert cartpoles.recv()[0].observations is batch.observations


def test_methods_and_attributes_reach_every_env(cartpoles: VecEnv) -> None:
    assert cartpoles.get_attr("gravity") == (9.8, 9.8, 9.8)
    cartpoles.set_attr("gravity", [1.0, 2.0, 3.0])
    assert cartpoles.get_attr("gravity") == (1.0, 2.0, 3.0)
    cartpoles.set_attr("gravity", 5.0)
    assert cartpoles.call("gravity") == (5.0, 5.0, 5.0)
    with pytest.raises(RequestError, match="own step"):
        cartpoles.call("step", 0)
    cartpoles.reset(seed=0)


def test_busy_time_grows(cartpoles: VecEnv) -> None:
    cartpoles.reset(seed=0)
    before = cartpoles.busy_ns()
    assert before.shape == (max(cartpoles.num_env_runners, 1),) and before.dtype == np.int64
    cartpoles.step(np.zeros(3, dtype=np.int64))
    assert (cartpoles.busy_ns() > before).all()


def test_an_env_that_keeps_its_action_keeps_its_own() -> None:
    class Keeper(gymnasium.Env[Any, Any]):
        def __init__(self) -> None:
            self.observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
            self.action_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
            self.last = np.zeros(2, np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return self.last, {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            previous, self.last = self.last, action
            return previous, 0.0, False, False, {}

    for runners in (0, 1):
        env = make_vec(Keeper, 2, num_env_runners=runners, autoreset_mode=AutoresetMode.SAME_STEP)
        env.reset(seed=0)
        env.step(np.ones((2, 2), np.float32))
        observations, *_ = env.step(np.full((2, 2), 2.0, np.float32))
        np.testing.assert_array_equal(observations, np.ones((2, 2)))
        env.close()


@pytest.mark.parametrize("backend", ["async", "shmm", "", 3])
def test_a_backend_of_another_name_is_refused(backend: Any) -> None:
    with pytest.raises(PlanError, match=r"expected a backend of auto, .* or .*, got .*; Gymnasium's sync is serial"):
        make_vec("CartPole-v1", 2, backend=backend)


@pytest.mark.parametrize("numbers", [{"num_envs": 2.5}, {"num_envs": "4"}, {"num_envs": 2, "num_env_runners": "2"}])
def test_numbers_that_are_none_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="to be an integer"):
        make_vec("CartPole-v1", backend="shm", **numbers)


def test_auto_takes_batches_from_the_size_on_at_which_they_are_quicker() -> None:
    way = native_way(env_factory("CartPole-v1"))
    assert way is not None
    for num_envs, backend, runners in ((way.least_envs - 1, "serial", 0), (way.least_envs, "native", 1)):
        env = make_vec("CartPole-v1", num_envs)
        assert (env.backend, env.num_env_runners) == (backend, runners)
        env.close()
    assert "batched NumPy steps CartPole-v1 in the calling thread" in env.backend_reason


def test_native_code_gets_as_many_threads_as_it_makes_use_of() -> None:
    env = make_vec("CartPole-v1", 8, backend="native")
    assert env.num_env_runners == 1
    env.close()
    with pytest.raises(PlanError, match="expected num_env_runners 1 for CartPole-v1 with backend native"):
        make_vec("CartPole-v1", 8, backend="native", num_env_runners=2)
