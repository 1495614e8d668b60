"""Every error that paceline raises on purpose, in one tree.

    PacelineError
    ├── RequestError            the request makes no sense (exit status 2)
    │   ├── SpecError           a spec, YAML file or option is malformed
    │   ├── EnvNotFoundError    no environment of that name
    │   ├── UnsupportedSpaceError   a space that the chosen component cannot handle
    │   ├── PlanError           plan, algorithm and batch do not fit together
    │   └── ResultsError        a results folder, file or checkpoint is corrupt or foreign
    └── WorkError               the request was sound, the work failed (exit status 1)
        ├── EnvError            an environment broke; says which one
        │   ├── EnvRaisedError      it raised
        │   ├── EnvContractError    it returned a wrong shape, dtype or type
        │   ├── EnvTimeoutError     it did not answer in time
        │   ├── RunnerDiedError     the process that held it died
        │   └── RunnerMemoryError   the process that holds it uses too much memory
        ├── ResourceError       the machine has none left: processes, open files, memory
        │   └── OutOfMemoryError    memory or shared memory ran out
        ├── OutputError         an output folder or file cannot be written
        └── NonFiniteLossError  the learner met NaN or infinity

Messages follow one pattern: what was expected, what was got, what to do. The command line prints them without a
traceback unless ``--debug`` is given.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PacelineError(Exception):
    """Base of every error that paceline raises on purpose."""

    exit_status: ClassVar[int] = 1


class RequestError(PacelineError):
    """The request makes no sense; nothing was started."""

    exit_status = 2


class SpecError(RequestError):
    """A spec, a YAML file or a command-line option is malformed."""


class EnvNotFoundError(RequestError):
    """No environment of that name can be built."""


class UnsupportedSpaceError(RequestError):
    """An observation or action space that the chosen component cannot handle."""


class PlanError(RequestError):
    """Plan, algorithm, batch and machine do not fit together."""


class ResultsError(RequestError):
    """A results folder, results file or checkpoint is missing, corrupt or of a foreign format."""


class WorkError(PacelineError):
    """The request was sound, but the work failed."""


class EnvError(WorkError):
    """An environment broke.

    Args:
        message: one sentence on what happened.
        env_index: index of the environment in the vector, if known.
        seed: the seed it was last reset with, if known.
        step: how many steps it had taken since the vector was made, if known.
        action: the last action that it was given, if known.
        original_traceback: the traceback text from where it happened (shown with ``--debug``).
    """

    def __init__(
        self,
        message: str,
        *,
        env_index: int | None = None,
        seed: int | None = None,
        step: int | None = None,
        action: Any = None,
        original_traceback: str = "",
    ) -> None:
        self.env_index = env_index
        self.seed = seed
        self.step = step
        self.action = action
        self.original_traceback = original_traceback
        where = [
            f"{name} {value}"
            for name, value in (("env", env_index), ("seed", seed), ("step", step), ("last action", action))
            if value is not None
        ]
        super().__init__(message + (f" ({', '.join(where)})" if where else ""))


class EnvRaisedError(EnvError):
    """An environment raised an exception in reset, step or while it was built."""


class EnvContractError(EnvError):
    """An environment returned something of another shape, dtype or type than its spaces promise."""


class EnvTimeoutError(EnvError):
    """An environment did not answer within the step timeout."""


class RunnerDiedError(EnvError):
    """The process that held an environment died."""


class RunnerMemoryError(EnvError):
    """The processes that hold the environments use more memory than they may; the one that grew most is named."""


class ResourceError(WorkError):
    """The machine gives no more of something that the work needs: processes, open files, memory."""


class OutOfMemoryError(ResourceError):
    """Memory or shared memory ran out: fewer environments or smaller batches would help."""


class OutputError(WorkError):
    """An output folder or file cannot be written."""


class NonFiniteLossError(WorkError):
    """The loss, a gradient or a parameter became NaN or infinite."""


def error_named(name: str, message: str) -> PacelineError:
    """Return the paceline error of class ``name``; a :class:`WorkError` if paceline has none of that name."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, PacelineError):
        return kind(message)
    return WorkError(message)
