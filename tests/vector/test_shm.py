"""What only shared memory does: infos on a board that all runners share."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from paceline import make_vec

sys.path.append(str(Path(__file__).parent / "fakes"))


@pytest.mark.parametrize("seeds", [[0, 0, 0, 0], [0, 0, 4, 4], [0, 0, 8, 8], [0, 4, 8, 0], [4, 4, 8, 8]])
def test_a_runner_that_says_nothing_does_not_repeat_what_lies_on_the_board(seeds: list[int]) -> None:
    """Runners fall silent, and say other things, together or one after the other."""
    env, steps = "chatty_env:fitful", 30
    with (
        closing(make_vec(env, 4, backend="shm", num_env_runners=2)) as ours,
        closing(make_vec(env, 4, backend="serial")) as plain,
    ):
        ours.reset(seed=seeds)
        plain.reset(seed=seeds)
        for _ in range(steps):
            got, expected = (venv.step(np.zeros(4, np.int64))[4] for venv in (ours, plain))
            assert got.keys() == expected.keys()
            for key, values in expected.items():
                assert got[key].dtype == values.dtype and got[key].tolist() == values.tolist(), key
