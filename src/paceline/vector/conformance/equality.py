"""What counts as the same data, and how a broken rule is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.errors import RequestError


def require(held: Any, rule: str) -> None:
    """Raise ``AssertionError`` with ``rule`` unless it was ``held`` (also under ``python -O``)."""
    if not held:
        raise AssertionError(rule)


def require_refused(rule: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Require that a call raises :class:`RequestError` with a sentence that says what was expected and what to do."""
    try:
        call(*args, **kwargs)
    except RequestError as error:
        message = str(error)
        require("expected " in message and "; " in message, f"{rule}: expected .., got ..; do .., not {message!r}")
        return
    except Exception as error:
        raise AssertionError(f"{rule}: refused with RequestError, not {type(error).__name__}: {error}") from error
    raise AssertionError(f"{rule}: refused with RequestError, but it was accepted")


def as_arrays(space: gymnasium.Space[Any], element: Any) -> Any:
    """Return an element of ``space`` as a tree of fresh arrays with the dtypes of the space's leaves."""
    if isinstance(space, spaces.Dict):
        return {key: as_arrays(part, element[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(as_arrays(part, item) for part, item in zip(space.spaces, element, strict=True))
    return np.array(element, dtype=space.dtype)


def copied(tree: Any) -> Any:
    """Return a tree of arrays with every array copied."""
    return mapped(np.copy, tree)


def mapped(function: Callable[[NDArray[Any]], Any], tree: Any) -> Any:
    """Apply ``function`` to every array of a tree."""
    if isinstance(tree, Mapping):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(mapped(function, part) for part in tree)
    return function(tree)


def flattened(tree: Any) -> list[NDArray[Any]]:
    """Return the arrays of a tree, in its order."""
    found: list[NDArray[Any]] = []
    mapped(found.append, tree)
    return found


def require_same(expected: Any, got: Any, what: str, tolerance: float = 0.0) -> None:
    """Require equal nesting, shapes, dtypes and values; every bit, unless there is a tolerance.

    Args:
        expected: arrays, numbers, words, or a dict, list or tuple of such.
        got: what a backend made of it.
        what: the place, for the message.
        tolerance: largest difference of floating-point numbers, absolute or relative.
    """
    if isinstance(expected, Mapping):
        require(isinstance(got, Mapping), f"{what} is a dict, not {type(got).__name__}")
        require(
            set(expected) == set(got),
            f"{what} has the keys {sorted(map(str, expected))}, not {sorted(map(str, got))}",
        )
        for key in expected:
            require_same(expected[key], got[key], f"{what}[{key!r}]", tolerance)
    elif isinstance(expected, list | tuple):
        require(isinstance(got, list | tuple), f"{what} is a {type(expected).__name__}, not {type(got).__name__}")
        require(len(expected) == len(got), f"{what} has {len(expected)} parts, not {len(got)}")
        for k, (left, right) in enumerate(zip(expected, got, strict=True)):
            require_same(left, right, f"{what}[{k}]", tolerance)
    elif isinstance(expected, np.ndarray | np.generic | bool | int | float):
        if not isinstance(got, np.ndarray | np.generic | bool | int | float):  # writing images out takes its time
            raise AssertionError(f"{what} is {expected!r}, not {type(got).__name__}")
        _require_same_array(np.asarray(expected), np.asarray(got), what, tolerance)
    else:
        require(bool(expected == got), f"{what} is {expected!r}, not {got!r}")


def _require_same_array(expected: NDArray[Any], got: NDArray[Any], what: str, tolerance: float) -> None:
    require(expected.shape == got.shape, f"{what} has shape {expected.shape}, not {got.shape}")
    require(expected.dtype == got.dtype, f"{what} has dtype {expected.dtype}, not {got.dtype}")
    if expected.dtype.hasobject:
        for k, (left, right) in enumerate(zip(expected.reshape(-1), got.reshape(-1), strict=True)):
            require_same(left, right, f"{what}[{k}]", tolerance)
    elif tolerance and np.issubdtype(expected.dtype, np.floating):
        close = np.allclose(expected, got, rtol=tolerance, atol=tolerance, equal_nan=True)
        require(close, f"{what} is {expected.tolist()} to {tolerance}, not {got.tolist()}")
    elif expected.tobytes() != got.tobytes():
        raise AssertionError(f"{what} is {_shorten(expected)}, not {_shorten(got)}")


def _shorten(array: NDArray[Any]) -> str:
    return np.array2string(array, threshold=20, edgeitems=3).replace("\n", "")
