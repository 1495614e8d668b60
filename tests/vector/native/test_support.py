"""What the native backend says it can run, before anything is built."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from paceline.envs import EnvFactory, env_factory
from paceline.errors import PlanError
from paceline.vector.batched import VecOptions
from paceline.vector.native import NativeVecEnv, agreement, native_reason, native_support, native_way, support
from paceline.vector.native.support import CLASSIC_TASKS, TASKS


@pytest.fixture
def registered() -> Any:
    """Register environments for one test."""
    names = []

    def register(name: str, **kwargs: Any) -> str:
        gymnasium.register(name, **kwargs)
        names.append(name)
        return name

    yield register
    for name in names:
        del gymnasium.registry[name]


def _hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = support.find_spec
    monkeypatch.setattr(support, "find_spec", lambda name: None if name == package else real(name))


def test_every_mujoco_task_of_gymnasium_is_supported() -> None:
    ids = [
        name
        for name, spec in gymnasium.registry.items()
        if name.endswith("-v5") and str(spec.entry_point).startswith("gymnasium.envs.mujoco")
    ]
    assert len(ids) == len(TASKS) == 11
    for name in ids:
        assert native_support(env_factory(name)) is None
        assert native_reason(env_factory(name)) is not None


def test_every_classic_control_task_of_gymnasium_is_supported_by_one_thread() -> None:
    ids = [
        name
        for name, spec in gymnasium.registry.items()
        if str(spec.entry_point).startswith("gymnasium.envs.classic_control") and name != "CartPole-v0"
    ]
    assert len(ids) == len(CLASSIC_TASKS) == 5
    for name in ids:
        assert native_support(env_factory(name, max_episode_steps=9)) is None
        way = native_way(env_factory(name))
        assert way is not None and way.most_threads == 1 and way.least_envs > 1
        assert way.reason == native_reason(env_factory(name))
        assert way.reason == "batched NumPy steps this task in the calling thread, with Gymnasium's own data"
    mujoco = native_way(env_factory("HalfCheetah-v5"))
    assert mujoco is not None and (mujoco.most_threads, mujoco.least_envs) == (None, 1)


def test_a_task_whose_digits_are_not_gymnasiums_here_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "envpool")
    monkeypatch.setattr(agreement.gymnasium, "__version__", "1.5.0")
    reason = native_support(env_factory("CartPole-v1"))
    assert reason is not None and reason.startswith(
        "expected Gymnasium's own data of CartPole-v1 for backend native, got Gymnasium 1.5.0"
    )
    assert native_reason(env_factory("CartPole-v1")) is None


def test_an_id_of_the_users_own_over_gymnasiums_class_is_supported(registered: Any) -> None:
    name = registered(
        "LowHopper-v0",
        entry_point="gymnasium.envs.mujoco.hopper_v5:HopperEnv",
        max_episode_steps=7,
        kwargs={"healthy_z_range": (0.2, 9.0), "terminate_when_unhealthy": False},
    )
    assert native_support(env_factory(name)) is None
    venv = NativeVecEnv(env_factory(name), 2, 1, VecOptions())
    venv.reset(seed=0)
    ends = [venv.step(venv.action_space.sample())[3].tolist() for _ in range(7)]
    assert ends == [[False, False]] * 6 + [[True, True]]
    venv.close()


def test_what_cannot_be_run_is_refused_with_the_backends_that_can(
    registered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hide(monkeypatch, "envpool")
    wrapped = registered(
        "Clipped-v0",
        entry_point="gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv",
        additional_wrappers=(gymnasium.wrappers.ClipAction.wrapper_spec(),),
    )
    rewarded = registered(
        "Rewarded-v0",
        entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
        additional_wrappers=(gymnasium.wrappers.TransformReward.wrapper_spec(func=float),),
    )
    cases: list[tuple[EnvFactory, str]] = [
        (env_factory(wrapped), "without wrappers for backend native, got Clipped-v0 with ClipAction"),
        (env_factory("HalfCheetah-v5", render_mode="rgb_array"), "no render_mode for backend native"),
        (EnvFactory("HalfCheetah-v5", {"render_mode": "rgb_array"}), "no render_mode for backend native"),
        (env_factory(lambda: gymnasium.make("HalfCheetah-v5")), "code of your own"),
        (env_factory("CartPole-v1", render_mode="rgb_array"), "no render_mode for backend native"),
        (env_factory("CartPole-v1", disable_env_checker=False), "no argument but sutton_barto_reward of CartPole-v1"),
        (env_factory("Acrobot-v1?g=3"), "expected no argument of Acrobot-v1 for backend native, got g"),
        (env_factory("Pendulum-v1", g=np.float32(9)), "a plain number as g of Pendulum-v1 for backend native"),
        (env_factory(rewarded), "without wrappers for backend native, got Rewarded-v0 with TransformReward"),
        (env_factory("FrozenLake-v1"), "pip install envpool"),
        (env_factory("HalfCheetah-v4"), "pip install envpool"),
        (env_factory("synthetic:busy?us=1"), "pip install envpool"),
    ]
    for factory, expected in cases:
        reason = native_support(factory)
        assert reason is not None and expected in reason
        assert "backend shm or serial" in reason
        assert native_reason(factory) is None
        with pytest.raises(PlanError) as caught:
            NativeVecEnv(factory, 2, 1, VecOptions())
        assert str(caught.value) == reason


def test_without_mujoco_its_pip_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "mujoco")
    reason = native_support(env_factory("Ant-v5"))
    assert reason is not None and 'pip install "gymnasium[mujoco]"' in reason


def test_asking_loads_neither_mujoco_nor_envpool() -> None:
    program = (
        "import sys, paceline.vector.native as native\n"
        "from paceline.envs import env_factory\n"
        "assert native.native_support(env_factory('HalfCheetah-v5')) is None\n"
        "assert native.native_support(env_factory('CartPole-v1')) is None\n"
        "assert native.native_reason(env_factory('FrozenLake-v1')) is None\n"
        "loaded = {'mujoco', 'envpool', 'jax', 'pygame'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
