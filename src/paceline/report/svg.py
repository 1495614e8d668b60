"""Small line and scatter charts as data for an inline SVG: the template draws, this module only decides where.

Sizes are in view-box units chosen for a phone (400 wide, 13-unit type), so the chart scales up on a desk and stays
readable on a 390-pixel screen. Colours that depend on light or dark are CSS classes, not values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paceline.report.geometry import Anchor, Box, Scale, nice_ticks, place_labels, power_of_two_ticks

WIDTH, HEIGHT = 400.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 44.0
CHAR_WIDTH = 6.9
LABEL_CHAR_WIDTH = 8.1
"""Of the names beside points, which are bold."""
LINE_HEIGHT = 15.0


_NOWHERE = Box(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Tick:
    """A tick at ``position`` view-box units, with its text."""

    position: float
    text: str


@dataclass(frozen=True)
class Line:
    """A polyline in data coordinates; ``style`` is a CSS class, ``color`` overrides its stroke."""

    points: Sequence[tuple[float, float]]
    label: str = ""
    style: str = "line"
    color: str = ""
    path: str = ""


@dataclass(frozen=True)
class Mark:
    """A data point: ``shape`` is a matplotlib marker letter, ``title`` its tooltip, ``label`` the text beside it."""

    x: float
    y: float
    shape: str = "o"
    color: str = ""
    title: str = ""
    label: str = ""
    size: float = 5.0
    low: float | None = None
    high: float | None = None
    path: str = ""
    whisker: str = ""


@dataclass(frozen=True)
class Region:
    """A shaded rectangle in data coordinates."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    color: str
    style: str = "region"
    box: Box = _NOWHERE


@dataclass(frozen=True)
class PlacedText:
    """Text at a view-box position."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything the template needs to draw one chart."""

    title: str
    description: str
    x_label: str
    y_label: str
    frame: Box
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    regions: tuple[Region, ...] = ()
    texts: tuple[PlacedText, ...] = ()
    width: float = WIDTH
    height: float = HEIGHT
    legend: tuple[Line | Mark, ...] = field(default=())


@dataclass(frozen=True)
class Axis:
    """An axis: its label, range, whether it is logarithmic, and how its ticks are written."""

    label: str
    low: float
    high: float
    log: bool = False
    write: Callable[[float], str] = "{:g}".format
    target: int = 5

    def ticks(self) -> list[float]:
        """Return tick values that cover the range."""
        if self.log:
            return power_of_two_ticks(self.low, self.high, most=7)
        return nice_ticks(self.low, self.high, self.target)


def draw(
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    *,
    lines: Sequence[Line] = (),
    marks: Sequence[Mark] = (),
    regions: Sequence[Region] = (),
) -> Chart:
    """Lay out a chart: map data to the view box, build paths, place labels where they collide with nothing.

    Regions are cut at the frame (lines by the template); marks lie within it when the axes cover the data.
    """
    x_values, y_values = x.ticks(), y.ticks()
    y_texts = [y.write(value) for value in y_values]
    left = max(LEFT, 26 + CHAR_WIDTH * max(map(len, y_texts)))
    frame = Box(left, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    to_x = Scale(x_values[0], x_values[-1], frame.x0, frame.x1, x.log)
    to_y = Scale(y_values[0], y_values[-1], frame.y1, frame.y0, y.log)
    placed_lines = tuple(_with_path(line, to_x, to_y) for line in lines if len(line.points) > 1)
    placed_marks = tuple(_placed(mark, to_x, to_y) for mark in marks)
    placed_regions = tuple(_boxed(region, to_x, to_y, frame) for region in regions)
    labelled = [mark for mark in placed_marks if mark.label]
    anchors = [Anchor(mark.x, mark.y, LABEL_CHAR_WIDTH * len(mark.label) + 2, LINE_HEIGHT) for mark in labelled]
    others = [Box(m.x - m.size, m.y - m.size, m.x + m.size, m.y + m.size) for m in placed_marks if not m.label]
    boxes = place_labels(anchors, frame, others, gap=8)
    texts = tuple(
        PlacedText(box.x0 + 1, box.y1 - 4, mark.label) for mark, box in zip(labelled, boxes, strict=True) if box
    )
    return Chart(
        title=title,
        description=description,
        x_label=x.label,
        y_label=y.label,
        frame=frame,
        x_ticks=tuple(Tick(to_x(value), x.write(value)) for value in x_values),
        y_ticks=tuple(Tick(to_y(value), text) for value, text in zip(y_values, y_texts, strict=True)),
        lines=placed_lines,
        marks=placed_marks,
        regions=placed_regions,
        texts=texts,
        legend=tuple(line for line in placed_lines if line.label),
    )


def _with_path(line: Line, to_x: Scale, to_y: Scale) -> Line:
    drawn = [(to_x(px), to_y(py)) for px, py in line.points if _drawable(px, to_x) and _drawable(py, to_y)]
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in drawn) if len(drawn) > 1 else ""
    return Line(line.points, line.label, line.style, line.color, path)


def _drawable(value: float, scale: Scale) -> bool:
    return math.isfinite(value) and (value > 0 or not scale.log)


def _placed(mark: Mark, to_x: Scale, to_y: Scale) -> Mark:
    px, py = to_x(mark.x), to_y(mark.y)
    whisker = ""
    if mark.low is not None and mark.high is not None:
        whisker = f"M{px:.1f} {to_y(mark.low):.1f}V{to_y(mark.high):.1f}"
    return Mark(
        px,
        py,
        mark.shape,
        mark.color,
        mark.title,
        mark.label,
        mark.size,
        mark.low,
        mark.high,
        marker_path(mark.shape, px, py, mark.size),
        whisker,
    )


def _boxed(region: Region, to_x: Scale, to_y: Scale, frame: Box) -> Region:
    xs = sorted(min(max(to_x(value), frame.x0), frame.x1) for value in (region.x0, region.x1))
    ys = sorted(min(max(to_y(value), frame.y0), frame.y1) for value in (region.y0, region.y1))
    box = Box(xs[0], ys[0], xs[1], ys[1])
    return Region(region.x0, region.y0, region.x1, region.y1, region.label, region.color, region.style, box)


def marker_path(shape: str, x: float, y: float, size: float) -> str:
    """Return the SVG path of a marker (``o``, ``s``, ``D``, ``^``, ``v``, ``P``, ``X``) centred on ``(x, y)``."""
    corners: dict[str, list[tuple[float, float]]] = {
        "s": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "D": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "^": [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
        "v": [(0, 1.2), (1.15, -0.9), (-1.15, -0.9)],
        "P": [
            (-0.4, -1.1),
            (0.4, -1.1),
            (0.4, -0.4),
            (1.1, -0.4),
            (1.1, 0.4),
            (0.4, 0.4),
            (0.4, 1.1),
            (-0.4, 1.1),
            (-0.4, 0.4),
            (-1.1, 0.4),
            (-1.1, -0.4),
            (-0.4, -0.4),
        ],
        "X": [
            (0, -0.5),
            (0.7, -1.2),
            (1.2, -0.7),
            (0.5, 0),
            (1.2, 0.7),
            (0.7, 1.2),
            (0, 0.5),
            (-0.7, 1.2),
            (-1.2, 0.7),
            (-0.5, 0),
            (-1.2, -0.7),
            (-0.7, -1.2),
        ],
    }
    if shape in corners:
        return "M" + "L".join(f"{x + dx * size:.1f} {y + dy * size:.1f}" for dx, dy in corners[shape]) + "Z"
    arc = f"a{size:.1f} {size:.1f} 0 1 0"
    return f"M{x - size:.1f} {y:.1f}{arc} {2 * size:.1f} 0{arc} {-2 * size:.1f} 0Z"
