"""What ``paceline bench`` leaves behind: the ``results.json`` of a sweep with more in it.

``experiments[]`` are vector environments (one per backend and number of environments); their ``iterations`` are the
measured windows. ``ceilings[]`` have the same shape: free-running processes and the in-process loop, against which the
vector environments are held.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from paceline.measure.ledger import ENV_STEP, TRANSFER, UNATTRIBUTED
from paceline.measure.result import ExperimentConfig, Record, Results, RunResult

STRAGGLER = "straggler"
"""Runners that have finished wait for the slowest."""
WAKEUP = "wakeup"
"""From the signal to a runner's first instruction."""

BENCH_PHASES: tuple[str, ...] = (ENV_STEP, STRAGGLER, WAKEUP, TRANSFER, UNATTRIBUTED)
"""Where the time of a vector environment goes; together 100 % of the wall clock."""

AUTO = "auto"
"""What ``make_vec`` takes if nothing is asked for; a case's ``plan`` holds what it chose."""

FREE_RUNNING = "free-running"
"""Processes that step their share of the environments and never wait for each other."""
LOOP = "loop"
"""One process that steps all environments in turn, in a bare loop."""


class BenchConfig(ExperimentConfig):
    """Which execution of how many environments."""

    backend: str


class Spread(Record):
    """A distribution of times: seconds, and ``cv`` = standard deviation / mean."""

    count: int
    mean_s: float
    median_s: float
    p95_s: float
    p99_s: float
    cv: float | None


class EnvProfile(Record):
    """One environment by itself, in one process.

    ``cpu_share`` is CPU time / wall time of a step: far below 1 where the environment waits for something else.
    ``bytes_per_env`` is what one more environment costs in the same process.
    """

    build_s: float
    step: Spread
    reset: Spread
    cpu_share: float
    empty_bytes: int
    first_env_bytes: int
    bytes_per_env: float
    observation_space: str = ""
    action_space: str = ""


class HeldMemory(Record):
    """What a vector environment holds, in bytes.

    ``tree_bytes`` is the process tree with its N environments, ``empty_bytes`` the same process before there was any;
    ``bytes_per_env = (tree_bytes - empty_bytes) / N``. ``bytes_per_runner`` is the mean over runner processes.
    ``method`` says what was read.
    """

    tree_bytes: int
    empty_bytes: int
    bytes_per_env: float
    bytes_per_runner: float | None = None
    method: str = ""


class BenchCase(RunResult):
    """One execution of N environments, measured in windows.

    ``median_sps`` and ``median_ci95`` are over windows; ``ceiling_share`` is the median over rounds of SPS / SPS of the
    free-running processes in the same round.
    """

    config: BenchConfig
    median_sps: float | None = None
    median_ci95: tuple[float, float] | None = None
    ceiling_share: float | None = None
    ceiling_share_ci95: tuple[float, float] | None = None
    memory: HeldMemory | None = None
    backend_reason: str = ""
    autoreset_mode: str = ""
    make_vec: str = ""

    @property
    def sps_by_round(self) -> dict[int, float]:
        """SPS of each measured window, by round."""
        return {record.iteration: record.sps for record in self.iterations}


class BenchResults(Results):
    """The content of a bench's ``results.json``."""

    experiments: tuple[BenchCase, ...]
    ceilings: tuple[BenchCase, ...] = ()
    env: EnvProfile | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
