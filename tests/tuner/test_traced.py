"""A trace of the winner: valid, nested, and equal to the ledger, of real processes of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline.measure.ledger import PHASES
from paceline.measure.result import ExperimentInfo, RunResult
from paceline.measure.store import RunFolder, load_results
from paceline.measure.trace import WAITING
from paceline.measure.tune_result import PlanStanding, TuneDecision, TuneRecord, TuneResults
from paceline.spec import EnvSpec, RunSpec, build_spec
from paceline.tuner.arena import Failed, Measured, Opened
from paceline.tuner.processes import Bounds, ProcessArena
from paceline.tuner.spec import TuneSpec
from paceline.tuner.traced import trace_winner

BOUNDS = Bounds(start_timeout_s=60.0, slice_timeout_s=60.0, memory_bytes=2**50)
SPEC = TuneSpec(base=RunSpec(env=EnvSpec(id="CartPole-v1")))
PLAN = {"num_env_runners": 2, "num_envs_per_env_runner": 4}


def tuned(winner: str | None = "shm 2x4") -> TuneResults:
    run = RunResult(
        name="shm 2x4", config={"num_env_runners": 2, "num_envs_per_env_runner": 4, "total_envs": 8}, outcome="ok",
        env_id="CartPole-v1", plan=PLAN, algo={"name": "ppo", "batch_size": 128, "minibatch_size": 64},
    )  # fmt: skip
    return TuneResults(
        experiment_info=ExperimentInfo(total_experiments=1, timestamp="", kind="tune"),
        experiments=(run,),
        tune=TuneRecord(
            objective="fastest", budget_s=1.0, wall_s=1.0, notes=("First.",),
            plans=(PlanStanding(name="shm 2x4", state="measured"),), decision=TuneDecision(winner=winner),
        ),
    )  # fmt: skip


def traced(folder: Path, task: str, winner: str | None = "shm 2x4") -> TuneResults:
    with RunFolder(folder) as kept:
        return trace_winner(kept, SPEC, tuned(winner), BOUNDS, task=f"fake_contenders:{task}")


def test_the_trace_is_left_and_the_results_say_where(tmp_path: Path) -> None:
    found = traced(tmp_path / "out", "steady")
    note = "A trace of iterations of shm 2x4 is in trace.json: open it at ui.perfetto.dev."
    assert found.tune.notes == ("First.", note)
    assert load_results(tmp_path / "out", TuneResults) == found
    assert (tmp_path / "out" / "trace.json").read_text() == '{"traceEvents": [], "iterations": 3}'


@pytest.mark.parametrize(("task", "sentence"), [("refuses", "got Graph"), ("dies_later", "exited with status 3")])
def test_a_trace_that_cannot_be_made_does_not_cost_the_tuning(task: str, sentence: str, tmp_path: Path) -> None:
    found = traced(tmp_path / "out", task)
    assert found.tune.notes[-1].startswith("No trace of shm 2x4 could be made: ")
    assert sentence in found.tune.notes[-1]
    assert not (tmp_path / "out" / "trace.json").exists()


def test_without_a_winner_there_is_nothing_to_trace(tmp_path: Path) -> None:
    assert traced(tmp_path / "out", "steady", None) == tuned(None)


def check(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Check that a trace nests, ascends and adds up to its ledger; return its iterations."""
    timed = [one for one in document["traceEvents"] if one["ph"] != "M"]
    assert [one["ts"] for one in timed] == sorted(one["ts"] for one in timed)
    tracks: dict[int, list[dict[str, Any]]] = {}
    for one in timed:
        if one["ph"] == "X":
            tracks.setdefault(one["tid"], []).append(one)
    for events in tracks.values():
        around: list[float] = []
        for one in events:
            end = one["ts"] + one["dur"]
            while around and around[-1] <= one["ts"] + 1e-3:
                around.pop()
            assert not around or end <= around[-1] + 1e-3, f"{one} is neither within another nor after it"
            around.append(end)
    iterations = [one for one in tracks[0] if one["name"].startswith("iteration ")]
    for whole in iterations:
        begin, end = whole["ts"] - 1e-3, whole["ts"] + whole["dur"] + 1e-3
        inside = [one for one in tracks[0] if one is not whole and begin <= one["ts"] and one["ts"] + one["dur"] <= end]
        took: dict[str, float] = {}
        for one in inside:
            took[one["name"]] = took.get(one["name"], 0.0) + one["dur"]
        waited, ledger = whole["args"]["waiting_s"], whole["args"]["ledger_s"]
        assert took.get(WAITING, 0.0) == pytest.approx(1e6 * sum(waited.values()), abs=0.1)
        for phase in PHASES:
            told = took.get(phase, 0.0) + 1e6 * waited.get(phase, 0.0)
            assert told == pytest.approx(1e6 * ledger[phase], abs=0.1), phase
        assert sum(ledger.values()) == pytest.approx(1e-6 * whole["dur"], abs=1e-6)
    return iterations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "plan", "tracks"),
    [
        ("ppo", {"num_env_runners": 0, "num_envs_per_env_runner": 4}, {"learner"}),
        ("ppo", {**PLAN, "schedule": "pipelined"}, {"learner"}),
        ("ppo", {**PLAN, "inference": "runner"}, {"learner", "actor 0", "actor 1"}),
        ("impala", {**PLAN, "schedule": "async", "inference": "runner"}, {"learner", "actor 0", "actor 1"}),
    ],
)
def test_a_trace_of_a_real_contender_is_its_ledger(algo: str, plan: dict[str, Any], tracks: set[str]) -> None:
    fields = {"name": algo, "batch_size": 160, "learning_rate": 1e-3, "ent_coef": 0.0, "normalize_observations": True,
              "normalize_rewards": True}  # fmt: skip
    fields |= {"minibatch_size": 80, "num_epochs": 1} if algo == "ppo" else {"rollout_length": 20}
    run = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": fields, "plan": plan})
    place = ProcessArena([run], BOUNDS)
    try:
        opened = place.open(0)
        assert isinstance(opened, Opened), opened
        document = place.trace(opened.process, 3)
        assert not isinstance(document, Failed), document
        assert isinstance(place.measure(opened.process, 0.1), Measured), "it can be measured afterwards"
    finally:
        place.end()
    iterations = check(document)
    assert [one["args"]["num_env_steps"] % 160 for one in iterations] == [0, 0, 0]
    named = {one["args"]["name"] for one in document["traceEvents"] if one["name"] == "thread_name"}
    assert named == tracks
    counters = {one["name"] for one in document["traceEvents"] if one["ph"] == "C"}
    busy = {"runner 0 busy", "runner 1 busy"} if plan.get("schedule") == "pipelined" else set()
    assert counters == {"steps per second", "cores busy", *busy}
