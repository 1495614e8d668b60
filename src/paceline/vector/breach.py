"""What an environment may do wrong in a step or reset, put into words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paceline.errors import EnvContractError, EnvError, EnvRaisedError
from paceline.vector.spaces import ContractBreach, FloatLeaf

NO_RESULT: Any = object()
"""Stands for what ``step`` has returned while it has returned nothing; None is what it may return."""


def name_breach(error: BaseException, result: Any) -> tuple[type[EnvError], str]:
    """Return the kind and the message of the error that tells of an exception in the loop over environments.

    Args:
        error: as the loop has caught it.
        result: what ``step`` returned, or :data:`NO_RESULT`.
    """
    frames = error.__traceback__
    if isinstance(error, ContractBreach):
        return EnvContractError, str(error)
    # An error without a frame below the loop's is the loop's own, in handling the result; where there is none yet, it
    # is that of a call which came to no frame: of another signature, or not written in Python.
    if result is not NO_RESULT and frames is not None and frames.tb_next is None:
        return EnvContractError, _misfit(result, error)
    return EnvRaisedError, f"an environment raised {type(error).__name__}: {_text_of(error)}".rstrip(": .")


def refuse_nan(leaves: Sequence[FloatLeaf], index: int, what: str) -> None:
    """Look for NaN in row ``index`` of the leaves of an observation.

    Args:
        leaves: paths and arrays ``[E, ...]``.
        index: of the row.
        what: what to call it in the message.

    Raises:
        ContractBreach: there is some.
    """
    for path, array in leaves:
        row = array[index, ...]
        if np.isnan(row).any():
            places = np.argwhere(np.isnan(row)).tolist()
            where = f" at {places[0]}" if row.ndim else ""
            raise ContractBreach(
                f"expected {what}{path} to be numbers, got NaN{where} ({len(places)} of {row.size}); mend the "
                f"environment, or wrap it so that NaN never leaves it"
            )


def refuse_info(info: Any) -> None:
    """Refuse an info that is no dict.

    Raises:
        ContractBreach: it is something else.
    """
    if not isinstance(info, dict):
        raise ContractBreach(f"expected info to be a dict, got {type(info).__name__}; return {{}} if there is none")


def _text_of(error: BaseException) -> str:
    """Return the message of an exception of anyone's making, which may fail to give one."""
    try:
        return str(error)
    except Exception as failure:
        return f"(its message cannot be had: {type(failure).__name__})"


def has_nan(array: Any) -> bool:
    """Return whether there is NaN in ``array``, in a quarter of the time of ``isnan`` and ``any``.

    The product of an array with itself is NaN if, and only if, there is NaN in it: squares cannot cancel out.
    """
    total = np.vdot(array, array)  # which, unlike dot, says nothing where large squares overflow
    return bool(total != total)


def _misfit(result: Any, error: BaseException) -> str:
    names = "(observation, reward, terminated, truncated, info)"
    if not isinstance(result, tuple | list):
        return f"expected step to return {names}, got {type(result).__name__}; return all five"
    if len(result) != 5:
        return f"expected step to return the 5 values {names}, got {len(result)}; return all five"
    if not isinstance(result[1], int | float | np.number):
        return f"expected the reward to be a number, got {type(result[1]).__name__}; return float(reward)"
    return f"expected step to return {names} of fitting types, got an error in reading them: {error}"
