"""The rows of a group: each call touches its own rows and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode

from paceline.vector.arrays import Layout, VecArrays
from paceline.vector.rows import GroupRows
from paceline.vector.spaces import ContractBreach

N, FIRST, COUNT = 7, 2, 4
SPACE = Box(-np.inf, np.inf, (3,), np.float32)
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def make(mode: AutoresetMode = AutoresetMode.NEXT_STEP, *, keeps: bool = True) -> tuple[GroupRows, VecArrays]:
    layout = Layout(SPACE, Discrete(100), N, 1, mode)
    arrays = layout.arrays_over(np.zeros(layout.nbytes, np.uint8))
    arrays.flags[:] = True
    arrays.actions[:] = np.arange(N)
    arrays.observations[:] = np.arange(N)[:, None]
    same_step = mode is AutoresetMode.SAME_STEP
    rows = GroupRows(arrays, slice(FIRST, FIRST + COUNT), SPACE, has_finals=same_step, keeps=keeps)
    return rows, arrays


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize(
    ("chosen", "begin"),
    [
        ([1, 2, 3], lambda rows: rows.begin_stretch(rows.stretch(1, 3))),
        ([0, 1, 2, 3], lambda rows: rows.begin_stretch(rows.whole)),
        ([2], lambda rows: [rows.begin_one(2)]),
        ([0, 3], lambda rows: rows.begin_scattered([0, 3])),
        ([3, 1], lambda rows: rows.begin_scattered([3, 1])),
    ],
)
def test_a_step_begins_with_actions_and_without_flags(chosen: list[int], begin: Any, keeps: bool) -> None:
    rows, arrays = make(keeps=keeps)
    assert [int(action) for action in begin(rows)] == [FIRST + index for index in chosen]
    for flag in arrays.flags:
        assert [index for index in range(N) if not flag[index]] == sorted(FIRST + index for index in chosen)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_whose_step_did_not_happen_keeps_its_observation(mode: AutoresetMode) -> None:
    rows, arrays = make(mode)
    rows.begin_scattered([0, 2])
    rows.write[2](np.full(3, 77, np.float32))
    rows.rewards[2] = 5.0
    rows.terminated[2] = True
    rows.mark_restarted(2)
    row = FIRST + 2
    assert arrays.observations[row].tolist() == [row] * 3 and arrays.final_observations[row].tolist() == [row] * 3
    assert arrays.rewards[row] == 0.0
    assert arrays.flags[:, row].tolist() == [False, True, False, True]
    assert arrays.flags[:, row + 1].all(), "the next one is none of its business"


def test_half_an_observation_of_a_process_that_died_is_a_number_all_the_same() -> None:
    rows, arrays = make(keeps=False)
    arrays.observations[FIRST] = [np.nan, np.inf, -np.inf]
    rows.mark_restarted(0)
    assert arrays.observations[FIRST].tolist() == [0.0, np.inf, -np.inf]


def test_nan_is_seen_where_it_is() -> None:
    rows, arrays = make(AutoresetMode.SAME_STEP)
    arrays.observations[FIRST + 1, 2] = np.nan
    arrays.rewards[FIRST + 3] = np.nan
    arrays.final_observations[FIRST + 2, 0] = np.nan
    assert [rows.is_nan(index) for index in range(COUNT)] == [False, True, False, True]
    assert rows.is_nan_among([0, 1]) and rows.is_nan_among([3]) and not rows.is_nan_among([0, 2])
    rows.refuse_nan(0)
    with pytest.raises(ContractBreach, match="observation"):
        rows.refuse_nan(1)
    rows.refuse_final_nan(1)
    with pytest.raises(ContractBreach, match="final observation"):
        rows.refuse_final_nan(2)


def test_without_rows_of_their_own_final_observations_are_not_looked_at() -> None:
    rows, arrays = make(AutoresetMode.NEXT_STEP)
    arrays.observations[FIRST] = np.nan
    rows.refuse_final_nan(0)


def test_an_action_is_told_as_it_lies_in_its_row() -> None:
    rows, _ = make()
    assert [int(rows.action(index)) for index in range(COUNT)] == [2, 3, 4, 5]
