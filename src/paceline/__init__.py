"""paceline trains reinforcement-learning agents as fast as a machine allows, and proves it.

Names are imported when they are first used: ``import paceline`` loads neither JAX nor Gymnasium.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from paceline._version import __version__

_HOMES = {
    "Budget": "paceline.spec",
    "EnvSpec": "paceline.spec",
    "NetworkSpec": "paceline.spec",
    "PPOSpec": "paceline.spec",
    "PacelineError": "paceline.errors",
    "Plan": "paceline.spec",
    "Policy": "paceline.training",
    "RunResult": "paceline.measure.result",
    "RunSpec": "paceline.spec",
    "SweepSpec": "paceline.spec",
    "make_env": "paceline.envs",
    "make_vec": "paceline.vector",
    "sweep": "paceline.sweep",
    "train": "paceline.training",
    "tune": "paceline.tuner.tune",
    "verify": "paceline.tuner.verify",
}

__all__ = ["__version__", "scaling", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name == "scaling":
        return import_module("paceline.analysis.scaling")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'paceline' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
