from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from paceline.bench.cases import Case
from paceline.bench.display import Forecast, PlainDisplay
from paceline.bench.runner import bench
from paceline.bench.spec import BenchSpec
from paceline.errors import EnvNotFoundError, EnvRaisedError, PlanError, ResultsError
from paceline.measure.bench_result import BenchResults
from paceline.measure.store import load_progress, load_results


class Quiet(PlainDisplay):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[tuple[str, int]] = []

    def window(self, case: Case, number: int, sps: float, forecast: Forecast) -> None:
        self.windows.append((case.name, number))

    def message(self, text: str) -> None:
        pass


def spec(env_id: str, backends: Sequence[str], sizes: Sequence[int], **fields: Any) -> BenchSpec:
    quick = {"rounds": 3, "seconds": 0.02, "num_env_runners": 2, **fields}
    return BenchSpec.model_validate({"env": {"id": env_id}, "backends": backends, "num_envs": sizes, **quick})


@pytest.mark.slow
def test_cases_take_turns_forwards_and_backwards_and_are_written_down(tmp_path: Path) -> None:
    display = Quiet()
    results = bench(spec("synthetic:busy?us=20", ["serial", "shm"], [1, 4]), tmp_path / "out", display=display)
    order = ["loop@1", "free-running@1", "serial@1", "shm@1", "loop@4", "free-running@4", "serial@4", "shm@4"]
    assert [name for name, number in display.windows if number == 0] == order
    assert [name for name, number in display.windows if number == 1] == order[::-1]
    assert [name for name, number in display.windows if number == 2] == order
    assert results == load_results(tmp_path / "out", BenchResults)
    assert results.experiment_info.complete and results.experiment_info.kind == "bench"
    assert [case.name for case in results.experiments] == ["serial@1", "shm@1", "serial@4", "shm@4"]
    for case in (*results.experiments, *results.ceilings):
        assert case.outcome == "ok" and len(case.iterations) == 3
        assert case.ledger is not None
        assert sum(case.ledger.phases.values()) == pytest.approx(case.ledger.wall_s)
    assert all(case.ceiling_share and case.memory and case.make_vec for case in results.experiments)
    lines = load_progress(tmp_path / "out")
    assert sum(line["kind"] == "window" for line in lines) == 24
    assert {line["kind"] for line in lines} == {"bench", "env", "ready", "window"}


@pytest.mark.slow
def test_one_that_breaks_is_an_outcome_and_the_others_go_on(tmp_path: Path) -> None:
    # The fourth environment of a bare loop gets the seed 3.
    out = tmp_path / "out"
    results = bench(spec("synthetic:faulty?at=50&only_seed=3", ["serial"], [1, 4]), out, display=Quiet())
    found = {case.name: case.outcome for case in (*results.experiments, *results.ceilings)}
    assert found["loop@4"] == found["free-running@4"] == "crash"
    assert found["serial@1"] == found["loop@1"] == "ok"
    loop = next(case for case in results.ceilings if case.name == "loop@4")
    assert "fails at step 50" in loop.message and loop.message.endswith("see logs/loop@4.log")
    assert "Traceback" in (out / "logs" / "loop@4.log").read_text()


@pytest.mark.slow
def test_a_backend_that_is_refused_is_not_asked_again(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no execution of synthetic:busy could be measured \(native@1: "):
        bench(spec("synthetic:busy", ["native"], [1, 2], rounds=1), tmp_path / "out", display=Quiet())
    results = load_results(tmp_path / "out", BenchResults)
    assert [case.outcome for case in results.experiments] == ["impossible", "impossible"]
    assert all(case.outcome == "ok" for case in results.ceilings)


@pytest.mark.parametrize(
    ("env_id", "error"),
    [("NoSuchThing-v0", EnvNotFoundError), ("synthetic:faulty?fault=raise&at=20", EnvRaisedError)],
)
def test_an_environment_that_does_not_work_by_itself_ends_it_before_anything_is_written(
    env_id: str, error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        bench(spec(env_id, ["serial"], [1]), tmp_path / "out", display=Quiet())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (tmp_path / "out").exists() == (error is not EnvNotFoundError), "a name that is not one leaves no folder"


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ResultsError, match="already holds a run; give another --out"):
        bench(spec("synthetic:busy", ["serial"], [1]), tmp_path, display=Quiet())


def test_at_the_end_of_the_time_what_is_there_is_told(tmp_path: Path) -> None:
    limited = spec("synthetic:sleep?ms=5", ["serial"], [1, 2], max_minutes=1e-9)
    with pytest.raises(Exception, match="could be measured"):
        bench(limited, tmp_path / "out", display=Quiet())
    results = load_results(tmp_path / "out", BenchResults)
    assert [case.outcome for case in results.experiments] == ["interrupted", "interrupted"]
    assert "--max-minutes was reached" in results.experiments[0].message
    assert results.env is not None
    assert any("not measured" in note for note in results.notes)


@pytest.mark.slow
def test_the_first_interrupt_saves_what_was_measured(tmp_path: Path) -> None:
    class Impatient(Quiet):
        def window(self, case: Case, number: int, sps: float, forecast: Forecast) -> None:
            super().window(case, number, sps, forecast)
            if (case.name, number) == ("serial@2", 1):
                signal.raise_signal(signal.SIGINT)

    slow = spec("synthetic:sleep?ms=20", ["serial", "thread"], [2], seconds=0.5)
    with pytest.raises(KeyboardInterrupt):
        bench(slow, tmp_path / "out", display=Impatient())
    results = load_results(tmp_path / "out", BenchResults)
    assert not results.experiment_info.complete
    assert len(next(case for case in results.experiments if case.name == "serial@2").iterations) == 2
    text = (tmp_path / "out" / "results.json").read_text()
    assert json.loads(text)["experiment_info"]["kind"] == "bench"
