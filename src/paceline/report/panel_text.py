"""Words in a panel that has nothing to draw, and how long names may be."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_CHARS = 18
"""A plan's name in a panel is cut to so many characters."""


def say(axes: Axes, text: str) -> None:
    """Write why a panel has nothing to show, under its title."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(text, 34), transform=axes.transAxes, ha="center", va="center", color="#59626F")
