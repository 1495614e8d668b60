"""Colours, hatches and markers that mean the same thing in every chart.

Colours are Okabe and Ito's (2008), told apart by people with any colour vision; every colour is doubled by a hatch, a
marker or a word, so that the charts also read in grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from paceline.measure import ledger
from paceline.measure.bench_result import STRAGGLER, WAKEUP

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8A8F98"


class PhaseStyle(NamedTuple):
    """How a ledger phase is drawn and explained.

    Attributes:
        color: fill colour.
        hatch: matplotlib hatch.
        meaning: one line for a person who has never seen the word.
    """

    color: str
    hatch: str
    meaning: str


PHASE_STYLES: dict[str, PhaseStyle] = {
    ledger.ENV_STEP: PhaseStyle(BLUE, "", "environments step"),
    ledger.RUNNER_WAIT: PhaseStyle(ORANGE, "//", "waiting for runners: wake-ups and stragglers"),
    STRAGGLER: PhaseStyle(ORANGE, "//", "runners that are done wait for the slowest"),
    WAKEUP: PhaseStyle(SKY, "--", "from the signal to a runner's first instruction"),
    ledger.INFERENCE: PhaseStyle(GREEN, "..", "the policy chooses actions"),
    ledger.RUNNER_GRADIENT: PhaseStyle("#F0B491", "OO", "runners take gradients"),
    ledger.TRANSFER: PhaseStyle(YELLOW, "xx", "copies between envs, storage and device"),
    ledger.LEARNER_UPDATE: PhaseStyle(VERMILION, "\\\\", "gradient steps"),
    ledger.LOGGING: PhaseStyle(SKY, "--", "progress, results, monitoring"),
    ledger.CHECKPOINT: PhaseStyle(PURPLE, "++", "writing checkpoints"),
    ledger.OTHER: PhaseStyle("#B8BCC4", "||", "named work that is none of these"),
    ledger.UNATTRIBUTED: PhaseStyle("#FFFFFF", "oo", "wall time that no phase claimed"),
}


def phase_style(phase: str) -> PhaseStyle:
    """Return the style of ``phase``; a phase of a newer version gets a neutral one."""
    return PHASE_STYLES.get(phase) or PhaseStyle(GREY, "**", "")


def phase_class(phase: str) -> str:
    """Return the CSS class of a phase; one of a newer version has a neutral one."""
    return phase if phase in PHASE_STYLES else "newer"


class ScenarioStyle(NamedTuple):
    """How a scenario (frugal, balanced, fastest) is drawn."""

    color: str
    marker: str
    glyph: str


SCENARIO_STYLES: dict[str, ScenarioStyle] = {
    "frugal": ScenarioStyle(GREEN, "s", "■"),
    "balanced": ScenarioStyle(BLUE, "D", "◆"),
    "fastest": ScenarioStyle(VERMILION, "^", "▲"),
}


def scenario_style(name: str) -> ScenarioStyle:
    """Return the style of a scenario; an unknown one is grey."""
    return SCENARIO_STYLES.get(name) or ScenarioStyle(GREY, "o", "●")


RATING_FILLS: dict[str, str] = {
    "excellent": "#08589E",
    "good": "#4EB3D3",
    "fair": "#BAE4BC",
    "inefficient": "#F7F4E3",
}
"""One hue ramp from dark (excellent) to light (inefficient), so that order survives in grey."""


def ink_on(fill: str) -> str:
    """Return black or white, whichever contrasts more with ``fill`` (WCAG 2 relative luminance)."""
    channels = [int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#FFFFFF" if (1.05 / (luminance + 0.05)) > ((luminance + 0.05) / 0.05) else "#10131A"


_RUNNER_COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)
_RUNNER_MARKERS = ("o", "s", "D", "^", "v", "P", "X")


class RunnerStyle(NamedTuple):
    """How plans with one number of runners are drawn."""

    color: str
    marker: str


def runner_styles(counts: Iterable[int]) -> dict[int, RunnerStyle]:
    """Return a colour and a marker for each number of runners; each repeats after seven, the pair after forty-nine."""
    size = len(_RUNNER_COLORS)
    return {
        runners: RunnerStyle(_RUNNER_COLORS[index % size], _RUNNER_MARKERS[(index + index // size) % size])
        for index, runners in enumerate(sorted(set(counts)))
    }


class ExecutionStyle(NamedTuple):
    """How one execution of environments is drawn: ``dash`` is matplotlib's, for the lines between its markers."""

    color: str
    marker: str
    dash: str = "-"


EXECUTION_STYLES: dict[str, ExecutionStyle] = {
    "serial": ExecutionStyle(BLUE, "o"),
    "pipe": ExecutionStyle(PURPLE, "v"),
    "shm": ExecutionStyle(VERMILION, "D"),
    "thread": ExecutionStyle(GREEN, "^"),
    "native": ExecutionStyle(ORANGE, "s"),
    "free-running": ExecutionStyle(BLACK, "", "--"),
    "loop": ExecutionStyle(GREY, "", ":"),
}


def execution_style(name: str) -> ExecutionStyle:
    """Return the style of an execution; one of a newer version is sky blue."""
    return EXECUTION_STYLES.get(name) or ExecutionStyle(SKY, "P")


_CONTENDER_DASHES = ("-", "--", "-.", ":")


def contender_styles(names: Iterable[str]) -> dict[str, ExecutionStyle]:
    """Return colour, marker and dash of each contender of a comparison, in the order given: all three differ."""
    styles = runner_styles(range(len(names := list(names))))
    return {
        name: ExecutionStyle(*styles[index], _CONTENDER_DASHES[index % len(_CONTENDER_DASHES)])
        for index, name in enumerate(names)
    }
