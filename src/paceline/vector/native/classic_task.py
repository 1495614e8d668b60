"""What a classic-control task is: start states, steps, observations and rewards of B environments in batched NumPy.

Each task mirrors one environment class of Gymnasium, down to the order of its floating-point operations and to the
function that each of its scalars goes through: a vectorised function stands in for a scalar one only where both give
the same bits. :mod:`paceline.vector.native.agreement` looks whether they do on the machine at hand.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Observations = NDArray[np.float32]
ResetOptions = dict[str, Any] | None


class Verdict(NamedTuple):
    """What a step was worth.

    Attributes:
        rewards: ``[B]``, or one number for all.
        terminated: bool ``[B]``, or False for all.
    """

    rewards: Floats | float
    terminated: NDArray[np.bool_] | bool


class ClassicTask(ABC):
    """One of Gymnasium's classic-control tasks over B environments.

    Args:
        options: every keyword argument of Gymnasium's class, defaults included.
    """

    size: ClassVar[int]
    """Numbers in the state of one environment."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    @abstractmethod
    def draw_state(self, rng: np.random.Generator, reset_options: ResetOptions) -> Floats:
        """Return the start state of one episode, ``[size]``, drawn as Gymnasium draws it.

        Args:
            rng: the environment's generator.
            reset_options: what ``reset`` was given beside the seed.

        Raises:
            Exception: what Gymnasium raises where the options make no sense.
        """

    def errors(self, actions: NDArray[Any]) -> dict[int, Exception]:
        """Return what Gymnasium's environments would raise, by row of the actions; empty as a rule."""
        return {}

    @abstractmethod
    def move(self, state: Floats, actions: NDArray[Any]) -> Verdict:
        """Advance ``state`` ``[size, B]`` in place by one step.

        Args:
            state: one row for each number.
            actions: ``[B, ...]``, in the action space's dtype; :meth:`errors` has none of them.
        """

    @abstractmethod
    def observe(self, state: Floats, out: Observations) -> None:
        """Write the observations of ``state`` ``[size, B]`` into ``out`` ``[B, n]``."""

    def observe_start(self, state: Floats, out: Observations) -> None:
        """Write the observations of start states; Gymnasium may compute them in another precision."""
        self.observe(state, out)


def refuse_actions(actions: NDArray[np.int64], num_actions: int) -> dict[int, Exception]:
    """Return what Gymnasium raises for actions ``[B]`` outside of ``Discrete(num_actions)``, by row."""
    if np.maximum.reduce(actions.view(np.uint64)) < num_actions:  # as unsigned numbers those below 0 are the largest
        return {}
    wrong = np.flatnonzero((actions < 0) | (actions >= num_actions)).tolist()
    return {row: AssertionError(f"{actions[row]!r} ({type(actions[row])}) invalid") for row in wrong}


def squared(values: Floats) -> Floats:
    """Return the squares of ``[B]`` as C's ``pow`` rounds them, which a float64 scalar's ``** 2`` calls."""
    return np.array([math.pow(value, 2.0) for value in values.tolist()])


def cosines(values: NDArray[Any]) -> Floats:
    """Return the cosines of ``[B]`` as C's ``cos`` rounds them: where Gymnasium calls ``math.cos``."""
    return np.array([math.cos(value) for value in values.tolist()])
