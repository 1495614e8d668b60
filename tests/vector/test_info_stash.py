"""Infos that came before they were asked for: nothing is lost, told twice, or given to another."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode

from paceline.vector.arrays import Layout, VecArrays
from paceline.vector.info_stash import InfoStash
from paceline.vector.infos import InfoColumns, InfoRecord, pack

N = 4


def make(mode: AutoresetMode = AutoresetMode.SAME_STEP) -> tuple[InfoStash, VecArrays]:
    layout = Layout(Box(-9, 9, (2,), np.float32), Discrete(3), N, 1, mode)
    arrays = layout.arrays_over(np.zeros(layout.nbytes, np.uint8))
    vector: gymnasium.vector.VectorEnv[Any, Any, Any] = gymnasium.vector.VectorEnv()
    vector.num_envs = N
    return InfoStash(arrays, vector._add_info, names_finals=mode is AutoresetMode.SAME_STEP), arrays


def records(*indices: int) -> list[InfoRecord]:
    return [InfoRecord(index, None, {"x": float(index)}) for index in indices]


def columns(*indices: int) -> list[InfoColumns]:
    packed = pack(records(*indices), len(indices))
    assert packed is not None
    return [packed]


@pytest.mark.parametrize("form", [records, columns])
def test_each_environment_gets_its_own_infos_once(form: Any) -> None:
    stash, _ = make()
    assert not stash and stash.take(np.arange(N)) == []
    stash.keep(form(1, 2, 3))
    assert stash and stash.take(np.array([0, 2])) == records(2)
    assert stash.take(np.array([2, 3])) == records(3)
    assert stash.take(np.arange(N)) == records(1) and not stash


@pytest.mark.parametrize("form", [records, columns])
def test_infos_of_all_are_gymnasiums(form: Any) -> None:
    stash, _ = make()
    infos = stash.gather(form(0, 1, 2, 3), ())
    assert infos["x"].tolist() == [0.0, 1.0, 2.0, 3.0] and infos["_x"].all() and set(infos) == {"x", "_x"}
    some = stash.gather(form(1, 2), ())
    assert some["x"].tolist() == [0.0, 1.0, 2.0, 0.0] and some["_x"].tolist() == [False, True, True, False]


def test_an_episode_that_ended_is_named_even_if_nothing_is_said_of_it() -> None:
    stash, arrays = make()
    arrays.terminated[1] = arrays.truncated[3] = True
    arrays.final_observations[:] = np.arange(N)[:, None]
    assert list(stash.ended_rows(None)) == [1, 3] and list(stash.ended_rows(np.array([0, 3]))) == [3]
    infos = stash.gather([InfoRecord(3, {"lives": 2}, {"x": 1.0})], [1, 3])
    assert infos["_final_obs"].tolist() == [False, True, False, True]
    assert [infos["final_obs"][row].tolist() for row in (1, 3)] == [[1.0, 1.0], [3.0, 3.0]]
    assert infos["final_info"]["lives"][3] == 2 and infos["final_info"]["_lives"].tolist() == [False] * 3 + [True]
    assert infos["_x"].tolist() == [False, False, False, True]


def test_only_same_step_mode_names_them() -> None:
    stash, arrays = make(AutoresetMode.NEXT_STEP)
    arrays.terminated[:] = True
    assert stash.ended_rows(None) == ()
