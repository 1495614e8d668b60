"""A tuning read back: what was asked, what it found, the run of each plan, and what is no longer as it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline._version import __version__
from paceline.errors import ResultsError
from paceline.machine import Machine
from paceline.measure.result import Results
from paceline.measure.store import load_results
from paceline.measure.tune_result import PlanStanding, TuneResults
from paceline.measure.verify_result import Role
from paceline.spec import RunSpec, build_spec, load_yaml
from paceline.tuner.cache import source_hash
from paceline.tuner.spec import TuneSpec

_BUSY = 0.5
"""Load average per usable core from which other programs are said to compute here."""


@dataclass(frozen=True)
class Contender:
    """A plan of a tuning that is measured again.

    Attributes:
        role: what the tuning said of it.
        recorded: how it stood at the end.
    """

    role: Role
    recorded: PlanStanding


def contenders_of(results: TuneResults) -> list[Contender]:
    """Return the winner of a tuning, its baseline and the runner-up, as far as they are there and not the same plan.

    Raises:
        ResultsError: nothing won.
    """
    decision = results.tune.decision
    roles: list[tuple[Role, str | None]] = [
        ("winner", decision.winner), ("baseline", decision.baseline), ("runner-up", decision.runner_up),
    ]  # fmt: skip
    standings = {one.name: one for one in results.tune.plans if one.state == "measured" and one.sps}
    found: dict[str, Contender] = {}
    for role, name in roles:
        if name in standings and name not in found:
            found[name] = Contender(role, standings[name])
    if decision.winner not in found:
        raise ResultsError(
            "expected a tuning that found a plan, got one in which none could be measured; run `paceline tune` again"
        )
    return list(found.values())


def run_of(spec: TuneSpec, results: TuneResults, name: str) -> RunSpec:
    """Return the run by which a tuning measured a plan.

    Raises:
        ResultsError: the results have no such plan.
        SpecError: it is of a version whose settings this one does not know.
    """
    one = next((run for run in results.experiments if run.name == name), None)
    if one is None:
        raise ResultsError(f"expected the figures of {name} in results.json, got none; run `paceline tune` again")
    base = spec.base.model_dump(mode="json")
    return build_spec(RunSpec, {**base, "plan": one.plan, "algo": one.algo}, source=name)


def load_tuning(folder: Path) -> tuple[TuneSpec, TuneResults]:
    """Return what was asked of the tuning in ``folder``, and what it found.

    Raises:
        ResultsError: there are no results, or they are of another kind.
        SpecError: ``spec.yaml`` is missing or damaged.
    """
    kind = load_results(folder, Results).experiment_info.kind
    if kind != "tune":
        raise ResultsError(
            f"{folder}: expected the folder of a tuning, got one of `paceline {kind}`; give the --out of `paceline "
            f"tune`"
        )
    results = load_results(folder, TuneResults)
    return build_spec(TuneSpec, load_yaml(folder / "spec.yaml"), source=str(folder / "spec.yaml")), results


def differences_of(spec: TuneSpec, results: TuneResults, machine: Machine) -> tuple[str, ...]:
    """Return a sentence for everything known that is not as it was when the tuning was made."""
    info = results.experiment_info
    found = []
    if info.machine_fingerprint != machine.fingerprint:
        was = f"{info.machine.get('cpu_model') or 'unknown'}, {info.machine.get('usable_cores') or 0:g} cores"
        found.append(
            f"The tuning was made on another machine ({was}), this one is {machine.cpu_model}, "
            f"{machine.usable_cores:g} cores."
        )
    found += _version_sentences(
        {**(info.machine.get("versions") or {}), "paceline": info.paceline_version,
         "Python": info.machine.get("python") or ""},
        {**machine.versions, "paceline": __version__, "Python": machine.python},
    )  # fmt: skip
    source = source_hash(spec.base.env)
    if results.tune.env_source and source != results.tune.env_source:
        found.append(f"The source of {spec.base.env.id} has changed.")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load >= _BUSY * machine.usable_cores:
        found.append(
            f"The load average was {load:.1f} on {machine.usable_cores:g} cores when it began: other programs computed "
            f"here."
        )
    return tuple(found)


def _version_sentences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [
        f"{name} {then.get(name) or 'none'} is now {now.get(name) or 'none'}"
        for name in sorted({*then, *now}, key=str.lower)
        if (then.get(name) or "") != (now.get(name) or "")
    ]
    return [f"Versions: {', '.join(changed)}."] if changed and any(then.values()) else []
