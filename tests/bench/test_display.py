from __future__ import annotations

import io

import pytest
from made_bench import PROFILE
from rich.console import Console

from paceline.bench.cases import Case, plan_cases
from paceline.bench.display import Display, EnduringDisplay, Forecast, LiveDisplay, PlainDisplay, make_display
from paceline.bench.spec import BenchSpec

SPEC = BenchSpec.model_validate({"env": {"id": "X-v0"}, "backends": ("serial", "shm"), "num_envs": (1, 8)})
SERIAL, SHM = Case("serial", 8, 0), Case("shm", 8, 2)


def play(display: Display) -> None:
    display.begin(SPEC, plan_cases(SPEC, 2))
    display.profile(PROFILE)
    display.setting_up(SERIAL)
    display.ready(SERIAL, 0.25, Forecast(0, 12, 30.0))
    display.failed(SHM, "crash", "it died")
    for number, speed in enumerate((100.0, 300.0, 200.0)):
        display.window(SERIAL, number, speed, Forecast(number + 1, 6, 200.0 - number))
    display.tick()
    display.message("a word")
    display.end()


def test_plain_lines_tell_what_happens_and_how_long_it_takes() -> None:
    stream = io.StringIO()
    play(PlainDisplay(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("Bench of X-v0: serial, shm with 1, 8 environments, 6 windows of 0.3 s each, 8 cases")
    assert lines[1].startswith("One environment: 49 us a step (95th percentile 60 us)")
    assert lines[2] == "serial@8: ready in 0.25 s; 0/12 windows, about 30 s left"
    assert lines[3] == "shm@8: crash (it died)"
    assert lines[5] == "round 2: 2/6 windows, about 3 min left; best so far serial@8 (100 steps/s)"
    assert lines[-1] == "a word"
    assert "\x1b" not in stream.getvalue()


def test_the_live_table_fills_with_medians() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    play(LiveDisplay(console))
    text = stream.getvalue()
    assert "free-running" in text and "setting up" in text
    assert "200" in text and "crash" in text
    assert "round 3; 3/6 windows" in text


def test_what_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(make_display(io.StringIO()), PlainDisplay)


def test_a_terminal_that_is_gone_does_not_end_the_bench() -> None:
    stream = io.StringIO()
    stream.close()
    display = PlainDisplay(stream)
    with pytest.raises(ValueError, match="closed"):
        display.message("x")

    class Gone(PlainDisplay):
        def message(self, text: str) -> None:
            raise BrokenPipeError

    play(EnduringDisplay(Gone()))
