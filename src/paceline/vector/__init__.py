"""Vector environments: many environments behind one call, in this process or in runner processes.

Names are imported when they are first used, because runner processes start from this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.vector.base import StepBatch, VecEnv
    from paceline.vector.make import make_vec
    from paceline.vector.serial import SerialVecEnv
    from paceline.vector.shm import ShmVecEnv

__all__ = ["SerialVecEnv", "ShmVecEnv", "StepBatch", "VecEnv", "make_vec"]

_HOMES = {
    "SerialVecEnv": "paceline.vector.serial",
    "ShmVecEnv": "paceline.vector.shm",
    "StepBatch": "paceline.vector.base",
    "VecEnv": "paceline.vector.base",
    "make_vec": "paceline.vector.make",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'paceline.vector' has no attribute {name!r}")
    return getattr(import_module(home), name)
