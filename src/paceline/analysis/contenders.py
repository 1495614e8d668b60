"""Which training runs belong together: contenders, whose runs differ in their seeds alone, and what sets them apart.

The budget is one of the settings: the learning rate is annealed over it, so two lengths of training are not one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paceline.errors import RequestError
from paceline.measure.trained_run import TrainedRun

_IN_THE_NAME = ("num_env_runners", "num_envs_per_env_runner", "inference", "schedule")
"""Fields of a plan that every name says."""
_WORDS = ("backend", "device", "engine")
"""Fields of a plan whose values need no field name beside them."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Runs of the same algorithm, with the same settings, under the same plan, with the same budget.

    Attributes:
        name: what tells it from the other contenders, e.g. ``ppo 2x8 runner``.
        runs: at least one, in the order given.
    """

    name: str
    runs: tuple[TrainedRun, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every run."""
        return tuple(run.result.seed for run in self.runs)

    @property
    def algo(self) -> dict[str, Any]:
        """Algorithm settings, nested ones under dotted names."""
        return _flat(self.runs[0].result.algo)

    @property
    def plan(self) -> dict[str, Any]:
        """The plan's fields; a backend that was left open is the one that it stands for."""
        return _plan(self.runs[0])

    @property
    def budget(self) -> Mapping[str, Any]:
        """The budget's fields that are set; empty where the runs' folders do not tell."""
        return self.runs[0].budget


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting whose value is not the same for all contenders.

    Attributes:
        field: its dotted name (``algo.learning_rate``).
        values: of every contender, as text.
    """

    field: str
    values: tuple[str, ...]


def group_runs(runs: Sequence[TrainedRun], names: Sequence[str] = ()) -> list[Contender]:
    """Put runs together that differ in their seeds alone, and name each group by what sets it apart.

    Args:
        runs: of one environment.
        names: to use instead, one per group in the order in which the groups first appear.

    Raises:
        RequestError: there are no runs, the environments differ, or ``names`` do not fit the groups.
    """
    if not runs:
        raise RequestError("expected a training run or more, got none; give the --out folders of `paceline train`")
    check_same_environment(runs)
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault(_key(run), []).append(run)
    contenders = [Contender("", tuple(members)) for members in groups.values()]
    named = [replace(item, name=name) for item, name in zip(contenders, _names(contenders), strict=True)]
    return _renamed(named, [name.strip() for name in names]) if names else named


def check_same_environment(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs of different environments.

    Raises:
        RequestError: ids, or keyword arguments where both are known, differ.
    """
    first = runs[0]
    known: TrainedRun | None = None
    for run in runs:
        if run.result.env_id != first.result.env_id:
            raise RequestError(
                f"expected runs of one environment, got {first.result.env_id} ({first.folder}) and "
                f"{run.result.env_id} ({run.folder}); returns of different environments cannot be compared"
            )
        if run.env_kwargs is None:
            continue
        known = known or run
        if _json(run.env_kwargs) != _json(known.env_kwargs):
            raise RequestError(
                f"expected runs of one environment, got {first.result.env_id} with {_json(known.env_kwargs)} "
                f"({known.folder}) and with {_json(run.env_kwargs)} ({run.folder}); their returns cannot be compared"
            )


def differences(contenders: Sequence[Contender]) -> list[Difference]:
    """Return the settings that all contenders have and in which they differ: algorithm's, plan's, then the budget.

    What only one algorithm has says nothing about another's.
    """
    found = []
    for prefix, settings in (("algo", [c.algo for c in contenders]), ("plan", [c.plan for c in contenders])):
        for field in settings[0]:
            if not all(field in each for each in settings):
                continue
            values = [_text(each[field]) for each in settings]
            if len(set(values)) > 1:
                found.append(Difference(f"{prefix}.{field}", tuple(values)))
    budgets = [budget_text(each.budget) or "unknown" for each in contenders]
    if len(set(budgets)) > 1:
        found.append(Difference("budget", tuple(budgets)))
    return found


def budget_text(budget: Mapping[str, object]) -> str:
    """Write a budget: ``100,000 total steps``; "" where it is unknown."""
    return ", ".join(
        f"{value:,} {name.replace('_', ' ')}" for name, value in budget.items() if isinstance(value, int | float)
    )


def _key(run: TrainedRun) -> str:
    return _json([run.result.algo, _plan(run), run.budget])


def _plan(run: TrainedRun) -> dict[str, Any]:
    plan = dict(run.result.plan)
    if plan.get("backend") == "auto":
        # What Plan.resolved_backend says; asking it would refuse the plan of a newer version.
        plan["backend"] = "shm" if plan.get("num_env_runners") else "serial"
    return plan


def _names(contenders: Sequence[Contender]) -> list[str]:
    """Name every contender: algorithm, ``RxE`` and mode, then the settings that set it apart from its like."""
    plans, algos = [item.plan for item in contenders], [item.algo for item in contenders]
    parts = []
    for item, plan, algo in zip(contenders, plans, algos, strict=True):
        alike = [other for other in algos if other.get("name") == algo.get("name")]
        # A plan without runners is serial: no news. The fields of another algorithm are not compared: they are many.
        peers = [other for other in plans if bool(other.get("num_env_runners")) == bool(plan.get("num_env_runners"))]
        words = [
            *(_plan_word(key, plan[key]) for key in _varying(plans, plan) if key not in (*_IN_THE_NAME, "backend")),
            *(_plan_word(key, plan[key]) for key in _varying(peers, plan) if key == "backend"),
            *(f"{key.rpartition('.')[2]}={_text(algo[key])}" for key in _varying(alike, algo)),
            _budget_word(item.budget) if any(_differs_in_budget(item, other) for other in contenders) else "",
        ]
        parts.append(" ".join([_base_name(algo, plan), *(word for word in words if word)]))
    return [name if parts.count(name) == 1 else f"{name} #{index}" for index, name in enumerate(parts, 1)]


def _base_name(algo: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    size = f"{plan.get('num_env_runners', 0)}x{plan.get('num_envs_per_env_runner', 1)}"
    words = [str(algo.get("name") or "?"), size]
    if plan.get("schedule") in ("async", "pipelined"):
        words.append(str(plan["schedule"]))
    elif plan.get("inference") == "runner":  # an asynchronous schedule has it there anyway
        words.append("runner")
    return " ".join(words)


def _plan_word(field: str, value: Any) -> str:
    if value is None or value is False:
        return ""  # the default; what the others have instead stands in their names
    if value is True:
        return field
    return str(value) if field in _WORDS else f"{field}={value}"


def _differs_in_budget(item: Contender, other: Contender) -> bool:
    """Return whether the budget is all that sets the two apart."""
    return (item.algo, item.plan) == (other.algo, other.plan) and item.budget != other.budget


def _budget_word(budget: Mapping[str, Any]) -> str:
    """Write a budget short, and no two alike: ``100k steps``, ``10 min``."""
    units = {"total_steps": "steps", "minutes": "min"}
    words = [f"{_exact(value)} {units.get(name, name)}" for name, value in budget.items()]
    return " ".join(words) or "unknown budget"


def _exact(value: Any) -> str:
    if isinstance(value, int):
        for size, unit in ((1_000_000, "M"), (1000, "k")):
            if value and value % size == 0:
                return f"{value // size:,}{unit}"
        return f"{value:,}"
    return str(value).removesuffix(".0")


def _varying(settings: Sequence[Mapping[str, Any]], mine: Mapping[str, Any]) -> list[str]:
    """Return the fields of ``mine`` in which ``settings`` differ."""
    return [key for key in mine if len({_json(each.get(key)) for each in settings}) > 1]


def _renamed(contenders: Sequence[Contender], names: Sequence[str]) -> list[Contender]:
    found = ", ".join(item.name for item in contenders)
    if len(names) != len(contenders):
        wanted = "1 name" if len(contenders) == 1 else f"{len(contenders)} names"
        raise RequestError(f"expected {wanted} after --names, got {len(names)}; the contenders are {found}")
    if not all(names) or len(set(names)) < len(names):
        raise RequestError(
            f"expected a different name for each contender after --names, got {', '.join(map(repr, names))}; the "
            f"contenders are {found}"
        )
    return [replace(item, name=name) for item, name in zip(contenders, names, strict=True)]


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, Iterable) else str(value)
