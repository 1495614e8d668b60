"""Deterministic environments of known cost, known return or known misbehaviour: ``synthetic:NAME?key=value``.

=================  ====================================================================================
``busy``           computes for ``us`` microseconds a step (``sigma``: log-normal spread)
``sleep``          sleeps for ``us`` microseconds or ``ms`` milliseconds a step (``sigma``: log-normal spread)
``known-return``   optimal return, random return and values in closed form
``spaces``         every supported observation and action space; each observation tells what led to it
``faulty``         raises, hangs, exits or returns nonsense at a chosen step
=================  ====================================================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import gymnasium

from paceline.envs.synthetic.cost import BusyEnv, SleepEnv
from paceline.envs.synthetic.faulty import FAULTS, FaultyEnv
from paceline.envs.synthetic.known_return import KnownReturnEnv
from paceline.envs.synthetic.spaces import ACTION_SPACES, OBSERVATION_SPACES, SpacesEnv
from paceline.errors import EnvNotFoundError

PREFIX = "synthetic:"

ENVS: dict[str, Callable[..., gymnasium.Env[Any, Any]]] = {
    "busy": BusyEnv,
    "sleep": SleepEnv,
    "known-return": KnownReturnEnv,
    "spaces": SpacesEnv,
    "faulty": FaultyEnv,
}

__all__ = [
    "ACTION_SPACES",
    "ENVS",
    "FAULTS",
    "OBSERVATION_SPACES",
    "PREFIX",
    "BusyEnv",
    "FaultyEnv",
    "KnownReturnEnv",
    "SleepEnv",
    "SpacesEnv",
    "build",
    "find",
]


def find(name: str) -> Callable[..., gymnasium.Env[Any, Any]]:
    """Return the class that ``synthetic:NAME`` stands for.

    Raises:
        EnvNotFoundError: no synthetic environment of that name.
    """
    short = name.removeprefix(PREFIX)
    found = ENVS.get(short)
    if found is None:
        near = difflib.get_close_matches(short, ENVS, n=1, cutoff=0.5)
        hint = f"did you mean {PREFIX}{near[0]}?" if near else f"the names are {', '.join(ENVS)}"
        raise EnvNotFoundError(f"no synthetic environment is called {short!r}; {hint}")
    return found


def build(name: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """Build ``synthetic:NAME`` with ``kwargs``.

    Raises:
        EnvNotFoundError: no synthetic environment of that name.
        TypeError: it does not take one of ``kwargs``.
        SpecError: a keyword argument is out of range.
    """
    return find(name)(**kwargs)
