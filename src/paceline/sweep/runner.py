"""Runs a sweep: one trial after another, everything written down as it happens.

``progress.jsonl`` is the truth: a line for every finished iteration and every finished trial, on disk before the next
thing starts. ``results.json`` is rebuilt from the finished trials after each of them. A sweep that is killed therefore
loses the running trial and nothing else, and ``resume`` runs what is missing.

A trial that fails is an outcome and the next one starts. One case ends the sweep: the trials so far all raised the same
error before their first iteration, there were at least two of them, and they cover every backend that is still to come.
Then the fault lies in the environment or in the set-up that all trials share, and the rest would only repeat it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paceline._version import __version__
from paceline.errors import ResultsError, error_named
from paceline.isolation.interrupts import Interrupts
from paceline.machine import Machine, detect_machine, thread_environment
from paceline.measure.result import ExperimentInfo, IterationRecord, Results, RunResult
from paceline.measure.store import RunFolder, load_progress
from paceline.spec import RunSpec, SweepSpec, build_spec, load_yaml
from paceline.sweep.display import Display, dry_run_text, make_display
from paceline.sweep.enduring import EnduringDisplay
from paceline.sweep.grid import Resolver, SweepPlan, Trial, plan_sweep, sweep_spec
from paceline.sweep.journal import Finished, Journal, finished_trials
from paceline.sweep.resolve import resolve_in_fresh_process
from paceline.sweep.trial import ENTRY_POINT, Limits, TrialReport, run_in_fresh_process

MEMORY_SHARE = 0.8
"""Share of the machine's memory that a trial may hold where the spec does not say."""
SAME_FAULTS = 2
"""How many trials have to raise the same error at set-up before it is taken for everybody's."""


def sweep(
    spec: SweepSpec | RunSpec | str,
    out: Path | str,
    *,
    resume: bool = False,
    dry_run: bool = False,
    display: Display | None = None,
    command: str = "",
    machine: Machine | None = None,
    resolve: Resolver = resolve_in_fresh_process,
    entry_point: str = ENTRY_POINT,
    **axes_and_options: Any,
) -> Results:
    """Run every trial of a grid in a fresh process each, and return what was measured.

    Args:
        spec: the sweep; or a run or an environment id, with ``num_env_runners=[..]``, ``num_envs_per_env_runner=[..]``,
            ``axes={..}``, ``iterations=..`` and the like (see :func:`paceline.sweep.grid.sweep_spec`).
        out: folder for ``spec.yaml``, ``progress.jsonl``, ``results.json`` and the logs of trials that failed.
        resume: continue the sweep that ``out`` holds: run only what is missing or was interrupted.
        dry_run: show the trials and the expected time, and start nothing.
        display: what shows the progress; default: what suits standard output.
        command: the command line, to be recorded.
        machine: what it runs on; default: this machine as detected.
        resolve: fills in open algorithm fields.
        entry_point: what runs a trial in its process, ``package.module:function``.
        **axes_and_options: see ``spec``.

    Raises:
        SpecError: an axis or a value of it is malformed.
        PlanError: no point of the grid can be run, or no batch size suits all of them.
        ResultsError: ``resume``, but ``out`` holds another sweep, or one of another machine.
        OutputError: ``out`` cannot be written.
        PacelineError: every trial failed alike at set-up; the error is theirs.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was measured until then is saved.
    """
    if not isinstance(spec, SweepSpec):
        spec = sweep_spec(spec, **axes_and_options)
    elif axes_and_options:
        raise TypeError(f"expected no further options with a SweepSpec, got {', '.join(axes_and_options)}")
    display = display or make_display()
    machine = machine or detect_machine()
    if resume:
        check_same_sweep(Path(out), spec)
    plan = plan_sweep(spec, resolve=resolve, machine=machine)
    if dry_run:
        done = finished_trials(load_progress(Path(out))).results if resume else {}
        display.message(dry_run_text(plan, done))
        return Results(experiment_info=_info(plan, machine, _now(), command, complete=False), experiments=())
    with RunFolder(out, resume=resume) as folder:
        return _Run(plan, folder, display, machine, command, entry_point).go(resume)


def check_same_sweep(out: Path, spec: SweepSpec) -> None:
    """Check that ``out`` holds the sweep ``spec``, so that it can be resumed.

    Raises:
        ResultsError: it holds none, or another one; the first difference is named.
    """
    path = out / "spec.yaml"
    if not path.exists():
        raise ResultsError(
            f"{out}: expected the folder of a sweep to resume, got no spec.yaml; leave out --resume to start one"
        )
    before = build_spec(SweepSpec, load_yaml(path), source=str(path))
    difference = _first_difference(before.model_dump(mode="json"), spec.model_dump(mode="json"))
    if difference:
        name, old, new = difference
        raise ResultsError(
            f"{out}: expected the sweep that the folder holds, got another: {name} is {new!r}, there it is {old!r}; "
            f"resume with the same options or give another --out"
        )


class _Run:
    """One start of a sweep."""

    def __init__(
        self, plan: SweepPlan, folder: RunFolder, display: Display, machine: Machine, command: str, entry_point: str
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._journal = Journal(folder)
        self._display: Display = EnduringDisplay(display)
        self._machine = machine
        self._command = command
        self._entry_point = entry_point
        self._timestamp = _now()
        self._done = Finished()
        self._faults: list[tuple[Trial, TrialReport]] = []
        self._limits = Limits(
            plan.sweep.trial_timeout_s,
            plan.sweep.trial_memory_bytes or int(MEMORY_SHARE * machine.memory_limit_bytes),
        )

    def go(self, resume: bool) -> Results:
        """Run what is missing."""
        if resume:
            self._pick_up()
        else:
            self._folder.write_spec(self._plan.sweep)
        self._journal.sweep_started(self._timestamp, __version__, self._machine.fingerprint, len(self._plan.trials))
        with Interrupts() as interrupts:
            self._display.begin(self._plan, self._done.results)
            try:
                reason = self._run_trials(interrupts)
                results = self._save()
            finally:
                self._display.end()
        if interrupts.requested:
            raise KeyboardInterrupt
        if reason:
            raise reason
        return results

    def _pick_up(self) -> None:
        """Read what earlier starts have left.

        Raises:
            ResultsError: they ran on another machine.
        """
        done = self._journal.read()
        if done.machine_fingerprint not in ("", self._machine.fingerprint):
            raise ResultsError(
                f"{self._folder.path}: expected the machine that the sweep was started on (fingerprint "
                f"{done.machine_fingerprint}), got another ({self._machine.fingerprint}); figures of two machines do "
                f"not mix, give another --out"
            )
        planned = {trial.key for trial in self._plan.trials}
        done.results = {key: result for key, result in done.results.items() if key in planned}
        self._timestamp = done.timestamp or self._timestamp
        self._done = done

    def _run_trials(self, interrupts: Interrupts) -> Exception | None:
        """Run the missing trials; return why the rest is not worth running, if so."""
        for trial in self._plan.trials:
            if interrupts.requested:
                break
            if trial.key not in self._done.results:
                self._run_one(trial, interrupts)
                fault = self._shared_fault()
                if fault:
                    return fault
        return None

    def _run_one(self, trial: Trial, interrupts: Interrupts) -> None:
        def on_iteration(record: IterationRecord) -> None:
            self._journal.iteration(trial, record)
            self._display.iteration(trial, record)

        def should_stop() -> bool:
            self._display.tick()
            if interrupts.requested:  # asked once: the trial is stopped upon it
                self._display.message("Stopping the running trial and saving; press Ctrl-C again to leave at once.")
            return interrupts.requested

        self._display.trial_started(trial)
        threads = trial.spec.plan.learner_threads
        report = run_in_fresh_process(
            trial,
            self._limits,
            entry_point=self._entry_point,
            on_iteration=on_iteration,
            should_stop=should_stop,
            environment=thread_environment(threads) if threads else {},
        )
        result = self._with_log(trial, report)
        self._done.results[trial.key] = result
        if result.outcome == "crash" and report.error_type and not result.iterations:
            self._faults.append((trial, report))
        self._journal.trial_finished(trial, result, report.wall_s)
        self._save()
        self._display.trial_finished(trial, result, report.wall_s)

    def _with_log(self, trial: Trial, report: TrialReport) -> RunResult:
        """Keep what a failed trial printed, and say where."""
        result = report.result
        if result.outcome in ("ok", "unsteady", "interrupted") or not report.output:
            return result
        name = f"logs/{re.sub(r'[^A-Za-z0-9.=_-]+', '_', trial.name)}.{trial.repeat}.log"
        self._folder.write_text(name, report.output + "\n")
        return result.model_copy(update={"message": f"{result.message}; see {name}"})

    def _shared_fault(self) -> Exception | None:
        """Return the error that every trial shares, if there is one; see the module's text."""
        failed = [trial for trial, _ in self._faults]
        if len(failed) < SAME_FAULTS or len(failed) < len(self._done.results):
            return None
        if len({_signature(report) for _, report in self._faults}) > 1:
            return None
        left = [trial for trial in self._plan.trials if trial.key not in self._done.results]
        if not left or not {_backend(trial) for trial in left} <= {_backend(trial) for trial in failed}:
            return None
        if any(name.startswith("env.") for name in self._plan.sweep.axes):
            return None  # another environment may well work
        report = self._faults[-1][1]
        reason = (
            f"{report.result.message}; {len(failed)} trials failed so before their first iteration and none got "
            f"further, so the other {len(left)} were not started; mend it, then continue with --resume"
        )
        self._journal.gave_up(reason, [trial.key for trial in failed])
        return error_named(report.error_type, reason)

    def _save(self) -> Results:
        """Write ``results.json`` from what has finished, in the order of the grid."""
        order = sorted(self._plan.trials, key=lambda trial: (trial.point, trial.repeat))
        experiments = tuple(self._done.results[trial.key] for trial in order if trial.key in self._done.results)
        complete = len(experiments) == len(order) and all(run.outcome != "interrupted" for run in experiments)
        results = Results(
            experiment_info=_info(self._plan, self._machine, self._timestamp, self._command, complete=complete),
            experiments=experiments,
        )
        self._folder.write_results(results)
        return results


def _info(plan: SweepPlan, machine: Machine, timestamp: str, command: str, *, complete: bool) -> ExperimentInfo:
    return ExperimentInfo(
        total_experiments=len(plan.trials),
        timestamp=timestamp,
        kind="sweep",
        paceline_version=__version__,
        command=command,
        env_id=plan.sweep.base.env.id,
        algo=plan.sweep.base.algo.name,
        batch_size=plan.batch_size,
        machine=machine.as_dict(),
        machine_fingerprint=machine.fingerprint,
        complete=complete,
    )


def _signature(report: TrialReport) -> tuple[str, str]:
    """Return what two errors have to share to be the same: class and text, numbers apart."""
    return report.error_type, re.sub(r"[\d.]+", "#", report.result.message)


def _backend(trial: Trial) -> str:
    return trial.spec.plan.resolved_backend


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _first_difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            found = _first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    return None if old == new else (path, old, new)
