"""What the learner's process and an actor say to each other before fragments begin to flow.

Messages are pickled: both ends are the same program, started by the same user, over a private socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paceline.rollout.fragments import FragmentLayout
from paceline.spec import RunSpec


@dataclass(frozen=True)
class BuildEnvs:
    """First message: build the environments.

    Attributes:
        sys_path: the module search path of the learner's process.
        spec: the run.
        slot: index of the actor.
        first: index of its first environment.
        count: E.
    """

    sys_path: list[str]
    spec: RunSpec
    slot: int
    first: int
    count: int


@dataclass(frozen=True)
class Built:
    """The answer to :class:`BuildEnvs`: what the environments are like."""

    observation_space: Any
    action_space: Any
    max_episode_steps: int | None


@dataclass(frozen=True)
class BeginWork:
    """Second message: map the memory, compile, reset; fragments are asked for by signals.

    The answers are :class:`Compiled` and :class:`Begun`.

    Attributes:
        spec: the run, with everything filled in.
        layout: sizes of the memory.
        seeds: of the actor's environments, ``[E]``.
        env_steps: steps that each has taken in the run so far, ``[E]``.
        takes_gradients: return a gradient with each fragment.
        takes_log_probs: return the log-probabilities of what was done with each fragment.
        num_filled: slots that the actor's predecessor has filled: some may not be read yet.
    """

    spec: RunSpec
    layout: FragmentLayout
    seeds: list[int]
    env_steps: list[int]
    takes_gradients: bool
    takes_log_probs: bool
    num_filled: int


@dataclass(frozen=True)
class Compiled:
    """The actor has compiled, and begins to reset its environments: from here on a hang is theirs."""


@dataclass(frozen=True)
class Begun:
    """The environments are reset, and fragments can be asked for.

    Attributes:
        threads: what :func:`paceline.machine.record_threads` says of the actor.
    """

    threads: dict[str, Any]


@dataclass(frozen=True)
class Replaced:
    """Goes before the signal of a fragment in which environments broke and were replaced.

    Attributes:
        told: what each did, in order.
    """

    told: tuple[str, ...]
