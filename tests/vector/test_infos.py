"""Columns of infos give what Gymnasium's own way gives, or step aside."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from paceline.vector.infos import InfoRecord, join, pack


def by_gymnasium(infos: list[dict[str, Any]]) -> dict[str, Any]:
    vector: gymnasium.vector.VectorEnv[Any, Any, Any] = gymnasium.vector.VectorEnv()
    vector.num_envs = len(infos)
    joined: dict[str, Any] = {}
    for index, info in enumerate(infos):
        joined = vector._add_info(joined, info, index)
    return joined


def records(infos: list[dict[str, Any]], first: int = 0) -> list[InfoRecord]:
    return [InfoRecord(first + k, None, info) for k, info in enumerate(infos)]


ALIKE = [
    {"x": float(k), "n": k, "ok": k % 2 == 0, "y": np.float64(k / 3), "z": np.float32(k / 3), "i": np.int16(k)}
    for k in range(5)
]


def test_columns_are_what_gymnasium_makes() -> None:
    parts = [pack(records(ALIKE[:2]), 2), pack(records(ALIKE[2:], first=2), 3)]
    assert all(part is not None for part in parts)
    joined, expected = join(parts, 5), by_gymnasium(ALIKE)  # type: ignore[arg-type]
    assert joined is not None and list(joined) == list(expected)
    for key, column in expected.items():
        assert joined[key].dtype == column.dtype
        np.testing.assert_array_equal(joined[key], column)


def test_packing_loses_nothing() -> None:
    packed = pack(records(ALIKE, first=3), 5)
    assert packed is not None and packed.records() == records(ALIKE, first=3)
    unpacked = packed.records()[1].info
    assert [type(value) for value in unpacked.values()] == [type(value) for value in ALIKE[1].values()]


@pytest.mark.parametrize(
    "infos",
    [
        [{"x": 1.0}, {"x": 1}],
        [{"x": 1.0}, {"y": 1.0}],
        [{"x": 1.0, "y": 2.0}, {"y": 2.0, "x": 1.0}],
        [{"x": "word"}] * 2,
        [{"x": np.zeros(2)}] * 2,
        [{"x": {"deep": 1.0}}] * 2,
        [{"x": np.bool_(True)}] * 2,
        [{"x": None}] * 2,
        [{"final_obs": 1.0}] * 2,
        [{"x": 2**80}] * 2,
        [{}, {}],
    ],
)
def test_what_is_not_alike_goes_gymnasiums_way(infos: list[dict[str, Any]]) -> None:
    assert pack(records(infos), 2) is None


def test_parts_that_do_not_fit_are_not_joined() -> None:
    one, other = pack(records([{"x": 1.0}]), 1), pack(records([{"x": 1}], first=1), 1)
    assert one is not None and other is not None
    assert join([one, other], 2) is None
    assert join([one], 2) is None
    assert pack(records([{"x": 1.0}]), 2) is None
    assert pack([InfoRecord(0, {}, {"x": 1.0})], 1) is None
