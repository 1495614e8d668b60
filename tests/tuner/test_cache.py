"""Answers of earlier tunings: given again where they still hold, and only there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from paceline.machine import Machine, detect_machine
from paceline.measure.result import ExperimentInfo
from paceline.measure.tune_result import PlanStanding, TuneDecision, TuneRecord, TuneResults
from paceline.spec import EnvSpec, build_spec
from paceline.tuner.cache import Cache, Found, key_of, source_hash
from paceline.tuner.spec import TuneSpec


@pytest.fixture(scope="module")
def machine() -> Machine:
    return detect_machine()


def spec(**fields: Any) -> TuneSpec:
    return build_spec(TuneSpec, {"base": {"env": {"id": "CartPole-v1"}}, **fields})


def answer(machine: Machine, **decision: Any) -> TuneResults:
    info = ExperimentInfo(
        total_experiments=1, timestamp="2026-01-01T00:00:00+00:00", kind="tune",
        machine_fingerprint=machine.fingerprint,
    )  # fmt: skip
    decided = {"winner": "shm 2x8", "stopped": "budget", **decision}
    plans = (PlanStanding(name="shm 2x8", state="measured", plan={"num_env_runners": 2, "num_envs_per_env_runner": 8}),)
    tune = TuneRecord(objective="fastest", budget_s=300.0, wall_s=290.0, plans=plans, decision=TuneDecision(**decided))
    return TuneResults(experiment_info=info, experiments=(), tune=tune)


def test_an_answer_is_given_again_and_says_where_it_comes_from(tmp_path: Path, machine: Machine) -> None:
    cache = Cache(tmp_path / "made when needed")
    assert cache.look_up(spec(), machine) == type(cache.look_up(spec(), machine))()
    cache.keep(spec(), machine, answer(machine))
    found = cache.look_up(spec(), machine)
    assert found.results == answer(machine)
    assert "answered from the tuning of 2026-01-01" in found.note and "--again" in found.note


def test_seed_and_budget_do_not_matter_and_everything_else_does(machine: Machine) -> None:
    same = [
        spec(budget_minutes=2),
        spec(base={"env": {"id": "CartPole-v1"}, "seed": 7}),
        spec(base={"env": {"id": "CartPole-v1"}, "budget": {"minutes": 3}}),
    ]
    other = [
        spec(objective="frugal"),
        spec(backends=("serial",)),
        spec(max_cores=1),
        spec(base={"env": {"id": "Acrobot-v1"}}),
        spec(base={"env": {"id": "CartPole-v1"}, "algo": {"name": "a2c"}}),
        spec(base={"env": {"id": "CartPole-v1"}, "algo": {"batch_size": 512}}),
    ]
    key = key_of(spec(), machine)
    assert {key_of(one, machine) for one in same} == {key}
    assert len({key, *(key_of(one, machine) for one in other)}) == 1 + len(other)
    assert key_of(spec(), dataclasses.replace(machine, versions={**machine.versions, "jax": "9.9"})) != key
    assert key_of(spec(), dataclasses.replace(machine, usable_cores=machine.usable_cores + 1)) != key


def test_an_environment_that_was_edited_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edited_env.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    hashes = []
    for text in ("A = 1\n", "A = 2\n", "A = 1\n"):
        file.write_text(text)
        hashes.append(source_hash(EnvSpec(id="edited_env:Env")))
    assert hashes[0] == hashes[2] != hashes[1]
    assert source_hash(EnvSpec(id="no_such_module:Env")) == ""
    assert source_hash(EnvSpec(id="CartPole-v1")) != ""


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": "other"}', '{"format": "paceline.results", "format_version": 99}']
)
def test_what_cannot_be_read_is_passed_over_with_a_word(tmp_path: Path, machine: Machine, text: str) -> None:
    cache = Cache(tmp_path)
    cache.keep(spec(), machine, answer(machine))
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    found = cache.look_up(spec(), machine)
    assert found.results is None
    assert found.note.startswith("an earlier answer was passed over: ")


@pytest.mark.parametrize(
    "plans",
    [(), (PlanStanding(name="shm 2x8", state="measured", plan={"backend": "magic"}),)],
)
def test_an_answer_without_its_plan_is_passed_over(
    tmp_path: Path, machine: Machine, plans: tuple[PlanStanding, ...]
) -> None:
    cache = Cache(tmp_path)
    whole = answer(machine)
    cache.keep(spec(), machine, whole.model_copy(update={"tune": whole.tune.model_copy(update={"plans": plans})}))
    found = cache.look_up(spec(), machine)
    assert found.results is None
    assert "does not hold the plan that it names" in found.note


def test_an_entry_that_is_no_file_or_no_text_is_passed_over_with_a_word(tmp_path: Path, machine: Machine) -> None:
    cache = Cache(tmp_path)
    cache.keep(spec(), machine, answer(machine))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff\xfe")
    assert "cannot be read" in cache.look_up(spec(), machine).note
    file.unlink()
    file.mkdir()
    found = cache.look_up(spec(), machine)
    assert found.results is None and "cannot be read" in found.note
    assert "will not be remembered" in cache.keep(spec(), machine, answer(machine)), "a folder is in the way"


def test_an_answer_of_another_machine_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    cache = Cache(tmp_path)
    foreign = answer(machine)
    info = foreign.experiment_info.model_copy(update={"machine_fingerprint": "another"})
    cache.keep(spec(), machine, foreign.model_copy(update={"experiment_info": info}))
    assert cache.look_up(spec(), machine).results is None


@pytest.mark.parametrize(("minutes", "given"), [(1, True), (5, True), (60, False)])
def test_an_answer_made_in_less_time_is_not_given_again(
    tmp_path: Path, machine: Machine, minutes: float, given: bool
) -> None:
    cache = Cache(tmp_path)
    cache.keep(spec(), machine, answer(machine, certain=True))
    found = cache.look_up(spec(budget_minutes=minutes), machine)
    assert (found.results is not None) == given
    assert found.note


@pytest.mark.parametrize("decision", [{"winner": None}, {"stopped": "interrupted"}])
def test_no_answer_and_half_an_answer_are_not_kept(tmp_path: Path, machine: Machine, decision: dict[str, Any]) -> None:
    cache = Cache(tmp_path)
    cache.keep(spec(), machine, answer(machine, **decision))
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_no_error_and_says_so(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.keep(spec(), machine, answer(machine)).startswith("the answer will not be remembered: ")
    assert cache.look_up(spec(), machine) == Found()
    assert not Cache(tmp_path / "fine").keep(spec(), machine, answer(machine))
