"""What is shown while a run trains, with a clock and a console of our own."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from fake_envs import small_spec
from fake_status import status
from rich.console import Console

from paceline.training.progress import LiveDisplay, PlainDisplay, display_for


def test_plain_lines_come_at_most_every_two_seconds_and_always_at_the_end() -> None:
    now = [0.0]
    stream = io.StringIO()
    display = PlainDisplay(stream, clock_s=lambda: now[0])
    display.begin(small_spec("CartPole-v1"))
    for iteration, (now[0], progress) in enumerate([(0.0, 0.2), (1.9, 0.4), (2.0, 0.6), (3.9, 0.8), (3.95, 1.0)]):
        display.iteration(status(iteration, progress))
    display.message("[bold]saved[/bold] \\[as it is]")
    display.end()
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("training ppo on CartPole-v1")
    assert [line.split("  ")[0] for line in lines[1:4]] == ["iteration 1", "iteration 3", "iteration 5"]
    assert lines[4:] == ["[bold]saved[/bold] \\[as it is]"]


@pytest.mark.parametrize(("variables", "in_colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_panel_fits_a_narrow_terminal_and_honours_no_color(variables: dict[str, str], in_colour: bool) -> None:
    stream = io.StringIO()
    environment = {"TERM": "xterm-256color", **variables}
    console = Console(file=stream, force_terminal=True, width=60, height=20, _environ=environment)
    display = LiveDisplay(console)
    display.begin(small_spec("CartPole-v1"))
    display.iteration(status(progress=0.5))
    display.message("a word in between")
    display.end()
    text = stream.getvalue()
    assert "50%" in text
    assert "time: learner update 72%" in text
    assert "a word in between" in text
    assert bool(re.search(r"\x1b\[[\d;]*(3[0-8]|9[0-7])[;m]", text)) == in_colour


def test_the_display_suits_the_console() -> None:
    def console(**options: Any) -> Console:
        return Console(file=io.StringIO(), _environ=options.pop("env", {}), **options)

    assert isinstance(display_for(console(force_terminal=True)), LiveDisplay)
    assert isinstance(display_for(console(force_terminal=False)), PlainDisplay)
    assert isinstance(display_for(console(force_terminal=True, env={"TERM": "dumb"})), PlainDisplay)
