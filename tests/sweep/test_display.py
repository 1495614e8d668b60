from __future__ import annotations

import re
from io import StringIO
from typing import Any

import fake_trials
import pytest
from rich.console import Console

from paceline.measure.result import RunResult
from paceline.spec import EnvSpec, PPOSpec, RunSpec, SweepSpec
from paceline.sweep.display import (
    LiveDisplay,
    PlainDisplay,
    Standings,
    dry_run_text,
    duration_text,
    make_display,
    render,
)
from paceline.sweep.ending import stamped
from paceline.sweep.grid import SkippedPoint, SweepPlan, Trial, plan_sweep, sweep_spec


def make_plan(envs: tuple[int, ...] = (1, 2, 4), **options: Any) -> SweepPlan:
    run = RunSpec(env=EnvSpec(id="Fake-v0"), algo=PPOSpec(batch_size=64, minibatch_size=32))
    spec: SweepSpec = sweep_spec(run, num_envs_per_env_runner=envs, iterations=2, **options)
    return plan_sweep(spec, resolve=lambda runs: runs)


def good(trial: Trial) -> RunResult:
    records = [fake_trials.record(trial.spec, number) for number in range(2)]
    return stamped(trial, fake_trials.finished(trial.spec, records))


def failed(trial: Trial) -> RunResult:
    return good(trial).model_copy(
        update={"outcome": "oom", "summary": None, "iterations": (), "message": "held [9] GiB"}
    )


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_best_is_the_median_over_repeats_of_what_was_measured() -> None:
    plan = make_plan(repeats=2)
    standings = Standings(plan, {})
    assert standings.best is None
    for trial in plan.trials:
        standings.finish(trial, failed(trial) if trial.name == "0x4" else good(trial), 1.0)
    assert standings.best == ("0x2", pytest.approx(2000.0))
    assert standings.num_done == 6
    assert standings.eta_text == "nothing left to run"


def test_time_left_counts_down_and_ignores_trials_that_died_early() -> None:
    plan, clock = make_plan(), Clock()
    standings = Standings(plan, {}, clock)
    assert "a guess" in standings.eta_text
    first, second, _ = plan.trials
    standings.start(first)
    standings.finish(first, failed(first), 0.1)
    assert "a guess" in standings.eta_text
    standings.start(second)
    standings.finish(second, good(second), 60.0)
    assert standings.eta_text == "about 60 s left"
    standings.start(plan.trials[2])
    clock.now += 45.0
    assert standings.eta_text == "about 15 s left"
    clock.now += 45.0
    assert standings.remaining_s == 0.0


def test_an_interrupted_trial_is_still_to_be_run() -> None:
    plan = make_plan()
    standings = Standings(plan, {})
    for trial in plan.trials:
        standings.finish(trial, good(trial).model_copy(update={"outcome": "interrupted"}), 3.0)
    assert standings.num_done == 0
    assert standings.best is None


def play(display: PlainDisplay | LiveDisplay, plan: SweepPlan) -> None:
    display.begin(plan, {})
    for trial in plan.trials:
        display.trial_started(trial)
        display.tick()
        for number in range(2):
            display.iteration(trial, fake_trials.record(trial.spec, number))
        display.trial_finished(trial, failed(trial) if trial.name == "0x4" else good(trial), 8.0)
    display.message("the report lies in [out]")
    display.end()


def test_plain_lines_tell_everything_without_a_terminal() -> None:
    stream = StringIO()
    display = make_display(stream)
    assert isinstance(display, PlainDisplay)
    plan = make_plan()
    play(display, plan)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("Sweep of Fake-v0: 3 trials of 2 iterations, batch size 64; about")
    assert f"[1/3] {plan.trials[0].name}: started" in lines
    assert any(re.fullmatch(r"\[\d/3\] 0x2: iteration 2/2: 2,000 SPS, 0\.03 s", line) for line in lines)
    assert any("0x4: oom, no iteration finished (held [9] GiB); best so far 0x" in line for line in lines)
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = StringIO()
    play(
        LiveDisplay(Console(file=stream, force_terminal=True, width=100, height=30, color_system="standard")),
        make_plan(),
    )
    text = stream.getvalue()
    assert "\x1b[32m" in text  # green
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "3/3 done · nothing left to run" in plain
    assert "best so far 0x2 (2,000 SPS)" in plain
    assert "0x4: oom, no iteration finished (held [9] GiB)" in plain


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = StringIO()
    play(LiveDisplay(Console(file=stream, force_terminal=True, width=100, height=30)), make_plan())
    assert not re.search(r"\x1b\[(3[0-7]|9[0-7]|38)", stream.getvalue())


def test_a_long_sweep_shows_the_trials_around_the_running_one() -> None:
    plan = make_plan(envs=tuple(2**power for power in range(6)), repeats=4)
    standings = Standings(plan, {})
    for trial in plan.trials[:12]:
        standings.finish(trial, good(trial), 1.0)
    standings.start(plan.trials[12])
    stream = StringIO()
    Console(file=stream, width=100).print(render(standings, max_rows=6))
    text = stream.getvalue()
    assert text.count("(") - text.count("best so far") >= 6
    assert "running" in text
    assert "12/24 done, 18 trials not shown" in text


def test_a_dry_run_lists_trials_in_order_what_is_left_out_and_the_time() -> None:
    plan = make_plan(repeats=2)
    text = dry_run_text(plan, {plan.trials[0].key: failed(plan.trials[0])})
    order = [line.split()[0] for line in text.splitlines() if re.match(r" +\d+ ", line)]
    assert order == ["2", "3", "4", "5", "6"]
    assert "(1/2)" in text
    assert "a guess before anything has run (8 s to start a trial, then 5,000 steps/s)" in text
    assert "Expected time: about 1 s left." in dry_run_text(plan, {plan.trials[0].key: good(plan.trials[0])})
    points = tuple(SkippedPoint(name, "too much") for name in ("2x1", "2x4"))
    skipped = SweepPlan(plan.sweep, plan.trials, points, ("a note",), ("a caution",), 64)
    text = dry_run_text(skipped)
    assert "Skipped 2x1, 2x4: too much." in text
    assert "Note: a note." in text
    assert "Caution: a caution." in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (45, "45 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (6000, "1 h 40 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
