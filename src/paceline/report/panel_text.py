"""Words in panels: names beside points, how long names may be, and why a panel has nothing to draw."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from paceline.report.geometry import Anchor, Box, place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_CHARS = 18
"""A plan's name in a panel is cut to so many characters."""


def say(axes: Axes, text: str) -> None:
    """Write why a panel has nothing to show, under its title."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(text, 34), transform=axes.transAxes, ha="center", va="center", color="#59626F")


class PointName(NamedTuple):
    """A name to be written beside the point (x, y), in data coordinates."""

    x: float
    y: float
    name: str
    bold: bool = False


def write_names(axes: Axes, named: Sequence[PointName], others: Sequence[tuple[float, float]] = ()) -> None:
    """Write names beside their points where there is room, the first ones first; the layout must be done.

    Args:
        axes: the panel.
        named: the points with their names.
        others: points without names, which no name may cover.
    """
    size = 13.0
    figure = axes.get_figure(root=True)
    scale = (figure.dpi if figure else 100) / 72
    gap = 12 * scale
    anchors = []
    for one in named:
        x, y = axes.transData.transform((one.x, one.y))
        width = len(one.name) * size * (0.7 if one.bold else 0.6) * scale
        anchors.append(Anchor(float(x), float(y), width, size * 1.25 * scale))
    taken = [axes.transData.transform(point) for point in others]
    obstacles = [Box(x - gap * 0.8, y - gap * 0.8, x + gap * 0.8, y + gap * 0.8) for x, y in taken]
    window = axes.get_window_extent()
    frame = Box(window.x0, window.y0, window.x1, window.y1)
    for one, box in zip(named, place_labels(anchors, frame, obstacles, gap=gap), strict=True):
        if box is None:
            continue
        x, y = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
        weight = "bold" if one.bold else "normal"
        axes.text(x, y, one.name, ha="center", va="center", fontsize=size, fontweight=weight, zorder=6)
