"""Actions are stored as given, or refused with the place where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paceline.errors import RequestError
from paceline.vector.actions import store_actions, store_rows
from paceline.vector.selection import Selection


def tree() -> dict[str, Any]:
    return {"gear": np.full(3, -1, np.int64), "arm": (np.full((3, 2), -1, np.float32), np.full(3, -1, np.int8))}


def test_all_rows_are_stored_from_arrays_and_lists() -> None:
    target = tree()
    store_actions(target, {"gear": [1, 2, 3], "arm": [np.ones((3, 2)), np.array([1, 0, 1], np.int64)], "spare": 0})
    np.testing.assert_equal(
        target, {"gear": [1, 2, 3], "arm": (np.ones((3, 2), np.float32), np.array([1, 0, 1], np.int8))}
    )
    assert target["arm"][0].dtype == np.float32, "sizes may differ, kinds may not"


def test_rows_are_stored_in_the_order_of_their_environments() -> None:
    target = tree()
    actions = {"gear": np.array([7, 8]), "arm": (np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6], np.int8))}
    store_rows(target, actions, Selection(np.array([2, 0])))
    np.testing.assert_equal(
        target, {"gear": np.array([8, -1, 7]), "arm": (np.array([[3, 4], [-1, -1], [1, 2]], np.float32),
                                                      np.array([6, -1, 5], np.int8))},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"gear": np.zeros(2, int)}, r"actions\['gear'\] of shape \(3,\), got \(2,\)"),
        ({"gear": np.zeros(3)}, r"actions\['gear'\] of dtype int64, got float64"),
        ({"gear": np.zeros(3, int), "arm": (np.zeros((3, 1)), np.zeros(3, int))}, r"\['arm'\]\[0\] of shape \(3, 2\)"),
        ({"gear": np.zeros(3, int), "arm": (np.zeros((3, 2)),)}, r"\['arm'\] to have a part 1, got tuple"),
        ({"arm": ()}, r"to have a part 'gear', got dict; nest it as the action space"),
        (np.zeros(3), "to have a part 'gear', got ndarray"),
        (None, "to have a part 'gear', got NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(actions: Any, message: str) -> None:
    for store in (store_actions, lambda target, given: store_rows(target, given, Selection(np.array([0, 1, 2])))):
        with pytest.raises(RequestError, match=message):
            store(tree(), actions)


def test_a_single_number_is_not_spread_over_environments() -> None:
    for one in (np.zeros((), np.int64), 0, np.zeros(1, np.int64)):
        with pytest.raises(RequestError, match="give one per environment"):
            store_actions(np.zeros(3, np.int64), one)
        with pytest.raises(RequestError, match="give one per environment"):
            store_rows(np.zeros(5, np.int64), one, Selection(np.array([0, 1, 2])))
