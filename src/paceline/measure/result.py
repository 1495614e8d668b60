"""What a run leaves behind: ``RunResult`` and the ``results.json`` that holds many of them.

The file's shape is a superset of the published experiment's: ``experiment_info {total_experiments, timestamp}`` and
``experiments[] {config, summary, iterations[]}``. Everything is plain JSON; reading validates and names what is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from paceline.errors import ResultsError

FORMAT = "paceline.results"
FORMAT_VERSION = 1

Outcome = Literal["ok", "oom", "timeout", "crash", "nan", "unsteady", "interrupted", "impossible"]


class Record(BaseModel):
    """Base of everything in a results file: frozen; keys of newer versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LedgerRecord(Record):
    """Wall time of an interval and where it went, in seconds; ``phases`` add up to ``wall_s``."""

    wall_s: float
    phases: dict[str, float]


class GpuSample(Record):
    """One reading of one GPU through NVML; a figure that NVML does not answer is ``None``."""

    index: int
    name: str
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class ResourceUse(Record):
    """What a process tree used over an interval.

    ``cpu_s`` is user + system time of every process of the tree, ``cores_used = cpu_s / wall_s``, and
    ``cpu_utilization = cores_used / usable_cores`` (a fraction; 1.0 is every usable core busy).
    """

    wall_s: float
    cpu_s: float
    cores_used: float
    usable_cores: float
    cpu_utilization: float
    num_processes: int
    rss_bytes: int
    pss_bytes: int | None = None
    peak_rss_bytes: int
    peak_pss_bytes: int | None = None
    memory_limit_bytes: int
    memory_available_bytes: int | None = None
    gpus: tuple[GpuSample, ...] = ()
    gpu_note: str = ""


class IterationRecord(Record):
    """One measured iteration: ``num_env_steps`` real steps (reset rows not counted) in ``wall_s`` seconds."""

    iteration: int
    wall_s: float
    num_env_steps: int
    sps: float
    total_env_steps: int
    ledger: LedgerRecord
    resources: ResourceUse | None = None
    episode_return_mean: float | None = None
    episode_length_mean: float | None = None
    num_episodes: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)

    @field_validator("metrics", mode="before")
    @classmethod
    def _leave_out_unknown_metrics(cls, value: Any) -> Any:
        """Leave out metrics that were NaN or infinite: a file holds null in their place."""
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class Summary(Record):
    """Figures over the measured iterations of one run (warm-up and compilation apart)."""

    avg_time_per_iter_s: float
    avg_sps: float
    sps_ci95: tuple[float, float] | None
    total_training_time_s: float
    num_iterations: int
    num_env_steps: int
    batch_size: int
    num_envs: int
    warmup_iterations: int
    setup_s: float
    compile_s: float
    warmup_s: float
    episode_return_mean: float | None = None
    num_episodes: int = 0


class ExperimentConfig(Record):
    """Where a run lies in the grid. Extra axes of a sweep are in ``axes`` (dotted field -> value)."""

    num_env_runners: int
    num_envs_per_env_runner: int
    total_envs: int
    axes: dict[str, Any] = Field(default_factory=dict)


class RunResult(Record):
    """One run: what was asked for, how it ended, what was measured.

    ``outcome`` is ``ok`` only if every measured iteration finished; other outcomes keep the iterations that did and say
    why in ``message``. ``summary``, ``ledger`` and ``resources`` are ``None`` where no iteration finished. A run is
    ``deterministic`` if the same seed and plan give the same parameters on the same machine, bit for bit: neither
    asynchronous nor with a learning rate that follows the clock.
    """

    name: str
    config: ExperimentConfig
    outcome: Outcome
    message: str = ""
    repeat: int = 0
    seed: int = 0
    env_id: str
    plan: dict[str, Any]
    algo: dict[str, Any]
    summary: Summary | None = None
    iterations: tuple[IterationRecord, ...] = ()
    ledger: LedgerRecord | None = None
    resources: ResourceUse | None = None
    threads: dict[str, Any] = Field(default_factory=dict)
    deterministic: bool = True


class ExperimentInfo(Record):
    """What all experiments of one file share."""

    total_experiments: int
    timestamp: str
    kind: Literal["train", "sweep", "tune", "bench"] = "sweep"
    paceline_version: str = ""
    command: str = ""
    env_id: str = ""
    algo: str = ""
    batch_size: int | None = None
    machine: dict[str, Any] = Field(default_factory=dict)
    machine_fingerprint: str = ""
    complete: bool = True


class Results(Record):
    """The content of ``results.json``."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    experiment_info: ExperimentInfo
    experiments: tuple[RunResult, ...]

    def to_json(self) -> str:
        """Return the file's text."""
        return dump_json(self, indent=1) + "\n"


ResultsT = TypeVar("ResultsT", bound=Results)


def parse_results(text: str, *, source: str | Path, cls: type[ResultsT] = Results) -> ResultsT:  # type: ignore[assignment]
    """Read the text of a ``results.json``.

    Args:
        text: the file's content.
        source: what to call it in an error message.
        cls: what it holds; a subclass reads more fields.

    Raises:
        ResultsError: not JSON, not paceline's format, a newer format version, or a field is missing or malformed.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ResultsError(
            f"{source}: not valid JSON at line {error.lineno} ({error.msg}); the file is damaged, its trials can be "
            f"recovered from progress.jsonl with `paceline sweep .. --resume`"
        ) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ResultsError(
            f"{source}: expected a paceline results file (format {FORMAT!r}); give a folder made by paceline"
        )
    version = data.get("format_version")
    if not isinstance(version, int):
        raise ResultsError(f"{source}: expected a whole number as format_version, got {version!r}; the file is damaged")
    if version > FORMAT_VERSION:
        raise ResultsError(
            f"{source}: written by a newer paceline (format version {version}, this one reads up to "
            f"{FORMAT_VERSION}); upgrade paceline"
        )
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in problem["loc"])
        raise ResultsError(
            f"{source}: field {path}: {problem['msg']}; the file is damaged or of another program"
        ) from None


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as strict JSON: NaN and infinity, which JSON has no words for, become null."""
    return json.dumps(finite(value), indent=indent, allow_nan=False)


def finite(value: Any) -> Any:
    """Return ``value`` as plain JSON data with every NaN and infinity replaced by ``None``.

    Takes pydantic models, mappings, sequences, paths and NumPy scalars.
    """
    if isinstance(value, BaseModel):
        return finite(value.model_dump(mode="python"))
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return finite(value.tolist())
    return str(value)
