"""``paceline.train`` from Python, in this process."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_envs import LengthBySeed, small_spec

import paceline
from paceline.errors import (
    EnvNotFoundError,
    EnvRaisedError,
    OutOfMemoryError,
    OutputError,
    PacelineError,
    PlanError,
    ResultsError,
    SpecError,
)
from paceline.measure.store import RunFolder, load_results
from paceline.measure.trained_run import load_trained_run
from paceline.spec import Budget, EnvSpec, RunSpec
from paceline.training.checkpoint import CheckpointStore
from paceline.training.memory_watch import MemoryWatch
from paceline.training.progress import SilentDisplay
from paceline.training.status import Status
from paceline.training.sync import SyncDriver

ENV = "synthetic:known-return?episode_length=8"


class Watcher(SilentDisplay):
    """Keeps what it is told, and does something of the test's own after every iteration."""

    def __init__(self, after: Any = None) -> None:
        self.messages: list[str] = []
        self.seen: list[Status] = []
        self.ended = 0
        self._after = after

    def message(self, text: str) -> None:
        self.messages.append(text)

    def iteration(self, status: Status) -> None:
        self.seen.append(status)
        if self._after:
            self._after(status)

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def spec() -> RunSpec:
    return small_spec(ENV, budget=Budget(iterations=3))


def test_a_run_returns_what_its_folder_holds(spec: RunSpec, tmp_path: Path) -> None:
    display = Watcher()
    result = paceline.train(spec, out=tmp_path / "run", display=display, command="a command")
    stored = load_results(tmp_path / "run")
    assert stored.experiments == (result,)
    assert (stored.experiment_info.command, stored.experiment_info.kind) == ("a command", "train")
    assert display.ended == 1
    assert [status.record for status in display.seen] == list(result.iterations)
    assert [status.progress for status in display.seen] == pytest.approx([1 / 3, 2 / 3, 1])
    last = display.seen[-1]
    assert (last.remaining_s, last.best_return) == (0.0, max(s.recent_return or 0.0 for s in display.seen))
    assert result.summary is not None and result.ledger is not None
    assert sum(result.ledger.phases.values()) == pytest.approx(result.ledger.wall_s)
    assert min(result.summary.setup_s, result.summary.compile_s) > 0
    assert result.ledger.phases["logging"] > 0


@pytest.mark.slow
def test_an_environment_and_fields_make_a_run(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "algo": {"batch_size": 64, "minibatch_size": 32, "num_epochs": 2},
        "plan": {"num_envs_per_env_runner": 4, "learner_threads": 1, "device": "cpu"},
        "budget": Budget(iterations=1),
    }
    by_id = paceline.train(ENV, out=tmp_path / "id", **fields)
    by_spec = paceline.train(
        EnvSpec(id="synthetic:known-return", kwargs={"episode_length": 8}), out=tmp_path / "s", **fields
    )
    by_class = paceline.train(LengthBySeed, out=tmp_path / "class", **fields, seed=3)
    assert (by_id.env_id, by_spec.env_id, by_class.env_id) == (ENV, "synthetic:known-return", "fake_envs:LengthBySeed")
    assert by_id.iterations[0].metrics == by_spec.iterations[0].metrics
    assert by_class.seed == 3


def test_fields_replace_those_of_a_run_and_are_checked(spec: RunSpec, tmp_path: Path) -> None:
    result = paceline.train(spec, out=tmp_path / "run", budget={"total_steps": 64}, seed=8)
    assert (len(result.iterations), result.seed) == (1, 8)
    with pytest.raises(SpecError, match="unknown key 'buget'; did you mean 'budget'"):
        paceline.train(spec, out=tmp_path / "other", buget={"total_steps": 64})
    with pytest.raises(SpecError, match="greater than 0"):
        paceline.train(spec, out=tmp_path / "other", budget={"total_steps": 0})


def test_without_a_folder_one_is_made_below_runs(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paceline.train(spec)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("synthetic-known-return")
    assert load_results(folder).experiment_info.complete


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"env": {"id": "synthetic:nothing"}}, EnvNotFoundError),
        ({"algo": {"batch_size": 65}}, PlanError),
        ({"algo": {"network": {"torso": "cnn"}}}, PacelineError),
    ],
)
def test_what_cannot_start_leaves_no_folder(
    fields: dict[str, Any], error: type[Exception], spec: RunSpec, tmp_path: Path
) -> None:
    with pytest.raises(error):
        paceline.train(spec, out=tmp_path / "run", **fields)
    assert not (tmp_path / "run").exists()


def test_minutes_end_a_run(spec: RunSpec, tmp_path: Path) -> None:
    display = Watcher()
    result = paceline.train(spec, out=tmp_path / "run", budget=Budget(minutes=0.002), display=display)
    assert result.outcome == "ok"
    assert all(status.progress < 1 for status in display.seen[:-1])
    last = display.seen[-1]
    assert 0 < last.progress <= last.elapsed_s / 0.12  # the clock goes on between the two readings


@pytest.mark.slow
def test_minutes_go_on_where_a_resumed_run_was_stopped(spec: RunSpec, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = paceline.train(spec, out=out, budget=Budget(minutes=0.002))
    assert not result.deterministic  # the learning rate followed the clock
    wall_s = CheckpointStore(out / "checkpoints").last().meta["wall_s"]
    assert wall_s >= 0.12
    with pytest.raises(PlanError, match=r"minutes that the run has done, got 0\.002; give a larger one"):
        paceline.train(spec, out=out, resume=True, budget=Budget(minutes=0.002))
    display = Watcher()
    longer = Budget(minutes=2 * wall_s / 60)
    paceline.train(spec, out=out, resume=True, budget=longer, display=display)
    assert display.seen[0].progress > 0.5
    assert CheckpointStore(out / "checkpoints").last().meta["wall_s"] >= 2 * wall_s


@pytest.mark.slow
def test_what_was_replaced_is_told_even_of_the_iteration_that_broke(spec: RunSpec, tmp_path: Path) -> None:
    display = Watcher()
    env = {"id": "synthetic:faulty?fault=raise&at=5&episode_length=10"}
    with pytest.raises(EnvRaisedError, match="after 1 restarts"):
        paceline.train(spec, out=tmp_path, env=env, max_restarts=1, display=display)
    (told,) = load_trained_run(tmp_path).restarts
    assert told.startswith("env 0 was replaced (replacement 1 of at most 1)")
    assert told in display.messages


@pytest.mark.slow
def test_a_warning_of_memory_is_no_restart(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryWatch, "look", lambda self, use: "memory: nearly full")
    display = Watcher()
    paceline.train(spec, out=tmp_path, display=display)
    assert "memory: nearly full" in display.messages
    assert load_trained_run(tmp_path).restarts == ()


def test_ctrl_c_while_saving_waits_until_all_is_saved(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = CheckpointStore.save

    def save_and_be_interrupted(self: CheckpointStore, *arguments: Any) -> Path:
        os.kill(os.getpid(), 2)  # SIGINT, in the middle of writing
        return save(self, *arguments)

    monkeypatch.setattr(CheckpointStore, "save", save_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        paceline.train(spec, out=tmp_path / "run", checkpoint_every_s=1e-9)
    (run,) = load_results(tmp_path / "run").experiments
    assert (run.outcome, len(run.iterations)) == ("interrupted", 1)
    assert CheckpointStore(tmp_path / "run" / "checkpoints").last().meta["num_updates"] == 1


@pytest.mark.slow
def test_updates_of_an_iteration_that_was_interrupted_are_in_the_results(tmp_path: Path) -> None:
    """Four updates an iteration, of 8 steps of 4 environments: one of them stops the run in the second's second."""
    env = EnvSpec(id="fake_envs:PressesCtrlC", kwargs={"at": 32 + 8 + 3})
    algo = {"name": "a2c", "batch_size": 32, "updates_per_iteration": 4}
    plan = {"num_envs_per_env_runner": 4, "learner_threads": 1, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        paceline.train(env, algo=algo, plan=plan, budget=Budget(iterations=3), out=tmp_path)
    (run,) = load_results(tmp_path).experiments
    assert [(record.num_env_steps, record.total_env_steps) for record in run.iterations] == [(128, 128), (32, 160)]
    last = run.iterations[-1]
    assert last.num_episodes > 0 and sum(last.ledger.phases.values()) == pytest.approx(last.wall_s)
    assert len((tmp_path / "progress.csv").read_text().splitlines()) == 3
    meta = CheckpointStore(tmp_path / "checkpoints").last().meta
    assert [meta[name] for name in ("num_updates", "num_iterations", "total_env_steps")] == [5, 2, 160]
    resumed = paceline.train(env, algo=algo, plan=plan, budget=Budget(iterations=3), out=tmp_path, resume=True)
    assert [record.total_env_steps for record in resumed.iterations] == [128, 160, 288]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "seen", "outcome"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), OutOfMemoryError, "oom"),
        (MemoryError(), OutOfMemoryError, "oom"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "crash"),
    ],
)
def test_whatever_breaks_a_run_what_was_done_is_saved(
    raised: Exception,
    seen: type[Exception],
    outcome: str,
    spec: RunSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    iterate = SyncDriver.iterate

    def break_at_last(self: SyncDriver, *arguments: Any, **options: Any) -> Any:
        if self.num_updates == 2:
            raise raised
        return iterate(self, *arguments, **options)

    monkeypatch.setattr(SyncDriver, "iterate", break_at_last)
    with pytest.raises(seen):
        paceline.train(spec, out=tmp_path / "run")
    (run,) = load_results(tmp_path / "run").experiments
    assert (run.outcome, len(run.iterations)) == (outcome, 2)
    assert CheckpointStore(tmp_path / "run" / "checkpoints").last().meta["num_updates"] == 2
    RunFolder(tmp_path / "run", resume=True).close()  # let go of, though the error keeps its frames alive


def test_two_runs_do_not_write_to_one_folder(spec: RunSpec, tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.write_spec(spec)
        with pytest.raises(ResultsError, match="a run or sweep is still running"):
            paceline.train(spec, out=tmp_path, resume=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["spec.yaml"]


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_results(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: CheckpointStore, *arguments: Any) -> Path:
        raise OutputError("cannot write the checkpoint: no space left")

    monkeypatch.setattr(CheckpointStore, "save", full)
    with pytest.raises(OutputError, match="no space left"):
        paceline.train(spec, out=tmp_path / "run")
    (run,) = load_results(tmp_path / "run").experiments
    assert (run.outcome, len(run.iterations)) == ("crash", 3)


def test_a_display_whose_reader_has_gone_does_not_end_the_run(spec: RunSpec, tmp_path: Path) -> None:
    def gone(status: Status) -> None:
        raise BrokenPipeError

    assert paceline.train(spec, out=tmp_path / "run", display=Watcher(gone)).outcome == "ok"


def test_another_thread_can_train(spec: RunSpec, tmp_path: Path) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(paceline.train(spec, out=tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].outcome == "ok"


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    before = path.read_bytes()
    yield
    assert path.read_bytes() == before


@pytest.mark.slow
def test_resuming(spec: RunSpec, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = paceline.train(spec, out=out)
    with unchanged(out / "results.json"), unchanged(out / "spec.yaml"):
        with pytest.raises(PlanError, match=r"beyond the 3 iterations that the run has done, got 3"):
            paceline.train(spec, out=out, resume=True)
        with pytest.raises(ResultsError, match=r"expected env\.kwargs \{\} as the run has had so far, got \{'x': 1\}"):
            paceline.train(spec, out=out, resume=True, env={"id": ENV, "kwargs": {"x": 1}})
        with pytest.raises(ResultsError, match="already holds a paceline run"):
            paceline.train(spec, out=out)
    # A run that was killed after its last checkpoint: two iterations that are done again.
    with (out / "progress.jsonl").open("a") as log:
        for iteration in (3, 4):
            lost = first.iterations[-1].model_copy(update={"iteration": iteration, "num_env_steps": 10**9})
            log.write(json.dumps({"kind": "iteration", **lost.model_dump(mode="json")}) + "\n")
        log.write('{"kind": "iteration", "torn')
    display = Watcher()
    result = paceline.train(spec, out=out, resume=True, budget={"iterations": 5}, display=display)
    assert display.messages[0] == "going on after iteration 3, 192 steps"
    assert result.iterations[:3] == first.iterations
    assert [(record.iteration, record.total_env_steps) for record in result.iterations] == [
        (0, 64), (1, 128), (2, 192), (3, 256), (4, 320),
    ]  # fmt: skip
    assert display.seen[0].remaining_s < 10 * display.seen[0].elapsed_s  # from this start's pace, not the whole run's
    # Resumed once more under another plan, and again under that: the first plan's figures do not come back.
    other = spec.plan.model_copy(update={"num_envs_per_env_runner": 8})
    for iterations, kept in ((6, 1), (7, 2)):
        result = paceline.train(spec, out=out, resume=True, budget={"iterations": iterations}, plan=other)
        assert [record.iteration for record in result.iterations] == list(range(5, 5 + kept))
