"""What the native vector environment drives: N environments that begin episodes and take steps together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from paceline.vector.arrays import VecArrays
from paceline.vector.native.task import Columns

EnvIds = NDArray[np.int64]


class Failure(NamedTuple):
    """An environment in which something raised; the state that it had before is what it has.

    Attributes:
        env_index: which.
        message: what is to be told: who raised, and what.
        cause: what was raised.
    """

    env_index: int
    message: str
    cause: Exception


class BeginFailedError(Exception):
    """An episode cannot begin.

    Attributes:
        failure: where, and why.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Simulation(ABC):
    """N environments; whoever drives them says when an episode begins.

    Attributes:
        observation_space, action_space: of one environment.
        metadata: of one environment.
        spec: Gymnasium's spec of one environment, or None.
        reason: one sentence on what runs the environments and what that means for the data.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    metadata: dict[str, Any]
    spec: EnvSpec | None
    reason: str
    begins_when_stepped: ClassVar[bool] = False
    """Whether an environment that is stepped after its episode's end begins the next one, reward 0."""
    in_calling_thread: ClassVar[bool] = False
    """Whether a step holds the interpreter all along, so that nothing is gained by another thread."""

    @abstractmethod
    def begin(
        self,
        env_ids: EnvIds,
        seeds: list[int | None] | None,
        arrays: VecArrays,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Begin an episode in ``env_ids`` and write their rows of the observations.

        Args:
            env_ids: which, ascending.
            seeds: one each; None, or a None among them, goes on with the environment's generator.
            arrays: arrays of all N.
            options: what ``reset`` was given beside seeds.

        Raises:
            BeginFailedError: the library raised in an environment, which is known.
            EnvError: it raised, and that is all there is to know.
        """

    @abstractmethod
    def advance(self, env_ids: EnvIds | None, arrays: VecArrays) -> Sequence[Failure]:
        """Step ``env_ids`` (ascending; None: all) with their rows of the actions.

        Writes their rows of observations, rewards, terminated and truncated.

        Returns:
            Environments in which the library raised, ascending; the others have stepped.

        Raises:
            EnvError: the library raised, and it is not known where.
        """

    @abstractmethod
    def step_infos(self, env_ids: EnvIds | None) -> Columns:
        """Return the infos of the last :meth:`advance`, which was given the same ``env_ids``."""

    @abstractmethod
    def reset_infos(self, env_ids: EnvIds) -> Columns:
        """Return the infos of environments that have just begun an episode."""

    @abstractmethod
    def reseed(self, env_index: int, seed: int) -> None:
        """Give one environment a new generator, used from its next episode on."""

    @abstractmethod
    def close(self) -> None:
        """Give back threads and memory."""
