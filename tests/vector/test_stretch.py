"""Rows of a group as views: they clear, read and check their own rows and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paceline.vector.stretch import _SMALL, Stretch

E = 6


def make(first: int, count: int, size: int = E, actions: Any = None) -> tuple[Stretch, dict[str, Any]]:
    arrays: dict[str, Any] = {
        "actions": np.arange(size) if actions is None else actions,
        "flags": [np.ones(size, np.bool_) for _ in range(4)],
        "rewards": np.zeros(size),
        "floats": [np.zeros((size, 3), np.float32), np.zeros(size)],
    }
    return Stretch(first, count, **arrays), arrays


def test_flags_of_the_rows_are_cleared() -> None:
    stretch, arrays = make(2, 3)
    stretch.clear_flags()
    assert all(flag.tolist() == [True, True, False, False, False, True] for flag in arrays["flags"])
    assert list(stretch.indices) == [2, 3, 4]


@pytest.mark.parametrize(
    "actions", [np.arange(E), np.arange(2 * E).reshape(E, 2), {"a": np.arange(E), "b": (np.ones((E, 2)),)}]
)
def test_actions_are_copies(actions: Any) -> None:
    stretch, arrays = make(1, 2, actions=actions)
    leaf = arrays["actions"]["b"][0] if isinstance(actions, dict) else arrays["actions"]
    taken = stretch.take_actions()
    expected = [np.array(item["b"][0] if isinstance(actions, dict) else item) for item in taken]
    assert len(taken) == 2
    leaf[...] = 99
    found = [item["b"][0] if isinstance(actions, dict) else item for item in taken]
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("size", [E, _SMALL + 1])
@pytest.mark.parametrize("where", ["rewards", "vectors", "scalars"])
def test_nan_is_seen_in_its_own_rows_alone(size: int, where: str) -> None:
    (inside, arrays), last = make(1, size - 1, size), size - 1
    outside, others = make(0, 1, size), arrays
    target = {"rewards": arrays["rewards"], "vectors": arrays["floats"][0], "scalars": arrays["floats"][1]}[where]
    elsewhere = Stretch(0, 1, **others)
    assert not inside.is_nan() and not outside[0].is_nan()
    target[last] = np.nan
    assert inside.is_nan() and not elsewhere.is_nan()


@pytest.mark.parametrize("size", [E, _SMALL + 1])
def test_large_numbers_and_infinities_are_not_nan(size: int) -> None:
    stretch, arrays = make(0, size, size)
    arrays["rewards"][:] = 1e300
    arrays["rewards"][1:3] = np.inf, -np.inf
    arrays["floats"][0][:] = 3e38
    arrays["floats"][1][:] = -np.inf
    assert not stretch.is_nan()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_kind_of_float_is_looked_at(kind: Any) -> None:
    _, arrays = make(0, E)
    arrays["floats"] = [np.ones((E, 2), kind)]
    stretch = Stretch(0, E, **arrays)
    assert not stretch.is_nan()
    arrays["floats"][0][3, 1] = np.nan
    assert stretch.is_nan()
