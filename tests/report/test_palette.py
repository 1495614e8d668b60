from __future__ import annotations

import itertools

from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.report import palette


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_ledger_phase_has_its_own_colour_and_pattern() -> None:
    styles = [palette.PHASE_STYLES[phase] for phase in (*PHASES, UNATTRIBUTED)]
    assert len({style.color for style in styles}) == len(styles)
    assert len({style.hatch for style in styles}) == len(styles)
    assert all(style.meaning for style in styles)


def test_a_phase_of_a_newer_version_is_drawn_in_a_neutral_style() -> None:
    assert palette.phase_style("teleport").color == palette.GREY


def test_text_on_every_fill_has_the_contrast_that_wcag_asks_for() -> None:
    fills = [*palette.RATING_FILLS.values(), *(style.color for style in palette.PHASE_STYLES.values())]
    assert all(contrast(fill, palette.ink_on(fill)) >= 4.5 for fill in fills)


def test_ratings_grow_darker_so_that_they_read_in_grey() -> None:
    order = ["excellent", "good", "fair", "inefficient"]
    shades = [luminance(palette.RATING_FILLS[rating]) for rating in order]
    assert shades == sorted(shades)
    assert all(b - a > 0.1 for a, b in itertools.pairwise(shades))


def test_runner_counts_differ_in_colour_and_marker() -> None:
    styles = palette.runner_styles([8, 0, 3, 4, 1, 2, 4])
    assert list(styles) == [0, 1, 2, 3, 4, 8]
    assert len({style.color for style in styles.values()}) == 6
    assert len({style.marker for style in styles.values()}) == 6
    many = palette.runner_styles(range(40))
    assert len(set(many.values())) == 40
