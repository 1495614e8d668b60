"""Which plans there are: the axes, what cannot be run or is not worth a look, and why."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from paceline.errors import PlanError
from paceline.spec import Plan, common_batch_size
from paceline.tuner.candidates import Pruned

ENVS_EACH = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH_MAY_CHANGE = 0.05
"""By how much a batch may be rounded so that a plan's environments divide it; more would be another experiment."""
MOST_WAITING_PER_CORE = 4
"""Runners to a core where environments wait."""


@dataclass(frozen=True)
class Setting:
    """What is fixed while plans vary.

    Attributes:
        algo: name of the algorithm.
        batch_size: steps of an update.
        num_minibatches: that a batch is cut into; 1 where it is not.
        rollout_length: of IMPALA's trajectories; None: follows from the batch.
        least_steps: of each environment in a batch; fewer would change what is learned.
        whole_cores: usable cores.
        waits: whether the environment spends its steps waiting.
        threads_help: whether other Python threads run meanwhile.
        native: None if native code can step it, else one sentence that says why not.
        native_threads: the most that native code makes use of; None: any number.
        processes: None if it can be built in another process, else one sentence that says why not.
        several: None if there can be more than one in a process, else one sentence that says why not.
    """

    algo: str
    batch_size: int
    num_minibatches: int
    least_steps: int
    whole_cores: int
    rollout_length: int | None = None
    waits: bool = False
    threads_help: bool = False
    native: str | None = "no native code for it"
    native_threads: int | None = None
    processes: str | None = None
    several: str | None = None


@dataclass(frozen=True)
class Axes:
    """Values that a plan may take; None: whatever may be worth it."""

    backends: tuple[str, ...] | None = None
    num_env_runners: tuple[int, ...] | None = None
    num_envs_per_env_runner: tuple[int, ...] | None = None
    inferences: tuple[str, ...] | None = None
    schedules: tuple[str, ...] | None = None
    max_cores: int | None = None


@dataclass(frozen=True)
class SizedPlan:
    """A plan, and the batch that its environments divide.

    Attributes:
        plan: nothing left open.
        batch_size: the nearest to the asked one.
    """

    plan: Plan
    batch_size: int

    @property
    def name(self) -> str:
        """What it is called: ``shm 2x8``, ``2x8 policy in runners``."""
        plan = self.plan
        if plan.schedule == "async":
            return f"async {plan.label}"
        if plan.inference == "runner":
            return f"runner {plan.label}"
        pipelined = " pipelined" if plan.schedule == "pipelined" else ""
        return f"{plan.resolved_backend} {plan.label}{pipelined}"


def all_plans(setting: Setting, axes: Axes | None = None) -> tuple[list[SizedPlan], list[Pruned]]:
    """Return every plan that can be run, and those that cannot, with the reason."""
    axes = axes or Axes()
    found: list[SizedPlan] = []
    pruned: dict[str, str] = {}
    if setting.native is not None and axes.backends and "native" in axes.backends:
        pruned["native"] = setting.native
    if setting.processes is not None:
        pruned["runner processes"] = setting.processes
    for backend, inference, schedule in _kinds(setting, axes):
        for runners, each in itertools.product(_runners(setting, axes, backend), _envs_each(axes)):
            try:
                plan = Plan.model_validate(
                    {
                        "backend": backend, "num_env_runners": runners, "num_envs_per_env_runner": each,
                        "inference": inference, "schedule": schedule,
                    }
                )  # fmt: skip
                plan = plan.for_algorithm(setting.algo)
            except (ValidationError, PlanError):
                continue  # what the rules of plans refuse is no plan
            if setting.several is not None and backend != "native" and envs_in_process(plan) > 1:
                pruned["more than one environment in a process"] = setting.several
                continue
            sized = sized_plan(setting, plan)
            if isinstance(sized, SizedPlan):
                found.append(sized)
            else:
                pruned[SizedPlan(plan, setting.batch_size).name] = sized
    return found, [Pruned(name, reason) for name, reason in pruned.items()]


def envs_in_process(plan: Plan) -> int:
    """Return how many environments one process holds."""
    return plan.num_envs_per_env_runner if plan.resolved_backend in ("shm", "pipe") else plan.num_envs


def _kinds(setting: Setting, axes: Axes) -> Iterator[tuple[str, str, str]]:
    """Yield backend, inference and schedule of every kind of plan that suits the algorithm."""
    lags = setting.algo in ("impala", "a3c")
    kinds = [
        ("serial", "learner", "sync"),
        ("native", "learner", "sync"),
        ("thread", "learner", "sync"),
        ("shm", "learner", "sync"),
        ("shm", "learner", "pipelined"),
        ("auto", "runner", "sync"),
        ("auto", "runner", "async"),
    ]
    for backend, inference, schedule in kinds:
        processes = backend in ("shm", "auto")
        if setting.algo == "a3c" and schedule != "async":
            continue
        if (schedule == "async" and not lags) or (backend == "native" and setting.native is not None):
            continue
        if (backend == "thread" and not setting.threads_help) or (processes and setting.processes is not None):
            continue
        if axes.backends is not None and ("shm" if backend == "auto" else backend) not in axes.backends:
            continue
        if axes.inferences is not None and inference not in axes.inferences:
            continue
        if axes.schedules is not None and schedule not in axes.schedules:
            continue
        yield backend, inference, schedule


def _runners(setting: Setting, axes: Axes, backend: str) -> Sequence[int]:
    if backend == "serial":
        values = [0]
    else:
        cores = min(setting.whole_cores, axes.max_cores or setting.whole_cores)
        most = cores
        if setting.waits and backend != "native":
            most = MOST_WAITING_PER_CORE * cores if backend != "thread" else 16 * cores
        values = sorted({*(1 << power for power in range(most.bit_length())), most, max(1, cores - 1), cores})
        values = [value for value in values if value <= most]
    if axes.num_env_runners is not None:
        asked = set(axes.num_env_runners)
        values = [0] if backend == "serial" else sorted(asked - {0})
        values = [value for value in values if value in asked]
    if backend == "native" and setting.native_threads is not None:
        values = [value for value in values if value <= setting.native_threads]
    return values


def _envs_each(axes: Axes) -> Sequence[int]:
    return axes.num_envs_per_env_runner or ENVS_EACH


def sized_plan(setting: Setting, plan: Plan) -> SizedPlan | str:
    """Return the plan, nothing of which is left open, with its batch, or why it cannot have one."""
    if plan.schedule == "async":
        return _sized_fragments(setting, plan)
    if setting.batch_size // plan.num_envs < setting.least_steps:
        return (
            f"a batch of {setting.batch_size} would hold {setting.batch_size // plan.num_envs} steps of each of "
            f"{plan.num_envs} environments, fewer than {setting.least_steps}, and learning would differ"
        )
    try:
        size = common_batch_size(setting.batch_size, [plan.num_envs], setting.num_minibatches)
    except PlanError:
        size = 0
    if abs(size - setting.batch_size) > BATCH_MAY_CHANGE * setting.batch_size:
        return f"no batch near {setting.batch_size} is made of whole steps of {plan.num_envs} environments"
    return SizedPlan(plan, size)


def _sized_fragments(setting: Setting, plan: Plan) -> SizedPlan | str:
    length = setting.rollout_length or 1
    unit = plan.num_envs_per_env_runner * (1 if setting.algo == "a3c" else length)
    size = max(1, round(setting.batch_size / unit)) * unit
    if abs(size - setting.batch_size) > BATCH_MAY_CHANGE * setting.batch_size:
        return (
            f"no batch near {setting.batch_size} is made of whole fragments of {plan.num_envs_per_env_runner} "
            f"environments"
        )
    if setting.algo == "a3c" and size // plan.num_envs_per_env_runner < setting.least_steps:
        return f"a gradient of {size} steps would hold fewer than {setting.least_steps} of each environment"
    return SizedPlan(plan, size)
