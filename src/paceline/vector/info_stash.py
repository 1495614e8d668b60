"""Infos on their way to the caller: those of environments that stepped before they are asked for wait here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from paceline.vector.arrays import VecArrays
from paceline.vector.base import EnvIds
from paceline.vector.infos import Info, InfoColumns, InfoRecord, Infos, join, pack
from paceline.vector.spaces import take_row

AddInfo = Callable[[dict[str, Any], dict[str, Any], int], dict[str, Any]]
"""Gymnasium's way to add one environment's infos to a vector's: infos so far, its infos, its index."""


class InfoStash:
    """Keeps infos of environments, and makes Gymnasium's vector infos of them.

    Args:
        arrays: of the vector environment.
        add_info: Gymnasium's way, for infos that are not alike.
        names_finals: every row whose episode ended is named, even if its infos are empty (``SAME_STEP`` mode).
    """

    def __init__(self, arrays: VecArrays, add_info: AddInfo, *, names_finals: bool) -> None:
        self._arrays = arrays
        self._num_envs = len(arrays.rewards)
        self._add_info = add_info
        self._kept: dict[int, InfoRecord] = {}
        self.names_finals = names_finals

    def __bool__(self) -> bool:
        return bool(self._kept)

    def keep(self, found: Infos) -> None:
        """Keep infos until :meth:`take`."""
        for record in _records(found):
            self._kept[record.env_index] = record

    def take(self, ids: EnvIds) -> list[InfoRecord]:
        """Return what was kept of these environments."""
        return [self._kept.pop(i) for i in ids.tolist() if i in self._kept] if self._kept else []

    def ended_rows(self, ids: EnvIds | None) -> Sequence[int]:
        """Return which of these rows (None: of all) must be named, because their episode ended in this step."""
        if not self.names_finals:
            return ()
        ended = self._arrays.terminated | self._arrays.truncated
        rows: list[int] = (np.flatnonzero(ended) if ids is None else ids[ended[ids]]).tolist()
        return rows

    def gather(self, found: Infos, ended: Sequence[int]) -> Info:
        """Return Gymnasium's vector infos.

        Args:
            found: infos of the step.
            ended: rows that are named even if their infos are empty.
        """
        if found and not ended:
            parts = [item for item in found if isinstance(item, InfoColumns)]
            if not parts and (packed := pack([item for item in found if isinstance(item, InfoRecord)], self._num_envs)):
                parts = [packed]
            joined = join(parts, self._num_envs) if parts else None
            if joined is not None:
                return joined
        by_index = {record.env_index: record for record in _records(found)}
        for index in ended:
            by_index.setdefault(index, InfoRecord(index, {}, {}))
        infos: dict[str, Any] = {}
        for index in sorted(by_index):
            _, final, info = by_index[index]
            if index in ended and final is None:
                final = {}  # its episode was cut short by a fault
            if final is not None:
                last: Info = {"final_obs": take_row(self._arrays.final_observations, index), "final_info": final}
                infos = self._add_info(infos, last, index)
            infos = self._add_info(infos, info, index)
        return infos


def _records(found: Iterable[InfoRecord | InfoColumns]) -> Iterator[InfoRecord]:
    for item in found:
        yield from item.records() if isinstance(item, InfoColumns) else (item,)
