"""Who runs where: drivers, checkpoints, evaluation. Names are imported when first used; most of them need JAX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Policy": "paceline.training.policy",
    "evaluate": "paceline.training.evaluation",
    "run_trial": "paceline.training.trial",
    "train": "paceline.training.run",
}

__all__ = ["Policy", "evaluate", "run_trial", "train"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
