"""``paceline config show``: the run that options and files make, with nothing left open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import Run, assert_one_sentence

from paceline.spec import RunSpec


def show(run_here: Run, *arguments: object) -> RunSpec:
    done = run_here("config", "show", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return RunSpec.model_validate(yaml.safe_load(done.stdout))


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ("--algo ppo --num-env-runners 0", ("serial", "learner", "sync", 1)),
        ("--algo a2c --num-env-runners 2 --num-envs-per-env-runner 8", ("shm", "learner", "sync", 1)),
        ("--algo a3c --num-env-runners 2", ("shm", "runner", "async", 1)),
        ("--algo impala --num-env-runners 2", ("shm", "runner", "async", 1)),
        ("--algo ppo --num-env-runners 1 --schedule pipelined", ("shm", "learner", "pipelined", 1)),
        (
            "--algo ppo --num-env-runners 1 --inference runner --set plan.learner_threads=2",
            ("shm", "runner", "sync", 2),
        ),
    ],
)
def test_every_open_field_is_filled_in(run_here: Run, options: str, plan: tuple[object, ...]) -> None:
    spec = show(run_here, "HalfCheetah-v5", *options.split())
    shown = spec.plan
    assert (shown.backend, shown.inference, shown.schedule, shown.learner_threads) == plan
    assert None not in spec.algo.model_dump().values()
    assert None not in spec.algo.network.model_dump().values()


def test_any_field_can_be_set(run_here: Run) -> None:
    spec = show(run_here, "CartPole-v1", "--set", "algo.gamma=0.5", "--set", "plan.pin_cores=true", "--minutes", 2)
    assert (spec.algo.gamma, spec.plan.pin_cores, spec.budget.minutes) == (0.5, True, 2.0)


def test_json_is_the_same(run_here: Run) -> None:
    done = run_here("config", "show", "CartPole-v1", "--json")
    assert RunSpec.model_validate(json.loads(done.stdout)) == show(run_here, "CartPole-v1")


def test_auto_says_what_it_found(run_here: Run) -> None:
    done = run_here("config", "show", "HalfCheetah-v5", "--config", "auto", "--algo", "impala", "--batch-size", 320)
    assert done.stdout.startswith("# config auto: ")
    assert " usable cores -> " in done.stdout.splitlines()[0]
    assert RunSpec.model_validate(yaml.safe_load(done.stdout)).algo.batch_size == 320


CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_config_of_another_algorithm_lends_what_fits(run_here: Run) -> None:
    done = run_here(
        "config", "show", "--config", CONFIGS / "halfcheetah.yaml", "--algo", "a2c", "--set", "algo.gamma=0.9"
    )
    assert done.returncode == 0
    assert done.stderr.startswith("paceline: a2c instead of ppo: dropped batch_size, minibatch_size, ")
    assert len(done.stderr.splitlines()) == 1
    spec = RunSpec.model_validate(yaml.safe_load(done.stdout))
    assert (spec.algo.name, spec.algo.batch_size, spec.algo.gamma) == ("a2c", 64, 0.9)
    assert (spec.plan.num_env_runners, spec.plan.num_envs_per_env_runner) == (0, 1)


def test_another_algorithm_may_need_another_plan_than_the_files(run_here: Run) -> None:
    done = run_here("config", "show", "--config", CONFIGS / "halfcheetah.yaml", "--algo", "a3c")
    assert done.returncode == 0
    assert done.stderr.endswith("; backend and num_env_runners auto again\n")
    plan = RunSpec.model_validate(yaml.safe_load(done.stdout)).plan
    assert (plan.schedule, plan.inference, plan.num_envs_per_env_runner) == ("async", "runner", 1)
    assert plan.num_env_runners >= 1
    back = run_here("config", "show", "--config", CONFIGS / "halfcheetah-a3c.yaml", "--algo", "ppo")
    assert (back.returncode, back.stderr.endswith("; schedule auto again\n")) == (0, True)


@pytest.mark.parametrize(("config", "algo", "batch"), [("halfcheetah-highend", "a2c", 896), ("halfcheetah", "a2c", 64)])
def test_the_new_algorithms_batch_goes_with_the_environments_of_the_files_plan(
    run_here: Run, config: str, algo: str, batch: int
) -> None:
    done = run_here("config", "show", "--config", CONFIGS / f"{config}.yaml", "--algo", algo)
    assert done.returncode == 0
    assert RunSpec.model_validate(yaml.safe_load(done.stdout)).algo.batch_size == batch


def test_options_reopen_what_contradicts_them_in_a_file(run_here: Run) -> None:
    done = run_here("config", "show", "--config", CONFIGS / "halfcheetah-impala.yaml", "--num-env-runners", 0)
    assert (done.returncode, done.stderr) == (
        0,
        "paceline: with num_env_runners 0: schedule and inference and rollout_length auto again\n",
    )
    spec = RunSpec.model_validate(yaml.safe_load(done.stdout))
    plan = spec.plan
    assert spec.algo.model_dump()["rollout_length"] == 640 // 8
    assert (plan.backend, plan.inference, plan.schedule) == ("serial", "learner", "sync")


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        (("--set", "budget.minutes=1"), {"minutes": 1.0}),
        (("--minutes", 2), {"minutes": 2.0}),
        (("--set", "budget.iterations=3"), {"iterations": 3}),
        (("--total-steps", 9), {"total_steps": 9}),
    ],
)
def test_a_budget_that_is_given_replaces_the_files(
    run_here: Run, options: tuple[object, ...], budget: dict[str, object]
) -> None:
    spec = show(run_here, "--config", CONFIGS / "cartpole.yaml", *options)
    assert spec.budget.model_dump(exclude_none=True) == budget


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "expected an environment, got none; name one (paceline config show CartPole-v1)"),
        ("CartPoole-v1", "did you mean CartPole-v1"),
        ("CartPole-v1 --algo ppo --schedule async", "expected an algorithm that corrects for lag"),
        ("CartPole-v1 --algo a3c --num-env-runners 0", "expected a runner process or more for a3c"),
        (
            "CartPole-v1 --algo a3c --num-env-runners 1 --batch-size 30",
            "what a runner sends at once (1 steps x 8 envs)",
        ),
        ("CartPole-v1 --batch-size 100 --num-envs-per-env-runner 7", "use batch_size 98 or 105"),
        (
            "HalfCheetah-v5 --algo impala --num-env-runners 1 --batch-size 200 --set algo.rollout_length=20",
            "use batch_size 160",
        ),
    ],
)
def test_what_train_would_refuse_is_refused(run_here: Run, words: str, sentence: str) -> None:
    done = run_here("config", "show", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert sentence in done.stderr
