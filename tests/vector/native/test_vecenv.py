"""The native vector environment beside the serial one: infos of all levels, NaN, restarts, lifetime."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from mujoco import batch

from paceline.envs import env_factory
from paceline.errors import EnvContractError, EnvRaisedError, PlanError, RequestError
from paceline.vector.batched import BatchedVecEnv, VecOptions
from paceline.vector.faults import FaultPolicy
from paceline.vector.native import NativeVecEnv
from paceline.vector.native import engine as engines
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


class BreakingBatch:
    """MuJoCo's batch, but in one call one simulation runs into an error: it keeps its state, the others step."""

    def __init__(self, inner: Any, index: int, at: int) -> None:
        self._inner = inner
        self._index = index
        self._calls_left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, ids: Any, nstep: int) -> None:
        self._calls_left -= 1
        if self._calls_left:
            self._inner.step(ids, nstep=nstep)
            return
        everyone = np.arange(self._inner.nsim) if ids is None else ids
        self._inner.step(everyone[everyone != self._index], nstep=nstep)
        raise batch.SimulationError(np.array([self._index]), "stack overflow")

    def error(self, index: int) -> str:
        return "stack overflow" if index == self._index else ""


class BreakingMujoco:
    """The package, whose ``mj_step`` raises for one ``MjData`` in one of its steps."""

    def __init__(self, data: Any, at: int) -> None:
        self._data = data
        self._calls_left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(mujoco, name)

    def mj_step(self, model: Any, data: Any, num_steps: int) -> None:
        if data is self._data:
            self._calls_left -= 1
            if not self._calls_left:
                raise mujoco.FatalError("stack overflow")
        mujoco.mj_step(model, data, num_steps)


class BreakingEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The same as serial has it: raises once, in a step of the first life."""

    steps_left = 0

    def step(self, action: Any) -> Any:
        type(self).steps_left -= 1
        if not self.steps_left:
            raise RuntimeError("stack overflow")
        return super().step(action)


def _break(venv: NativeVecEnv, index: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = venv._simulation._engine  # type: ignore[attr-defined]
    if isinstance(engine, engines.BatchEngine):
        engine._batch = BreakingBatch(engine._batch, index, at)  # type: ignore[assignment]
    else:
        monkeypatch.setattr(engines, "mujoco", BreakingMujoco(engine._datas[index], at))


@pytest.mark.parametrize("env", ["HalfCheetah-v5", "Ant-v5"])
def test_an_error_within_mujoco_names_environment_seed_step_and_action(
    env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many contacts for the arena is an error that MuJoCo raises for one simulation."""
    venv = NativeVecEnv(env_factory(env), 3, 2, VecOptions())
    _break(venv, 1, 2, monkeypatch)
    venv.reset(seed=[5, 6, 7])
    actions = np.zeros(venv.action_space.shape or (), np.float32)
    actions[1] = 0.25
    venv.step(actions)
    with pytest.raises(EnvRaisedError, match=r"^MuJoCo raised in an environment: stack overflow \(env 1, ") as caught:
        venv.step(actions)
    error = caught.value
    assert (error.env_index, error.seed, error.step, error.action) == (1, 6, 2, actions[1].tolist())
    assert "stack overflow" in error.original_traceback and "Traceback" in error.original_traceback
    with pytest.raises(RequestError, match="after it failed"):
        venv.step(actions)
    venv.close()


@pytest.mark.parametrize("mode", [SAME, NEXT, DISABLED])
@pytest.mark.parametrize("env", ["HalfCheetah-v5", "Ant-v5"])
def test_an_error_within_mujoco_is_mended_as_serial_mends_it(
    env: str, mode: AutoresetMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 5
    options = VecOptions(autoreset_mode=mode, faults=FaultPolicy("restart", 2))
    factory = env_factory(env, max_episode_steps=6)
    ours = NativeVecEnv(factory, 3, 2, options)
    _break(ours, 1, at, monkeypatch)
    BreakingEnv.steps_left = at
    theirs = SerialVecEnv([factory, env_factory(lambda: BreakingEnv(factory())), factory], options)
    for venv in (ours, theirs):
        venv.reset(seed=1)
    rng = np.random.default_rng(0)
    for step in range(12):
        actions = rng.uniform(-1, 1, ours.action_space.shape or ()).astype(np.float32)
        found, expected = ours.step(actions), theirs.step(actions)
        for part, other in zip(found[:4], expected[:4], strict=True):
            _require_same(part, other, f"step {step}")
        for name in ("restarted", "reset_rows"):
            _require_same(getattr(ours._arrays, name), getattr(theirs._arrays, name), f"{name} {step}")
        assert ("restarted" in found[4]) == (step == at - 1)
        if mode is DISABLED and (over := found[2] | found[3]).any():
            _require_same(ours.reset(mask=over)[0], theirs.reset(mask=over)[0], f"reset after step {step}")
    told, serials = ours.faults[0], theirs.faults[0]
    assert (told.env_index, told.kind, told.step, told.action, told.new_seed) == (
        serials.env_index, "EnvRaisedError", serials.step, serials.action, serials.new_seed,
    )  # fmt: skip
    assert len(ours.faults) == 1 and ours.statistics().restarts == 1 and ours.env_seeds == theirs.env_seeds
    ours.close()
    theirs.close()


@pytest.mark.parametrize("env", ["Reacher-v5", "Ant-v5"])
def test_an_error_within_a_reset_names_environment_and_seed(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = NativeVecEnv(env_factory(env), 3, 2, VecOptions())
    engine: Any = venv._simulation._engine  # type: ignore[attr-defined]

    def fail(*_: Any, **__: Any) -> None:
        raise mujoco.FatalError("stack overflow")

    def fail_in_batch(*_: Any, **__: Any) -> None:
        raise batch.SimulationError(np.array([2]), "stack overflow")

    if isinstance(engine, engines.BatchEngine):
        engine._batch = SimpleNamespace(reset=fail_in_batch, error=lambda index: "stack overflow")  # type: ignore[assignment]
    else:
        fake = SimpleNamespace(mj_resetData=mujoco.mj_resetData, mj_forward=fail)
        monkeypatch.setattr(engines, "mujoco", fake)
    with pytest.raises(EnvRaisedError, match="MuJoCo raised in an environment: stack overflow") as caught:
        venv.reset(seed=[5, 6, 7])
    place = (caught.value.env_index, caught.value.seed, caught.value.step, caught.value.action)
    assert place == ((2, 7, 0, None) if env == "Reacher-v5" else (0, 5, 0, None))
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

    def advance_and_tell(*args: Any) -> Any:
        failures = advance(*args)
        done.set()
        return failures

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
