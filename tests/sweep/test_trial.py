from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.measure.result import IterationRecord, RunResult
from paceline.sweep import trial as trial_module
from paceline.sweep.grid import Trial
from paceline.sweep.trial import Limits, TrialReport, run_in_fresh_process

MakeTrial = Callable[..., Trial]

PLENTY = Limits(timeout_s=60.0)
linux_only = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


def run(trial: Trial, entry_point: str, limits: Limits = PLENTY) -> TrialReport:
    return run_in_fresh_process(trial, limits, entry_point=f"fake_trials:{entry_point}")


def alive(pid: int) -> bool:
    """Whether ``pid`` runs; a zombie that nobody has reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_trial_reports_iterations_as_they_come_and_its_result_under_its_own_name(make_trial: MakeTrial) -> None:
    seen: list[IterationRecord] = []
    trial = make_trial(iterations=3)
    report = run_in_fresh_process(trial, PLENTY, entry_point="fake_trials:finish", on_iteration=seen.append)
    result = report.result
    assert result.outcome == "ok"
    assert [item.iteration for item in seen] == [0, 1, 2]
    assert result.iterations == tuple(seen)
    assert (result.name, result.repeat, result.seed) == ("0x4", 1, 7)
    assert result.config.total_envs == 4
    assert result.config.axes == {"algo.num_epochs": 2}  # the grid's own fields have places of their own
    assert "an environment may print anything" in report.output


@linux_only
def test_the_process_is_fresh_and_apart(make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/the/users/own")
    report = run_in_fresh_process(
        make_trial(), PLENTY, entry_point="fake_trials:report_surroundings", environment={"OMP_NUM_THREADS": "1"}
    )
    facts = report.result.threads
    assert facts["session"] == facts["pid"] != os.getpid()
    assert facts["stdin"] == ""
    assert facts["omp"] == "1"
    assert facts["pythonpath"] == "/the/users/own"
    assert facts["jax"] is False
    assert facts["arguments"] == ["0x4", 1, 1]
    assert not alive(facts["pid"])


def test_figures_that_json_does_not_have_are_left_out(make_trial: MakeTrial) -> None:
    (item,) = run(make_trial(), "emit_nan_metrics").result.iterations
    assert item.episode_return_mean is None
    assert item.metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    ("entry_point", "outcome", "error_type", "words", "num_iterations"),
    [
        ("raise_bug", "crash", "ZeroDivisionError", ("ZeroDivisionError: bananas over two lines (at fake_trials",), 1),
        ("raise_env_error", "crash", "EnvRaisedError", ("KeyError in reset (env 3, seed 7)",), 0),
        ("raise_nan", "nan", "NonFiniteLossError", ("finite loss", "learning rate"), 2),
        ("raise_memory_error", "oom", "MemoryError", ("MemoryError",), 0),
        ("raise_memory_error_of_xla", "oom", "RuntimeError", ("RESOURCE_EXHAUSTED",), 0),
        ("exit_hard", "crash", "", ("exited with status 3", "last words: the simulator says goodbye"), 0),
        ("exit_softly", "crash", "SystemExit", ("SystemExit: 0",), 0),
        ("kill_itself", "crash", "", ("killed by SIGKILL", "memory"), 1),
        ("fault", "crash", "", ("killed by SIGSEGV",), 0),
        ("no_such_function", "crash", "SpecError", ("fake_trials:no_such_function",), 0),
    ],
)
def test_every_way_to_fail_is_an_outcome_with_a_sentence(
    make_trial: MakeTrial, entry_point: str, outcome: str, error_type: str, words: tuple[str, ...], num_iterations: int
) -> None:
    report = run(make_trial(), entry_point)
    result = report.result
    assert (result.outcome, report.error_type) == (outcome, error_type)
    assert all(word in result.message for word in words), result.message
    assert "\n" not in result.message
    assert len(result.iterations) == num_iterations
    assert (result.summary is None) == (num_iterations == 0)
    assert RunResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("entry_point", "words"),
    [
        ("report_nonsense", "expected a well-formed result from the trial, got name"),
        ("report_no_time", "expected an iteration to take time, got 0.0 s"),
    ],
)
def test_a_report_that_makes_no_sense_is_a_crash_of_the_trial(
    make_trial: MakeTrial, entry_point: str, words: str
) -> None:
    result = run(make_trial(), entry_point).result
    assert result.outcome == "crash"
    assert words in result.message
    assert result.iterations == ()


def test_a_crash_in_native_code_says_where(make_trial: MakeTrial) -> None:
    assert "in fault" in run(make_trial(), "fault").output  # faulthandler's stack


def test_what_finished_is_kept_and_summed_up(make_trial: MakeTrial) -> None:
    result = run(make_trial(), "raise_nan").result
    assert result.summary is not None
    assert result.ledger is not None
    assert result.summary.num_iterations == 2
    assert result.summary.avg_sps == pytest.approx(4000.0)
    assert result.summary.avg_time_per_iter_s == pytest.approx(64 / 4000)
    assert result.ledger.wall_s == pytest.approx(sum(result.ledger.phases.values()))
    assert result.summary.setup_s > 0


@pytest.mark.slow
@pytest.mark.parametrize("entry_point", ["hang", "hang_deaf"])
def test_a_hang_ends_at_the_time_limit(
    make_trial: MakeTrial, entry_point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paceline.isolation.process.STOP_GRACE_S", 0.3)
    report = run(make_trial(), entry_point, Limits(timeout_s=4.0))
    assert report.result.outcome == "timeout"
    assert "within 4 s (1 of 3 iterations done)" in report.result.message
    assert len(report.result.iterations) == 1


def test_a_trial_that_is_stopped_may_put_its_things_away(make_trial: MakeTrial, tmp_path: Path) -> None:
    seen: list[IterationRecord] = []
    report = run_in_fresh_process(
        make_trial(put_away=str(tmp_path / "away")),
        PLENTY,
        entry_point="fake_trials:unwind_when_stopped",
        on_iteration=seen.append,
        should_stop=lambda: bool(seen),
    )
    assert report.result.outcome == "interrupted"
    assert len(report.result.iterations) == 1
    assert (tmp_path / "away").read_text() == "done"


def test_an_error_that_the_stop_itself_brought_about_is_the_stop(make_trial: MakeTrial) -> None:
    seen: list[IterationRecord] = []
    report = run_in_fresh_process(
        make_trial(),
        PLENTY,
        entry_point="fake_trials:break_when_stopped",
        on_iteration=seen.append,
        should_stop=lambda: bool(seen),
    )
    assert (report.result.outcome, report.result.message) == ("interrupted", "stopped by the user before it finished")


def test_a_result_stands_even_if_the_process_will_not_leave(make_trial: MakeTrial) -> None:
    report = run(make_trial(), "linger", Limits(timeout_s=3600.0, exit_grace_s=0.3))
    assert report.result.outcome == "ok"


@linux_only
def test_memory_over_the_limit_in_any_process_of_the_tree_is_oom_with_figures(make_trial: MakeTrial) -> None:
    report = run(make_trial(), "eat_memory", Limits(timeout_s=60.0, memory_bytes=250 * 2**20))
    assert report.result.outcome == "oom"
    assert "more than the limit of 250 MiB" in report.result.message
    assert len(report.result.iterations) == 1


def test_the_kernels_own_kills_for_memory_turn_a_crash_into_oom(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([4, 5, 5, 6])
    monkeypatch.setattr(trial_module, "kernel_oom_kills", lambda: next(counts))
    result = run(make_trial(), "kill_itself").result
    assert result.outcome == "oom"
    assert "the kernel killed a process" in result.message
    assert run(make_trial(), "raise_bug").result.outcome == "crash"  # it was another process that was killed


@linux_only
def test_nothing_is_left_behind(make_trial: MakeTrial) -> None:
    result = run(make_trial(), "leave_strays").result
    assert result.outcome == "ok"
    assert [pid for pid in result.threads["strays"] if alive(pid)] == []


@linux_only
def test_nothing_is_left_behind_when_the_sweep_itself_fails(make_trial: MakeTrial, tmp_path: Path) -> None:
    def fail(record: IterationRecord) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_in_fresh_process(
            make_trial(pids=str(tmp_path / "pids")),
            PLENTY,
            entry_point="fake_trials:strays_then_hang",
            on_iteration=fail,
        )
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert [pid for pid in pids if alive(pid)] == []
