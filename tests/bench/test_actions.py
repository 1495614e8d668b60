from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from paceline.bench.actions import NUM_BATCHES, action_batches
from paceline.errors import SpecError, UnsupportedSpaceError

SPACES = [
    spaces.Discrete(5),
    spaces.Discrete(3, start=-1),
    spaces.Box(-1.0, 1.0, (3,), np.float32),
    spaces.Box(2.0, 3.0, (2,), np.float64),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiBinary(4),
    spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((spaces.Box(0, 1, (1,)), spaces.MultiBinary(2)))}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("kind", ["random", "zero"])
def test_batches_are_of_the_space_and_the_same_for_the_same_seed(kind: str, space: spaces.Space[Any]) -> None:
    batches = action_batches(kind, space, 3, seed=7)
    assert len(batches) == (NUM_BATCHES if kind == "random" else 1)
    for batch in batches:
        rows = list(iterate(batch_space(space, 3), batch))
        assert len(rows) == 3
        assert all(row in space for row in rows)
    again = action_batches(kind, space, 3, seed=7)
    assert repr(batches) == repr(again)
    if kind == "random":
        assert repr(batches) != repr(action_batches(kind, space, 3, seed=8))


def test_zero_is_zero_or_what_is_nearest() -> None:
    (box,) = action_batches("zero", SPACES[2], 2, seed=0)
    (above,) = action_batches("zero", SPACES[3], 2, seed=0)
    (shifted,) = action_batches("zero", SPACES[1], 2, seed=0)
    assert np.array_equal(box, np.zeros((2, 3)))
    assert np.array_equal(above, np.full((2, 2), 2.0))
    assert shifted.tolist() == [-1, -1]
    with pytest.raises(UnsupportedSpaceError, match="has a zero"):
        action_batches("zero", spaces.Text(3), 2, seed=0)


def test_a_file_is_played_by_all_or_column_by_column(tmp_path: Path) -> None:
    space = spaces.Discrete(9)
    np.save(tmp_path / "one.npy", np.array([4, 5]))
    assert [batch.tolist() for batch in action_batches(str(tmp_path / "one.npy"), space, 3, 0)] == [[4] * 3, [5] * 3]
    np.save(tmp_path / "two.npy", np.array([[1, 2], [3, 4]]))
    assert [batch.tolist() for batch in action_batches(str(tmp_path / "two.npy"), space, 3, 0)] == [
        [1, 2, 1],
        [3, 4, 3],
    ]
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    np.save(tmp_path / "box.npy", np.array([[0.5, -0.5]]))
    (batch,) = action_batches(str(tmp_path / "box.npy"), box, 2, 0)
    assert (batch.dtype, batch.tolist()) == (np.float32, [[0.5, -0.5]] * 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.array([[0.5, 3.0]]), "expected actions of Box"),
        (np.zeros((2, 3)), "got an array of shape (2, 3)"),
        (np.zeros((0, 2)), "got an array of shape"),
        (b"not a file of numpy", "expected an .npy file"),
        (None, "which is not there"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_a_sentence(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "actions.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(SpecError) as error:
        action_batches(str(path), spaces.Box(-1.0, 1.0, (2,), np.float32), 2, 0)
    assert words in str(error.value)


def test_a_pickle_in_the_file_is_never_run(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SpecError, match=r"expected an \.npy file of numbers"):
        action_batches(str(tmp_path / "objects.npy"), spaces.Discrete(2), 2, 0)


def test_a_file_cannot_hold_actions_of_several_parts(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSpaceError, match="space of one array"):
        action_batches(str(tmp_path / "x.npy"), SPACES[-1], 2, 0)
