"""What a person sees of a tuning, played back from a simulated race."""

from __future__ import annotations

import io
from typing import Any

import pytest
from made_plans import candidate, line_up
from rich.console import Console

from paceline.spec import RunSpec, build_spec
from paceline.tuner.candidates import Pruned
from paceline.tuner.display import LiveDisplay, PlainDisplay, clock_text
from paceline.tuner.entrants import Entrants
from paceline.tuner.probe import ProbeResult
from paceline.tuner.race import Rules, race
from paceline.tuner.simulated import SimulatedArena, Troubles
from paceline.tuner.spec import TuneSpec
from paceline.vector.env_cost import EnvCost

RUN = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}})
PROBE = ProbeResult(
    run=RUN, env=EnvCost(build_s=0.1, reset_us=9, step_us=7, p95_us=8, mean_us=7, cv=0.1, cpu_us=7), env_bytes=0,
    acting_us=((1, 20.0), (8, 30.0)), update_s=0.0123, compile_s=1.0, row_bytes=40,
)  # fmt: skip


def played(display: Any) -> None:
    """Let plans race before the display, one of which cannot be started."""
    plans = [*line_up([1000, 2000]), candidate(2, 4, 4000, memory_bytes=2)]
    entrants = Entrants(tuple(plans), (RUN,) * 3, ("",) * 3, (Pruned("shm 9x9", "no"),), 0, None)
    display.begin(TuneSpec(base=RUN, budget_minutes=2))
    display.probing("the environment")
    display.entered(entrants, PROBE)
    display.tick(61.0)
    arena = SimulatedArena(plans, [1000, 2000, 4000], Troubles(), memory_bytes=1.0)
    race(arena, plans, Rules(60.0), on_event=display.event)
    display.end()


def test_plain_lines_tell_what_begins_what_fails_and_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.tuner.display.PLAIN_EVERY_S", 0.0)
    stream = io.StringIO()
    played(PlainDisplay(stream))
    text = stream.getvalue()
    assert text.startswith("tuning ppo on CartPole-v1: the fastest plan for this machine, within 2 min\n")
    assert "looking at the environment\n" in text
    assert (
        "plans that take part: 3, left out: 1 (the report says why); expected to be the fastest: shm 2x4, 4,000 steps/s"
        in text
    )
    assert "shm 2x4: oom: its processes held too much" in text
    assert "best so far shm 2x2" in text and "stop now: P(best) = " in text and "1:01 left" in text
    assert "measuring the finalists again, in fresh processes" in text


def test_lines_of_the_race_are_seconds_apart() -> None:
    stream = io.StringIO()
    played(PlainDisplay(stream))
    assert stream.getvalue().count("best so far") == 1


def test_the_panel_has_a_row_for_every_measured_plan() -> None:
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, force_terminal=True, width=70, color_system=None))
    played(display)
    text = stream.getvalue()
    assert "shm 2x2" in text and "P(best)" in text and "stop now" in text
    assert "shm 2x4: oom" in text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (61, "1:01"), (600, "10:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
