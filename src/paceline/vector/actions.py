"""Actions: storing a batch where environments read them, shapes and kinds checked, and telling of one in a message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.errors import RequestError
from paceline.vector.selection import Selection

_LONGEST_ACTION = 12


def store_actions(target: Any, actions: Any, path: str = "actions") -> None:
    """Copy actions of all environments into the tree ``target``.

    Args:
        target: arrays ``[N, ...]``, nested as the action space is.
        actions: the same; dtypes may differ in size but not in kind.
        path: what to call them in a message.

    Raises:
        RequestError: another shape, kind or nesting.
    """
    if isinstance(target, np.ndarray):
        _copy(target, np.asarray(actions), path)
        return
    for key in _keys(target):
        store_actions(target[key], _part(actions, key, path), f"{path}[{key!r}]")


def store_rows(target: Any, actions: Any, chosen: Selection, path: str = "actions") -> None:
    """Copy actions of some environments into their rows of the tree ``target``.

    Args:
        target: arrays ``[N, ...]``, nested as the action space is.
        actions: arrays ``[B, ...]``, in the order in which the caller named the environments.
        chosen: these environments.
        path: what to call them in a message.

    Raises:
        RequestError: another shape, kind or nesting.
    """
    if isinstance(target, np.ndarray):
        source = np.asarray(actions)
        if source.dtype != target.dtype or source.shape != (len(chosen), *target.shape[1:]):
            checked = np.empty((len(chosen), *target.shape[1:]), target.dtype)
            _copy(checked, source, path)
            source = checked
        target[chosen.rows] = source if chosen.order is None else source[chosen.order]
        return
    for key in _keys(target):
        store_rows(target[key], _part(actions, key, path), chosen, f"{path}[{key!r}]")


def plain_action(action: Any) -> Any:
    """Return an action as plain Python for a message; long ones are cut short."""
    if isinstance(action, np.ndarray):
        flat = action.reshape(-1).tolist()
        return action.tolist() if len(flat) <= _LONGEST_ACTION else [*flat[:_LONGEST_ACTION], "..."]
    if isinstance(action, np.generic):
        return action.item()
    if isinstance(action, dict):
        return {key: plain_action(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return tuple(plain_action(part) for part in action)
    return action


def _copy(target: NDArray[Any], source: NDArray[Any], path: str) -> None:
    if source.shape != target.shape:
        raise RequestError(f"expected {path} of shape {target.shape}, got {source.shape}; give one per environment")
    try:
        np.copyto(target, source, casting="same_kind")
    except TypeError:
        raise RequestError(
            f"expected {path} of dtype {target.dtype}, got {source.dtype}; convert them with astype"
        ) from None


def _keys(target: Any) -> Iterable[Any]:
    return target if isinstance(target, dict) else range(len(target))


def _part(actions: Any, key: Any, path: str) -> Any:
    try:
        return actions[key]
    except (KeyError, IndexError, TypeError):
        raise RequestError(
            f"expected {path} to have a part {key!r}, got {type(actions).__name__}; nest it as the action space"
        ) from None
