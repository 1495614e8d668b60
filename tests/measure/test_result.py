"""The results file: round trip, superset of the published shape, and one sentence per kind of damage."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from paceline.errors import ResultsError
from paceline.measure.result import (
    FORMAT,
    FORMAT_VERSION,
    ExperimentConfig,
    ExperimentInfo,
    IterationRecord,
    LedgerRecord,
    Results,
    RunResult,
    Summary,
    dump_json,
    finite,
    parse_results,
)


def sample_results(loss: float = 0.5) -> Results:
    ledger = LedgerRecord(wall_s=2.0, phases={"env_step": 1.5, "unattributed": 0.5})
    iteration = IterationRecord(
        iteration=0,
        wall_s=2.0,
        num_env_steps=100,
        sps=50.0,
        total_env_steps=100,
        ledger=ledger,
        metrics={"loss": loss, "entropy": 1.0},
    )
    summary = Summary(
        avg_time_per_iter_s=2.0,
        avg_sps=50.0,
        sps_ci95=(48.0, 52.0),
        total_training_time_s=2.0,
        num_iterations=1,
        num_env_steps=100,
        batch_size=100,
        num_envs=4,
        warmup_iterations=1,
        setup_s=0.1,
        compile_s=0.2,
        warmup_s=0.3,
    )
    run = RunResult(
        name="2x2",
        config=ExperimentConfig(num_env_runners=2, num_envs_per_env_runner=2, total_envs=4),
        outcome="ok",
        env_id="CartPole-v1",
        plan={"backend": "shm"},
        algo={"name": "ppo"},
        summary=summary,
        iterations=(iteration,),
        ledger=ledger,
    )
    info = ExperimentInfo(total_experiments=1, timestamp="2026-01-01T00:00:00+00:00")
    return Results(experiment_info=info, experiments=(run,))


def test_results_read_back_as_they_were_written() -> None:
    results = sample_results()
    assert parse_results(results.to_json(), source="r") == results


def test_the_file_holds_the_published_shape() -> None:
    data = json.loads(sample_results().to_json())
    assert data["experiment_info"]["total_experiments"] == 1
    assert data["experiment_info"]["timestamp"]
    (experiment,) = data["experiments"]
    assert experiment["config"].items() >= {
        "num_env_runners": 2, "num_envs_per_env_runner": 2, "total_envs": 4
    }.items()  # fmt: skip
    assert {"avg_time_per_iter_s", "avg_sps", "total_training_time_s", "sps_ci95"} <= experiment["summary"].keys()
    assert len(experiment["iterations"]) == 1
    assert experiment["outcome"] == "ok"
    assert experiment["ledger"] == {"wall_s": 2.0, "phases": {"env_step": 1.5, "unattributed": 0.5}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_null_in_the_file_and_absent_when_read(value: float) -> None:
    text = sample_results(loss=value).to_json()
    assert json.loads(text)["experiments"][0]["iterations"][0]["metrics"] == {"loss": None, "entropy": 1.0}
    assert parse_results(text, source="r").experiments[0].iterations[0].metrics == {"entropy": 1.0}


def test_keys_of_later_versions_are_ignored() -> None:
    data = json.loads(sample_results().to_json())
    data["experiments"][0]["invented_later"] = 1
    assert parse_results(json.dumps(data), source="r") == sample_results()


def damaged(**changes: Any) -> str:
    return json.dumps({**json.loads(sample_results().to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "not valid JSON at line 1", id="cut off"),
        pytest.param("", "not valid JSON", id="empty"),
        pytest.param("[]", f"expected a paceline results file .format '{FORMAT}'.", id="a list"),
        pytest.param('{"experiments": []}', "expected a paceline results file", id="foreign"),
        pytest.param(
            damaged(format_version=FORMAT_VERSION + 1), "newer paceline .format version 2.*upgrade", id="newer"
        ),
        pytest.param(damaged(format_version="x"), "whole number as format_version, got 'x'", id="version no number"),
        pytest.param(damaged(experiments=[{}]), "field experiments.0.name", id="missing field"),
        pytest.param(damaged(experiment_info={"total_experiments": 1}), "experiment_info.timestamp", id="missing info"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(text: str, message: str) -> None:
    with pytest.raises(ResultsError, match=message) as caught:
        parse_results(text, source="there/results.json")
    assert str(caught.value).startswith("there/results.json: ")
    assert "\n" not in str(caught.value)


def test_the_published_table_is_told_apart_by_its_missing_format() -> None:
    with pytest.raises(ResultsError, match="expected a paceline results file"):
        parse_results(json.dumps({"experiment_info": {}, "experiments": []}), source="r")


def test_anything_becomes_strict_json() -> None:
    value = {
        "nested": [math.nan, (1.5, math.inf)],
        "scalar": np.float32(0.5),
        "bad": np.float64("nan"),
        "count": np.int64(3),
        "array": np.array([[1.0, np.nan]]),
        "flag": True,
        7: {"set"},
        "model": LedgerRecord(wall_s=math.inf, phases={}),
    }
    assert json.loads(dump_json(value)) == {
        "nested": [None, [1.5, None]],
        "scalar": 0.5,
        "bad": None,
        "count": 3,
        "array": [[1.0, None]],
        "flag": True,
        "7": ["set"],
        "model": {"wall_s": None, "phases": {}},
    }
    assert finite(True) is True
