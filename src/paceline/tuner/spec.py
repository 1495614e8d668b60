"""What is to be tuned, for how long, and for what."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from paceline.spec import RunSpec
from paceline.spec.base import Spec
from paceline.tuner.space import Axes

Objective = Literal["fastest", "balanced", "frugal"]


class TuneSpec(Spec):
    """A search for the best plan of one run.

    ``base`` is the run; of its plan only what is fixed on purpose counts (threads, device, pinning). The axes hold the
    values that are tried; ``None``: whatever may be worth it.
    """

    base: RunSpec
    budget_minutes: float = Field(default=5.0, gt=0)
    objective: Objective = "fastest"
    backends: tuple[Literal["serial", "shm", "thread", "native"], ...] | None = None
    num_env_runners: tuple[int, ...] | None = None
    num_envs_per_env_runner: tuple[int, ...] | None = None
    inferences: tuple[Literal["learner", "runner"], ...] | None = None
    schedules: tuple[Literal["sync", "pipelined", "async"], ...] | None = None
    max_cores: int | None = Field(default=None, ge=1)
    max_memory_bytes: int | None = Field(default=None, gt=0)
    max_lag: int | None = Field(default=None, ge=1, description="updates; plans whose fragments lag more cannot win")

    @model_validator(mode="after")
    def _axes_hold_values(self) -> Self:
        for name in ("num_env_runners", "num_envs_per_env_runner"):
            values = getattr(self, name)
            least = 0 if name == "num_env_runners" else 1
            if values is not None and (not values or min(values) < least):
                raise ValueError(f"{name}: expected values of {least} or more, got {list(values)}")
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
