"""A tuning as a library: what it is given, what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

import paceline
from paceline.errors import EnvNotFoundError, PlanError, SpecError
from paceline.measure.store import load_results
from paceline.measure.tune_result import TuneResults
from paceline.spec import PPOSpec, RunSpec
from paceline.tuner.cache import Cache
from paceline.tuner.spec import TuneSpec

SMALL = PPOSpec(batch_size=64, minibatch_size=32, num_epochs=1)
RUN = RunSpec(env=paceline.EnvSpec(id="CartPole-v1"), algo=SMALL)


def test_an_environment_that_there_is_not_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EnvNotFoundError):
        paceline.tune("NoSuchThing-v0", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_are_those_of_a_tuning(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown key 'budget_minuts'; did you mean 'budget_minutes'\?"):
        paceline.tune("CartPole-v1", tmp_path / "out", budget_minuts=1)
    with pytest.raises(TypeError, match="no further options with a TuneSpec"):
        paceline.tune(TuneSpec(base=RUN), tmp_path / "out", budget_minutes=1)


@pytest.mark.slow
def test_it_leaves_its_answer_and_gives_it_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    options = {"budget_minutes": 0.3, "backends": ("serial",), "num_envs_per_env_runner": (1, 2)}
    found = paceline.tune(RUN, tmp_path / "first", cache=cache, **options)
    assert found.tune.decision.winner in ("serial 0x1", "serial 0x2")
    assert load_results(tmp_path / "first", TuneResults) == found
    assert found.tune.noise is not None and found.tune.noise.slice_sd > 0
    assert found.tune.verdict
    assert found.tune.wall_s < 60
    again = paceline.tune(RUN, tmp_path / "second", cache=cache, **options)
    assert again.tune.decision == found.tune.decision
    assert again.tune.notes[-1].startswith("This was answered from the tuning of")


@pytest.mark.slow
def test_a_run_that_no_plan_suits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="expected at least one plan that can be run, got none"):
        paceline.tune(RUN, tmp_path / "out", cache=Cache(tmp_path / "cache"), max_memory_bytes=2**29, backends=("shm",),
                      num_env_runners=(16,))  # fmt: skip
