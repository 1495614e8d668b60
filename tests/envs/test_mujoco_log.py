"""MuJoCo's harmless message stays away from users, whoever loads the model first and however deep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NESTED = """
from paceline.envs import env_factory

def build():
    return env_factory("HalfCheetah-v5")()

env = env_factory(build)()
env.reset(seed=0)
env.step(env.action_space.sample())
env.close()
"""
TWICE_AS_DEEP = NESTED.replace("env_factory(build)", "env_factory(lambda: env_factory(build)())")
ONE_AFTER_THE_OTHER = NESTED + 'env_factory(lambda: env_factory("HalfCheetah-v5")())().close()\n'


@pytest.mark.parametrize(
    "program", [NESTED, TWICE_AS_DEEP, ONE_AFTER_THE_OTHER], ids=["nested", "twice as deep", "one after the other"]
)
def test_an_environment_built_within_another_says_nothing(program: str, tmp_path: Path) -> None:
    """Each factory watches for the first import of mujoco, which only a new interpreter has before it."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir()), "no MUJOCO_LOG.TXT either"


def test_without_the_quiet_the_message_is_there(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    program = 'import gymnasium; gymnasium.make("HalfCheetah-v5").close()'
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "settotalmass" in ended.stderr
