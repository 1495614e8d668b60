"""A whole training run: environments, learner, checkpoints, logs, results."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paceline._version import __version__
from paceline.errors import NonFiniteLossError, PacelineError, ResultsError
from paceline.machine import Machine, detect_machine
from paceline.measure.ledger import CHECKPOINT, LOGGING, Ledger
from paceline.measure.monitor import ProcessTreeMonitor
from paceline.measure.result import ExperimentInfo, IterationRecord, Outcome, Results, RunResult
from paceline.measure.store import RunFolder, default_out
from paceline.spec import RunSpec, build_spec
from paceline.training.checkpoint import Checkpoint, CheckpointStore
from paceline.training.progress import Display, SilentDisplay
from paceline.training.recorder import RunRecorder
from paceline.training.resolve import resolve_for_spaces
from paceline.training.runtime import set_up_jax
from paceline.training.sync import SyncDriver, make_training_vec
from paceline.training.tensorboard import TensorBoardLog


def train(
    spec: RunSpec | str,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    **fields: Any,
) -> RunResult:
    """Train an agent and leave everything about it in a folder.

    Args:
        spec: the run, or just an environment.
        out: the folder; ``runs/<env>-<algo>-<time>`` by default.
        resume: continue the run that ``out`` holds: its parameters, optimiser, statistics and counters; environments
            start new episodes.
        display: what to show; nothing by default.
        **fields: with an environment as ``spec``: the other fields of ``RunSpec`` (``algo``, ``plan``, ``budget``,
            ``seed``).

    Returns:
        What was measured. A stopped run has the outcome ``interrupted``.

    Raises:
        PacelineError: the request makes no sense, or the work failed; what was done until then is saved.
    """
    if isinstance(spec, str):
        spec = build_spec(RunSpec, {"env": {"id": spec}, **fields}, source="train")
    elif fields:
        spec = spec.model_copy(update=fields)
    folder = RunFolder(Path(out) if out is not None else default_out(spec.env.id, spec.algo.name), resume=resume)
    begin = time.perf_counter()
    display = display or SilentDisplay()
    store = CheckpointStore(folder.path / "checkpoints")
    previous = store.last() if resume else None
    with contextlib.ExitStack() as stack:
        venv = stack.enter_context(contextlib.closing(make_training_vec(spec)))
        spec = resolve_for_spaces(spec, venv.single_observation_space, venv.single_action_space)
        set_up_jax(spec.plan)
        ledger = Ledger()
        driver = SyncDriver(spec, venv, ledger)
        if previous is not None:
            _check_same_run(previous, spec)
            driver.restore(previous)
        folder.write_spec(spec)
        driver.reset()
        machine = detect_machine()
        monitor = stack.enter_context(
            ProcessTreeMonitor(usable_cores=machine.usable_cores, memory_limit_bytes=machine.memory_limit_bytes)
        )
        recorder = RunRecorder(spec, name=spec.plan.label, repeat=0, monitor=monitor)
        recorder.setup_s = time.perf_counter() - begin
        recorder.compile_s = driver.compile()
        recorder.freeze_threads()
        tensorboard = stack.enter_context(contextlib.closing(TensorBoardLog(folder.path / "tb")))
        display.begin(spec)
        stack.callback(display.end)
        ledger.start()
        monitor.start_interval()
        loop = _Loop(spec, driver, ledger, recorder, store, folder, tensorboard, display)
        outcome, message, failure = loop.run()
        result = recorder.result(outcome, message)
        folder.write_results(Results(experiment_info=_info(spec, machine, outcome), experiments=(result,)))
    if failure is not None:
        raise failure
    return result


@dataclass
class _Loop:
    """Iterations until the budget is spent, someone stops the run, or it breaks."""

    spec: RunSpec
    driver: SyncDriver
    ledger: Ledger
    recorder: RunRecorder
    store: CheckpointStore
    folder: RunFolder
    tensorboard: TensorBoardLog
    display: Display

    def run(self) -> tuple[Outcome, str, BaseException | None]:
        self._begin_s = self._checkpoint_s = time.monotonic()
        try:
            while (progress := self._progress()) < 1.0:
                self._iterate(progress)
        except NonFiniteLossError as error:
            self._save()
            return "nan", str(error), error
        except KeyboardInterrupt as error:
            self.display.message("stopping: saving a checkpoint and the results")
            self._save()
            return "interrupted", "stopped by the user", error
        except PacelineError as error:
            self._save()
            return "crash", str(error), error
        self._save()
        return "ok", "", None

    def _iterate(self, progress: float) -> None:
        iteration = self.driver.iterate(progress)
        with self.ledger.phase(LOGGING):
            self.recorder.watch_returns(iteration)
        if time.monotonic() - self._checkpoint_s >= self.spec.checkpoint_every_s:
            with self.ledger.phase(CHECKPOINT):
                self._save()
        record = self.recorder.record(iteration, self.ledger.cut(), self.driver.total_env_steps)
        with self.ledger.phase(LOGGING):
            self._log(record)

    def _log(self, record: IterationRecord) -> None:
        recent = self.recorder.recent_return
        self.folder.append_progress({"kind": "iteration", "trial": self.recorder.name, **record.model_dump(mode="json")})
        self.tensorboard.write(record, recent)
        self.display.iteration(record, recent, self._progress(), time.monotonic() - self._begin_s)

    def _progress(self) -> float:
        budget = self.spec.budget
        if budget.total_steps is not None:
            return self.driver.total_env_steps / budget.total_steps
        if budget.minutes is not None:
            return (time.monotonic() - self._begin_s) / (60 * budget.minutes)
        return self.driver.num_updates / (budget.iterations or 1)

    def _save(self) -> None:
        self._checkpoint_s = time.monotonic()
        if not self.driver.num_updates:
            return
        self.store.save(
            self.driver.checkpoint_state(),
            {
                "total_env_steps": self.driver.total_env_steps,
                "num_updates": self.driver.num_updates,
                "score": self.recorder.recent_return,
                "spec": self.spec.model_dump(mode="json"),
                "paceline_version": __version__,
            },
        )


def _check_same_run(checkpoint: Checkpoint, spec: RunSpec) -> None:
    """Refuse to continue a run as another one; plan, budget and learning rate may change.

    Raises:
        ResultsError: environment, algorithm or network differ.
    """
    before = build_spec(RunSpec, checkpoint.meta.get("spec", {}), source=str(checkpoint.path))
    for name, old, new in (
        ("env", before.env, spec.env),
        ("algo.name", before.algo.name, spec.algo.name),
        ("algo.network", before.algo.network, spec.algo.network),
    ):
        if old != new:
            raise ResultsError(f"cannot resume: {name} was {old}, now it is {new}; use another --out for a new run")


def _info(spec: RunSpec, machine: Machine, outcome: Outcome) -> ExperimentInfo:
    return ExperimentInfo(
        total_experiments=1,
        timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
        kind="train",
        paceline_version=__version__,
        command=" ".join(["paceline", *sys.argv[1:]]),
        env_id=spec.env.id,
        algo=spec.algo.name,
        batch_size=spec.algo.batch_size,
        machine=machine.as_dict(),
        machine_fingerprint=machine.fingerprint,
        complete=outcome == "ok",
    )
