"""A tuning from beginning to end: probe, predict, race, confirm, decide; everything is written down as it happens.

``progress.jsonl`` gets a line for whatever happens; ``results.json`` and ``plan.yaml`` are written at the end, also of
a tuning that was interrupted: what is known by then is an answer, and how sure it is stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from paceline._version import __version__
from paceline.envs import env_factory
from paceline.errors import WorkError, error_named
from paceline.isolation.interrupts import Interrupts
from paceline.machine import Machine, detect_machine
from paceline.measure.result import ExperimentInfo
from paceline.measure.store import RunFolder, default_out
from paceline.measure.tune_result import TuneResults
from paceline.spec import EnvSpec, RunSpec, build_spec
from paceline.tuner.arena import Arena, Failed, Interrupted
from paceline.tuner.cache import Cache, Found
from paceline.tuner.decision import OBJECTIVES
from paceline.tuner.entrants import Entrants, enter
from paceline.tuner.lock import only_tuner
from paceline.tuner.outcome import experiments_of, plan_text, record_of
from paceline.tuner.probe import ProbeResult
from paceline.tuner.processes import Bounds, ProcessArena, probe
from paceline.tuner.race import Event, Outcome, Rules, race
from paceline.tuner.spec import TuneSpec
from paceline.tuner.traced import trace_winner

MEMORY_SHARE = 0.8
"""Share of the machine's memory that the processes of all contenders together may hold."""
START_TIMEOUT_S = 120.0
SLICE_TIMEOUT_S = 120.0
_PROBE_TIMEOUT_S = 300.0
_LEAST_RACE_S = 5.0

ArenaMaker = Callable[[Entrants, Bounds, Callable[[], bool]], Arena]


class Display(Protocol):
    """What a tuning tells of itself while it runs."""

    def begin(self, spec: TuneSpec) -> None:
        """Show what is going to be tuned."""

    def probing(self, what: str) -> None:
        """Show what is being looked at."""

    def entered(self, entrants: Entrants, found: ProbeResult) -> None:
        """Show who takes part."""

    def event(self, event: Event, outcome: Outcome) -> None:
        """Show what happened in the race."""

    def message(self, text: str) -> None:
        """Show one sentence."""

    def tick(self, left_s: float) -> None:
        """Show that time passes; called several times a second."""

    def end(self) -> None:
        """Put the display away."""


class SilentDisplay:
    """Shows nothing; for use as a library."""

    def begin(self, spec: TuneSpec) -> None:
        """Do nothing."""

    def probing(self, what: str) -> None:
        """Do nothing."""

    def entered(self, entrants: Entrants, found: ProbeResult) -> None:
        """Do nothing."""

    def event(self, event: Event, outcome: Outcome) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def tick(self, left_s: float) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


def tune(
    spec: TuneSpec | RunSpec | EnvSpec | str | Callable[..., Any],
    out: Path | str | None = None,
    *,
    display: Display | None = None,
    command: str = "",
    machine: Machine | None = None,
    cache: Cache | None = None,
    again: bool = False,
    trace: bool = False,
    **options: Any,
) -> TuneResults:
    """Find the plan of the greatest worth for a run on this machine.

    Args:
        spec: what is tuned, for how long; or a run, or an environment: its name, or a class or function that can be
            imported by its name.
        out: folder for ``spec.yaml``, ``progress.jsonl``, ``results.json`` and ``plan.yaml``; by default
            ``runs/<env>-tune-<time>``.
        display: what shows the progress; nothing by default.
        command: the command line, to be recorded.
        machine: what it runs on; default: this machine as detected.
        cache: answers of earlier tunings; default: the user's.
        again: measure, whatever the cache has.
        trace: leave a trace of a few iterations of the winner, too: ``trace.json``, for ``ui.perfetto.dev``.
        **options: where ``spec`` is no ``TuneSpec``: its fields (``budget_minutes``, ``objective``, ``backends`` ..).

    Raises:
        SpecError: an option is unknown or out of range.
        PacelineError: the environment cannot be built, or no plan can be run.
        ResourceError: another tuner is at work on this machine.
        OutputError: ``out`` cannot be written.
        ResultsError: ``out`` holds a run already.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the best so far is saved.
    """
    spec = _as_tuning(spec, options)
    display = display or SilentDisplay()
    out = out if out is not None else default_out(spec.base.env.id, "tune")
    env_factory(spec.base.env)  # a name that is not one leaves no folder
    machine = machine or detect_machine()
    cache = cache or Cache()
    found = Found() if again else cache.look_up(spec, machine)
    if found.note:
        display.message(found.note)
    with RunFolder(out) as folder:
        if found.results is not None:
            results = _answer_again(folder, spec, found)
        else:
            with only_tuner():
                results = _Tuning(spec, folder, display, command, machine).go()
            cache.keep(spec, machine, results)
        if trace:
            display.message("tracing the winner, in a fresh process")
            with only_tuner():
                bounds = Bounds(START_TIMEOUT_S, SLICE_TIMEOUT_S, int(MEMORY_SHARE * machine.memory_limit_bytes))
                results = trace_winner(folder, spec, results, bounds)
    return results


def _as_tuning(spec: Any, options: dict[str, Any]) -> TuneSpec:
    if isinstance(spec, TuneSpec):
        if options:
            raise TypeError(f"expected no further options with a TuneSpec, got {', '.join(options)}")
        return spec
    if not isinstance(spec, RunSpec):
        env = EnvSpec(id=spec) if isinstance(spec, str) else env_factory(spec).spec
        spec = RunSpec(env=env)
    return build_spec(TuneSpec, {"base": spec.model_dump(mode="json"), **options}, source="tune")


def _answer_again(folder: RunFolder, spec: TuneSpec, found: Found) -> TuneResults:
    """Write an earlier answer into a new folder, with a word on where it comes from."""
    assert found.results is not None
    tuned = found.results.tune
    results = found.results.model_copy(
        update={"tune": tuned.model_copy(update={"notes": (*tuned.notes, f"This was {found.note}.")})}
    )
    folder.write_spec(spec)
    folder.write_results(results)
    folder.write_text("plan.yaml", plan_text(results))
    return results


class _Tuning:
    """One tuning."""

    def __init__(self, spec: TuneSpec, folder: RunFolder, display: Display, command: str, machine: Machine) -> None:
        self._spec = spec
        self._folder = folder
        self._display = display
        self._command = command
        self._machine = machine
        self._timestamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._begin_s = time.monotonic()
        self._interrupts = Interrupts()
        self._told_stop = False
        self._limit_bytes = int(MEMORY_SHARE * machine.memory_limit_bytes)
        self._memory_bytes = min(self._limit_bytes, spec.max_memory_bytes or self._limit_bytes)

    def go(self) -> TuneResults:
        """Tune, and save whatever happens."""
        self._folder.write_spec(self._spec)
        self._note("tune", timestamp=self._timestamp, paceline_version=__version__,
                   machine_fingerprint=self._machine.fingerprint)  # fmt: skip
        with self._interrupts:
            self._display.begin(self._spec)
            try:
                results = self._tune()
            finally:
                self._display.end()
        if self._interrupts.requested:
            raise KeyboardInterrupt
        return results

    def _tune(self) -> TuneResults:
        found = self._probe()
        self._note("probe", **found.model_dump(mode="json"))
        entrants = enter(self._spec, found, self._machine, self._memory_bytes)
        self._display.entered(entrants, found)
        bounds = Bounds(START_TIMEOUT_S, SLICE_TIMEOUT_S, self._memory_bytes)
        arena = ProcessArena(entrants.runs, bounds, self._should_stop)
        try:
            outcome = race(
                arena,
                entrants.candidates,
                self._rules(),
                baselines=entrants.baselines,
                weights=OBJECTIVES[self._spec.objective],
                seed=self._spec.base.seed,
                on_event=lambda event, so_far: self._on_event(event, so_far, entrants),
            )
        finally:
            arena.end()
        return self._save(found, entrants, outcome)

    def _probe(self) -> ProbeResult:
        try:
            found = probe(
                self._spec.base,
                timeout_s=_PROBE_TIMEOUT_S,
                memory_bytes=self._limit_bytes,
                envpool="native" in (self._spec.backends or ()),
                should_stop=self._should_stop,
                on_step=self._display.probing,
            )
        except Interrupted:
            raise KeyboardInterrupt from None
        if isinstance(found, Failed):
            if found.error_type:
                raise error_named(found.error_type, found.message)
            raise WorkError(f"{self._spec.base.env.id}: the process that looked at it failed: {found.message}")
        return found

    def _rules(self) -> Rules:
        left_s = 60.0 * self._spec.budget_minutes - (time.monotonic() - self._begin_s)
        return Rules(
            budget_s=max(left_s, _LEAST_RACE_S), max_memory_bytes=self._memory_bytes, max_lag=self._spec.max_lag
        )

    def _on_event(self, event: Event, outcome: Outcome, entrants: Entrants) -> None:
        name = None if event.candidate is None else entrants.candidates[event.candidate].name
        more: dict[str, Any] = {}
        if event.measured is not None:
            more = {"sps": event.measured.sps, "wall_s": event.measured.wall_s,
                    "num_env_steps": event.measured.num_env_steps}  # fmt: skip
        if event.failed is not None:
            more = {"outcome": event.failed.outcome, "message": event.failed.message}
            self._keep_log(str(name), event.failed)
        self._note(event.what, plan=name, note=event.note, **more)
        self._display.event(event, outcome)

    def _keep_log(self, name: str, failed: Failed) -> None:
        if failed.output:
            safe = "".join(letter if letter.isalnum() else "_" for letter in name)
            self._folder.write_text(f"logs/{safe}.log", failed.output + "\n")

    def _should_stop(self) -> bool:
        self._display.tick(60.0 * self._spec.budget_minutes - (time.monotonic() - self._begin_s))
        if self._interrupts.requested and not self._told_stop:
            self._told_stop = True
            self._display.message("Stopping and saving the best so far; press Ctrl-C again to leave at once.")
        return self._interrupts.requested

    def _save(self, found: ProbeResult, entrants: Entrants, outcome: Outcome) -> TuneResults:
        wall_s = time.monotonic() - self._begin_s
        results = TuneResults(
            experiment_info=ExperimentInfo(
                total_experiments=len(outcome.measured),
                timestamp=self._timestamp,
                kind="tune",
                paceline_version=__version__,
                command=self._command,
                env_id=self._spec.base.env.id,
                algo=self._spec.base.algo.name,
                batch_size=found.run.algo.batch_size,
                machine=self._machine.as_dict(),
                machine_fingerprint=self._machine.fingerprint,
                complete=outcome.stopped != "interrupted",
            ),
            experiments=experiments_of(entrants, outcome),
            tune=record_of(self._spec, found, entrants, outcome, wall_s),
        )
        self._folder.write_results(results)
        if results.tune.decision.winner is not None:
            self._folder.write_text("plan.yaml", plan_text(results))
        return results

    def _note(self, kind: str, **fields: Any) -> None:
        self._folder.append_progress({"kind": kind, "at_s": time.monotonic() - self._begin_s, **fields})
