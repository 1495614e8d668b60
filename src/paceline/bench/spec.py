"""What a bench measures, as data."""

from __future__ import annotations

import difflib
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from paceline.spec import EnvSpec, Spec

BACKENDS = ("serial", "pipe", "shm", "thread", "native", "auto")
"""Executions that a bench knows; one that this machine, version or environment cannot run is told as such.

``auto`` is held against the others: was what it chose the fastest? It chooses its runners itself.
"""

DEFAULT_BACKENDS = ("serial", "shm", "thread", "native")
"""``pipe`` is left out: it is there to be compared with, and never the fastest; ``auto``: it is one of the others."""

DEFAULT_NUM_ENVS = (1, 8, 32, 128)

Path = Literal["step", "send"]
Infos = Literal["none", "all"]


class BenchSpec(Spec):
    """Which executions of an environment to measure, for how many environments, and how.

    ``actions`` is ``random``, ``zero`` or the path of an ``.npy`` file: ``[T, ...action]`` (every environment plays
    it) or ``[T, M, ...action]`` (M sequences, taken in turn by the rows of a batch). ``path`` is what is timed:
    ``send`` (``send`` and ``recv``, as paceline's trainer steps) or ``step`` (Gymnasium's ``step``, with copies).
    """

    env: EnvSpec
    backends: tuple[str, ...] = DEFAULT_BACKENDS
    num_envs: tuple[int, ...] = DEFAULT_NUM_ENVS
    num_env_runners: int | None = Field(default=None, ge=1, description="None: one per usable core, at most N")
    actions: str = Field(default="random", min_length=1)
    seconds: float = Field(default=0.3, gt=0, description="length of a measured window")
    rounds: int = Field(default=6, ge=1, description="windows of each case")
    path: Path = "send"
    batch_size: int | None = Field(default=None, ge=1, description="environments that recv waits for; None: all")
    infos: Infos = "none"
    max_minutes: float | None = Field(default=10.0, gt=0)
    case_timeout_s: float = Field(default=120.0, gt=0, description="longest set-up, and longest window, of a case")
    seed: int = Field(default=0, ge=0, lt=2**31)

    @field_validator("backends")
    @classmethod
    def _backends_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"expected at least one backend, got none; choose from {', '.join(BACKENDS)}")
        for name in value:
            if name not in BACKENDS:
                near = difflib.get_close_matches(name, BACKENDS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(BACKENDS)}"
                raise ValueError(f"no backend is called {name!r}; {hint}")
        if len(set(value)) < len(value):
            raise ValueError(f"expected each backend once, got {', '.join(value)}; leave out the repetition")
        return value

    @field_validator("num_envs")
    @classmethod
    def _sizes_are_positive_and_ordered(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError(f"expected numbers of environments of at least 1, got {list(value)}; give for example 1,8")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _batches_are_received(self) -> Self:
        if self.batch_size is not None:
            if self.path == "step":
                raise ValueError(
                    f"step waits for all environments, got batch_size {self.batch_size}; use path send, or leave "
                    f"batch_size out"
                )
            if self.batch_size > self.num_envs[0]:
                raise ValueError(
                    f"expected batch_size of at most the smallest num_envs, {self.num_envs[0]}, got {self.batch_size}; "
                    f"wait for fewer environments or measure more"
                )
        return self
