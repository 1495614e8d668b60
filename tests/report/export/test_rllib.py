"""The script for RLlib: a run's settings in its words, and it trains (skipped where RLlib is not installed)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec
from read_script import OWN_ENV, OWN_KWARGS, arguments, comments, execute, told_speed

from paceline.report.export.rllib import render
from paceline.report.export.source import ExportSource
from paceline.spec import EnvSpec, RunSpec

RUNNERS = {"num_env_runners": 2, "num_envs_per_env_runner": 2}
IMPALA = {"batch_size": 40, "rollout_length": 10, "updates_per_iteration": 2}
APART = Path(__file__).parents[3] / ".venv-rllib" / "bin" / "python"
"""RLlib pins another Gymnasium: ``make bench-rllib`` installs it in an environment of its own."""
PYTHON = APART if APART.exists() else Path(sys.executable)
needs_rllib = pytest.mark.skipif(
    not APART.exists() and importlib.util.find_spec("ray") is None, reason="RLlib is not here; make bench-rllib gets it"
)


def script(spec: RunSpec) -> str:
    return render(ExportSource(spec, ()))


def test_ppo_s_settings_have_their_counterparts() -> None:
    spec = run_spec(plan={**RUNNERS, "runner_threads": 3}, algo={"gae_lambda": 0.6, "vf_coef": 0.8,
                                                                 "anneal_learning_rate": False}, seed=9)  # fmt: skip
    text = script(spec)
    sampling, training = arguments(text, "env_runners"), arguments(text, "training")
    assert sampling.items() >= {**RUNNERS, "rollout_fragment_length": 16, "num_cpus_per_env_runner": 3}.items()
    assert sampling["rollout_fragment_length"] * spec.plan.num_envs == training["train_batch_size_per_learner"]
    assert training == {
        "train_batch_size_per_learner": 64, "minibatch_size": 32, "num_epochs": 1, "lambda_": 0.6, "clip_param": 0.2,
        "vf_clip_param": "float('inf')", "use_kl_loss": False, "lr": 1e-3, "gamma": 0.99, "entropy_coeff": 0.0,
        "vf_loss_coeff": 0.4, "grad_clip": 0.5, "grad_clip_by": "global_norm",
    }  # fmt: skip
    assert arguments(text, "learners") == {"num_learners": 0, "num_gpus_per_learner": 0}
    model = arguments(text, "DefaultModelConfig")
    assert (model["fcnet_hiddens"], model["fcnet_activation"]) == ([64, 64], "tanh")
    assert arguments(text, "debugging")["seed"] == 9


def test_impala_s_settings_have_their_counterparts() -> None:
    text = script(run_spec(name="impala", plan={**RUNNERS, "device": "gpu"}, algo={**IMPALA, "rho_bar": 2.0}))
    training = arguments(text, "training")
    assert training.items() >= {
        "train_batch_size_per_learner": 40, "vtrace_clip_rho_threshold": 2.0, "vf_loss_coeff": 0.5,
    }.items()  # fmt: skip
    assert not {"num_epochs", "minibatch_size", "lambda_", "clip_param"} & set(training)
    assert arguments(text, "env_runners")["rollout_fragment_length"] == 10
    assert arguments(text, "learners") == {
        "num_learners": "int((os.cpu_count() or 1) >= 4)", "num_gpus_per_learner": 1,
    }  # fmt: skip
    assert arguments(script(run_spec(name="impala")), "learners")["num_learners"] == 0


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (run_spec(plan=RUNNERS), "No counterpart: inference learner."),
        (run_spec(plan={**RUNNERS, "schedule": "pipelined"}), "No counterpart: schedule pipelined."),
        (run_spec(plan={**RUNNERS, "pin_cores": True}), "No counterpart: pin_cores."),
        (run_spec(plan={**RUNNERS, "backend": "thread"}), "the plan's are threads of one process"),
        (run_spec(), "No counterpart: adam_eps 1e-05"),
        (run_spec(), "The whole run of 1,000,000 steps: 15625 iterations."),
        (run_spec("Pendulum-v1"), "No counterpart: normalize_rewards"),
        (run_spec(name="impala", algo={"optimizer": "rmsprop"}), "No counterpart: optimizer rmsprop"),
        (run_spec(name="impala", algo={"c_bar": 2.0}), "No counterpart: c_bar 2.0."),
        (run_spec(name="impala", plan={**RUNNERS, "schedule": "sync"}), "always asynchronous with runners"),
        (run_spec("synthetic:busy?us=10"), "environment of paceline's own, which must be installed where Ray is"),
    ],
)
def test_what_has_no_counterpart_is_told(spec: RunSpec, sentence: str) -> None:
    assert sentence in comments(script(spec))


def test_nothing_is_said_to_be_missing_that_is_not() -> None:
    told = comments(script(run_spec(name="impala", plan=RUNNERS)))
    assert not [word for word in ("inference", "c_bar", "vtrace_lambda", "rmsprop", "pin_cores") if f": {word}" in told]


@pytest.mark.slow
@needs_rllib
@pytest.mark.parametrize(
    "spec",
    [
        run_spec(),
        run_spec(plan={"num_env_runners": 1}),
        run_spec("HalfCheetah-v5", plan=RUNNERS),
        run_spec("FrozenLake-v1"),
        run_spec(name="impala", algo=IMPALA, plan={"num_envs_per_env_runner": 2}),
        run_spec("Pendulum-v1", name="impala", algo=IMPALA, plan={**RUNNERS, "num_env_runners": 1}),
        run_spec(name="impala", algo=IMPALA, plan=RUNNERS),
    ],
    ids=["ppo-0", "ppo-1", "ppo-2-continuous", "ppo-discrete", "impala-0", "impala-1-continuous", "impala-2"],
)
def test_it_trains(spec: RunSpec, tmp_path: Path) -> None:
    printed = execute(script(spec), tmp_path, 2, python=PYTHON, HOME=str(tmp_path), PYTHONPATH="")
    steps, speed = told_speed(printed)
    assert len(steps) == 2
    assert min(steps) >= spec.algo.steps_per_iteration
    assert speed > 0


@pytest.mark.slow
@needs_rllib
@pytest.mark.parametrize("name", ["Counter", "Images"])
def test_an_environment_of_one_s_own_is_found_in_every_process(name: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_ENV, encoding="utf-8")
    spec = run_spec(plan=RUNNERS).model_copy(update={"env": EnvSpec(id=f"own:{name}", kwargs=OWN_KWARGS)})
    printed = execute(script(spec), tmp_path, 2, python=PYTHON, HOME=str(tmp_path), PYTHONPATH="")
    assert len(told_speed(printed)[0]) == 2
