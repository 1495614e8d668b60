"""Infos in shared memory: the same as they were, or none at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paceline.vector.info_board import MOST_KEYS, InfoReader, InfoWriter, schema_of
from paceline.vector.infos import InfoRecord, pack

ENVS = range(2, 5)


def records_of(*infos: dict[str, Any]) -> list[InfoRecord]:
    return [InfoRecord(ENVS.start + k, None, info) for k, info in enumerate(infos)]


def board() -> tuple[InfoWriter, InfoReader]:
    cells = np.full((MOST_KEYS, 6), -1.0)
    return InfoWriter(cells, ENVS), InfoReader(cells, ENVS)


def step(k: int) -> list[InfoRecord]:
    """Return infos of every type that fits; other values for each environment and step."""
    return records_of(*(
        {"x": 0.1 * (i + k), "n": i - 2**60 * k, "on": (i + k) % 2 == 0, "half": np.float32(i / 3), "b": np.int8(i - k)}
        for i in range(len(ENVS))
    ))  # fmt: skip


def test_what_lies_on_the_board_is_what_a_message_would_have_carried() -> None:
    writer, reader = board()
    assert not writer.write(step(0)), "the caller does not know what they look like"
    schema = writer.learn(step(0))
    assert schema is not None and writer.learn(step(0)) is None, "told once"
    reader.learn(schema)
    for k in range(1, 4):
        assert writer.write(step(k))
        got, expected = reader.read(), pack(step(k), len(ENVS))
        assert expected is not None and got[:3] == expected[:3]
        for left, right in zip(got.columns, expected.columns, strict=True):
            assert left.dtype == right.dtype and left.tobytes() == right.tobytes()


def test_what_was_read_does_not_change_with_the_board() -> None:
    writer, reader = board()
    schema = writer.learn(step(0))
    assert schema is not None
    reader.learn(schema)
    writer.write(step(1))
    read = reader.read()
    first = [column.copy() for column in read.columns]
    writer.write(step(2))
    assert all((a == b).all() for a, b in zip(first, read.columns, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        records_of({"x": 1.0}, {"x": 1.0}),
        records_of({"x": 1.0}, {"x": 1.0}, {"y": 1.0}),
        records_of({"x": 1.0}, {"x": 1.0}, {"x": 1}),
        records_of({"x": 1.0}, {"x": 1.0}, {"x": 1.0, "y": 2.0}),
        [*records_of({"x": 1.0}, {"x": 1.0}), InfoRecord(4, {"x": 2.0}, {"x": 1.0})],
    ],
    ids=["an environment less", "another key", "another type", "one key more", "an episode's end"],
)
def test_whatever_looks_different_is_for_a_message(other: list[InfoRecord]) -> None:
    writer, _ = board()
    assert writer.learn(records_of({"x": 1.0}, {"x": 1.0}, {"x": 1.0}))
    assert not writer.write(other)


def test_an_integer_that_no_cell_holds_is_for_a_message() -> None:
    writer, _ = board()
    assert writer.learn(records_of({"n": 1}, {"n": 1}, {"n": 1}))
    assert not writer.write(records_of({"n": 1}, {"n": 2**63}, {"n": 1}))


@pytest.mark.parametrize(
    "info",
    [{}, {"name": "a"}, {"x": np.zeros(2)}, {"z": 1j}, {"u": np.uint64(1)}, {"final_obs": 1.0},
     {f"k{i}": 1.0 for i in range(MOST_KEYS + 1)}],
    ids=["nothing", "a word", "an array", "complex", "unsigned 64 bits", "a name of Gymnasium's", "too many"],
)  # fmt: skip
def test_infos_that_do_not_fit_have_no_schema(info: dict[str, Any]) -> None:
    assert schema_of(info) is None
