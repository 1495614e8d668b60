"""What happens when an environment breaks: an error, or a replacement that is told and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from paceline import errors
from paceline.errors import EnvError

OnFault = Literal["raise", "restart"]
"""``raise``: the vector environment ends with the error. ``restart``: the environment is replaced, training goes on."""


@dataclass(frozen=True)
class FaultPolicy:
    """What to do about environments that break.

    Attributes:
        on_fault: raise the error, or replace the environment.
        max_restarts: faults mended in the life of a vector environment; one more is raised. A runner lost is one.
    """

    on_fault: OnFault = "raise"
    max_restarts: int = 16

    @property
    def restarts(self) -> bool:
        """Whether environments are replaced."""
        return self.on_fault == "restart"


@dataclass(frozen=True)
class Fault:
    """One environment that broke and was replaced.

    Attributes:
        env_index: which one.
        kind: name of the error's class (``EnvRaisedError``, ``RunnerDiedError``, ..).
        message: what the error would have said.
        seed: seed of the environment that broke, if known.
        step: how many steps it had taken, if known.
        action: the last action that it was given, if known.
        original_traceback: where it happened, if it was an exception.
        new_seed: seed of the environment in its place.
    """

    env_index: int
    kind: str
    message: str
    seed: int | None
    step: int | None
    action: Any
    original_traceback: str
    new_seed: int

    @classmethod
    def of(cls, error: EnvError, env_index: int, new_seed: int) -> Fault:
        """Return the fault that ``error`` tells of."""
        return cls(
            env_index,
            type(error).__name__,
            str(error),
            error.seed,
            error.step,
            error.action,
            error.original_traceback,
            new_seed,
        )

    def error(self, note: str) -> EnvError:
        """Return the error that this fault would have been, with a note appended."""
        found = getattr(errors, self.kind, EnvError)
        kind: type[EnvError] = found if isinstance(found, type) and issubclass(found, EnvError) else EnvError
        told = kind(
            "",
            env_index=self.env_index,
            seed=self.seed,
            step=self.step,
            action=self.action,
            original_traceback=self.original_traceback,
        )
        told.args = (f"{self.message}, {note}",)  # the message names the place already
        return told


def replacement_seed(seed: int | None, num_restarts: int, env_index: int = 0) -> int:
    """Return the seed of an environment's ``num_restarts``-th replacement (from 1), below 2^31.

    Another seed than the broken one's, which would lead to the same fault; the same one in every run.

    Args:
        seed: of the environment that broke; None: it never had one, and its index tells it from the others.
        num_restarts: how often it has been replaced, this time included.
        env_index: its index in the vector.
    """
    key = (num_restarts, 1) if seed is not None else (num_restarts, 2, env_index)
    return int(np.random.SeedSequence(seed or 0, spawn_key=key).generate_state(1)[0]) >> 1
