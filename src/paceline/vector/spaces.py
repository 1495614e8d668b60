"""Spaces as arrays: which are supported, what a batch of them looks like, and checked writing of one row.

A space is a tree: ``Dict`` and ``Tuple`` are its branches, ``Box``, ``Discrete``, ``MultiDiscrete`` and ``MultiBinary``
its leaves. A batch of N elements is the same tree with one array ``[N, ...]`` per leaf, as Gymnasium batches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from paceline.errors import UnsupportedSpaceError

ArrayTree = Any
"""An array, or a dict or tuple of array trees."""
RowWriter = Callable[[Any], None]
Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]
"""Returns an array of zeros of a shape and dtype."""
FloatLeaf = tuple[str, NDArray[Any]]
"""Where in the space (``['camera'][0]``, empty for the space itself), and the batch of it."""

PLAIN_FORMATS = frozenset("?bBhHiIlLqQfd")
"""Codes of the dtypes that a memoryview reads and writes; it knows no float16, for one."""
_SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"


class ContractBreach(Exception):
    """What an environment returned does not fit its space; the message says how."""


class Leaf(NamedTuple):
    """One array of a batched space: shape of one element, and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def check_supported(space: Space[Any], role: str) -> None:
    """Refuse spaces that have no fixed-size array form.

    Args:
        space: the space of one environment.
        role: ``observation`` or ``action``.

    Raises:
        UnsupportedSpaceError: a part is ``Text``, ``Graph``, ``Sequence``, ``OneOf``, of object dtype or custom.
    """
    for path, leaf in _walk(space, ""):
        if not isinstance(leaf, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise UnsupportedSpaceError(
                f"expected an {role} space of {_SUPPORTED}, got {type(leaf).__name__} at {role}{path}; wrap the "
                f"environment so that this part becomes a Box (gymnasium.wrappers.TransformObservation, "
                f"TransformAction)"
            )
        if leaf.dtype is None or leaf.dtype.hasobject:
            raise UnsupportedSpaceError(
                f"expected numbers, got dtype {leaf.dtype} at {role}{path}; give the space a numeric dtype"
            )


def leaves(space: Space[Any]) -> list[Leaf]:
    """Return the leaves of ``space`` in the order in which :func:`assemble` takes their arrays."""
    return [Leaf(tuple(leaf.shape or ()), np.dtype(leaf.dtype)) for _, leaf in _walk(space, "")]


def assemble(space: Space[Any], arrays: Iterator[NDArray[Any]]) -> ArrayTree:
    """Nest the arrays of the leaves as ``space`` nests."""
    if isinstance(space, spaces.Dict):
        return {key: assemble(part, arrays) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(assemble(part, arrays) for part in space.spaces)
    return next(arrays)


def zeros(space: Space[Any], lead: tuple[int, ...], allocate: Allocate = np.zeros) -> ArrayTree:
    """Return zeros in place of observations: one array ``[*lead, *shape]`` per leaf, nested as ``space`` nests.

    Floating-point leaves are float32, which is what networks compute in; integers are as the space has them. The space
    is only read: its generator, which may be an environment's own, does not advance as ``sample`` would make it.

    Args:
        space: the space.
        lead: leading axes.
        allocate: returns an array of zeros of a shape and dtype.
    """
    arrays = (
        allocate((*lead, *leaf.shape), np.float32 if np.issubdtype(leaf.dtype, np.floating) else leaf.dtype)
        for leaf in leaves(space)
    )
    return assemble(space, arrays)


def float_leaves(space: Space[Any], tree: ArrayTree) -> list[FloatLeaf]:
    """Return the leaves that can hold NaN, with their paths."""
    arrays: list[NDArray[Any]] = []
    map_tree(arrays.append, tree)
    pairs = zip(_walk(space, ""), arrays, strict=True)
    return [(path, array) for (path, _), array in pairs if np.issubdtype(array.dtype, np.inexact)]


def map_tree(function: Callable[[NDArray[Any]], Any], tree: ArrayTree) -> Any:
    """Apply ``function`` to every array of ``tree`` and keep the nesting."""
    if isinstance(tree, dict):
        return {key: map_tree(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_tree(function, part) for part in tree)
    return function(tree)


def copy_tree(tree: ArrayTree) -> ArrayTree:
    """Return ``tree`` with every array copied."""
    if isinstance(tree, np.ndarray):  # the rule, and np.copy costs three times as much
        return tree.copy()
    return map_tree(np.copy, tree)


def write_rows(target: ArrayTree, source: ArrayTree, rows: Any) -> None:
    """Copy a batch ``source`` into ``rows`` (an index, indices or a slice) of the tree ``target``."""
    if isinstance(target, dict):
        for key, part in target.items():
            write_rows(part, source[key], rows)
    elif isinstance(target, tuple):
        for part, item in zip(target, source, strict=True):
            write_rows(part, item, rows)
    else:
        target[rows] = source


def copy_rows(source: ArrayTree, target: ArrayTree, rows: Any) -> None:
    """Copy ``rows`` of one tree into the same rows of another."""
    write_rows(target, map_tree(lambda array: array[rows], source), rows)


def take_row(tree: ArrayTree, index: int) -> Any:
    """Return a copy of one element of a batch."""
    return map_tree(lambda array: array[index].copy(), tree)


def split_rows(tree: ArrayTree) -> list[Any]:
    """Return the elements of a batch, as ``gymnasium.vector.utils.iterate`` gives them (views; scalars for rank 1)."""
    if isinstance(tree, dict):
        columns = [split_rows(part) for part in tree.values()]
        return [dict(zip(tree, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(tree, tuple):
        return list(zip(*(split_rows(part) for part in tree), strict=True))
    return list(tree)


def copied_rows(tree: ArrayTree) -> list[Any]:
    """Return copies of the elements of a batch, otherwise as :func:`split_rows` does."""
    return split_rows(
        tree if isinstance(tree, np.ndarray) and tree.ndim == 1 else copy_tree(tree)
    )  # scalars are copies


def row_reader(tree: ArrayTree) -> Callable[[int], Any]:
    """Return a function that copies one element out of a batch, as :func:`split_rows` gives them."""
    if isinstance(tree, dict):
        parts = [(key, row_reader(part)) for key, part in tree.items()]
        return lambda index: {key: read(index) for key, read in parts}
    if isinstance(tree, tuple):
        readers = [row_reader(part) for part in tree]
        return lambda index: tuple(read(index) for read in readers)
    array: NDArray[Any] = tree
    return (lambda index: array[index]) if array.ndim == 1 else (lambda index: array[index].copy())


def row_writer(space: Space[Any], tree: ArrayTree, index: int, path: str = "observation") -> RowWriter:
    """Return a function that checks an element of ``space`` and copies it into row ``index`` of ``tree``.

    The check is exact, so that nothing is broadcast or cast unnoticed: shape and dtype for ``Box``, integers within
    range for the discrete spaces, the very keys of ``Dict``.

    Raises:
        ContractBreach: (from the returned function) the element does not fit.
    """
    if isinstance(space, spaces.Dict):
        parts = {key: row_writer(part, tree[key], index, f"{path}[{key!r}]") for key, part in space.spaces.items()}
        return _dict_writer(parts, path)
    if isinstance(space, spaces.Tuple):
        items = [row_writer(part, tree[k], index, f"{path}[{k}]") for k, part in enumerate(space.spaces)]
        return _tuple_writer(items, path)
    if isinstance(space, spaces.Discrete):
        return _discrete_writer(space, tree, index, path)
    return _array_writer(space, tree[index, ...], path)


def _array_writer(space: Space[Any], row: NDArray[Any], path: str) -> RowWriter:
    shape, dtype, ndarray = row.shape, row.dtype, np.ndarray
    if row.ndim == 1 and dtype.char in PLAIN_FORMATS:
        cells: Any = row.data

        def write_vector(value: Any) -> None:
            if type(value) is ndarray:
                try:
                    cells[:] = value  # which checks shape and dtype as well, in half of the time that it takes here
                    return
                except (ValueError, TypeError):
                    pass
            row[...] = _accept_array(space, value, shape, dtype, path)

        return write_vector

    def write(value: Any) -> None:
        if type(value) is not ndarray or value.dtype != dtype or value.shape != shape:
            value = _accept_array(space, value, shape, dtype, path)
        row[...] = value

    return write


def _accept_array(
    space: Space[Any], value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], path: str
) -> NDArray[Any] | np.generic:
    wanted = f"{path} to be an array of shape {shape} and dtype {dtype}"
    if not isinstance(value, np.ndarray | np.generic):
        raise ContractBreach(
            f"expected {wanted}, got {type(value).__name__}; return numpy.asarray(observation, dtype=numpy.{dtype})"
        )
    if value.shape != shape:
        raise ContractBreach(
            f"expected {wanted}, got shape {value.shape} and dtype {value.dtype}; return that shape, or change the "
            f"observation space"
        )
    if value.dtype == dtype:
        return value
    if isinstance(space, spaces.MultiDiscrete) and value.dtype.kind in "iu" and np.can_cast(value.dtype, dtype):
        return value
    if isinstance(space, spaces.MultiBinary) and value.dtype.kind in "biu" and np.isin(value, (0, 1)).all():
        return value
    raise ContractBreach(
        f"expected {wanted}, got dtype {value.dtype}; return observation.astype(numpy.{dtype}), or change the "
        f"observation space"
    )


def _discrete_writer(space: spaces.Discrete, column: NDArray[Any], index: int, path: str) -> RowWriter:
    low, high = int(space.start), int(space.start + space.n - 1)

    def refuse(value: Any) -> NoReturn:
        got = f"{value!r}" if isinstance(value, int | np.number) else type(value).__name__
        raise ContractBreach(f"expected {path} to be an integer from {low} to {high}, got {got}; mend it or the space")

    def write(value: Any) -> None:
        kind = type(value)
        if kind is not int and not isinstance(value, np.integer):
            if not (isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iu"):
                refuse(value)
            value = value.item()
        if not low <= value <= high:
            refuse(value)
        column[index] = value

    return write


def _dict_writer(parts: Mapping[str, RowWriter], path: str) -> RowWriter:
    items, count = tuple(parts.items()), len(parts)

    def write(value: Any) -> None:
        if not isinstance(value, Mapping) or len(value) != count or any(key not in value for key in parts):
            got = f"keys {sorted(map(str, value))}" if isinstance(value, Mapping) else type(value).__name__
            raise ContractBreach(f"expected {path} to be a dict of keys {sorted(parts)}, got {got}; return all of them")
        for key, write_part in items:
            write_part(value[key])

    return write


def _tuple_writer(parts: list[RowWriter], path: str) -> RowWriter:
    def write(value: Any) -> None:
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            got = f"{len(value)} items" if isinstance(value, tuple | list) else type(value).__name__
            raise ContractBreach(f"expected {path} to be a tuple of {len(parts)} items, got {got}; return all of them")
        for write_part, item in zip(parts, value, strict=True):
            write_part(item)

    return write


def _walk(space: Space[Any], path: str) -> Iterator[tuple[str, Space[Any]]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _walk(part, f"{path}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        for k, part in enumerate(space.spaces):
            yield from _walk(part, f"{path}[{k}]")
    else:
        yield path, space
