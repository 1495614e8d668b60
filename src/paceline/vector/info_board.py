"""Infos that are plain numbers, the same ones in every step, written where the caller reads them.

Gymnasium's MuJoCo tasks return four to ten numbers in every step. As messages they cost a runner and the caller a
pickle, a system call and a wake-up each, a third of a step of sixteen environments. So a runner tells once which keys
and types its infos have, and from then on writes their values into shared memory; whatever does not look alike still
travels as a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.vector.infos import Info, InfoColumns, InfoRecord

MOST_KEYS = 16
"""Rows of the board; infos with more keys travel as messages."""


class InfoSchema(NamedTuple):
    """What every environment's info of a runner looks like: keys in order, and the type of each value."""

    keys: tuple[str, ...]
    types: tuple[type, ...]


def schema_of(info: Info) -> InfoSchema | None:
    """Return the schema of an info, or None if it does not fit the board."""
    schema = InfoSchema(tuple(info), tuple(map(type, info.values())))
    fits = 0 < len(info) <= MOST_KEYS and "final_obs" not in info and all(map(_fits_a_cell, schema.types))
    return schema if fits else None


class InfoWriter:
    """A runner's end of the board.

    Args:
        cells: float64 ``[MOST_KEYS, N]`` in shared memory; integers lie in it as int64.
        envs: the runner's environments.
    """

    def __init__(self, cells: NDArray[np.float64], envs: range) -> None:
        self._cells = cells[:, envs.start : envs.stop]
        self._count = len(envs)
        self._schema: InfoSchema | None = None
        self._rows: list[memoryview[Any]] = []

    def write(self, records: Sequence[InfoRecord]) -> bool:
        """Write the infos of a step of all environments; return whether they are on the board.

        They are not if they do not fit, or if the caller has not been told the schema yet, see :meth:`learn`.
        """
        schema = self._schema
        if schema is None or len(records) != self._count:
            return False
        keys, types = schema
        rows = self._rows
        try:
            for index, (_, final, info) in enumerate(records):
                if final is not None or tuple(info) != keys or tuple(map(type, info.values())) != types:
                    return False
                for row, value in zip(rows, info.values(), strict=True):
                    row[index] = value
        except (OverflowError, ValueError):  # an int that no cell holds
            return False
        return True

    def learn(self, records: Sequence[InfoRecord]) -> InfoSchema | None:
        """Return the schema to tell the caller, once; ``records`` are those of all environments, and alike."""
        if self._schema is not None or len(records) != self._count:
            return None
        schema = schema_of(records[0].info)
        if schema is not None:
            self._schema = schema
            self._rows = [_cells_of(row, kind).data for row, kind in zip(self._cells, schema.types, strict=False)]
        return schema


class InfoReader:
    """The caller's end of the board, for one runner, or for several whose infos look alike.

    Args:
        cells: as of :class:`InfoWriter`.
        envs: their environments.

    Attributes:
        schema: what their infos look like; empty until that was told.
    """

    def __init__(self, cells: NDArray[np.float64], envs: range) -> None:
        self._cells = cells[:, envs.start : envs.stop]
        self._first = envs.start
        self.schema = InfoSchema((), ())
        self._rows: list[NDArray[Any]] = []

    def learn(self, schema: InfoSchema) -> None:
        """Note what the runner's infos look like from now on."""
        self.schema = schema
        self._rows = [_cells_of(row, kind) for row, kind in zip(self._cells, schema.types, strict=False)]

    def read(self) -> InfoColumns:
        """Return a copy of what lies on the board."""
        keys, types = self.schema
        columns: list[NDArray[Any]] = [row.astype(kind) for row, kind in zip(self._rows, types, strict=True)]
        return InfoColumns(self._first, keys, types, columns)


def _cells_of(row: NDArray[np.float64], kind: type) -> NDArray[Any]:
    return row if issubclass(kind, float | np.floating) else row.view(np.int64)


def _fits_a_cell(kind: type) -> bool:
    if kind in (int, float, bool):
        return True
    if issubclass(kind, np.integer):
        return np.iinfo(kind).max <= np.iinfo(np.int64).max
    return issubclass(kind, np.floating) and np.dtype(kind).itemsize <= 8
