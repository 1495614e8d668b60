"""From a sweep's spec to the list of its trials: everything is decided and checked before anything starts.

**Same work in every trial.** Times and speedups mean something only between runs of equal batch size, so one batch size
is chosen that every number of environments divides. Where ``algo.batch_size`` is itself an axis only SPS can be
compared, and the plan says so.

**Order.** Repeats are the outer loop, so an early stop leaves every point measured equally often. Within a repeat the
points are shuffled (seeded by the run's seed), and every second repeat takes the order of the one before it in reverse:
``C A B | B A C``. A drift of the machine that is linear in time (heat, a filling disk) then cancels exactly in the mean
of such a pair, and no drift lines up with the grid.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from paceline.errors import PlanError, SpecError
from paceline.measure.result import ExperimentConfig
from paceline.spec import RunSpec, SweepSpec, build_spec, common_batch_size, set_field
from paceline.sweep.resolve import resolve_in_fresh_process

GUESSED_SETUP_S = 8.0
"""What starting a process, importing, building environments and compiling is assumed to take before any is known."""
GUESSED_SPS = 5_000.0
"""Steps per second that are assumed before any trial has finished."""
RUNNER_BYTES = 150 * 2**20
"""What one runner process is assumed to hold (interpreter, NumPy, a light environment)."""
LEARNER_BYTES = 700 * 2**20
"""What the learner's process is assumed to hold (JAX, a compiled program, a batch)."""

GRID_FIELDS = ("plan.num_env_runners", "plan.num_envs_per_env_runner")

Resolver = Callable[[Sequence[RunSpec]], Sequence[RunSpec]]
"""Fills in what runs leave open (``algo`` fields that are ``None``), any number at once."""


class MachineLimits(Protocol):
    """What the checks need to know of a machine (:class:`paceline.machine.Machine` has it)."""

    @property
    def usable_cores(self) -> float:
        """Cores that this process may use."""

    @property
    def memory_limit_bytes(self) -> int:
        """RAM that this process may use."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        index: place in the order of execution, from 0.
        point: place in the grid, from 0; all repeats of a point share it.
        repeat: which repeat of the point, from 0.
        name: ``RxE`` and the values of the other axes (``2x4 backend=shm``).
        spec: the run, every ``algo`` field filled in.
        axes: dotted field -> value for every axis.
        iterations: measured iterations.
        warmup_iterations: iterations run first and not counted.
    """

    index: int
    point: int
    repeat: int
    name: str
    spec: RunSpec
    axes: Mapping[str, Any]
    iterations: int
    warmup_iterations: int

    @property
    def key(self) -> str:
        """What identifies the trial in a folder, whatever the order of execution."""
        return f"{self.name} #{self.repeat}"

    @property
    def config(self) -> ExperimentConfig:
        """Where the trial lies in the grid, as results files write it."""
        plan = self.spec.plan
        return ExperimentConfig(
            num_env_runners=plan.num_env_runners,
            num_envs_per_env_runner=plan.num_envs_per_env_runner,
            total_envs=plan.num_envs,
            axes={name: value for name, value in self.axes.items() if name not in GRID_FIELDS},
        )

    @property
    def guessed_s(self) -> float:
        """Seconds that the trial is assumed to take before any trial is known."""
        steps = self.spec.algo.steps_per_iteration * (self.iterations + self.warmup_iterations)
        return GUESSED_SETUP_S + steps / GUESSED_SPS


@dataclass(frozen=True)
class SkippedPoint:
    """A point of the grid that cannot be run, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will do.

    Attributes:
        sweep: the spec it was made from.
        trials: in order of execution.
        skipped: points of the grid that cannot be run.
        notes: what was adjusted, and what follows for comparisons.
        cautions: points that may overload the machine.
        batch_size: of all trials; ``None`` where it differs between trials.
    """

    sweep: SweepSpec
    trials: tuple[Trial, ...]
    skipped: tuple[SkippedPoint, ...] = ()
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    batch_size: int | None = None


@dataclass(frozen=True)
class _Point:
    index: int
    name: str
    axes: dict[str, Any]
    spec: RunSpec

    @property
    def batch_size(self) -> int:
        return self._known("batch_size")

    @property
    def num_minibatches(self) -> int:
        return self.batch_size // self._known("minibatch_size") if self.has_minibatches else 1

    @property
    def has_minibatches(self) -> bool:
        return "minibatch_size" in type(self.spec.algo).model_fields

    def _known(self, name: str) -> int:
        value: int | None = getattr(self.spec.algo, name)
        if value is None:
            raise SpecError(f"expected algo.{name} to be known for {self.spec.env.id}, got none; give it")
        return value


def plan_sweep(
    sweep: SweepSpec, *, resolve: Resolver = resolve_in_fresh_process, machine: MachineLimits | None = None
) -> SweepPlan:
    """Lay out the trials of ``sweep`` and check all of them.

    Args:
        sweep: base run, axes, iterations and repeats.
        resolve: fills in the ``algo`` fields that are ``None``.
        machine: what to warn against; ``None`` warns of nothing.

    Raises:
        SpecError: an axis is not a field of a run, or a value of it is malformed.
        PlanError: no point of the grid can be run, or no batch size suits all of them.
    """
    _check_axes(sweep)
    points, skipped = _build_points(sweep)
    points = _resolved(sweep, points, resolve)
    notes: list[str] = []
    kept: list[_Point] = []
    refused: list[SkippedPoint] = []
    for size, group in _by_batch_size(points).items():
        try:
            kept += _share_batch_size(size, group, notes)
        except PlanError as error:
            refused += [SkippedPoint(point.name, str(error)) for point in group]
    skipped += refused
    if not kept:
        if refused:
            raise PlanError(refused[0].reason)
        reasons = "; ".join(f"{point.name}: {point.reason}" for point in skipped[:3])
        raise PlanError(
            f"expected at least one point of the grid that can be run, got none of {len(skipped)} ({reasons})"
        )
    kept.sort(key=lambda point: point.index)
    sizes = sorted({point.batch_size for point in kept})
    if len(sizes) > 1:
        notes.append(
            f"the batch size differs between trials ({', '.join(map(str, sizes))}): only SPS can be compared between "
            f"them, not times or speedups by time"
        )
    if len({point.spec.env.id for point in kept}) > 1:
        notes.append("the environment differs between trials: compare only trials of the same environment")
    return SweepPlan(
        sweep=sweep,
        trials=_in_order(sweep, kept),
        skipped=tuple(skipped),
        notes=tuple(notes),
        cautions=tuple(_cautions(kept, machine)) if machine else (),
        batch_size=sizes[0] if len(sizes) == 1 else None,
    )


def sweep_spec(
    run: RunSpec | str,
    *,
    num_env_runners: Sequence[int] | None = None,
    num_envs_per_env_runner: Sequence[int] | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    **options: Any,
) -> SweepSpec:
    """Build a :class:`SweepSpec` from an environment id or a run.

    Args:
        run: an environment id, or the run that every trial starts from.
        num_env_runners: values of ``plan.num_env_runners``.
        num_envs_per_env_runner: values of ``plan.num_envs_per_env_runner``.
        axes: any other dotted field -> its values.
        **options: ``iterations``, ``repeats``, ``trial_timeout_s`` and the other fields of :class:`SweepSpec`.

    Raises:
        SpecError: an option is unknown or a value is out of range.
    """
    all_axes: dict[str, Any] = {}
    for name, values in zip(GRID_FIELDS, (num_env_runners, num_envs_per_env_runner), strict=True):
        if values is not None:
            all_axes[name] = list(values)
    all_axes.update({name: list(values) for name, values in (axes or {}).items()})
    base = {"env": {"id": run}} if isinstance(run, str) else run.model_dump(mode="json")
    return build_spec(SweepSpec, {"base": base, "axes": all_axes, **options}, source="sweep")


def interleaved(num_points: int, repeats: int, seed: int) -> list[tuple[int, int]]:
    """Return the order of execution as ``(repeat, point)`` pairs; see the module's text for why it is so."""
    random_order = random.Random(seed)
    order: list[tuple[int, int]] = []
    points = list(range(num_points))
    for repeat in range(repeats):
        if repeat % 2 == 0:
            random_order.shuffle(points)
        else:
            points.reverse()
        order += [(repeat, point) for point in points]
    return order


def remaining_s(trials: Iterable[Trial], finished_wall_s: Mapping[str, Sequence[float]]) -> float:
    """Return the seconds that ``trials`` will take.

    A trial takes the median of the finished trials of its name, or else of all finished trials, or else the guess.

    Args:
        trials: what is still to be run.
        finished_wall_s: name of a point -> wall seconds of each of its finished trials.
    """
    known = [wall_s for walls in finished_wall_s.values() for wall_s in walls]
    total = 0.0
    for trial in trials:
        own = finished_wall_s.get(trial.name)
        total += statistics.median(own or known) if own or known else trial.guessed_s
    return total


def _check_axes(sweep: SweepSpec) -> None:
    try:
        sweep.model_dump_json()
    except PydanticSerializationError as error:
        raise SpecError(
            f"expected plain values (numbers, text, lists, mappings) in env.kwargs and axes, since every trial gets "
            f"them as JSON, got others ({error}); name a function that builds the environment, package.module:function"
        ) from None
    for name in sweep.axes:
        if name.partition(".")[0] == "budget":
            raise SpecError(
                f"axis {name}: the length of a trial is the sweep's own iterations and warmup_iterations; leave budget "
                f"out"
            )


def _build_points(sweep: SweepSpec) -> tuple[list[_Point], list[SkippedPoint]]:
    """Build the run of every point of the grid; what the rules of specs refuse is returned as skipped."""
    base = sweep.base.model_dump(mode="json")
    points: list[_Point] = []
    skipped: list[SkippedPoint] = []
    for index, values in enumerate(itertools.product(*sweep.axes.values())):
        axes = dict(zip(sweep.axes, values, strict=True))
        data = base
        for name, value in axes.items():
            data = set_field(data, name, value)
        point_name = _point_name(data, axes)
        try:
            points.append(_Point(index, point_name, axes, RunSpec.model_validate(data)))
        except ValidationError as error:
            problems = error.errors(include_url=False)
            if any(problem["type"] != "value_error" for problem in problems):
                build_spec(RunSpec, data, source="axes")  # malformed, not merely impossible: raises the sentence
            skipped.append(SkippedPoint(point_name, problems[0]["msg"].removeprefix("Value error, ")))
    return points, skipped


def _resolved(sweep: SweepSpec, points: Sequence[_Point], resolve: Resolver) -> list[_Point]:
    """Fill in the open ``algo`` fields of all points, with one batch size for all unless it is an axis."""
    if not points:
        return []
    specs = list(resolve([point.spec for point in points]))
    size = specs[0].algo.batch_size
    chosen_here = sweep.base.algo.batch_size is None and "algo.batch_size" not in sweep.axes
    if chosen_here and any(spec.algo.batch_size != size for spec in specs):  # environments of several kinds
        specs = list(resolve([_with_batch_size(point.spec, size) for point in points]))
    return [replace(point, spec=spec) for point, spec in zip(points, specs, strict=True)]


def _with_batch_size(spec: RunSpec, size: int | None) -> RunSpec:
    return spec.model_copy(update={"algo": spec.algo.model_copy(update={"batch_size": size})})


def _by_batch_size(points: Iterable[_Point]) -> dict[int, list[_Point]]:
    groups: dict[int, list[_Point]] = {}
    for point in points:
        groups.setdefault(point.batch_size, []).append(point)
    return groups


def _share_batch_size(size: int, group: Sequence[_Point], notes: list[str]) -> list[_Point]:
    """Give every point of ``group`` the nearest batch size that all of them can use.

    Raises:
        PlanError: there is none near ``size``.
    """
    num_minibatches = math.lcm(*(point.num_minibatches for point in group))
    shared = common_batch_size(size, [point.spec.plan.num_envs for point in group], num_minibatches)
    if shared == size:
        return list(group)
    numbers = sorted({point.spec.plan.num_envs for point in group})
    change = f"batch_size is {shared} in place of {size}"
    minibatches = sorted({size // point.num_minibatches for point in group})
    if len(minibatches) == 1 and group[0].has_minibatches:
        change += f", minibatch_size {shared // group[0].num_minibatches} in place of {minibatches[0]}"
    notes.append(
        f"{change}: the nearest that {', '.join(map(str, numbers))} environments and {num_minibatches} minibatches all "
        f"divide"
    )
    changed = []
    for point in group:
        data = point.spec.model_dump(mode="json")
        data["algo"]["batch_size"] = shared
        if point.has_minibatches:
            data["algo"]["minibatch_size"] = shared // point.num_minibatches
        changed.append(replace(point, spec=build_spec(RunSpec, data, source=point.name)))
    return changed


def _in_order(sweep: SweepSpec, points: Sequence[_Point]) -> tuple[Trial, ...]:
    trials = []
    for index, (repeat, place) in enumerate(interleaved(len(points), sweep.repeats, sweep.base.seed)):
        point = points[place]
        spec = point.spec
        if "seed" not in sweep.axes:  # repeats see other random numbers; the points of one repeat see the same
            spec = spec.model_copy(update={"seed": (spec.seed + repeat) % 2**31})
        trials.append(
            Trial(
                index=index,
                point=point.index,
                repeat=repeat,
                name=point.name,
                spec=spec,
                axes=point.axes,
                iterations=sweep.iterations,
                warmup_iterations=sweep.warmup_iterations,
            )
        )
    return tuple(trials)


def _point_name(data: Mapping[str, Any], axes: Mapping[str, Any]) -> str:
    plan = data["plan"]
    extra = [name for name in axes if name not in GRID_FIELDS]
    short = [name.rpartition(".")[2] for name in extra]
    parts = [f"{plan.get('num_env_runners')}x{plan.get('num_envs_per_env_runner')}"]
    for name, tail in zip(extra, short, strict=True):
        parts.append(f"{tail if short.count(tail) == 1 else name}={_value_text(axes[name])}")
    return " ".join(parts)


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, separators=(",", ":"))


def _cautions(points: Iterable[_Point], machine: MachineLimits) -> Iterable[str]:
    crowded: dict[str, None] = {}
    for point in points:
        runners = point.spec.plan.num_env_runners
        needed = LEARNER_BYTES + runners * RUNNER_BYTES
        if needed > machine.memory_limit_bytes:
            yield (
                f"{point.name}: {runners} runner processes need about {needed / 2**30:.1f} GiB, this machine allows "
                f"{machine.memory_limit_bytes / 2**30:.1f} GiB; expect outcome oom"
            )
        if runners > 2 * max(1.0, machine.usable_cores):
            crowded[point.name] = None
    if crowded:
        yield (
            f"{', '.join(crowded)}: more than two runner processes per usable core ({machine.usable_cores:g}); only "
            f"environments that wait rather than compute gain from that"
        )
