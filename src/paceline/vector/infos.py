"""Infos of many environments as Gymnasium's vector infos: one array per key, and a mask of who has it.

Gymnasium's own way visits every key of every environment (MuJoCo's return four in every step: 0.2 ms for 16
of them). Where all environments return the same keys with plain numbers, which is nearly always, whole columns are
made, sent and joined instead, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Info = dict[str, Any]


class InfoRecord(NamedTuple):
    """Infos of one environment in one step: ``final`` is set where an episode ended in ``SAME_STEP`` mode."""

    env_index: int
    final: Info | None
    info: Info


class InfoColumns(NamedTuple):
    """Infos of consecutive environments that all have the same keys, with numbers of one type per key.

    Attributes:
        first: index of the first environment.
        keys: the keys, in the order in which the environments name them.
        types: type of each key's values.
        columns: values of each key, ``[E]``.
    """

    first: int
    keys: tuple[str, ...]
    types: tuple[type, ...]
    columns: list[NDArray[Any]]

    def records(self) -> list[InfoRecord]:
        """Return what was packed."""
        plain = (int, float, bool)
        values = [
            column.tolist() if kind in plain else list(column)
            for kind, column in zip(self.types, self.columns, strict=True)
        ]
        rows = zip(*values, strict=True)
        return [InfoRecord(self.first + k, None, dict(zip(self.keys, row, strict=True))) for k, row in enumerate(rows)]


Said = InfoColumns | list[InfoRecord]
"""What a runner says of a step."""
Infos = list[InfoRecord] | list[InfoColumns]
"""What all runners say."""


def pack(records: Sequence[InfoRecord], count: int) -> InfoColumns | None:
    """Return ``records`` as columns, or None if they are not alike.

    Args:
        records: in order of their environments.
        count: number of consecutive environments that must all have one.
    """
    if len(records) != count:
        return None
    first, _, head = records[0]
    keys, types = tuple(head), tuple(map(type, head.values()))
    if not keys or "final_obs" in head or not all(map(_is_number, types)):
        return None
    rows = []
    for _, final, info in records:
        row = tuple(info.values())
        if final is not None or tuple(info) != keys or tuple(map(type, row)) != types:
            return None
        rows.append(row)
    try:
        columns: list[NDArray[Any]] = [
            np.array(column, dtype=kind) for kind, column in zip(types, zip(*rows, strict=True), strict=True)
        ]
    except OverflowError:  # an int that no array holds: let Gymnasium's way speak about it
        return None
    return InfoColumns(first, keys, types, columns)


def join(parts: Sequence[InfoColumns], num_envs: int) -> Info | None:
    """Return Gymnasium's vector infos of all N environments, or None if the parts are not alike or not all there."""
    head = parts[0]
    if any(part.keys != head.keys or part.types != head.types for part in parts):
        return None
    if sum(len(part.columns[0]) for part in parts) != num_envs:
        return None
    infos: Info = {}
    for k, key in enumerate(head.keys):
        infos[key] = head.columns[k] if len(parts) == 1 else np.concatenate([part.columns[k] for part in parts])
        infos[f"_{key}"] = np.ones(num_envs, dtype=np.bool_)
    return infos


def in_order(found: Mapping[int, Said]) -> Infos:
    """Return what runners said of a step, in the order of their slots: as columns if all of them are such."""
    items = [found[slot] for slot in sorted(found)]
    columns = [item for item in items if isinstance(item, InfoColumns)]
    if len(columns) == len(items):
        return columns
    return [record for item in items for record in (item.records() if isinstance(item, InfoColumns) else item)]


def take_info_rows(infos: Info, rows: NDArray[np.int64]) -> Info:
    """Return the vector infos of some environments, in the order of ``rows``."""
    return {
        key: take_info_rows(value, rows) if isinstance(value, dict) else _take(value, rows)
        for key, value in infos.items()
    }


def _take(value: Any, rows: NDArray[np.int64]) -> Any:
    return tuple(_take(part, rows) for part in value) if isinstance(value, tuple) else value[rows]


def _is_number(kind: type) -> bool:
    return kind in (int, float, bool) or issubclass(kind, np.number)
