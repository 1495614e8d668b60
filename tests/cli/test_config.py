"""``paceline config show``: the run that options and files make, with nothing left open."""

from __future__ import annotations

import json

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
