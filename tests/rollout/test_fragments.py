"""Fragments in shared memory: every number arrives, wherever it was written, and parameters are never torn."""

from __future__ import annotations

import mmap
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.rollout.episodes import Episodes
from paceline.rollout.fragments import Fragment, FragmentBatch, FragmentLayout, FragmentMemory
from paceline.vector.spaces import leaves

T, E = 3, 2
SPACES = {
    "box": spaces.Box(-1, 1, (3,), np.float64),
    "image": spaces.Box(0, 255, (4, 4, 1), np.uint8),
    "nested": spaces.Dict(
        {"a": spaces.Discrete(5), "b": spaces.Tuple((spaces.Box(0, 1, (2,)), spaces.MultiBinary(3)))}
    ),
}


def layout_of(space: spaces.Space[Any] = SPACES["box"], **sizes: Any) -> FragmentLayout:
    fields = {"rollout_length": T, "num_envs": E, "num_actors": 2, "num_slots": 2, "num_parameters": 5}
    return FragmentLayout(space, (2,), "float32", **{**fields, **sizes})


def memory_of(layout: FragmentLayout) -> FragmentMemory:
    return layout.over(mmap.mmap(-1, layout.nbytes))


def flat(tree: Any) -> list[np.ndarray[Any, Any]]:
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in flat(part)]
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in flat(part)]
    return [tree]


def arrays_of(fragment: Fragment) -> list[np.ndarray[Any, Any]]:
    buffer = fragment.buffer
    return [
        *flat(buffer.observations), buffer.actions, buffer.rewards, buffer.terminated, buffer.truncated, buffer.valid,
        fragment.log_probs, fragment.gradient, fragment.env_steps, fragment.times_ns, fragment.began_ns,
        fragment.facts,
    ]  # fmt: skip


def scribble(fragment: Fragment, rng: np.random.Generator) -> None:
    """Write something everywhere, as an actor would, with as many final observations as the draw says."""
    buffer = fragment.buffer
    for array in arrays_of(fragment):
        array[...] = rng.integers(0, 2, array.shape)
    count = int(rng.integers(0, T * E + 1))
    rows = rng.choice(T * E, count, replace=False)
    observations = buffer.finals()[0]
    picked = _map(lambda leaf: rng.integers(0, 2, (count, *leaf.shape[1:])).astype(leaf.dtype), observations)
    buffer.clear_finals()
    buffer.append_finals(picked, rows)
    ended = int(rng.integers(0, T * E + 1))
    fragment.close(7, Episodes(rng.normal(size=ended), rng.integers(1, 9, ended)), 1, begins_anew=True)


def _map(function: Any, tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_map(function, part) for part in tree)
    return function(tree)


@pytest.mark.parametrize("name", SPACES)
def test_two_processes_with_equal_sizes_see_the_same_arrays(name: str) -> None:
    layout = layout_of(SPACES[name], num_gradient=4)
    block = mmap.mmap(-1, layout.nbytes)
    actor, learner = layout.over(block), layout.over(block)
    rng = np.random.default_rng(0)
    for mine, theirs in zip(actor.slots, learner.slots, strict=True):
        for written, read in zip(mine, theirs, strict=True):
            scribble(written, rng)
            for a, b in zip(arrays_of(written), arrays_of(read), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
            np.testing.assert_equal(read.finals()[1], written.buffer.used_final_rows)
            for a, b in zip(flat(written.finals()[0]), flat(read.finals()[0]), strict=True):
                np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(written.episodes().returns, read.episodes().returns)
            assert (read.version, read.num_replaced) == (7, 1)


def test_no_two_arrays_overlap() -> None:
    layout = layout_of(SPACES["nested"], num_gradient=3)
    memory = memory_of(layout)
    arrays = [array for slots in memory.slots for fragment in slots for array in arrays_of(fragment)]
    for number, array in enumerate(arrays):
        array[...] = number % 2
    for number, array in enumerate(arrays):
        assert (array == number % 2).all()
    spans = sorted((array.__array_interface__["data"][0], array.nbytes) for array in arrays)
    assert all(begin + size <= after for (begin, size), (after, _) in pairwise(spans))


def test_floats_are_kept_as_float32_and_integers_as_they_are() -> None:
    for space in SPACES.values():
        fragment = memory_of(layout_of(space)).slots[0][0]
        for leaf, array in zip(leaves(space), flat(fragment.buffer.observations), strict=True):
            wanted = np.float32 if np.issubdtype(leaf.dtype, np.floating) else leaf.dtype
            assert (array.shape, array.dtype) == ((T + 1, E, *leaf.shape), wanted)


@pytest.mark.parametrize(("room", "sizes"), [(1, [1, 1, 2, 4, 4, 6, 6]), (4, [4, 4, 4, 4, 4, 6, 6]), (99, [6] * 7)])
def test_final_observations_are_padded_to_few_sizes_with_rows_that_are_none(room: int, sizes: list[int]) -> None:
    fragment = memory_of(layout_of()).slots[0][0]
    for count, size in enumerate(sizes):  # there are no more than T * E
        fragment.buffer.clear_finals()
        fragment.buffer.append_finals(np.ones((count, 3), np.float32), np.arange(count))
        fragment.close(1, Episodes(np.zeros(0), np.zeros(0, np.int64)), 0, begins_anew=False)
        observations, rows = fragment.padded_finals(room)
        assert len(observations) == len(rows) == size
        assert rows.tolist() == [*range(count), *[T * E] * (size - count)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), num_fragments=st.integers(1, 3), name=st.sampled_from(sorted(SPACES)))
def test_a_batch_is_its_fragments_side_by_side(seed: int, num_fragments: int, name: str) -> None:
    layout = layout_of(SPACES[name], num_actors=3, num_slots=1)
    memory = memory_of(layout)
    rng = np.random.default_rng(seed)
    fragments = [memory.slots[k][0] for k in range(num_fragments)]
    batch = FragmentBatch(layout, num_fragments)
    for _ in range(2):  # the second time, what was there before is gone
        for fragment in fragments:
            scribble(fragment, rng)
        batch.clear()
        for place in rng.permutation(num_fragments):
            batch.put(place, fragments[place])
        buffer = batch.buffer
        for k, fragment in enumerate(fragments):
            columns = slice(k * E, (k + 1) * E)
            for whole, part in zip(flat(buffer.observations), flat(fragment.buffer.observations), strict=True):
                np.testing.assert_array_equal(whole[:, columns], part)
            for field in ("actions", "rewards", "terminated", "truncated", "valid"):
                np.testing.assert_array_equal(getattr(buffer, field)[:, columns], getattr(fragment.buffer, field))
            np.testing.assert_array_equal(batch.log_probs[:, columns], fragment.log_probs)
        observations, rows = buffer.finals()
        found = {int(row): [leaf[place] for leaf in flat(observations)] for place, row in enumerate(rows)}
        found.pop(T * num_fragments * E, None)
        wanted = {}
        for k, fragment in enumerate(fragments):
            finals, own = fragment.finals()
            for place, row in enumerate(own.tolist()):
                t, e = divmod(row, E)
                wanted[t * num_fragments * E + k * E + e] = [leaf[place] for leaf in flat(finals)]
        assert found.keys() == wanted.keys()
        for row, expected in wanted.items():
            for a, b in zip(found[row], expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_parameters_are_those_of_one_version_while_they_are_replaced() -> None:
    size = 20_000  # long enough for a copy to be overtaken
    layout = layout_of(num_parameters=size, num_slots=1, num_actors=1)
    board = memory_of(layout).parameters
    assert board.version == 0
    board.publish(np.ones(size, np.float32), 1)
    stop = threading.Event()

    def publish() -> None:
        version = 1
        while not stop.is_set():
            version += 1
            board.publish(np.full(size, version, np.float32), version)

    writer = threading.Thread(target=publish)
    writer.start()
    try:
        out = np.zeros(size, np.float32)
        seen = [0]
        for _ in range(300):
            version = board.read(out)
            assert (out == version).all(), "half of another version"
            assert version >= seen[-1], "an older version than before"
            seen.append(version)
    finally:
        stop.set()
        writer.join()
    assert board.read(out) == board.version == seen[-1] or board.version > seen[-1]
