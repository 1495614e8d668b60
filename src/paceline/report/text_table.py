"""A plain-text table that keeps to a width: long words in the first column wrap, nothing else moves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

WIDTH = 100
"""Columns of the whole text report."""


@dataclass(frozen=True)
class Column:
    """A column: its heading and side (``<`` text, ``>`` numbers). ``wrap`` is its greatest width, if it may wrap."""

    heading: str
    align: str = ">"
    wrap: int | None = None


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, indent: int = 2) -> list[str]:
    """Return the lines of a table: headings, a rule, and one or more lines a row.

    The wrapping column gives way until the table fits :data:`WIDTH`.
    """
    columns = _fitted(columns, rows, WIDTH - indent)
    cells = [[_wrapped(text, column.wrap) for text, column in zip(row, columns, strict=True)] for row in rows]
    widths = [
        max([len(column.heading), *(len(line) for row in cells for line in row[index])])
        for index, column in enumerate(columns)
    ]
    margin = " " * indent

    def line(parts: Sequence[str]) -> str:
        padded = [f"{part:{c.align}{w}}" for part, c, w in zip(parts, columns, widths, strict=True)]
        return (margin + "  ".join(padded)).rstrip()

    lines = [line([column.heading for column in columns]), margin + "  ".join("-" * width for width in widths)]
    for row in cells:
        height = max(len(cell) for cell in row)
        for index in range(height):
            lines.append(line([cell[index] if index < len(cell) else "" for cell in row]))
    return lines


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[Column]:
    fixed = [
        max([len(column.heading), *(len(row[index]) for row in rows)])
        for index, column in enumerate(columns)
        if column.wrap is None
    ]
    left = width - sum(fixed) - 2 * (len(columns) - 1)
    return [
        column if column.wrap is None else replace(column, wrap=max(min(column.wrap, left), 8)) for column in columns
    ]


def paragraph(text: str, *, indent: int = 2, hang: int = 0, bullet: str = "") -> list[str]:
    """Wrap ``text`` to the report's width."""
    first = " " * indent + bullet
    rest = " " * (indent + max(hang, len(bullet)))
    flat = " ".join(text.split())
    return textwrap.wrap(flat, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False) or [first]


def heading(text: str) -> list[str]:
    """Return a section heading with a rule under it and an empty line above."""
    return ["", text, "=" * len(text)]


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None or len(text) <= width:
        return [text]
    # Between words first, so that only a word that is longer than a line is broken.
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)] or [""]
