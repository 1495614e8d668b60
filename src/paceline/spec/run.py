"""A run and a sweep as data: environment, algorithm, plan, budget, and the axes along which a sweep varies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from paceline.spec.algo import AlgoSpec, PPOSpec
from paceline.spec.base import Spec
from paceline.spec.plan import Plan


class EnvSpec(Spec):
    """Which environment: an id and the keyword arguments it is built with.

    ``id`` is a Gymnasium id (``HalfCheetah-v5``), ``package.module:Id-v0``, ``package.module:callable``, or a family by
    prefix (``synthetic:busy?us=100``).
    """

    id: str = Field(min_length=1)
    kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kwargs")
    @classmethod
    def _kwargs_are_plain_data(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {key: _plain(item, key) for key, item in value.items()}


class Budget(Spec):
    """When a run ends: after environment steps, minutes (compilation not counted) or iterations; exactly one."""

    total_steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    iterations: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("total_steps", "minutes", "iterations") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of total_steps, minutes and iterations, got {' and '.join(given) or 'none'}"
            )
        return self

    def planned_env_steps(self, steps_per_iteration: int) -> int | None:
        """Return the steps of the whole iterations that fit into ``total_steps`` (at least one), None without it."""
        if self.total_steps is None:
            return None
        return max(1, self.total_steps // steps_per_iteration) * steps_per_iteration


class RunSpec(Spec):
    """One training run."""

    env: EnvSpec
    algo: AlgoSpec = PPOSpec()
    plan: Plan = Plan()
    budget: Budget = Budget(total_steps=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    checkpoint_every_s: float = Field(default=120.0, gt=0)
    checkpoint_every_steps: int | None = Field(default=None, gt=0, description="environment steps; None: by time alone")
    checkpoint_every_iterations: int | None = Field(default=None, gt=0, description="None: by time alone")
    exact_resume: bool = Field(
        default=False, description="reset all environments at every checkpoint, so that a resumed run is bit for bit"
    )
    max_restarts: int = Field(
        default=3, ge=0, description="environments and runners that are replaced before the run gives up; 0: none"
    )
    step_timeout_s: float | None = Field(
        default=None, gt=0, description="longest step of all environments in runners; None: 600 s (serial: no limit)"
    )

    @model_validator(mode="after")
    def _exact_resumption_counts_iterations(self) -> Self:
        if self.exact_resume and self.checkpoint_every_iterations is None:
            raise ValueError(
                "exact_resume needs checkpoint_every_iterations, got none; give one that holds several episodes"
            )
        if self.exact_resume and self.budget.minutes is not None:
            raise ValueError(
                "exact_resume needs a budget in steps or iterations, got minutes, which no two runs share; use "
                "total_steps"
            )
        return self


class SweepSpec(Spec):
    """Many runs: a base run and the axes along which it varies.

    ``axes`` maps a dotted spec field (``plan.num_env_runners``, ``algo.num_epochs``) to the values it takes; the grid
    is their product. All trials use the same ``batch_size``, so that times and speedups can be compared.
    """

    base: RunSpec
    axes: dict[str, tuple[Any, ...]]
    iterations: int = Field(default=5, ge=1, description="measured iterations per trial")
    warmup_iterations: int = Field(default=1, ge=0, description="iterations run first and not counted")
    repeats: int = Field(default=1, ge=1)
    trial_timeout_s: float = Field(default=900.0, gt=0)
    trial_memory_bytes: int | None = Field(default=None, gt=0, description="None: 80 % of the machine's limit")

    @model_validator(mode="after")
    def _axes_hold_values(self) -> Self:
        for name, values in self.axes.items():
            if not values:
                raise ValueError(f"axis {name} has no values; give at least one")
            if len(set(map(repr, values))) != len(values):
                raise ValueError(f"axis {name} names a value twice: {list(values)}")
        return self


def _plain(value: Any, path: str) -> Any:
    """Return ``value`` as YAML and JSON hold it (tuples as lists); what they cannot hold would be lost on the way."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, path) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(
        f"{path}: expected plain data (numbers, text, true, false, null, lists, mappings), got {value!r:.60}; give the "
        f"environment as a callable that fills it in"
    )
