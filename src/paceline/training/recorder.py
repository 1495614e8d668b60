"""Turns the iterations of a driver into records and, at the end, into a ``RunResult``."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from paceline.machine import record_threads
from paceline.measure.ledger import LedgerEntry
from paceline.measure.monitor import ProcessTreeMonitor, combine_resource_use
from paceline.measure.result import (
    ExperimentConfig,
    IterationRecord,
    LedgerRecord,
    Outcome,
    ResourceUse,
    RunResult,
)
from paceline.measure.throughput import summarize, total_ledger
from paceline.spec import RunSpec
from paceline.training.driver import Iteration

RETURN_WINDOW = 100
"""Episodes over which the running mean return is taken."""


class RunRecorder:
    """Collects what was measured of one run.

    Args:
        spec: the run, filled in.
        name: its name in the results.
        repeat: which repetition it is.
        monitor: measures this process and its runners.
        progress_is_time: whether the learning rate is annealed by the clock, if it is annealed at all.
    """

    def __init__(
        self, spec: RunSpec, *, name: str, repeat: int, monitor: ProcessTreeMonitor, progress_is_time: bool = False
    ) -> None:
        self.spec = spec
        self.name = name
        self.repeat = repeat
        self.iterations: list[IterationRecord] = []
        self.setup_s = 0.0
        self.compile_s = 0.0
        self.warmup_s = 0.0
        self.warmup_iterations = 0
        self.best_return: float | None = None
        self._next_iteration = 0
        self._monitor = monitor
        self._follows_clock = progress_is_time and spec.algo.anneal_learning_rate
        self._recent_returns: deque[float] = deque(maxlen=RETURN_WINDOW)
        self._threads: dict[str, Any] = {}

    @property
    def recent_return(self) -> float | None:
        """Mean return of the last :data:`RETURN_WINDOW` episodes, or None before the first one ended."""
        return sum(self._recent_returns) / len(self._recent_returns) if self._recent_returns else None

    def continue_from(self, records: Sequence[IterationRecord], next_iteration: int) -> None:
        """Go on with a run that was stopped: keep its ``records``, and number the next one ``next_iteration``.

        The running mean return and its best go on, too; of an iteration's episodes only the mean is on record, so each
        counts as that.
        """
        self.iterations = list(records)
        self._next_iteration = next_iteration
        for record in records:
            if record.episode_return_mean is not None:
                self._watch([record.episode_return_mean] * min(record.num_episodes, RETURN_WINDOW))

    def watch_returns(self, iteration: Iteration) -> None:
        """Let an iteration's episodes into the running mean return."""
        self._watch(iteration.episodes.returns.tolist())

    def _watch(self, returns: Sequence[float]) -> None:
        self._recent_returns.extend(returns)
        recent = self.recent_return
        if recent is not None and (self.best_return is None or recent > self.best_return):
            self.best_return = recent

    def record(self, iteration: Iteration, entry: LedgerEntry, total_env_steps: int) -> IterationRecord:
        """Append one measured iteration and return its record."""
        episodes = iteration.episodes
        record = IterationRecord(
            iteration=self._next_iteration,
            wall_s=entry.wall_s,
            num_env_steps=iteration.num_env_steps,
            sps=iteration.num_env_steps / entry.wall_s,
            total_env_steps=total_env_steps,
            ledger=LedgerRecord(wall_s=entry.wall_s, phases=entry.phases),
            resources=self._monitor.end_interval(),
            episode_return_mean=float(episodes.returns.mean()) if len(episodes.returns) else None,
            episode_length_mean=float(episodes.lengths.mean()) if len(episodes.lengths) else None,
            num_episodes=len(episodes.returns),
            metrics=iteration.metrics,
        )
        self.iterations.append(record)
        self._next_iteration += 1
        return record

    def freeze_threads(self, runners: Sequence[dict[str, Any]] = ()) -> None:
        """Note the threads of this process while everything is alive, and what runners with a policy tell of theirs."""
        self._threads = {**record_threads(), "runners": list(runners)} if runners else record_threads()

    def result(self, outcome: Outcome = "ok", message: str = "") -> RunResult:
        """Return everything that was measured."""
        plan = self.spec.plan
        records = self.iterations
        summary = summarize(
            records,
            batch_size=self.spec.algo.batch_size or 0,
            num_envs=plan.num_envs,
            warmup_iterations=self.warmup_iterations,
            setup_s=self.setup_s,
            compile_s=self.compile_s,
            warmup_s=self.warmup_s,
        )
        uses: list[ResourceUse] = [record.resources for record in records if record.resources is not None]
        return RunResult(
            name=self.name,
            config=ExperimentConfig(
                num_env_runners=plan.num_env_runners,
                num_envs_per_env_runner=plan.num_envs_per_env_runner,
                total_envs=plan.num_envs,
            ),
            outcome=outcome,
            message=message,
            repeat=self.repeat,
            seed=self.spec.seed,
            env_id=self.spec.env.id,
            plan=plan.model_dump(mode="json"),
            algo=self.spec.algo.model_dump(mode="json"),
            summary=summary,
            iterations=tuple(records),
            ledger=total_ledger(records),
            resources=combine_resource_use(uses),
            threads=self._threads,
            deterministic=plan.schedule != "async" and not self._follows_clock,
        )
