"""A whole training run: environments, learner, checkpoints, logs, results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import gymnasium

from paceline._version import __version__
from paceline.envs import env_factory, episode_limit
from paceline.errors import (
    NonFiniteLossError,
    OutOfMemoryError,
    OutputError,
    PacelineError,
)
from paceline.machine import Machine, detect_machine
from paceline.measure.ledger import CHECKPOINT, LOGGING, Ledger
from paceline.measure.monitor import ProcessTreeMonitor
from paceline.measure.result import ExperimentInfo, IterationRecord, Outcome, Results, RunResult
from paceline.measure.store import RunFolder, default_out
from paceline.spec import EnvSpec, RunSpec, build_spec
from paceline.training.checkpoint import CheckpointStore
from paceline.training.csv_log import CsvLog
from paceline.training.driver import Driver
from paceline.training.drivers import open_driver
from paceline.training.interrupts import Interrupts
from paceline.training.memory_watch import MemoryWatch
from paceline.training.progress import Display, SilentDisplay
from paceline.training.recorder import RunRecorder
from paceline.training.resolve import default_plan
from paceline.training.resume import check_budget_is_left, check_same_run, earlier_records, resumption, trained_s
from paceline.training.saving import Saver, caution_about_interval
from paceline.training.scalars import RunLog
from paceline.training.status import Status
from paceline.training.tensorboard import TensorBoardLog
from paceline.training.trace_file import TraceFile
from paceline.training.wandb_log import WandbLog, check_wandb_is_there


def train(
    spec: RunSpec | EnvSpec | str | Callable[..., gymnasium.Env[Any, Any]],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    command: str = "",
    wandb: str | None = None,
    trace: str | Path | None = None,
    **fields: Any,
) -> RunResult:
    """Train an agent and leave everything about it in a folder.

    Args:
        spec: the run, or just an environment: an id, an ``EnvSpec``, or a class or function of an importable module.
        out: the folder; ``runs/<env>-<algo>-<time>`` by default.
        resume: continue the run that ``out`` holds: its parameters, optimiser, statistics and counters; environments
            start new episodes. With ``exact_resume`` in its spec it goes on bit for bit
            (see :mod:`paceline.training.saving`).
        display: what to show; nothing by default.
        command: the command line, to be recorded.
        trace: a file for a trace of a few iterations, for ``ui.perfetto.dev``; None: nothing is traced.
        wandb: project of Weights & Biases to send the curves to; None: nothing is sent.
        **fields: fields of ``RunSpec`` (``algo``, by its name or as a whole, ``plan``, ``budget``, ``seed``); they
            replace those of ``spec``.
            Without a plan, one is chosen that suits the environment and the machine.

    Returns:
        What was measured.

    Raises:
        PacelineError: the request makes no sense, or the work failed; what was done until then is saved.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was done until then is saved, with the outcome ``interrupted``.
    """
    run = _as_run(spec, fields)
    if wandb is not None:
        check_wandb_is_there()
    env_factory(run.env)  # a misspelt name leaves no folder behind
    path = Path(out) if out is not None else default_out(run.env.id, run.algo.name)
    is_new = not path.exists()
    folder = RunFolder(path, resume=resume)
    try:
        return _train(
            run, folder, resume=resume, display=display or SilentDisplay(), command=command, wandb=wandb,
            trace=None if trace is None else Path(trace),
        )  # fmt: skip
    finally:
        folder.close()
        if is_new:
            with contextlib.suppress(OSError):
                path.rmdir()  # succeeds only if nothing was ever written there


def _as_run(env: RunSpec | EnvSpec | str | Callable[..., Any], fields: dict[str, Any]) -> RunSpec:
    if isinstance(fields.get("algo"), str):
        fields = {**fields, "algo": {"name": fields["algo"]}}
    if isinstance(env, RunSpec):
        return build_spec(RunSpec, {**env.model_dump(), **fields}, source="train") if fields else env
    if not isinstance(env, str):
        env = env_factory(env).spec
    env = EnvSpec(id=env) if isinstance(env, str) else env
    if "plan" not in fields:
        fields = {**fields, "plan": default_plan(env.id, detect_machine(), _algo_name(fields.get("algo")))}
    return build_spec(RunSpec, {"env": env, **fields}, source="train")


def _algo_name(algo: Any) -> str:
    name = algo.get("name", "ppo") if isinstance(algo, Mapping) else getattr(algo, "name", "ppo")
    return str(name)


def _train(
    spec: RunSpec, folder: RunFolder, *, resume: bool, display: Display, command: str, wandb: str | None,
    trace: Path | None,
) -> RunResult:  # fmt: skip
    begin = time.perf_counter()
    store = CheckpointStore(folder.path / "checkpoints")
    # A run that was killed before its first checkpoint starts again: there is nothing to lose.
    previous = store.last() if resume and store.paths() else None
    trained_before_s = 0.0 if previous is None else trained_s(previous)
    if previous is not None:
        check_same_run(previous, spec)
    with contextlib.ExitStack() as stack:
        ledger = Ledger()
        driver = stack.enter_context(open_driver(spec, ledger))
        spec = driver.spec
        if previous is not None:
            check_same_run(previous, spec)  # what was open is known now
            driver.restore(previous)
            done = (driver.total_env_steps, driver.num_iterations, trained_before_s)
            check_budget_is_left(spec.budget, driver.steps_per_iteration, *done)
        saver = Saver(spec, driver, store)
        logs: list[RunLog] = []
        if wandb is not None:
            logs.append(stack.enter_context(contextlib.closing(WandbLog(wandb, folder.path, spec))))
        folder.write_spec(spec)
        with contextlib.suppress(OSError):
            display.begin(spec)
        stack.callback(display.end)
        driver.reset()
        machine = detect_machine()
        monitor = stack.enter_context(
            ProcessTreeMonitor(usable_cores=machine.usable_cores, memory_limit_bytes=machine.memory_limit_bytes)
        )
        by_time = spec.budget.minutes is not None
        recorder = RunRecorder(spec, name=spec.plan.label, repeat=0, monitor=monitor, progress_is_time=by_time)
        recorder.setup_s = time.perf_counter() - begin
        recorder.compile_s = driver.compile()
        recorder.freeze_threads(driver.runner_threads)
        logs.append(stack.enter_context(contextlib.closing(CsvLog(folder.path, driver.num_iterations))))
        done_steps = driver.total_env_steps if resume else None
        logs.append(stack.enter_context(contextlib.closing(TensorBoardLog(folder.path / "tb", done_steps))))
        interrupts = stack.enter_context(Interrupts())
        loop = _Loop(spec, driver, ledger, recorder, saver, folder, logs, display, interrupts, trained_before_s)
        if trace is not None:
            loop.trace = TraceFile(trace, ledger, f"{spec.algo.name} on {spec.env.id}, plan {spec.plan.label}")
        if caution := caution_about_interval(spec, episode_limit(spec.env)):
            loop.say(caution)
        if resume:
            recorder.continue_from(earlier_records(folder, previous, spec), driver.num_iterations)
            folder.append_progress(resumption(spec, previous))
            loop.say(
                f"going on after iteration {driver.num_iterations}, {driver.total_env_steps:,} steps"
                + (
                    ""
                    if not spec.exact_resume or previous.meta.get("is_boundary")
                    else ", which is no boundary: not exact"
                )
                if previous
                else "no checkpoint to go on from: starting at the beginning"
            )
        ledger.start()
        monitor.start_interval()
        outcome, message, failure = loop.run()
        recorder.compile_s += driver.late_compile_s
        result = recorder.result(outcome, message)
        try:
            folder.write_results(Results(experiment_info=_info(spec, machine, outcome, command), experiments=(result,)))
        except OutputError as error:
            failure = loop.graver(failure, error)
    if failure is not None:
        raise failure
    return result


@dataclass
class _Loop:
    """Iterations until the budget is spent, someone stops the run, or it breaks."""

    spec: RunSpec
    driver: Driver
    ledger: Ledger
    recorder: RunRecorder
    saver: Saver
    folder: RunFolder
    logs: list[RunLog]
    display: Display
    interrupts: Interrupts
    trained_before_s: float
    trace: TraceFile | None = None

    def run(self) -> tuple[Outcome, str, BaseException | None]:
        """Iterate; save a checkpoint at the end, however it comes."""
        self._begin_s = time.monotonic()
        self._memory = MemoryWatch()
        self._first_progress = self._progress()
        failure: BaseException | None = None
        try:
            while (progress := self._progress()) < 1.0:
                self._iterate(progress)
        except (Exception, KeyboardInterrupt) as error:
            failure = _explained(error)
            if isinstance(error, KeyboardInterrupt):
                self.say("stopping: saving a checkpoint and the results")
            self._tell_of_unfinished()
            with contextlib.suppress(OutputError):  # a full disk must not keep the rest from being said and saved
                self._record_finished_part()
        if self.trace is not None:
            self.trace.close()
            self.say(self.trace.message)
        try:
            self._save_last(failure)
        except OutputError as error:
            failure = self.graver(failure, error)
        return (*_ending(failure), failure)

    def graver(self, failure: BaseException | None, unsaved: OutputError) -> BaseException:
        """Return what the run ends with, now that something could not be saved, too; what it hides is said."""
        if failure is None or isinstance(failure, KeyboardInterrupt):
            return unsaved  # whoever stops a run must hear that its last steps are not saved
        self.say(str(unsaved))
        return failure

    def say(self, text: str) -> None:
        """Show ``text``; a reader that has gone away (``| head``) must not end the run."""
        with contextlib.suppress(OSError):
            self.display.message(text)

    def _iterate(self, progress: float) -> None:
        iteration = self.driver.iterate(progress, interruptible=self.interrupts.allowed)
        for event in iteration.events:
            self._tell(event)
        with self.ledger.phase(LOGGING):
            self.recorder.watch_returns(iteration)
        if self.saver.is_due:
            with self.ledger.phase(CHECKPOINT):
                self.saver.save(self.recorder.recent_return, self._wall_s)
                if self.spec.exact_resume:
                    with self.interrupts.allowed():
                        self.driver.reset()
        record = self.recorder.record(iteration, self.ledger.cut(), self.driver.total_env_steps)
        if self.trace is not None:
            self.trace.next(record)
        with self.ledger.phase(LOGGING):
            self._log(record)
            if record.resources is not None and (warning := self._memory.look(record.resources)):
                self._tell(warning, what="memory")

    def _tell_of_unfinished(self) -> None:
        """Tell what was replaced in an iteration that did not end: most often, that is why."""
        for event in self.driver.take_events():
            with contextlib.suppress(OutputError):  # a full disk must not keep the rest from being said and saved
                self._tell(event)

    def _record_finished_part(self) -> None:
        """Record what an iteration that broke had finished: it is in the checkpoint, so it must be in the results."""
        part = self.driver.take_finished_part()
        if part is not None:
            iteration, entry = part
            self.recorder.watch_returns(iteration)
            self._log(self.recorder.record(iteration, entry, self.driver.total_env_steps))

    def _tell(self, event: str, what: Literal["restart", "memory"] = "restart") -> None:
        self.say(event)
        self.folder.append_progress({"kind": "event", "trial": self.recorder.name, "what": what, "message": event})

    def _log(self, record: IterationRecord) -> None:
        recent = self.recorder.recent_return
        self.folder.append_progress(
            {"kind": "iteration", "trial": self.recorder.name, **record.model_dump(mode="json")}
        )
        self._write_curves(record, recent)
        progress, elapsed_s = self._progress(), time.monotonic() - self._begin_s
        gained = max(progress - self._first_progress, 1e-9)
        remaining_s = elapsed_s / gained * max(0.0, 1.0 - progress)
        with contextlib.suppress(OSError):
            self.display.iteration(Status(record, recent, self.recorder.best_return, progress, elapsed_s, remaining_s))

    def _write_curves(self, record: IterationRecord, recent: float | None) -> None:
        """Write to every log of scalars; one that fails is told of once, and left alone from then on."""
        for log in tuple(self.logs):
            log.write(record, recent)
            if log.problem:
                self.say(log.problem)
                self.logs.remove(log)

    @property
    def _wall_s(self) -> float:
        """Seconds that the run has trained, those before it was resumed included."""
        return self.trained_before_s + time.monotonic() - self._begin_s

    def _progress(self) -> float:
        budget = self.spec.budget
        planned = budget.planned_env_steps(self.driver.steps_per_iteration)
        if planned is not None:
            return self.driver.total_env_steps / planned
        if budget.minutes is not None:
            return self._wall_s / (60 * budget.minutes)
        return self.driver.num_iterations / (budget.iterations or 1)

    def _save_last(self, failure: BaseException | None) -> None:
        """Save what there is; a run that is to go on bit for bit goes on from the last boundary instead."""
        if failure is None or not self.spec.exact_resume:
            self.saver.save(self.recorder.recent_return, self._wall_s)
        elif not self.saver.is_saved:
            self.say("exact_resume: --resume goes on from the last boundary and repeats the iterations since")


def _explained(error: BaseException) -> BaseException:
    """Return running out of memory as paceline's own error, and everything else as it is."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return OutOfMemoryError(
            "expected the batch and the networks to fit into memory, got none left; use a smaller algo.batch_size or "
            "fewer environments"
        )
    return error


def _ending(failure: BaseException | None) -> tuple[Outcome, str]:
    """Return a run's outcome and message."""
    if failure is None:
        return "ok", ""
    if isinstance(failure, KeyboardInterrupt):
        return "interrupted", "stopped by the user"
    if isinstance(failure, PacelineError):
        kinds: tuple[tuple[type[PacelineError], Outcome], ...] = (
            (NonFiniteLossError, "nan"),
            (OutOfMemoryError, "oom"),
        )
        return next((outcome for kind, outcome in kinds if isinstance(failure, kind)), "crash"), str(failure)
    return "crash", f"{type(failure).__name__}: {failure}"


def _info(spec: RunSpec, machine: Machine, outcome: Outcome, command: str) -> ExperimentInfo:
    return ExperimentInfo(
        total_experiments=1,
        timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
        kind="train",
        paceline_version=__version__,
        command=command,
        env_id=spec.env.id,
        algo=spec.algo.name,
        batch_size=spec.algo.batch_size,
        machine=machine.as_dict(),
        machine_fingerprint=machine.fingerprint,
        complete=outcome == "ok",
    )
