from __future__ import annotations

import pytest

from paceline.errors import EnvTimeoutError, UnsupportedSpaceError, WorkError
from paceline.spec import EnvSpec, Plan, PPOSpec, RunSpec
from paceline.sweep.resolve import resolve_in_fresh_process

RUN = RunSpec(env=EnvSpec(id="Fake-v0"))


def test_open_fields_are_filled_in_and_the_rest_is_kept() -> None:
    runs = [
        RUN,
        RUN.model_copy(update={"plan": Plan(num_env_runners=2), "seed": 3}),
        RUN.model_copy(update={"algo": PPOSpec(batch_size=128)}),
    ]
    resolved = resolve_in_fresh_process(runs, entry_point="fake_trials:fill_in")
    assert [run.algo.batch_size for run in resolved] == [2048, 2048, 128]
    assert resolved[1].plan == runs[1].plan
    assert resolved[1].seed == 3


def test_the_error_of_the_environment_comes_through() -> None:
    with pytest.raises(UnsupportedSpaceError, match="wrap the environment"):
        resolve_in_fresh_process([RUN], entry_point="fake_trials:fill_in_nothing")


def test_an_environment_that_takes_its_process_along_is_said_so() -> None:
    with pytest.raises(WorkError, match="Fake-v0 to be built, but the process that tried exited with status 7"):
        resolve_in_fresh_process([RUN], entry_point="fake_trials:fill_in_and_die")


def test_an_environment_that_hangs_is_given_up() -> None:
    with pytest.raises(EnvTimeoutError, match=r"within 0\.5 s"):
        resolve_in_fresh_process([RUN], entry_point="fake_trials:fill_in_never", timeout_s=0.5)
