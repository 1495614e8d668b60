"""The script for Stable-Baselines3: a run's settings in its words, and it trains (skipped where that is missing)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec
from read_script import OWN_ENV, OWN_KWARGS, arguments, comments, constants, execute, told_speed, without_paceline

from paceline.report.export.sb3 import render
from paceline.report.export.source import ExportSource
from paceline.spec import EnvSpec, RunSpec

RUNNERS = {"num_env_runners": 2, "num_envs_per_env_runner": 2}


def script(spec: RunSpec) -> str:
    return render(ExportSource(spec, ()))


def test_ppo_s_settings_have_their_counterparts() -> None:
    algo = {"gamma": 0.5, "gae_lambda": 0.6, "clip_value_loss": False, "vf_coef": 0.8, "anneal_learning_rate": False}
    spec = run_spec(plan=RUNNERS, algo={**algo, "normalize_observations": True}, seed=9)
    text = script(spec)
    given = arguments(text, "PPO")
    expected = {
        "n_steps": 16, "batch_size": 32, "n_epochs": 1, "gamma": 0.5, "gae_lambda": 0.6, "clip_range": 0.2,
        "clip_range_vf": None, "learning_rate": 1e-3, "ent_coef": 0.0, "vf_coef": 0.4, "max_grad_norm": 0.5,
        "normalize_advantage": True, "device": "auto",
    }  # fmt: skip
    assert given.items() >= expected.items()
    assert arguments(text, "VecNormalize")["norm_reward"] is False
    assert constants(text) == {"STEPS": 64, "NUM_ENVS": 4, "SEED": 9, "ENV_ID": "CartPole-v1", "ENV_KWARGS": {}}
    assert given["n_steps"] * constants(text)["NUM_ENVS"] == spec.algo.batch_size


def test_a2c_has_its_optimizer() -> None:
    text = script(run_spec(name="a2c", algo={"optimizer_eps": 1e-3, "rmsprop_decay": 0.9}))
    given = arguments(text, "A2C")
    assert (given["use_rms_prop"], given["rms_prop_eps"], given["n_steps"]) == (True, 1e-3, 32)
    assert "n_epochs" not in given
    assert "No counterpart: rmsprop_decay 0.9" in comments(text)
    adam = arguments(script(run_spec(name="a2c", algo={"optimizer": "adam"})), "A2C")
    assert adam["use_rms_prop"] is False


def test_it_says_what_becomes_of_the_plan() -> None:
    told = comments(script(run_spec(plan=RUNNERS)))
    assert "one process per environment (here 4, where the plan has 2)" in told
    assert "paceline.vector.sb3.SB3VecEnv" in told
    assert "DummyVecEnv does, too" in comments(script(run_spec()))
    apart = run_spec(plan={**RUNNERS, "inference": "runner"})
    assert "No counterpart: inference runner with schedule sync" in comments(script(apart))


def test_the_execution_follows_the_plan() -> None:
    assert "else 'subproc'" in script(run_spec(plan=RUNNERS))
    assert "else 'dummy'" in script(run_spec())
    given = arguments(script(run_spec(plan={**RUNNERS, "pin_cores": True})), "Plan")
    assert given == {"backend": "shm", **RUNNERS, "runner_threads": 1, "pin_cores": True}


@pytest.mark.parametrize("env", ["CartPole-v1", "synthetic:busy?us=10"])
def test_the_scripts_are_python_that_imports_what_it_uses(env: str) -> None:
    tree = ast.parse(script(run_spec(env)))
    imported = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names}  # fmt: skip
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert imported - {"annotations"} <= used
    assert ("paceline" in {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}) == (
        env != "CartPole-v1"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (run_spec(), []),
        (run_spec(plan=RUNNERS), []),
        (run_spec(plan=RUNNERS), ["paceline"]),
        (run_spec(name="a2c", plan={"num_envs_per_env_runner": 4}), ["paceline"]),
        (run_spec("FrozenLake-v1"), []),
        (run_spec("Pendulum-v1"), ["dummy"]),
    ],
    ids=["dummy", "subproc", "paceline", "a2c", "discrete", "continuous"],
)
def test_it_trains(spec: RunSpec, words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not among the development dependencies")
    path = {} if words == ["paceline"] else {"PYTHONPATH": without_paceline(tmp_path)}
    printed = execute(script(spec), tmp_path, 3, *words, **path)
    steps, speed = told_speed(printed)
    assert steps == [spec.algo.steps_per_iteration] * 3
    assert speed > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"), [("Counter", ["subproc"]), ("Counter", ["paceline"]), ("Images", ["dummy"])]
)
def test_an_environment_of_one_s_own_is_found_in_every_process(name: str, words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not among the development dependencies")
    (tmp_path / "own.py").write_text(OWN_ENV, encoding="utf-8")
    spec = run_spec(plan=RUNNERS).model_copy(update={"env": EnvSpec(id=f"own:{name}", kwargs=OWN_KWARGS)})
    steps, _ = told_speed(execute(script(spec), tmp_path, 2, *words))
    assert steps == [64, 64]
