"""How names become environments, and what is said when they do not."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import paceline
from paceline.envs import EnvFactory, env_factory, family_of, known_envs, make_env
from paceline.envs.registry import parse_env_id
from paceline.errors import EnvContractError, EnvNotFoundError, EnvRaisedError, SpecError
from paceline.spec import EnvSpec


def test_every_form_of_name_builds() -> None:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    for env in ("CartPole-v1", EnvSpec(id="CartPole-v1", kwargs={"sutton_barto_reward": True}), CartPoleEnv,
                lambda: CartPoleEnv(), "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
                "gymnasium:CartPole-v1", env_factory("CartPole-v1")):  # fmt: skip
        built = make_env(env)
        assert isinstance(built.unwrapped, CartPoleEnv)
        assert "PassiveEnvChecker" not in str(built)
    built = make_env("synthetic:busy?us=5&sigma=0.5&episode-length=7")
    assert type(built).__name__ == "BusyEnv"


def test_render_mode_and_arguments_reach_the_env() -> None:
    assert make_env("CartPole-v1", render_mode="rgb_array").render_mode == "rgb_array"
    factory = env_factory("synthetic:known-return?episode_length=3&num_actions=5", episode_length=4)
    assert factory.spec == EnvSpec(id="synthetic:known-return", kwargs={"episode_length": 4, "num_actions": 5})
    assert factory().unwrapped.optimal_return == 4  # type: ignore[attr-defined]


def test_queries_are_read() -> None:
    assert parse_env_id("synthetic:x?a=1&b-c=0.5&d=true&e=none&f=word&g=1e-3&h=nan&i=-2") == (
        "synthetic:x", {"a": 1, "b_c": 0.5, "d": True, "e": None, "f": "word", "g": 0.001, "h": "nan", "i": -2},
    )  # fmt: skip
    with pytest.raises(SpecError, match=r"key=value&key=value, got 'synthetic:busy\?us'"):
        env_factory("synthetic:busy?us")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HalfCheeta-v5", "did you mean HalfCheetah-v5"),
        ("halfcheetah-v5", "HalfCheetah-v"),
        ("CartPole-v9", "CartPole-v1"),
        ("synthetic:bussy", "did you mean synthetic:busy?"),
        ("synthetic:nothing-alike", "known-return"),
        ("synthetik:busy", "did you mean synthetic:..?"),
        ("no_such_module:Env", "got 'no_such_module'"),
        ("my_env.py:Walk", "leave out .py: my_env:Walk"),
        ("gymnasium.envs.classic_control:CartPolEnv", "did you mean CartPoleEnv"),
        ("", "is called ''"),
        ("weird name", "is called 'weird name'"),
    ],
)
def test_unknown_names_are_told_with_near_ones(name: str, hint: str) -> None:
    with pytest.raises(EnvNotFoundError) as caught:
        make_env(name)
    assert hint in str(caught.value) and "\n" not in str(caught.value)


def test_missing_packages_are_told() -> None:
    def needs_a_package() -> Any:
        import no_such_package_at_all  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(EnvNotFoundError, match=r'no_such_package_at_all, .* run: pip install "no_such_package_at_all"'):
        make_env(needs_a_package)

    def says_how() -> Any:
        raise gymnasium.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')

    with pytest.raises(EnvNotFoundError, match=r'pip install "gymnasium\[box2d\]"'):
        make_env(says_how)


def test_broken_builders_are_told() -> None:
    with pytest.raises(SpecError, match="unexpected keyword argument 'wheels'"):
        make_env("CartPole-v1", wheels=3)
    with pytest.raises(SpecError, match="us, sigma and reset_us of at least 0"):
        make_env("synthetic:busy?us=-1")
    with pytest.raises(EnvContractError, match=r"build a gymnasium.Env, got int"):
        make_env(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(SpecError, match="got an environment instance"):
        env_factory(gymnasium.make("CartPole-v1"))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="got int"):
        env_factory(3)  # type: ignore[arg-type]

    def broken() -> Any:
        raise ZeroDivisionError("oh no")

    with pytest.raises(EnvRaisedError, match="raised while it was built: ZeroDivisionError: oh no") as caught:
        make_env(broken)
    assert "in broken" in caught.value.original_traceback


def test_factories_travel() -> None:
    size = 3

    def closure() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("CartPole-v1", max_episode_steps=size)

    copy = pickle.loads(pickle.dumps(env_factory(closure)))
    assert copy().spec.max_episode_steps == 3
    assert isinstance(copy, EnvFactory) and copy.id.endswith("closure")
    factory = env_factory("synthetic:sleep?ms=3")
    assert pickle.loads(pickle.dumps(factory)) == factory


def test_a_spec_names_only_what_its_name_finds_again() -> None:
    from gymnasium.envs.classic_control import CartPoleEnv

    class Local(CartPoleEnv):
        pass

    spec = env_factory(CartPoleEnv, sutton_barto_reward=True).spec
    assert spec == EnvSpec(id=f"{CartPoleEnv.__module__}:CartPoleEnv", kwargs={"sutton_barto_reward": True})
    assert isinstance(make_env(spec).unwrapped, CartPoleEnv)
    for env in (lambda: CartPoleEnv(), Local, partial(gymnasium.make, "CartPole-v1"), Builders.build):
        factory = env_factory(env)
        factory().close()
        with pytest.raises(SpecError, match=r"name finds again, got \S+:.*; define it with def at the top level, or"):
            _ = factory.spec


class Builders:
    @staticmethod
    def build() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("CartPole-v1")


@pytest.mark.parametrize(
    ("env", "family"),
    [
        ("HalfCheetah-v5", "mujoco"), ("CartPole-v1", "classic"), ("FrozenLake-v1", "toy"), ("LunarLander-v3", "box2d"),
        ("synthetic:busy?us=3", "synthetic"), ("my.module:make", "other"), ("gymnasium:HalfCheetah-v5", "mujoco"),
        (EnvSpec(id="Ant-v5"), "mujoco"), (env_factory(lambda: None), "other"),  # type: ignore[arg-type, return-value]
    ],
)  # fmt: skip
def test_families(env: Any, family: str) -> None:
    assert family_of(env) == family


def test_known_envs_name_both_worlds() -> None:
    assert {"HalfCheetah-v5", "synthetic:busy", "synthetic:known-return"} <= set(known_envs())


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def test_importing_envs_loads_nothing_heavy(tmp_path: Path) -> None:
    done = run_python(
        "import sys, paceline.envs; print([m for m in ('mujoco', 'jax', 'pydantic', 'torch') if m in sys.modules])",
        tmp_path,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_file_in_the_working_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import gymnasium\ndef make():\n    return gymnasium.make('CartPole-v1')\n")
    done = run_python("from paceline.envs import make_env; print(make_env('mine:make'))", tmp_path)
    assert "CartPole" in done.stdout and done.stderr == ""


MUJOCO_SCRIPT = """
import mujoco
from paceline.envs import make_env
from paceline.envs.mujoco_log import quiet_model_loading
make_env("HalfCheetah-v5").close()
with quiet_model_loading():
    mujoco.MjModel.from_xml_string("<mujoco><compiler {}/></mujoco>")
assert mujoco.get_mju_user_warning() is None
"""


def test_only_the_known_harmless_message_of_mujoco_is_dropped(tmp_path: Path) -> None:
    done = run_python(MUJOCO_SCRIPT.format(""), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


CALLABLE_SCRIPT = """
import sys
import gymnasium
from paceline.envs import make_env
def build():
    assert "mujoco" not in sys.modules
    env = gymnasium.make("HalfCheetah-v5")
    if {warn}:
        sys.modules["mujoco"].get_mju_user_warning()("unstable")
    return env
finders = list(sys.meta_path)
make_env("synthetic:busy")
assert "mujoco" not in sys.modules and sys.meta_path == finders
make_env({env}).close()
import mujoco
assert mujoco.get_mju_user_warning() is None and sys.meta_path == finders
assert "exec_module" not in vars(mujoco.__spec__.loader)
"""


@pytest.mark.parametrize("env", ["build", "lambda: build()", "'__main__:build'"])
def test_a_callable_that_is_the_first_to_import_mujoco_is_quiet_too(env: str, tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    done = run_python(CALLABLE_SCRIPT.format(env=env, warn=False), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_callable_that_is_the_first_to_import_mujoco_keeps_other_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    done = run_python(CALLABLE_SCRIPT.format(env="build", warn=True), tmp_path)
    assert (done.returncode, done.stderr) == (0, "WARNING: unstable\n")


def test_other_warnings_of_mujoco_are_shown(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mujoco = pytest.importorskip("mujoco")
    from paceline.envs.mujoco_log import quiet_model_loading

    heard: list[str] = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        with quiet_model_loading():
            handler = mujoco.get_mju_user_warning()
            handler("the simulation is unstable")
            handler("compiler attribute 'settotalmass' is deprecated and so on")
    finally:
        mujoco.set_mju_user_warning(None)
    assert heard == ["the simulation is unstable"]
    done = run_python(
        "import mujoco\nfrom paceline.envs.mujoco_log import quiet_model_loading\n"
        "with quiet_model_loading(): mujoco.get_mju_user_warning()('unstable')",
        tmp_path,
    )
    assert done.stderr == "WARNING: unstable\n"


def test_tasks_of_envpool_are_for_the_native_backend() -> None:
    factory = env_factory("envpool:CartPole-v1")
    assert family_of(factory) == "envpool"
    with pytest.raises(EnvNotFoundError, match="EnvPool steps whole batches; use backend native"):
        factory()
