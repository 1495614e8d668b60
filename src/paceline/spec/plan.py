"""The plan: how a run is parallelised. Algorithms and environments do not know it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from paceline.errors import PlanError
from paceline.spec.base import Spec

Backend = Literal["auto", "serial", "pipe", "shm", "thread", "native"]
Inference = Literal["auto", "learner", "runner"]
Schedule = Literal["auto", "sync", "pipelined", "async"]
Device = Literal["auto", "cpu", "gpu"]
Engine = Literal["local"]


class Plan(Spec):
    """How a run is parallelised. Algorithms and environments do not know it.

    ``num_env_runners`` R = 0 steps the environments in the learner's process. The number of environments is
    N = max(R, 1) * E.

    ``inference`` says where the policy acts: for all environments in the ``learner``'s process, or in each ``runner``
    for its own. ``schedule`` says who waits for whom: ``sync`` samples a batch with the newest policy and learns from
    it; ``pipelined`` lets one half of the environments step while the policy acts for the other; in ``async`` runners
    never wait for the learner. ``auto`` is what suits the algorithm, see :meth:`for_algorithm`.
    """

    backend: Backend = "auto"
    num_env_runners: int = Field(default=0, ge=0)
    num_envs_per_env_runner: int = Field(default=8, ge=1)
    inference: Inference = "auto"
    schedule: Schedule = "auto"
    learner_threads: int | None = Field(default=None, ge=1, description="None: 1, or all usable cores for images")
    runner_threads: int = Field(default=1, ge=1)
    pin_cores: bool = False
    device: Device = "auto"
    engine: Engine = "local"

    @model_validator(mode="after")
    def _backend_fits_runners(self) -> Self:
        if self.backend == "serial" and self.num_env_runners > 0:
            raise ValueError(
                f"backend serial steps environments in the learner's process, got num_env_runners "
                f"{self.num_env_runners}; use num_env_runners 0, or backend shm"
            )
        if self.backend not in ("auto", "serial") and self.num_env_runners == 0:
            runner = "thread" if self.backend in ("thread", "native") else "runner process"
            raise ValueError(
                f"backend {self.backend} needs at least one {runner}, got num_env_runners 0; use num_env_runners 1 or "
                f"more, or backend serial"
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits_inference(self) -> Self:
        if self.num_env_runners == 0:
            for name, value in (("inference", self.inference), ("schedule", self.schedule)):
                if value in ("runner", "async", "pipelined"):
                    raise ValueError(
                        f"{name} {value} needs at least one runner process, got num_env_runners 0; use "
                        f"num_env_runners 1 or more"
                    )
        if self.inference == "runner" and self.schedule == "pipelined":
            raise ValueError(
                "schedule pipelined overlaps stepping with a policy in the learner's process, got inference runner; "
                "use inference learner, or schedule sync"
            )
        if self.inference == "learner" and self.schedule == "async":
            raise ValueError(
                "schedule async needs a policy in each runner, got inference learner; use inference runner or auto"
            )
        if (self.inference == "runner" or self.schedule == "async") and self.backend not in ("auto", "shm"):
            raise ValueError(
                f"with the policy in the runners, steps do not cross processes, got backend {self.backend}; use "
                f"backend auto"
            )
        if self.schedule == "pipelined" and self.num_envs < 2:
            raise ValueError("schedule pipelined needs two environments or more, got 1; use schedule sync")
        return self

    def for_algorithm(self, name: str) -> Plan:
        """Return the plan with ``inference`` and ``schedule`` filled in for an algorithm.

        Left open, A3C and a parallel IMPALA run asynchronously, with a policy in each runner; everything else samples
        with the newest policy, in the learner's process.

        Args:
            name: of the algorithm, ``ppo`` ..

        Raises:
            PlanError: the algorithm cannot learn in this way.
        """
        schedule, inference = self.schedule, self.inference
        if schedule == "auto":
            could = self.num_env_runners > 0 and inference != "learner" and self.backend in ("auto", "shm")
            lags = name == "a3c" or (name == "impala" and could)
            schedule = "async" if lags else "sync"
        if inference == "auto":
            inference = "runner" if schedule == "async" else "learner"
        if name == "a3c" and self.num_env_runners == 0:
            raise PlanError("expected a runner process or more for a3c, got num_env_runners 0; use num_env_runners 1")
        if name == "a3c" and (schedule, inference) != ("async", "runner"):
            raise PlanError(
                f"expected schedule async and inference runner for a3c, got {schedule} and {inference}; leave them "
                f"out, or use algo a2c"
            )
        if schedule == "async" and name in ("ppo", "a2c"):
            raise PlanError(
                f"expected an algorithm that corrects for lag with schedule async, got {name}; use algo impala or a3c, "
                f"or schedule sync"
            )
        if inference == "runner" and self.backend not in ("auto", "shm"):
            raise PlanError(
                f"expected backend auto for {name} with the policy in the runners, got {self.backend}; use backend auto"
            )
        return self.model_copy(update={"schedule": schedule, "inference": inference})

    @property
    def num_envs(self) -> int:
        """Total number of environments, N = max(R, 1) * E."""
        return max(self.num_env_runners, 1) * self.num_envs_per_env_runner

    @property
    def resolved_backend(self) -> Literal["serial", "pipe", "shm", "thread", "native"]:
        """The backend that ``auto`` stands for."""
        if self.backend == "auto":
            return "serial" if self.num_env_runners == 0 else "shm"
        return self.backend

    @property
    def label(self) -> str:
        """Short name of the plan: ``RxE``."""
        return f"{self.num_env_runners}x{self.num_envs_per_env_runner}"

    def rollout_length(self, batch_size: int) -> int:
        """Return T = batch_size / N.

        Raises:
            PlanError: ``batch_size`` is not a multiple of N.
        """
        if batch_size % self.num_envs:
            lower = batch_size // self.num_envs * self.num_envs
            options = [str(size) for size in (lower, lower + self.num_envs) if size]
            raise PlanError(
                f"expected batch_size to be a multiple of the number of environments ({self.num_env_runners} runners x "
                f"{self.num_envs_per_env_runner} envs = {self.num_envs}), got {batch_size}; use batch_size "
                f"{' or '.join(options)}, or another number of environments"
            )
        return batch_size // self.num_envs


def common_batch_size(batch_size: int, num_envs: Sequence[int], num_minibatches: int) -> int:
    """Return the size nearest to ``batch_size`` that every number of environments and ``num_minibatches`` divide.

    Raises:
        PlanError: the nearest such size is more than twice or less than half of ``batch_size``.
    """
    unit = math.lcm(*num_envs, num_minibatches)
    nearest = max(1, round(batch_size / unit)) * unit
    if not batch_size / 2 <= nearest <= batch_size * 2:
        raise PlanError(
            f"expected a batch size near {batch_size} that {sorted(set(num_envs))} environments and {num_minibatches} "
            f"minibatches all divide, the nearest is {nearest}; choose numbers of environments with common factors "
            f"(1, 2, 4, 8, ..) or give --batch-size {nearest}"
        )
    return nearest
