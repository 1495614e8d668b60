"""The actions of a bench: drawn at random, all zero, or read from a file; made before the clock starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from numpy.typing import NDArray

from paceline.errors import SpecError, UnsupportedSpaceError

NUM_BATCHES = 64
"""Batches of random actions that are drawn once and then played round and round."""


def action_batches(kind: str, space: gymnasium.Space[Any], num_rows: int, seed: int) -> list[Any]:
    """Return batches of actions, each ``[num_rows, ...]`` nested as ``space`` is, to be played round and round.

    Args:
        kind: ``random``, ``zero`` or the path of an ``.npy`` file.
        space: action space of one environment.
        num_rows: actions in a batch.
        seed: of the random ones.

    Raises:
        SpecError: the file cannot be read or does not fit the space.
        UnsupportedSpaceError: the space has no zero, or a file cannot hold its actions.
    """
    if kind == "random":
        batched = batch_space(space, num_rows)
        batched.seed(seed)
        return [batched.sample() for _ in range(NUM_BATCHES)]
    if kind == "zero":
        empty: Any = create_empty_array(space, num_rows)
        return [concatenate(space, [zero_action(space)] * num_rows, empty)]
    return _from_file(Path(kind), space, num_rows)


def zero_action(space: gymnasium.Space[Any]) -> Any:
    """Return the action of ``space`` that is zero, or nearest to it.

    Raises:
        UnsupportedSpaceError: the space has none.
    """
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return np.asarray(space.start, dtype=space.dtype)[()]
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, dtype=space.dtype)
    if isinstance(space, spaces.Dict):
        return {name: zero_action(part) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(zero_action(part) for part in space.spaces)
    raise UnsupportedSpaceError(f"expected an action space that has a zero, got {space}; use --actions random")


def _from_file(path: Path, space: gymnasium.Space[Any], num_rows: int) -> list[Any]:
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise UnsupportedSpaceError(
            f"expected an action space of one array to read actions from {path}, got {space}; use --actions random"
        )
    found = _load(path)
    shape = tuple(space.shape or ())
    played = found[:, None] if found.ndim == len(shape) + 1 else found
    if played.ndim != len(shape) + 2 or played.shape[2:] != shape or not played.size:
        raise SpecError(
            f"{path}: expected actions [T, ..] or [T, M, ..] of shape {shape} each, got an array of shape "
            f"{found.shape}; save them with numpy.save"
        )
    typed = played.astype(space.dtype)
    for step, row in enumerate(typed):
        for action in row:
            if not space.contains(action):
                raise SpecError(f"{path}: expected actions of {space}, got {action} at step {step}; mend the file")
    columns = np.arange(num_rows) % typed.shape[1]
    return [np.ascontiguousarray(row[columns]) for row in typed]


def _load(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SpecError(f"expected --actions random, zero or a file, got {str(path)!r}, which is not there") from None
    except (OSError, ValueError, EOFError) as error:
        raise SpecError(f"{path}: expected an .npy file of numbers, got {error}; save it with numpy.save") from None
    if not isinstance(found, np.ndarray):
        raise SpecError(f"{path}: expected an .npy file, got an archive of several arrays; save one with numpy.save")
    return found
