"""What is read of a training run's folder besides its results: its environment, its budget, what was replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paceline.errors import RequestError, ResultsError
from paceline.measure.result import ExperimentInfo, Results, RunResult
from paceline.measure.store import RESULTS_FILE, SPEC_FILE, holds_run, load_progress, load_results
from paceline.spec import load_yaml


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """One training run, finished or not.

    Attributes:
        folder: where it lies.
        info: what its ``results.json`` says of the whole file (machine, versions, command).
        result: what was measured.
        env_kwargs: keyword arguments of the environment; None where the folder has no ``spec.yaml`` to tell.
        budget: the budget's fields that are set (``{"total_steps": 100000}``); empty where unknown.
        restarts: one sentence for each environment or runner that was replaced on the way.
    """

    folder: Path
    info: ExperimentInfo
    result: RunResult
    env_kwargs: Mapping[str, Any] | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    restarts: tuple[str, ...] = ()


def load_trained_run(folder: Path) -> TrainedRun:
    """Read the folder of a training run.

    Raises:
        ResultsError: there are no results, they are damaged, or they hold no run.
        RequestError: it is the folder of a sweep, tune or bench.
        SpecError: its ``spec.yaml`` is damaged.
    """
    results: Results = load_results(folder)
    kind = results.experiment_info.kind
    if kind != "train":
        raise RequestError(
            f"expected folders of `paceline train`, got the {kind} {folder}; `paceline report {folder}` reads it"
        )
    if len(results.experiments) != 1:
        raise ResultsError(
            f"{folder}: expected one run in {RESULTS_FILE}, got {len(results.experiments)}; the file is damaged"
        )
    spec_file = folder / SPEC_FILE
    spec = load_yaml(spec_file) if spec_file.is_file() else None
    budget = _mapping(spec, "budget")
    return TrainedRun(
        folder,
        results.experiment_info,
        results.experiments[0],
        env_kwargs=None if spec is None else _mapping(_mapping(spec, "env"), "kwargs"),
        budget={name: value for name, value in budget.items() if value is not None},
        restarts=load_restarts(folder),
    )


def load_restarts(folder: Path) -> tuple[str, ...]:
    """Return one sentence for each environment or runner that a training run replaced on its way.

    Raises:
        ResultsError: ``progress.jsonl`` cannot be read.
    """
    return tuple(str(line.get("message", "")) for line in load_progress(folder) if _is_restart(line))


def find_run_folders(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the runs' folders that ``paths`` name, each once, and those that were left out for want of results.

    A folder without ``results.json`` stands for the runs in it, in the order of their names (``seed2`` before
    ``seed10``). One that holds neither is returned as it is: reading it says what is wrong.
    """
    found: dict[Path, Path] = {}
    unfinished: list[Path] = []
    for path in paths:
        inside = [] if (path / RESULTS_FILE).is_file() or not path.is_dir() else sorted(path.iterdir(), key=_by_number)
        runs = [child for child in inside if (child / RESULTS_FILE).is_file()]
        if runs:
            unfinished += [child for child in inside if child not in runs and holds_run(child)]
        for folder in runs or [path]:
            found.setdefault(folder.resolve(), folder)
    return list(found.values()), unfinished


def _is_restart(line: Mapping[str, Any]) -> bool:
    # Until events said what they are of, all were replacements.
    return line.get("kind") == "event" and line.get("what", "restart") == "restart"


def _by_number(path: Path) -> tuple[str, int, str]:
    stem = path.name.rstrip("0123456789")
    number = path.name[len(stem) :]
    return stem, int(number) if number else -1, path.name


def _mapping(data: Any, key: str) -> Mapping[str, Any]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}
