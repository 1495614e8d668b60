"""What ``verify.json`` holds: a tuning's answer, measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from paceline.errors import ResultsError
from paceline.measure.result import Record
from paceline.measure.tune_result import NoiseFloor

VERIFY_FILE = "verify.json"

Answer = Literal["SAME", "FASTER", "SLOWER", "CANNOT TELL"]
Role = Literal["winner", "baseline", "runner-up"]
Interval = tuple[float, float, float]
"""A median and the 95 % interval around it."""


class VerifiedSlice(Record):
    """One slice of whole iterations.

    Attributes:
        process: number of the process that ran it; the same number, the same process.
        time_s: its middle, on a clock that does not jump.
        wall_s: seconds that it took.
        num_env_steps: steps taken.
        sps: steps per second.
    """

    process: int
    time_s: float
    wall_s: float
    num_env_steps: int
    sps: float


class VerifiedPlan(Record):
    """One plan, now and as the tuning recorded it.

    Attributes:
        name: what it is called.
        role: what the tuning said of it.
        sps: steps per second now, with the 95 % interval; None where it was not measured.
        recorded_sps: what the tuning said.
        recorded_ci95: where that lies with 95 %; None where it is not known.
        ratio: the winner's speed in units of this one's, now; None of the winner, and where it was not measured.
        recorded_ratio: the same as the tuning recorded it; None where it did not.
        failure: why it could not be measured; empty where it was.
        slices: what was measured.
    """

    name: str
    role: Role
    sps: Interval | None = None
    recorded_sps: float
    recorded_ci95: tuple[float, float] | None = None
    ratio: Interval | None = None
    recorded_ratio: Interval | None = None
    failure: str = ""
    slices: tuple[VerifiedSlice, ...] = ()


class VerifyRecord(Record):
    """A verification.

    Attributes:
        answer: the winner's speed beside the recorded one.
        change: the winner's speed now in units of the recorded one; None on another machine.
        margin: share that a change must exceed to count.
        resolution: share that must be outside the interval of ``change`` for ``SAME``.
        plans: the winner first.
        noise: how much the machine differed from itself meanwhile.
        differences: what is not as it was when the tuning was made, a sentence each.
        same_machine: whether the tuning was made on this machine.
        complete: False if it was stopped early.
        env_id: the environment.
        tuned: when the tuning was made, ISO 8601.
        timestamp: when this was begun, ISO 8601.
        budget_s: seconds that were allowed.
        wall_s: seconds that it took.
        machine_fingerprint: of this machine.
        paceline_version: of this program.
    """

    format: Literal["paceline.verify"] = "paceline.verify"
    answer: Answer
    change: Interval | None = None
    margin: float
    resolution: float
    plans: tuple[VerifiedPlan, ...]
    noise: NoiseFloor
    differences: tuple[str, ...] = ()
    same_machine: bool = True
    complete: bool = True
    env_id: str
    tuned: str
    timestamp: str
    budget_s: float
    wall_s: float
    machine_fingerprint: str
    paceline_version: str

    @property
    def winner(self) -> VerifiedPlan:
        """The plan that the tuning said to take."""
        return self.plans[0]


def load_verification(folder: Path) -> VerifyRecord | None:
    """Return the last verification of the tuning in ``folder``; None if there was none.

    Raises:
        ResultsError: ``verify.json`` cannot be read, or is damaged.
    """
    file = folder / VERIFY_FILE
    try:
        return VerifyRecord.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read: {error.strerror}; check its permissions") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "content"
        raise ResultsError(
            f"{file}: expected what `paceline verify` writes, got {where}: {problem['msg']}; run it again, or remove "
            f"the file"
        ) from None
