"""What was tuned before: answers kept by environment, machine and versions, so that nobody waits for the same twice.

An entry is a tuning's ``results.json``, in ``$XDG_CACHE_HOME/paceline/tune``, named by a hash of everything that its
answer depends on: the run but for seed and budget, the axes and the objective, the source of the environment where that
is a file, the machine, and the versions of the packages that do the work.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
from pydantic import ValidationError

from paceline._version import __version__
from paceline.errors import OutputError, ResultsError
from paceline.machine import Machine
from paceline.measure.result import parse_results
from paceline.measure.store import write_atomically
from paceline.measure.tune_result import TuneResults
from paceline.spec import EnvSpec, Plan
from paceline.tuner.spec import TuneSpec

FORMAT = 1
"""Grows when older answers must not be given any more."""
_VERSIONED = ("jax", "jaxlib", "flax", "optax", "numpy", "gymnasium", "mujoco", "envpool")
_KEPT_FROM = 0.9
"""An answer is kept if its time was at least this share of what is asked for now."""


def cache_dir() -> Path:
    """Return where answers are kept (``XDG_CACHE_HOME``/paceline/tune)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "paceline" / "tune"


@dataclass(frozen=True)
class Found:
    """What the cache has to say.

    Attributes:
        results: an answer that still holds; None where there is none.
        note: why an entry was passed over, or where the answer comes from; empty where there was nothing.
    """

    results: TuneResults | None = None
    note: str = ""


class Cache:
    """Answers of earlier tunings.

    Args:
        folder: where they are; made when the first one is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir()

    def look_up(self, spec: TuneSpec, machine: Machine) -> Found:
        """Return the answer to ``spec`` on this machine, if there is one; what cannot be read is passed over."""
        path = self._path(spec, machine)
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return Found()
        except (OSError, UnicodeDecodeError) as error:
            return Found(note=f"an earlier answer was passed over: {path} cannot be read ({error})")
        try:
            results = parse_results(text, source=path, cls=TuneResults)
        except ResultsError as error:
            return Found(note=f"an earlier answer was passed over: {error}")
        if results.experiment_info.machine_fingerprint != machine.fingerprint:
            return Found(note=f"an earlier answer was passed over: {path} is of another machine")
        if not _is_whole(results):
            return Found(note=f"an earlier answer was passed over: {path} does not hold the plan that it names")
        if results.tune.budget_s < _KEPT_FROM * 60.0 * spec.budget_minutes:
            return Found(note="an earlier answer was made in less time: measuring anew")
        when = results.experiment_info.timestamp
        return Found(results, f"answered from the tuning of {when}; --again measures anew ({path})")

    def keep(self, spec: TuneSpec, machine: Machine, results: TuneResults) -> str:
        """Keep an answer; one that was cut short, or none, is not kept.

        Returns:
            Why it could not be written, a sentence, which is no error; empty where all is well.
        """
        decision = results.tune.decision
        if decision.winner is None or decision.stopped == "interrupted":
            return ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(spec, machine), results.to_json().encode(), advice="")
        except (OSError, OutputError) as error:
            return f"the answer will not be remembered: {self.folder} cannot be written ({error})"
        return ""

    def _path(self, spec: TuneSpec, machine: Machine) -> Path:
        return self.folder / f"{key_of(spec, machine)}.json"


def _is_whole(results: TuneResults) -> bool:
    """Return whether the winner is among the plans, and is a plan."""
    winner = next((one for one in results.tune.plans if one.name == results.tune.decision.winner), None)
    if winner is None:
        return False
    try:
        Plan.model_validate(dict(winner.plan))
    except ValidationError:
        return False
    return True


def key_of(spec: TuneSpec, machine: Machine) -> str:
    """Return the hash of everything that the answer to ``spec`` depends on."""
    asked = spec.model_dump(mode="json", exclude={"budget_minutes": True, "base": {"seed", "budget"}})
    versions: Mapping[str, Any] = machine.versions
    parts = {
        "format": FORMAT,
        "paceline": __version__,
        "asked": asked,
        "source": source_hash(spec.base.env),
        "machine": machine.fingerprint,
        "versions": {name: versions.get(name) for name in _VERSIONED},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def source_hash(env: EnvSpec) -> str:
    """Return the hash of the file that an environment's code is in; empty where it is not known."""
    module = env.id.partition(":")[0] if ":" in env.id else ""
    registered = gymnasium.registry.get(env.id)
    if registered is not None and isinstance(registered.entry_point, str):
        module = registered.entry_point.partition(":")[0]
    with contextlib.suppress(ImportError, ValueError, OSError, AttributeError):
        found = importlib.util.find_spec(module) if module else None
        if found is not None and found.origin and found.has_location:
            return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
    return ""
