"""Storage of a rollout: every space, in place, and the bookkeeping of final observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.rollout.buffer import RolloutBuffer
from paceline.vector.base import StepBatch

SPACES: dict[str, gymnasium.Space[Any]] = {
    "box": spaces.Box(-1, 1, (3,)),
    "float64": spaces.Box(-1, 1, (2, 2), np.float64),
    "scalar": spaces.Box(-1.0, 1.0, ()),
    "image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
    "discrete": spaces.Discrete(5),
    "bits": spaces.MultiBinary(4),
    "nested": spaces.Dict(
        {
            "z": spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 255, (2, 2), np.uint8))),
            "a": spaces.Dict({"x": spaces.Box(-1, 1, (2,), np.float64), "y": spaces.MultiDiscrete([2, 3])}),
        }
    ),
}
BOX = SPACES["box"]


def batch_of(space: gymnasium.Space[Any], num_envs: int) -> Any:
    samples = [space.sample() for _ in range(num_envs)]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *samples)


def step_batch(
    observations: Any, *, truncated: Any = None, terminated: Any = None, reset_rows: Any = None, finals: Any = None
) -> StepBatch:
    num_envs = len(jax.tree.leaves(observations)[0])
    no = np.zeros(num_envs, bool)

    def flags(value: Any) -> NDArray[np.bool_]:
        return no if value is None else np.asarray(value, bool)

    return StepBatch(
        observations,
        np.arange(num_envs, dtype=np.float64),
        flags(terminated),
        flags(truncated),
        flags(reset_rows),
        observations if finals is None else finals,
        {},
        np.zeros(num_envs, np.bool_),
    )


@pytest.mark.parametrize("name", SPACES)
def test_a_rollout_of_any_space_reads_back_as_written_and_goes_on(name: str) -> None:
    space = SPACES[name]
    space.seed(0)
    buffer = RolloutBuffer(space, (), np.int32, 3, 2)
    rows = [batch_of(space, 2) for _ in range(4)]
    before = [id(leaf) for leaf in jax.tree.leaves(buffer.observations)]
    buffer.start(rows[0])
    for t in range(3):
        buffer.write(t, step_batch(rows[t + 1]), finals_in_batch=True)
    for t, row in enumerate(rows):
        for stored, seen, given_ in zip(
            *(jax.tree.leaves(tree) for tree in (buffer.observations, buffer.row(t), row)), strict=True
        ):
            assert stored.shape == (4, *given_.shape)
            wanted = np.float32 if given_.dtype.kind == "f" else given_.dtype
            assert stored.dtype == wanted
            np.testing.assert_array_equal(stored[t], given_.astype(wanted))
            assert np.shares_memory(seen, stored)
    buffer.start(buffer.row(buffer.rollout_length))
    jax.tree.map(np.testing.assert_array_equal, buffer.row(0), buffer.row(3))
    assert [id(leaf) for leaf in jax.tree.leaves(buffer.observations)] == before


def test_the_containers_of_the_space_are_kept() -> None:
    buffer = RolloutBuffer(SPACES["nested"], (), np.int32, 1, 2)
    assert list(buffer.row(0)) == list(SPACES["nested"].spaces)  # type: ignore[attr-defined]
    assert isinstance(buffer.row(0)["z"], tuple)


def test_rewards_and_flags_land_in_their_row() -> None:
    buffer = RolloutBuffer(BOX, (), np.int32, 2, 3)
    row = np.zeros((3, 3), np.float32)
    buffer.start(row)
    buffer.write(0, step_batch(row, terminated=[1, 0, 0]), finals_in_batch=True)
    buffer.write(1, step_batch(row, truncated=[0, 0, 1]), finals_in_batch=True)
    np.testing.assert_array_equal(buffer.rewards, [[0, 1, 2], [0, 1, 2]])
    assert buffer.rewards.dtype == np.float32
    np.testing.assert_array_equal(buffer.terminated, [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(buffer.truncated, [[0, 0, 0], [0, 0, 1]])
    assert buffer.num_env_steps() == 6


def test_reset_rows_are_not_valid_and_not_counted_and_the_next_rollout_starts_anew() -> None:
    buffer = RolloutBuffer(BOX, (), np.int32, 2, 2)
    row = np.zeros((2, 3), np.float32)
    for _ in range(2):
        buffer.start(row)
        buffer.write(0, step_batch(row, reset_rows=[1, 0]), finals_in_batch=False)
        buffer.write(1, step_batch(row), finals_in_batch=False)
        np.testing.assert_array_equal(buffer.valid, [[0, 1], [1, 1]])
        assert buffer.num_env_steps() == 3
    buffer.write(0, step_batch(row), finals_in_batch=False)
    assert buffer.num_env_steps() == 4


def test_final_observations_are_kept_of_truncated_rows_alone() -> None:
    buffer = RolloutBuffer(BOX, (), np.int32, 2, 4, final_capacity=4)
    row, finals = np.zeros((4, 3), np.float32), np.arange(12, dtype=np.float32).reshape(4, 3)
    buffer.start(row)
    both = step_batch(row, terminated=[1, 0, 0, 1], truncated=[0, 1, 0, 1], finals=finals)
    buffer.write(0, both, finals_in_batch=True)
    buffer.write(1, step_batch(row, truncated=[0, 0, 0, 1], finals=finals), finals_in_batch=True)
    kept, rows = buffer.finals()
    np.testing.assert_array_equal(rows, [1, 7, 8, 8])  # t * N + n; T * N where unused; terminated rows need none
    np.testing.assert_array_equal(kept[:2], finals[[1, 3]])
    assert rows.dtype == np.int32


def test_next_step_mode_keeps_no_final_observations() -> None:
    buffer = RolloutBuffer(BOX, (), np.int32, 1, 2)
    row = np.zeros((2, 3), np.float32)
    buffer.start(row)
    buffer.write(0, step_batch(row, truncated=[1, 1]), finals_in_batch=False)
    assert buffer.finals()[1].tolist() == [2]


@given(
    seed=st.integers(0, 2**31),
    capacity=st.sampled_from([1, 2, 8]),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    name=st.sampled_from(["box", "nested"]),
)
@settings(max_examples=60, deadline=None)
def test_any_number_of_final_observations_fits_and_capacity_only_doubles(
    seed: int, capacity: int, share: float, name: str
) -> None:
    rng, space = np.random.default_rng(seed), SPACES[name]
    buffer = RolloutBuffer(space, (), np.int32, 4, 3, final_capacity=capacity)
    widest = capacity
    for _ in range(3):
        buffer.start(batch_of(space, 3))
        expected: list[tuple[int, Any]] = []
        for t in range(4):
            truncated = rng.random(3) < share
            finals = batch_of(space, 3)
            buffer.write(t, step_batch(batch_of(space, 3), truncated=truncated, finals=finals), finals_in_batch=True)
            expected += [
                (t * 3 + n, jax.tree.map(lambda leaf, n=n: leaf[n], finals)) for n in np.flatnonzero(truncated)
            ]
        kept, rows = buffer.finals()
        assert len(rows) & (len(rows) - 1) == 0
        assert len(rows) >= widest
        widest = len(rows)
        assert widest < 2 * max(capacity, 12)
        assert rows.tolist() == [row for row, _ in expected] + [12] * (len(rows) - len(expected))
        for slot, (_, final) in enumerate(expected):
            jax.tree.map(
                lambda leaf, one, slot=slot: np.testing.assert_array_equal(leaf[slot], one.astype(leaf.dtype)),
                kept,
                final,
            )


def test_actions_keep_the_policys_shape_and_dtype() -> None:
    buffer = RolloutBuffer(BOX, (2, 3), np.float32, 5, 4)
    assert buffer.actions.shape == (5, 4, 2, 3)
    assert buffer.actions.dtype == np.float32


def test_a_buffer_that_was_full_can_be_as_when_it_was_made() -> None:
    buffer = RolloutBuffer(BOX, (), np.int32, 4, 3, final_capacity=2)
    for _ in range(2):
        buffer.start(batch_of(BOX, 3))
        finals = batch_of(BOX, 3)
        buffer.write(
            0, step_batch(batch_of(BOX, 3), truncated=np.ones(3, np.bool_), finals=finals), finals_in_batch=True
        )
        kept, rows = buffer.finals()
        assert rows.tolist() == [0, 1, 2, 12]
        np.testing.assert_array_equal(kept[:3], finals)
        buffer.shrink_finals()
        assert buffer.finals()[1].tolist() == [12, 12]
