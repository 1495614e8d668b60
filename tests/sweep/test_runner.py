from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import fake_trials
import pytest

from paceline.analysis.findings import analyse
from paceline.errors import EnvRaisedError, OutputError, ResultsError, UnsupportedSpaceError
from paceline.machine import Machine, detect_machine
from paceline.measure.result import Results
from paceline.measure.store import RunFolder, load_results
from paceline.spec import EnvSpec, PPOSpec, RunSpec, SweepSpec
from paceline.sweep.display import PlainDisplay, SilentDisplay
from paceline.sweep.grid import sweep_spec
from paceline.sweep.runner import sweep

linux_only = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def machine() -> Machine:
    return detect_machine()


def fill_in(runs: Sequence[RunSpec]) -> list[RunSpec]:
    return [fake_trials.fill_in(run) for run in runs]


def make_spec(runners: Sequence[int] = (0, 1), envs: Sequence[int] = (1, 4), **options: Any) -> SweepSpec:
    run = RunSpec(
        env=EnvSpec(id="Fake-v0", kwargs=options.pop("kwargs", {})), algo=PPOSpec(batch_size=64, minibatch_size=32)
    )
    options = {"iterations": 2, **options}
    return sweep_spec(run, num_env_runners=runners, num_envs_per_env_runner=envs, **options)


def go(spec: SweepSpec, out: Path, machine: Machine, entry_point: str = "finish", **options: Any) -> Results:
    options = {"display": SilentDisplay(), **options}
    return sweep(spec, out, machine=machine, resolve=fill_in, entry_point=f"fake_trials:{entry_point}", **options)


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = (out / "progress.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.mark.slow
def test_a_sweep_leaves_its_spec_its_progress_and_its_results(tmp_path: Path, machine: Machine) -> None:
    out = tmp_path / "out"
    results = go(make_spec(repeats=2), out, machine, command="paceline sweep Fake-v0")
    assert load_results(out) == results
    assert [(run.name, run.repeat) for run in results.experiments] == [
        (name, repeat) for name in ("0x1", "0x4", "1x1", "1x4") for repeat in (0, 1)
    ]
    info = results.experiment_info
    assert (info.total_experiments, info.complete, info.kind, info.batch_size) == (8, True, "sweep", 64)
    assert (info.env_id, info.algo, info.command) == ("Fake-v0", "ppo", "paceline sweep Fake-v0")
    assert info.machine_fingerprint == info.machine["fingerprint"] == machine.fingerprint
    assert len(events(out, "iteration")) == 16
    assert len(events(out, "trial")) == 8
    raw = json.loads((out / "results.json").read_text())
    assert {"num_env_runners", "num_envs_per_env_runner", "total_envs"} <= set(raw["experiments"][0]["config"])
    assert {"avg_time_per_iter_s", "avg_sps", "total_training_time_s"} <= set(raw["experiments"][0]["summary"])


def test_a_failure_is_an_outcome_and_the_rest_runs(tmp_path: Path, machine: Machine) -> None:
    results = go(make_spec(), tmp_path, machine, "raise_env_error_with_runners")
    outcomes = {run.name: run.outcome for run in results.experiments}
    assert outcomes == {"0x1": "ok", "0x4": "ok", "1x1": "crash", "1x4": "crash"}
    failed = next(run for run in results.experiments if run.name == "1x4")
    assert failed.message.endswith("see logs/1x4.0.log")
    assert "EnvRaisedError" in (tmp_path / "logs" / "1x4.0.log").read_text()
    assert results.experiment_info.complete


def test_a_failure_that_all_trials_share_ends_the_sweep(tmp_path: Path, machine: Machine) -> None:
    spec = make_spec(runners=[0], envs=[1, 2, 4, 8])
    with pytest.raises(EnvRaisedError, match=r"KeyError in reset .*2 trials failed so .* the other 2 were not started"):
        go(spec, tmp_path, machine, "raise_env_error")
    results = load_results(tmp_path)
    assert [run.outcome for run in results.experiments] == ["crash", "crash"]
    assert not results.experiment_info.complete
    assert len(go(spec, tmp_path, machine, "finish", resume=True).experiments) == 4  # mended: all of them run
    assert {run.outcome for run in load_results(tmp_path).experiments} == {"ok"}


def test_a_fault_is_everybodys_only_once_every_backend_has_met_it(tmp_path: Path, machine: Machine) -> None:
    spec = make_spec(runners=[0, 1], envs=[1, 2, 4, 8])
    with pytest.raises(UnsupportedSpaceError):  # a request that makes no sense keeps its exit status
        go(spec, tmp_path, machine, "raise_unsupported")
    backends = {run.config.num_env_runners for run in load_results(tmp_path).experiments}
    assert backends == {0, 1}


def test_an_error_after_the_first_iteration_never_ends_the_sweep(tmp_path: Path, machine: Machine) -> None:
    results = go(make_spec(runners=[0], envs=[1, 2, 4]), tmp_path, machine, "raise_bug")
    assert [run.outcome for run in results.experiments] == ["crash"] * 3


@pytest.mark.slow
def test_resume_runs_only_what_is_missing(tmp_path: Path, machine: Machine) -> None:
    spec = make_spec(kwargs={"counter": str(tmp_path / "counter")})
    out = tmp_path / "out"
    results = go(spec, out, machine, "finish")
    lines = (out / "progress.jsonl").read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if json.loads(line)["kind"] == "trial")
    (out / "progress.jsonl").write_text("".join(lines[:last]) + '{"kind": "trial", "tri')  # killed while writing
    (out / "results.json").write_text("{")
    again = go(spec, out, machine, "hang_at_third_point", resume=True)
    assert len((tmp_path / "counter").read_text().splitlines()) == 1
    assert [run.name for run in again.experiments] == [run.name for run in results.experiments]
    assert again.experiment_info.timestamp == results.experiment_info.timestamp
    assert load_results(out) == again


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"iterations": 3}, "iterations is 3, there it is 2"),
        ({"envs": (1, 8)}, "axes.plan.num_envs_per_env_runner is"),
        ({"kwargs": {"x": 1}}, "base.env.kwargs.x is 1, there it is None"),
    ],
)
def test_resume_refuses_another_sweep(tmp_path: Path, machine: Machine, changed: dict[str, Any], words: str) -> None:
    go(make_spec(runners=[0]), tmp_path, machine)
    with pytest.raises(ResultsError, match=words.replace(".", r"\.")):
        go(make_spec(**{"runners": [0], **changed}), tmp_path, machine, resume=True)


def test_resume_refuses_another_machine(tmp_path: Path, machine: Machine) -> None:
    go(make_spec(runners=[0]), tmp_path, machine)
    with pytest.raises(ResultsError, match="figures of two machines do not mix"):
        go(make_spec(runners=[0]), tmp_path, replace(machine, cpu_model="Abacus"), resume=True)


def test_resume_needs_something_to_resume(tmp_path: Path, machine: Machine) -> None:
    with pytest.raises(ResultsError, match="leave out --resume"):
        go(make_spec(), tmp_path / "nothing", machine, resume=True)


def test_a_folder_that_holds_a_run_or_something_else_is_left_alone(tmp_path: Path, machine: Machine) -> None:
    go(make_spec(runners=[0], envs=[1]), tmp_path / "run", machine)
    before = (tmp_path / "run" / "results.json").read_text()
    with pytest.raises(ResultsError, match="--resume"):
        go(make_spec(), tmp_path / "run", machine)
    assert (tmp_path / "run" / "results.json").read_text() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        go(make_spec(), tmp_path / "other", machine)


def test_a_dry_run_prints_the_trials_and_starts_nothing(tmp_path: Path, machine: Machine) -> None:
    stream = StringIO()
    results = go(make_spec(runners=[0, 2]), tmp_path / "out", machine, dry_run=True, display=PlainDisplay(stream))
    assert results.experiments == ()
    assert not (tmp_path / "out").exists()
    text = stream.getvalue()
    assert all(name in text for name in ("0x1", "0x4", "2x1", "2x4"))
    assert "1 + 2 iterations each" in text
    assert "Expected time: about 32 s, a guess" in text


def test_a_dry_run_of_a_resumption_prints_what_is_left_even_while_it_runs(tmp_path: Path, machine: Machine) -> None:
    go(make_spec(runners=[0]), tmp_path, machine)
    stream = StringIO()
    with RunFolder(tmp_path, resume=True):
        go(make_spec(runners=[0]), tmp_path, machine, dry_run=True, resume=True, display=PlainDisplay(stream))
    assert "0 trials to run" in stream.getvalue()
    assert "Expected time: nothing left to run" in stream.getvalue()


def test_trials_are_held_to_the_plans_threads(tmp_path: Path, machine: Machine) -> None:
    spec = sweep_spec(make_spec().base, axes={"plan.learner_threads": [1, 3]})
    results = go(spec, tmp_path, machine, "report_surroundings")
    assert [run.threads["omp"] for run in results.experiments] == ["1", "3"]


def test_two_sweeps_do_not_write_to_one_folder(tmp_path: Path, machine: Machine) -> None:
    spec = make_spec(runners=[0])
    go(spec, tmp_path, machine)
    held = f"still running (process {os.getpid()}); wait for it" if sys.platform == "linux" else "still running"
    with RunFolder(tmp_path, resume=True), pytest.raises(ResultsError, match=re.escape(held)):
        go(spec, tmp_path, machine, resume=True)
    assert go(spec, tmp_path, machine, resume=True).experiment_info.complete


class UserScript:
    """``drive_sweep.py`` in a process of its own; its third trial leaves strays and hangs."""

    def __init__(self, folder: Path) -> None:
        self.out, self.counter, self.pids = folder / "out", folder / "counter", folder / "pids"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> subprocess.Popen[str]:
        here = Path(__file__).parent / "fakes"
        self.process = subprocess.Popen(
            [sys.executable, "-u", here / "drive_sweep.py", self.out, self.counter, self.pids, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return self.process

    def start_and_hang(self) -> subprocess.Popen[str]:
        """Start, and return once the third trial hangs after its first iteration."""
        process = self.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[3/4]") and "iteration 1/2" in line:
                return process
        raise AssertionError(f"the sweep ended early, status {process.wait()}")

    @property
    def ran(self) -> list[str]:
        return [line.split()[0] for line in self.counter.read_text().splitlines()]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[UserScript]:
    made = UserScript(tmp_path)
    yield made
    if made.process and made.process.stdout:
        made.process.kill()
        made.process.wait()
        made.process.stdout.close()


def wait_until_gone(pids: Sequence[int]) -> None:
    """Return once none of the processes lives; fails by the test's time limit."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([handle], [], [])  # readable when it has ended, reaped or not
        finally:
            os.close(handle)


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_everything_and_resume_finishes(script: UserScript, number: signal.Signals) -> None:
    process = script.start_and_hang()
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "INTERRUPTED" in output
    assert output.count("press Ctrl-C again to leave at once") == 1
    results = load_results(script.out)
    assert sorted(run.outcome for run in results.experiments) == ["interrupted", "ok", "ok"]
    assert not results.experiment_info.complete
    assert results.experiment_info.total_experiments == 4  # planned, not finished
    findings = analyse(results)
    assert "2 of 4 trials are missing" in next(item.text for item in findings.notices if item.code == "incomplete")
    (stopped,) = [run for run in results.experiments if run.outcome == "interrupted"]
    assert len(stopped.iterations) == 1
    wait_until_gone([int(pid) for pid in script.pids.read_text().split()])

    output, _ = script.start("--resume").communicate()
    assert script.process is not None
    assert script.process.returncode == 0, output
    assert {run.outcome for run in load_results(script.out).experiments} == {"ok"}
    assert len(script.ran) == 5  # four points, one of them twice
    assert script.ran[2] == script.ran[3] == stopped.name


@pytest.mark.slow
@linux_only
def test_kill_9_loses_the_running_trial_only_and_leaves_no_process(script: UserScript) -> None:
    process = script.start_and_hang()
    pids = [int(pid) for pid in script.pids.read_text().split()]
    process.kill()
    process.communicate()
    wait_until_gone(pids)
    assert [run.outcome for run in load_results(script.out).experiments] == ["ok", "ok"]

    output, _ = script.start("--resume").communicate()
    assert script.process is not None
    assert script.process.returncode == 0, output
    results = load_results(script.out)
    assert [run.name for run in results.experiments] == ["0x1", "0x4", "1x1", "1x4"]
    assert results.experiment_info.complete
    assert len(script.ran) == 5


@pytest.mark.slow
@linux_only
def test_a_terminal_that_is_closed_costs_nothing_that_was_measured(script: UserScript) -> None:
    process = script.start_and_hang()
    assert process.stdout is not None
    process.stdout.close()  # whatever is shown from here on raises
    process.send_signal(signal.SIGHUP)
    process.wait()
    results = load_results(script.out)
    assert sorted(run.outcome for run in results.experiments) == ["interrupted", "ok", "ok"]
    wait_until_gone([int(pid) for pid in script.pids.read_text().split()])


@pytest.mark.slow
@linux_only
def test_a_second_signal_leaves_at_once(script: UserScript) -> None:
    process = script.start_and_hang()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # another one: two of a kind may arrive as one
    output, _ = process.communicate()
    assert process.returncode == 130, output
    wait_until_gone([int(pid) for pid in script.pids.read_text().split()])
    assert [run.outcome for run in load_results(script.out).experiments].count("ok") == 2
