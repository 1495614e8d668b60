"""A tuning as a library: what it is given, what it leaves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import paceline
from paceline.errors import EnvNotFoundError, EnvTimeoutError, PlanError, SpecError
from paceline.measure.store import load_results
from paceline.measure.tune_result import TuneResults
from paceline.report.tune_text import render_tune_text
from paceline.spec import PPOSpec, RunSpec
from paceline.tuner.cache import Cache
from paceline.tuner.spec import TuneSpec
from paceline.tuner.tune import SilentDisplay

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


def odd(env: str, budget: dict[str, int] | None = None, **kwargs: object) -> RunSpec:
    algo = PPOSpec(batch_size=256, minibatch_size=128, num_epochs=1)
    fields = {"env": {"id": f"odd_envs:{env}", "kwargs": kwargs}, "algo": algo, "budget": budget or {"iterations": 10}}
    return RunSpec.model_validate(fields)


@pytest.mark.slow
def test_what_breaks_in_some_plans_races_in_the_others_and_leaves_its_log(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = paceline.tune(
        odd("AtMostFour"), out, again=True, budget_minutes=2, backends=("serial",), num_envs_per_env_runner=(2, 8)
    )
    assert found.tune.decision.winner == "serial 0x2"
    states = {one.name: one for one in found.tune.plans}
    assert states["serial 0x8"].state == "failed"
    assert "exited with status 9" in states["serial 0x8"].reason
    assert "five are too many" in (out / "logs" / "serial_0x8.log").read_text()
    assert "exited with status 9" in " ".join(render_tune_text(found).split())


@pytest.mark.slow
def test_a_leak_is_told_with_its_size_and_where_the_run_would_end(tmp_path: Path) -> None:
    found = paceline.tune(
        odd("Leaks", {"total_steps": 10**9}), tmp_path / "out", again=True, budget_minutes=2, backends=("serial",),
        num_envs_per_env_runner=(2,),
    )  # fmt: skip
    (plan,) = (one for one in found.tune.plans if one.state == "measured")
    assert plan.leak_bytes_per_step == pytest.approx(32 * 1024, rel=0.25)
    told = " ".join(found.tune.notes)
    assert "serial 0x2 holds" in told and "more after each million steps: a leak of the environment" in told
    assert "the run would not last" in told


@pytest.mark.slow
def test_a_plan_that_eats_the_memory_is_ended_before_the_machine_has_none(tmp_path: Path) -> None:
    limit_bytes = 3 * 2**30
    found = paceline.tune(
        odd("Leaks", kib=1024), tmp_path / "out", again=True, budget_minutes=2, backends=("serial",),
        num_envs_per_env_runner=(2,), max_memory_bytes=limit_bytes,
    )  # fmt: skip
    (plan,) = (one for one in found.tune.plans if one.name == "serial 0x2")
    assert plan.state == "failed"
    assert "the tuner's processes held" in plan.reason and "more than the limit of 3.0 GiB" in plan.reason
    assert found.tune.decision.winner is None


@pytest.mark.slow
def test_in_hardly_any_time_it_says_what_it_does_not_know(tmp_path: Path) -> None:
    told: list[str] = []

    class Listening(SilentDisplay):
        def message(self, text: str) -> None:
            told.append(text)

    options = {"budget_minutes": 0.02, "backends": ("serial", "shm")}
    found = paceline.tune(RUN, tmp_path / "out", again=True, display=Listening(), **options)
    assert "1.2 s is less than it takes to look at the environment and to start one plan" in told[0]
    assert found.tune.decision.winner is not None
    assert not found.tune.decision.certain
    assert any(" was measured; of the others there are predictions" in note for note in found.tune.notes)


@pytest.mark.slow
def test_a_time_that_must_not_be_overrun_is_kept(tmp_path: Path) -> None:
    hangs = RunSpec.model_validate({"env": {"id": "synthetic:faulty?fault=hang-in-reset"}, "algo": SMALL})
    begin_s = time.monotonic()
    with pytest.raises(EnvTimeoutError, match=r"the process that looked at it failed: did not answer within"):
        paceline.tune(hangs, tmp_path / "out", again=True, budget_minutes=1, at_most_s=10.0)
    assert time.monotonic() - begin_s < 10.0
    assert "did not answer" in (tmp_path / "out" / "logs" / "probe.log").read_text()
