"""What parent and runner say to each other outside the step path, and how errors travel.

Messages are pickled: both ends are the same program, started by the same user, over a private socket.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import cloudpickle
from gymnasium.vector import AutoresetMode

from paceline import errors
from paceline.errors import EnvError, PacelineError, WorkError
from paceline.vector.faults import Fault, FaultPolicy
from paceline.vector.group import InfoLevel
from paceline.vector.info_board import InfoSchema
from paceline.vector.infos import InfoColumns, InfoRecord
from paceline.vector.runners.patience import Waiting

_DETAILS = ("env_index", "seed", "step", "action", "original_traceback")


@dataclass(frozen=True)
class Setup:
    """First message to a runner: what to build.

    Attributes:
        sys_path: the parent's module search path.
        factories: pickled list of an ``EnvFactory`` per environment (bytes, because unpickling needs ``sys_path``).
        first: index of the runner's first environment.
        count: how many environments.
        slot: index of the runner.
        num_envs: N of the whole vector.
        num_slots: R of the whole vector.
        autoreset_mode: Gymnasium's autoreset mode.
        infos: which infos to collect.
        faults: what to do about environments that break.
        waiting: how to wait for the next step.
        most_ready: how many environments may be ready before that is signalled.
        by_pipe: steps travel as messages, not through shared memory.
        lost_seeds: seeds of environments that take the place of a dead runner's; None at first.
        lost_observations: over a pipe, the last observations of these, ``[E, ...]``.
        lost_steps: how many steps each of these has taken since the vector was made.
    """

    sys_path: list[str]
    factories: bytes
    first: int
    count: int
    slot: int
    num_envs: int
    num_slots: int
    autoreset_mode: AutoresetMode
    infos: InfoLevel
    faults: FaultPolicy
    waiting: Waiting
    most_ready: int
    by_pipe: bool = False
    lost_seeds: list[int] | None = None
    lost_observations: Any = None
    lost_steps: list[int] | None = None


@dataclass(frozen=True)
class Built:
    """A runner's answer to :class:`Setup`: what its environments are like."""

    observation_space: Any
    action_space: Any
    metadata: dict[str, Any]
    render_mode: str | None
    spec: Any


@dataclass(frozen=True)
class MapMemory:
    """The block of shared memory has its size now."""


@dataclass(frozen=True)
class ResetRequest:
    """Reset the runner's environments, or those that ``mask`` chooses."""

    seeds: list[int | None]
    options: dict[str, Any] | None
    mask: list[bool] | None


class StepMessage(NamedTuple):
    """What a runner says beside the arrays after a step, or after a reset: infos, and faults that it mended."""

    infos: list[InfoRecord] | InfoColumns
    faults: list[Fault]
    schema: InfoSchema | None = None
    """What infos look like that will lie on the board from now on."""


class ResetAnswer(NamedTuple):
    """What a runner says of a reset."""

    infos: list[InfoRecord]
    faults: list[Fault]


class PipeStep(NamedTuple):
    """Over a pipe: step these environments.

    Attributes:
        indices: within the runner; None: all.
        actions: their actions, ``[B, ...]`` per leaf.
    """

    indices: list[int] | None
    actions: Any


class PipeRows(NamedTuple):
    """Over a pipe: rows of environments after a step or a reset, in the order of ``VecArrays``, and counters.

    Attributes:
        indices: within the runner; None: all.
        arrays: observations, final observations (None where they are the same), rewards, terminated, truncated, reset
            rows, restarted; ``[B, ...]``.
        counters: busy_ns, env_steps, finished_ns.
        message: infos and faults.
    """

    indices: list[int] | None
    arrays: tuple[Any, ...]
    counters: tuple[int, int, int]
    message: StepMessage


@dataclass(frozen=True)
class CallRequest:
    """Call a method of each environment."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class SetAttrRequest:
    """Set an attribute of each environment."""

    name: str
    values: list[Any]


@dataclass(frozen=True)
class Failure:
    """An error on its way to the parent, as data: the exception itself may not survive pickling."""

    kind: str
    text: str
    details: dict[str, Any]

    @classmethod
    def of(cls, error: PacelineError) -> Failure:
        """Pack ``error``."""
        return cls(type(error).__name__, str(error), {name: getattr(error, name, None) for name in _DETAILS})

    def unpack(self) -> PacelineError:
        """Return an equal error."""
        found = getattr(errors, self.kind, WorkError)
        kind: type[PacelineError] = found if issubclass(found, PacelineError) else WorkError
        error = kind.__new__(kind)
        Exception.__init__(error, self.text)  # EnvError's own __init__ would append the place a second time
        if isinstance(error, EnvError):
            for name in _DETAILS:
                setattr(error, name, self.details[name])
            if error.original_traceback:  # what Python prints of an error that nobody catches should show it, too
                error.add_note(f"In the runner:\n{error.original_traceback}".rstrip())
        return error


SOCKET_BUFFER_BYTES = 262_144
"""Size asked for the control channel's send buffer."""
SMALL_BYTES = 32_768
"""A message up to this size fits the empty send buffer of any system, so that sending it never waits for a reader."""


def pack_message(message: Any) -> bytes:
    """Return ``message`` as bytes; what plain pickle refuses (closures, classes of ``__main__``) travels by value.

    Raises:
        Exception: ``message`` holds something that cannot be pickled at all.
    """
    try:
        return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        payload: bytes = cloudpickle.dumps(message)
        return payload


def send_message(channel: Connection, message: Any) -> None:
    """Send ``message``.

    Raises:
        OSError: the other side is gone.
        Exception: ``message`` holds something that cannot be pickled at all.
    """
    channel.send_bytes(pack_message(message))


def receive_message(channel: Connection) -> Any:
    """Receive what :func:`send_message` sent.

    Raises:
        EOFError, OSError: the other side is gone.
    """
    return unpack_message(channel.recv_bytes())


def unpack_message(payload: bytes) -> Any:
    """Return what :func:`pack_message` made ``payload`` of."""
    return pickle.loads(payload)
