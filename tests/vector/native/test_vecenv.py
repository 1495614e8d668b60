"""The native vector environment beside the serial one: infos of all levels, NaN, restarts, lifetime."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from paceline.envs import env_factory
from paceline.errors import EnvContractError, EnvRaisedError, PlanError, RequestError
from paceline.vector.batched import BatchedVecEnv, VecOptions
from paceline.vector.faults import FaultPolicy
from paceline.vector.native import NativeVecEnv
from paceline.vector.serial import SerialVecEnv

Maker = Callable[[VecOptions], BatchedVecEnv]
SAME, NEXT, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED


def _makers(env: str, num_envs: int, **kwargs: Any) -> tuple[Maker, Maker]:
    factory = env_factory(env, **kwargs)
    return (
        lambda options: NativeVecEnv(factory, num_envs, 2, options),
        lambda options: SerialVecEnv([factory] * num_envs, options),
    )


def _require_same(ours: Any, theirs: Any, path: str) -> None:
    if isinstance(theirs, dict):
        assert sorted(ours) == sorted(theirs), path
        for key, value in theirs.items():
            _require_same(ours[key], value, f"{path}/{key}")
        return
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, path
    if theirs.dtype == object:
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert (one is None) == (other is None), path
            if other is not None:
                _require_same(one, other, f"{path}/{index}")
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=path)


@pytest.mark.parametrize("infos", ["all", "final", "none"])
@pytest.mark.parametrize("mode", [SAME, NEXT])
@pytest.mark.parametrize("env", ["Hopper-v5", "Humanoid-v5"])
def test_everything_is_as_serial_returns_it(env: str, mode: AutoresetMode, infos: Any) -> None:
    """Episodes end here and there; infos are equal to their keys, dtypes and masks."""
    options = VecOptions(autoreset_mode=mode, infos=infos)
    ours, theirs = (maker(options) for maker in _makers(env, 4, max_episode_steps=23))
    _require_same(ours.reset(seed=3)[1], theirs.reset(seed=3)[1], "reset")
    rng = np.random.default_rng(0)
    ends = 0
    for step in range(60):
        actions = rng.uniform(-0.4, 0.4, ours.action_space.shape).astype(np.float32)  # type: ignore[arg-type]
        for part, other in zip(ours.step(actions), theirs.step(actions), strict=True):
            _require_same(part, other, f"step {step}")
        ends += int((ours._arrays.terminated | ours._arrays.truncated).sum())
    assert ends > 4
    ours.close()
    theirs.close()


@pytest.mark.parametrize("mode", [SAME, NEXT])
def test_nan_is_a_fault_and_is_mended_as_serial_mends_it(
    mode: AutoresetMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log into the working directory
    options = VecOptions(autoreset_mode=mode, faults=FaultPolicy("restart", 1))
    makers = _makers("HalfCheetah-v5", 3, max_episode_steps=6)
    ours, theirs = (maker(options) for maker in makers)
    actions = np.zeros((3, 6), np.float32)
    for venv in (ours, theirs):
        venv.reset(seed=1)
        venv.step(actions)
    for step in range(9):
        actions[1, 2] = np.nan if step == 2 else 0.1 * step
        for part, other in zip(ours.step(actions)[:4], theirs.step(actions)[:4], strict=True):
            _require_same(part, other, f"step {step}")
        _require_same(ours._arrays.restarted, theirs._arrays.restarted, f"restarted {step}")
        _require_same(ours._arrays.reset_rows, theirs._arrays.reset_rows, f"reset rows {step}")
    assert [(fault.env_index, fault.step, fault.new_seed) for fault in ours.faults] == [
        (fault.env_index, fault.step, fault.new_seed) for fault in theirs.faults
    ]
    assert ours.env_seeds == theirs.env_seeds
    actions[0] = np.nan
    with pytest.raises(EnvContractError, match="after 1 restarts"):
        ours.step(actions)
    ours.close()
    theirs.close()


def test_nan_names_environment_seed_step_and_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    venv = _makers("HalfCheetah-v5", 3)[0](VecOptions())
    venv.reset(seed=[5, 6, 7])
    actions = np.zeros((3, 6), np.float32)
    venv.step(actions)
    actions[2, 1] = np.nan
    with pytest.raises(
        EnvContractError, match=r"a reward that is a number, got NaN; .* \(env 2, seed 7, step 2"
    ) as caught:
        venv.step(actions)
    assert caught.value.env_index == 2 and np.isnan(caught.value.action[1])
    with pytest.raises(RequestError, match="after it failed"):
        venv.step(actions)
    venv.close()


def test_an_error_within_mujoco_names_the_environment() -> None:
    """Too many contacts for the arena is an error that MuJoCo raises for one simulation."""
    venv = NativeVecEnv(env_factory("HalfCheetah-v5"), 3, 2, VecOptions())
    venv.reset(seed=0)
    engine: Any = venv._simulation._engine  # type: ignore[attr-defined]

    class Broken:
        def step(self, ids: Any, nstep: int) -> None:
            from mujoco import batch

            raise batch.SimulationError(np.array([1]), "stack overflow")

        def error(self, index: int) -> str:
            return "stack overflow"

    engine._batch = Broken()
    with pytest.raises(EnvRaisedError, match=r"MuJoCo raised in an environment: stack overflow \(env 1\)"):
        venv.step(np.zeros((3, 6), np.float32))
    venv.close()


def test_disabled_mode_refuses_to_step_what_is_over() -> None:
    venv = _makers("Reacher-v5", 2, max_episode_steps=2)[0](VecOptions(autoreset_mode=DISABLED))
    venv.reset(seed=0)
    actions = np.zeros((2, 2), np.float32)
    venv.step(actions)
    assert venv.step(actions)[3].all()
    venv.reset(mask=np.array([True, False]))
    with pytest.raises(RequestError, match="expected env 1 to be reset after its episode ended"):
        venv.step(actions)
    venv.reset(mask=np.array([False, True]))
    assert not venv.step(actions)[3].any(), "the refused step started nothing"
    venv.close()


def test_there_are_no_environment_objects() -> None:
    venv = _makers("HalfCheetah-v5", 2)[0](VecOptions())
    calls: list[Callable[[], Any]] = [
        lambda: venv.call("state_vector"),
        lambda: venv.get_attr("dt"),
        lambda: venv.set_attr("frame_skip", 1),
        venv.render,
    ]
    for call in calls:
        with pytest.raises(RequestError, match="use backend serial, thread or shm"):
            call()
    assert venv.spec is not None and venv.spec.id == "HalfCheetah-v5"
    assert venv.metadata["render_fps"] == 20
    assert venv.runner_pids() == ()
    venv.close()


def test_a_step_is_under_way_after_send() -> None:
    """The caller may do something else, and finds the step done."""
    venv = NativeVecEnv(env_factory("HalfCheetah-v5"), 4, 1, VecOptions())
    venv.reset(seed=0)
    done = threading.Event()
    advance = venv._simulation.advance

    def advance_and_tell(*args: Any) -> None:
        advance(*args)
        done.set()

    venv._simulation.advance = advance_and_tell  # type: ignore[method-assign]
    venv.send(np.zeros((4, 6), np.float32))
    assert done.wait(10)
    batch, ids = venv.recv()
    assert len(ids) == 4 and np.isfinite(batch.rewards).all()
    venv.close()


def test_a_forgotten_one_is_collected_and_its_threads_end() -> None:
    venv = NativeVecEnv(env_factory("Ant-v5"), 4, 3, VecOptions(batch_size=2))
    venv.reset(seed=0)
    venv.send(np.zeros((4, 8), np.float32))
    venv.recv()
    venv.recv()
    threads = [venv._dispatcher._thread, *venv._simulation._engine._helpers]  # type: ignore[attr-defined]
    assert len(threads) == 3
    seen = weakref.ref(venv)
    del venv
    gc.collect()
    assert seen() is None
    assert not any(thread.is_alive() for thread in threads if thread is not None)


def test_statistics_share_out_steps_and_tell_the_time() -> None:
    venv = NativeVecEnv(env_factory("HalfCheetah-v5"), 5, 2, VecOptions())
    venv.reset(seed=0)
    for _ in range(3):
        venv.step(np.zeros((5, 6), np.float32))
    statistics = venv.statistics()
    assert [runner.num_envs for runner in statistics.runners] == [2, 3]
    assert sum(runner.env_steps for runner in statistics.runners) == 15
    assert all(0 < runner.busy_s <= statistics.wall_s for runner in statistics.runners)
    venv.close()


def test_an_environment_that_cannot_be_built_says_why() -> None:
    from paceline.errors import PacelineError

    with pytest.raises(PacelineError, match="no_such_argument"):
        NativeVecEnv(env_factory("HalfCheetah-v5", no_such_argument=1), 1, 1, VecOptions())
    with pytest.raises(PlanError, match="no render_mode for backend native"):
        NativeVecEnv(env_factory("HalfCheetah-v5", render_mode="rgb_array"), 1, 1, VecOptions())
