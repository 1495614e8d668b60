"""Settings of a file, or of an earlier run, under settings that are given anew: what of them still fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from paceline.errors import PlanError, SpecError
from paceline.spec.algo import ALGORITHMS
from paceline.spec.base import build_spec
from paceline.spec.plan import Plan

_OF_THE_PRESET = ("batch_size", "learning_rate", "updates_per_iteration")
"""Fields whose values suit one algorithm: a batch of PPO is dozens of A2C's."""
_REOPENED = ("schedule", "inference", "backend")
"""Fields of a plan that may be left to what suits the rest, those that are given up first in front."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Nested data that what is given anew can be laid over.

    Attributes:
        data: the settings that still fit.
        reason: what was given that they had to fit.
        dropped: fields of the former algorithm that are left out.
        reopened: fields of the plan that are open again, and what follows from it.
    """

    data: dict[str, Any]
    reason: str = ""
    dropped: tuple[str, ...] = ()
    reopened: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was changed, and why; "" where all was left as it was."""
        parts = []
        if self.dropped:
            parts.append(f"dropped {', '.join(self.dropped)}")
        if self.reopened:
            parts.append(f"{' and '.join(self.reopened)} auto again")
        return f"{self.reason}: {'; '.join(parts)}" if parts else ""


def fit_under(below: Mapping[str, Any], given: Mapping[str, Any]) -> Fitted:
    """Leave out of ``below`` what does not go with ``given``, which is to be laid over it.

    A budget replaces a budget. Under another algorithm its predecessor's fields stay where they mean the same: where
    both have them, with the same default, and no preset chooses them. Of a plan the fewest fields are reopened that let
    the rest go with the algorithm and with the plan's fields in ``given``. Data that makes no sense by itself is left
    as it is, for validation to refuse.

    Args:
        below: nested data of a run, from a file or an earlier run.
        given: nested data that was given anew.
    """
    data = dict(below)
    if any(value is not None for value in _group(given, "budget").values()):
        data.pop("budget", None)
    old = _name(below, "ppo")
    new = _name(given, old)
    reason, dropped = "", tuple[str, ...]()
    if new != old:
        reason = f"{new} instead of {old}"
        if new in ALGORITHMS and old in ALGORITHMS and "algo" in below:
            data["algo"], dropped = _of_another_algorithm(_group(below, "algo"), old, new)
    plan, anew = _group(below, "plan"), _group(given, "plan")
    reopened = _reopened(plan, anew, old, new)
    if reopened:
        data["plan"] = {name: value for name, value in plan.items() if name not in reopened}
        reason = reason or _with(anew)
    algo = _group(data, "algo")
    is_free = algo.get("rollout_length") is not None and _group(given, "algo").get("rollout_length") is None
    if anew and is_free and not _is_async({**_group(data, "plan"), **anew}, new):
        # Where nothing is asynchronous, it follows from batch and environments.
        data["algo"] = {name: value for name, value in algo.items() if name != "rollout_length"}
        reopened = (*reopened, "rollout_length")
        reason = reason or _with(anew)
    return Fitted(data, reason, dropped, reopened)


def _with(anew: Mapping[str, Any]) -> str:
    return "with " + " and ".join(f"{name} {value}" for name, value in anew.items())


def _of_another_algorithm(algo: Mapping[str, Any], old: str, new: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields that mean the same to algorithm ``new``, and the names of those of ``old`` that do not."""
    mine, theirs = ALGORITHMS[old].model_fields, ALGORITHMS[new].model_fields
    lost = {
        name
        for name, field in mine.items()
        if name not in theirs or theirs[name].default != field.default or name in _OF_THE_PRESET
    }
    kept = {name: value for name, value in algo.items() if name not in lost}
    return kept, tuple(name for name in algo if name in lost and name != "name" and algo[name] is not None)


def _reopened(plan: Mapping[str, Any], anew: Mapping[str, Any], old: str, new: str) -> tuple[str, ...]:
    """Return the fewest fields of ``plan`` without which it goes with ``anew`` and algorithm ``new``."""
    if _is_possible({**plan, **anew}, new) or not _is_possible(plan, old):
        return ()
    # How many runners is left to the machine only for another algorithm: A3C needs some where PPO had none.
    candidates = _REOPENED if new == old else (*_REOPENED, "num_env_runners")
    fields = [name for name in candidates if plan.get(name) not in (None, "auto") and name not in anew]
    for count in range(1, len(fields) + 1):
        for chosen in combinations(fields, count):
            kept = {name: value for name, value in plan.items() if name not in chosen}
            if _is_possible({**kept, **anew}, new):
                return chosen
    return ()


def _is_possible(plan: Mapping[str, Any], algo: str) -> bool:
    """Return whether ``algo`` can run under ``plan``, where it leaves that open with some number of runners."""
    return _plan_for(plan, algo) is not None


def _is_async(plan: Mapping[str, Any], algo: str) -> bool:
    found = _plan_for(plan, algo)
    return found is not None and found.schedule == "async"


def _plan_for(plan: Mapping[str, Any], algo: str) -> Plan | None:
    """Return ``plan`` as ``algo`` would run under it, or None if it cannot."""
    counts = [{}] if "num_env_runners" in plan else [{"num_env_runners": count} for count in (1, 0)]
    for count in counts:
        try:
            return build_spec(Plan, {**plan, **count}).for_algorithm(algo)
        except (PlanError, SpecError):
            continue
    return None


def _group(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a group of fields; an empty one where there is none, or something else."""
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _name(data: Mapping[str, Any], otherwise: str) -> str:
    return str(_group(data, "algo").get("name", otherwise))
