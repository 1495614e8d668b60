"""What a run is, as data: frozen, validated, and the same in YAML, JSON and on the command line.

A ``RunSpec`` names an environment, an algorithm, a ``Plan`` (how the run is parallelised) and a budget. A ``SweepSpec``
is a ``RunSpec`` and the axes along which it varies. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from paceline.errors import PlanError, SpecError

Backend = Literal["auto", "serial", "pipe", "shm", "thread", "native"]
Inference = Literal["learner"]
Schedule = Literal["sync"]
Device = Literal["auto", "cpu", "gpu"]
Engine = Literal["local"]


class Spec(BaseModel):
    """Base of all specs: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


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


class NetworkSpec(Spec):
    """The policy and value networks.

    ``torso`` ``auto`` takes a CNN for image observations (rank 3) and an MLP for everything else. ``hidden_sizes`` are
    the widths of the MLP's layers, or of the layers behind the CNN's convolutions; ``activation`` is theirs. Left open,
    they are 64, 64 and tanh for an MLP, 512 and relu for a CNN.
    """

    torso: Literal["auto", "mlp", "cnn"] = "auto"
    hidden_sizes: tuple[int, ...] | None = None
    activation: Literal["tanh", "relu"] | None = None


class PPOSpec(Spec):
    """Proximal policy optimisation (Schulman et al. 2017), with the details of Huang et al. 2022.

    Fields that are ``None`` are filled in per environment by :func:`paceline.agents.presets.resolve_algo`; a run's
    ``spec.yaml`` always holds the filled-in values.
    """

    name: Literal["ppo"] = "ppo"
    batch_size: int | None = Field(default=None, gt=0, description="steps per update, over all envs")
    minibatch_size: int | None = Field(default=None, gt=0)
    num_epochs: int | None = Field(default=None, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)
    anneal_learning_rate: bool = True
    gamma: float = Field(default=0.99, gt=0, le=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    clip_coef: float = Field(default=0.2, gt=0)
    clip_value_loss: bool = True
    ent_coef: float | None = Field(default=None, ge=0)
    vf_coef: float = Field(default=0.5, ge=0)
    max_grad_norm: float = Field(default=0.5, gt=0)
    normalize_advantages: bool = True
    normalize_observations: bool | None = None
    normalize_rewards: bool | None = None
    adam_eps: float = Field(default=1e-5, gt=0)
    network: NetworkSpec = NetworkSpec()

    @model_validator(mode="after")
    def _minibatches_fill_the_batch(self) -> Self:
        if self.batch_size and self.minibatch_size and self.batch_size % self.minibatch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of minibatch_size {self.minibatch_size}; "
                f"choose a minibatch_size that divides it"
            )
        return self


AlgoSpec = PPOSpec


class Plan(Spec):
    """How a run is parallelised. Algorithms and environments do not know it.

    ``num_env_runners`` R = 0 steps the environments in the learner's process. The number of environments is
    N = max(R, 1) * E.
    """

    backend: Backend = "auto"
    num_env_runners: int = Field(default=0, ge=0)
    num_envs_per_env_runner: int = Field(default=8, ge=1)
    inference: Inference = "learner"
    schedule: Schedule = "sync"
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

    def planned_env_steps(self, batch_size: int) -> int | None:
        """Return the steps of the whole batches that fit into ``total_steps`` (at least one batch), None without it."""
        return None if self.total_steps is None else max(1, self.total_steps // batch_size) * batch_size


class RunSpec(Spec):
    """One training run."""

    env: EnvSpec
    algo: AlgoSpec = PPOSpec()
    plan: Plan = Plan()
    budget: Budget = Budget(total_steps=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    checkpoint_every_s: float = Field(default=120.0, gt=0)
    step_timeout_s: float | None = Field(
        default=None, gt=0, description="longest step of all environments in runners; None: 600 s (serial: no limit)"
    )


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


SpecT = TypeVar("SpecT", bound=Spec)


def build_spec(cls: type[SpecT], data: Mapping[str, Any], *, source: str = "spec") -> SpecT:
    """Validate ``data`` as a ``cls``.

    Args:
        cls: the spec class.
        data: plain nested data, as YAML or JSON gives it.
        source: what to call the data in an error message (a file name, "the command line").

    Raises:
        SpecError: a key is unknown (the nearest known one is named) or a value is out of range.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{source}: {_first_problem(cls, error)}") from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping (safe subset).

    Raises:
        SpecError: the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}; check the path and its permissions") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2020-13-45
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise SpecError(f"{path}: broken YAML{where}: {problem}; mend the file") from None
    if not isinstance(data, dict):
        raise SpecError(
            f"{path}: expected a mapping of keys (env, algo, plan, ..), got {type(data).__name__}; write it "
            f"as in configs/"
        )
    return data


def dump_yaml(spec: Spec) -> str:
    """Return ``spec`` as YAML that :func:`build_spec` reads back to an equal spec."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def set_field(data: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Return a copy of nested ``data`` with the field ``dotted`` (``algo.num_epochs``) set to ``value``.

    Raises:
        SpecError: a part of the path is not a mapping.
    """
    head, _, rest = dotted.partition(".")
    copy = dict(data)
    if not rest:
        copy[head] = value
        return copy
    inner = copy.get(head)
    if inner is None:
        inner = {}
    if not isinstance(inner, Mapping):
        raise SpecError(f"{dotted}: {head} is not a group of fields; see `paceline train --help` for the fields")
    copy[head] = set_field(inner, rest, value)
    return copy


def merge_fields(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with nested ``override`` laid over it."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        merged[key] = merge_fields(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_value(text: str) -> Any:
    """Read one command-line value as a YAML scalar or list: ``3e-4``, ``true``, ``[64, 64]``, ``shm``.

    Raises:
        SpecError: ``text`` is not a YAML value.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SpecError(f"cannot read the value {text!r}; write a number, true, false, a word or [a, list]") from None
    if isinstance(value, str):  # YAML 1.1 reads 3e-4 as a string
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


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


def _first_problem(cls: type[Spec], error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(cls, problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {path!r}; {hint}"
    if problem["type"] == "missing":
        return f"key {path!r} is missing; add it"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    got = problem.get("input")
    shown = "" if isinstance(got, Mapping | Spec) else f", got {json.dumps(got, default=str)}"
    return f"{path}: {message}{shown}" if path else message


def _fields_at(cls: type[Spec], path: Sequence[int | str]) -> list[str]:
    for part in path:
        field = cls.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, Spec)):
            return []
        cls = annotation
    return list(cls.model_fields)
