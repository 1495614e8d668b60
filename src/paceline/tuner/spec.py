"""What is to be tuned, for how long, and for what."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from paceline.spec import RunSpec
from paceline.spec.base import Spec
from paceline.tuner.decision import weights_of
from paceline.tuner.space import Axes


class TuneSpec(Spec):
    """A search for the best plan of one run.

    ``base`` is the run; of its plan only what is fixed on purpose counts (threads, device, pinning). The axes hold the
    values that are tried; ``None``: whatever may be worth it. Fields that begin with ``try_`` change what is learned:
    their values are measured under the plan that wins, and recommended only if ``verify_learning`` finds nothing amiss.
    """

    base: RunSpec
    budget_minutes: float = Field(default=5.0, gt=0)
    objective: str = Field(default="fastest", description="fastest, balanced, frugal, or cores=0.5,memory=0.1")
    backends: tuple[Literal["serial", "shm", "thread", "native"], ...] | None = None
    num_env_runners: tuple[int, ...] | None = None
    num_envs_per_env_runner: tuple[int, ...] | None = None
    inferences: tuple[Literal["learner", "runner"], ...] | None = None
    schedules: tuple[Literal["sync", "pipelined", "async"], ...] | None = None
    learner_threads: tuple[int, ...] | None = None
    devices: tuple[Literal["cpu", "gpu"], ...] | None = None
    try_batch_sizes: tuple[int, ...] = ()
    try_minibatch_sizes: tuple[int, ...] = ()
    try_num_epochs: tuple[int, ...] = ()
    verify_learning: bool = False
    verify_minutes: float = Field(default=1.0, gt=0, description="training of each of the two, all seeds together")
    max_cores: int | None = Field(default=None, ge=1)
    max_memory_bytes: int | None = Field(default=None, gt=0)
    max_lag: int | None = Field(default=None, ge=1, description="updates; plans whose fragments lag more cannot win")

    @field_validator("objective")
    @classmethod
    def _objective_is_one(cls, value: str) -> str:
        weights_of(value)
        return value

    @model_validator(mode="after")
    def _axes_hold_values(self) -> Self:
        for name in ("num_env_runners", "num_envs_per_env_runner", "learner_threads"):
            values = getattr(self, name)
            least = 0 if name == "num_env_runners" else 1
            if values is not None and (not values or min(values) < least):
                raise ValueError(f"{name}: expected values of {least} or more, got {list(values)}")
        for name in ("try_batch_sizes", "try_minibatch_sizes", "try_num_epochs"):
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name}: expected values of 1 or more, got {list(getattr(self, name))}")
        return self

    @property
    def axes(self) -> Axes:
        """The axes, as the space of plans takes them."""
        return Axes(
            backends=self.backends,
            num_env_runners=self.num_env_runners,
            num_envs_per_env_runner=self.num_envs_per_env_runner,
            inferences=self.inferences,
            schedules=self.schedules,
            max_cores=self.max_cores,
        )
