"""A tuning from beginning to end: probe, predict, race, confirm, decide; everything is written down as it happens.

``progress.jsonl`` gets a line for whatever happens; ``results.json`` and ``plan.yaml`` are written at the end, also of
a tuning that was interrupted: what is known by then is an answer, and how sure it is stands beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from paceline._version import __version__
from paceline.envs import env_factory
from paceline.errors import EnvTimeoutError, WorkError, error_named
from paceline.isolation.interrupts import Interrupts
from paceline.machine import Machine, detect_machine
from paceline.measure.result import ExperimentInfo
from paceline.measure.store import RunFolder, default_out
from paceline.measure.tune_result import TuneResults
from paceline.spec import EnvSpec, RunSpec, build_spec
from paceline.tuner.afterwards import Afterwards, check_the_fastest, cost_s, update_share
from paceline.tuner.arena import Arena, Failed, Interrupted
from paceline.tuner.cache import Cache, Found
from paceline.tuner.decision import weights_of
from paceline.tuner.entrants import Entrants, costs_of, enter
from paceline.tuner.load import Load
from paceline.tuner.lock import only_tuner
from paceline.tuner.outcome import experiments_of, plan_text, record_of
from paceline.tuner.probe import ProbeResult
from paceline.tuner.processes import Bounds, ProcessArena, probe
from paceline.tuner.race import Event, Outcome, Rules, race
from paceline.tuner.spec import TuneSpec
from paceline.tuner.traced import trace_winner
from paceline.tuner.variants import variants
from paceline.tuner.what_ifs import answer, questions

MEMORY_SHARE = 0.8
"""Share of the machine's memory that the processes of all contenders together may hold."""
START_TIMEOUT_S = 120.0
"""Longest time that a contender may take beyond three times what is expected of it."""
_LEAST_TIMEOUT_S = 60.0
"""The same where the budget is small: on a crowded machine a sound plan may take many times what is expected."""
_STAGE_TIMEOUT_S = 30.0
_PROBE_TIMEOUT_S = 300.0
WHAT_IF_SHARE = 0.12
"""Share of the budget that is left for questions about the winner."""
_LEAST_FOR_WHAT_IFS_S = 90.0
"""With a smaller budget all of it goes to the race, and such questions are answered by the model."""
_PROBE_SHARE = 0.6
"""Of a time that must not be overrun, what the probe may take."""
_LEAST_RACE_S = 1.0
_LEAST_S = 15.0
"""About what it takes to look at an environment and to start and measure one plan."""
_ENDING_S = 5.0
"""Of a time that must not be overrun, what is kept for ending processes and writing down."""
_PROBED_SHARE = 0.02
"""Of the budget, what is spent on the environment, and on the learner, where that is less than is usual."""

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
    at_most_s: float | None = None,
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
        at_most_s: seconds after which it ends whatever it is about; the budget alone lets an iteration end.
        trace: leave a trace of a few iterations of the winner, too: ``trace.json``, for ``ui.perfetto.dev``.
        **options: where ``spec`` is no ``TuneSpec``: its fields (``budget_minutes``, ``objective``, ``backends`` ..).

    Raises:
        SpecError: an option is unknown or out of range.
        PacelineError: the environment cannot be built, or no plan can be run.
        EnvTimeoutError: the environment could not be looked at in time.
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
                results = _Tuning(spec, folder, display, command, machine, at_most_s).go()
            note = cache.keep(spec, machine, results)
            if note:
                display.message(note)
        if trace and results.tune.decision.winner is not None:
            display.message("tracing the winner, in a fresh process")
            with only_tuner():
                bounds = Bounds(START_TIMEOUT_S, START_TIMEOUT_S, int(MEMORY_SHARE * machine.memory_limit_bytes))
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

    def __init__(
        self,
        spec: TuneSpec,
        folder: RunFolder,
        display: Display,
        command: str,
        machine: Machine,
        at_most_s: float | None,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._display = display
        self._command = command
        self._machine = machine
        self._timestamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._begin_s = time.monotonic()
        self._interrupts = Interrupts()
        self._told_stop = False
        self._end_s = math.inf if at_most_s is None else self._begin_s + max(at_most_s - _ENDING_S, 0.0)
        self._load = Load(machine.usable_cores)
        # What other programs hold is not ours to take.
        self._limit_bytes = int(MEMORY_SHARE * min(machine.memory_limit_bytes, machine.memory_available_bytes))
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
        self._look_ahead()
        found = self._probe()
        self._note("probe", **found.model_dump(mode="json"))
        entrants = enter(self._spec, found, self._machine, self._memory_bytes)
        self._display.entered(entrants, found)
        for reason in (found.several, found.processes):
            if reason != "yes":
                self._display.message(f"{reason}; plans that need it are left out")
        arena = ProcessArena(entrants.runs, self._bounds(entrants), self._should_stop)
        try:
            outcome = race(
                arena,
                entrants.candidates,
                self._rules(),
                baselines=entrants.baselines,
                weights=weights_of(self._spec.objective),
                seed=self._spec.base.seed,
                on_event=lambda event, so_far: self._on_event(event, so_far, entrants),
            )
        finally:
            arena.end()
        if outcome.stopped == "interrupted" and not self._interrupts.requested:
            outcome.stopped = "budget"
        results = self._save(found, entrants, outcome, Afterwards())  # whatever comes now must not cost the answer
        afterwards = self._afterwards(found, entrants, outcome)
        return results if afterwards == Afterwards() else self._save(found, entrants, outcome, afterwards)

    def _afterwards(self, found: ProbeResult, entrants: Entrants, outcome: Outcome) -> Afterwards:
        """Ask what would change the winner's speed, and whether what learns differently learns as well."""
        winner = outcome.decision.winner
        if winner is None or outcome.stopped == "interrupted":
            return Afterwards()
        tried, left_out = variants(self._spec, entrants.runs[winner], update_share(found, entrants, winner))
        gone = {*outcome.failures, *outcome.skipped}
        asked = [
            *tried,
            *questions(entrants, winner, found, self._machine, gone=gone, max_cores=self._spec.max_cores),
        ]
        self._display.probing("what would change it")
        what_ifs = answer(
            asked,
            entrants.runs[winner],
            outcome.belief,
            winner,
            lambda runs: ProcessArena(runs, self._bounds(entrants), self._should_stop),
            self._left_s if self._reserve_s() else lambda: 0.0,
            cost_s(entrants.candidates[winner]),
        )
        if not self._spec.verify_learning or self._should_stop():
            return Afterwards(what_ifs, left_out)
        return check_the_fastest(
            Afterwards(what_ifs, left_out),
            asked,
            entrants.runs[winner],
            minutes=self._spec.verify_minutes,
            memory_bytes=self._memory_bytes,
            should_stop=self._should_stop,
            on_line=self._display.message,
            on_check=lambda check: self._note("learning", **check.model_dump(mode="json")),
        )

    def _left_s(self) -> float:
        return 60.0 * self._spec.budget_minutes - (time.monotonic() - self._begin_s)

    def _reserve_s(self) -> float:
        budget_s = 60.0 * self._spec.budget_minutes
        return WHAT_IF_SHARE * budget_s if budget_s >= _LEAST_FOR_WHAT_IFS_S else 0.0

    def _look_ahead(self) -> None:
        """Say what can be known before anything is started: a budget that is too small, cores that others use."""
        budget_s = 60.0 * self._spec.budget_minutes
        if budget_s < _LEAST_S:
            self._display.message(
                f"{budget_s:g} s is less than it takes to look at the environment and to start one plan (about "
                f"{_LEAST_S:g} s): one plan will be measured, and for the others there will be predictions"
            )
        self._load.look_before(self._should_stop)
        self._note("load", others_cores=self._load.before)
        if self._load.opening():
            self._display.message(self._load.opening())

    def _bounds(self, entrants: Entrants) -> Bounds:
        """Return what a contender may take: one that hangs must not take the budget, one that is slow may be."""
        share_s = min(START_TIMEOUT_S, max(_LEAST_TIMEOUT_S, self._rules().budget_s / 4))
        longest_s = max(one.iteration_s for one in entrants.candidates)
        start_s = max(one.start_s for one in entrants.candidates)
        return Bounds(share_s + 3.0 * start_s, share_s + 3.0 * longest_s, self._memory_bytes)

    def _probe(self) -> ProbeResult:
        budget_s = 60.0 * self._spec.budget_minutes
        timeout_s = min(_PROBE_TIMEOUT_S, _PROBE_SHARE * (self._end_s - self._begin_s))
        found: ProbeResult | Failed
        try:
            found = probe(
                self._spec.base,
                timeout_s=timeout_s,
                stage_timeout_s=min(_STAGE_TIMEOUT_S, max(_STAGE_TIMEOUT_S / 2, budget_s / 4), timeout_s / 3),
                memory_bytes=self._limit_bytes,
                options={
                    "envpool": "native" in (self._spec.backends or ()),
                    "env_s": min(1.0, max(0.2, _PROBED_SHARE * budget_s)),
                    "learner_s": min(2.0, max(0.2, _PROBED_SHARE * budget_s)),
                },
                should_stop=self._should_stop,
                on_step=self._display.probing,
            )
        except Interrupted:
            if self._interrupts.requested:
                raise KeyboardInterrupt("nothing was measured yet") from None
            found = Failed("timeout", "the time was up before it was done")
        if isinstance(found, Failed):
            self._keep_log("probe", found)
            if found.error_type:
                raise error_named(found.error_type, found.message)
            kind = EnvTimeoutError if found.outcome == "timeout" else WorkError
            raise kind(f"{self._spec.base.env.id}: the process that looked at it failed: {found.message}")
        return found

    def _rules(self) -> Rules:
        left_s = self._left_s() - self._reserve_s()
        return Rules(
            budget_s=max(left_s, _LEAST_RACE_S),
            max_memory_bytes=self._memory_bytes,
            max_lag=self._spec.max_lag,
            max_cores=self._spec.max_cores or math.inf,
        )

    def _on_event(self, event: Event, outcome: Outcome, entrants: Entrants) -> None:
        name = None if event.candidate is None else entrants.candidates[event.candidate].name
        more: dict[str, Any] = {}
        if event.what == "opened":
            self._load.forget()
        if event.measured is not None and event.candidate is not None:
            more = {"sps": event.measured.sps, "wall_s": event.measured.wall_s,
                    "num_env_steps": event.measured.num_env_steps, "rss_bytes": event.measured.rss_bytes,
                    "others_cores": self._load.note(event.candidate)}  # fmt: skip
        if event.failed is not None:
            more = {"outcome": event.failed.outcome, "message": event.failed.message}
            self._keep_log(str(name), event.failed)
        self._note(event.what, plan=name, note=event.note, **more)
        self._display.event(event, outcome)

    def _keep_log(self, name: str, failed: Failed) -> None:
        safe = "".join(letter if letter.isalnum() else "_" for letter in name)
        parts = (failed.message, failed.output or "It printed nothing.")
        self._folder.write_text(f"logs/{safe}.log", "\n\n".join(parts) + "\n")

    def _should_stop(self) -> bool:
        self._display.tick(self._left_s())
        if self._interrupts.requested and not self._told_stop:
            self._told_stop = True
            self._display.message("Stopping and saving the best so far; press Ctrl-C again to leave at once.")
        return self._interrupts.requested or time.monotonic() >= self._end_s

    def _save(self, found: ProbeResult, entrants: Entrants, outcome: Outcome, afterwards: Afterwards) -> TuneResults:
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
                complete=outcome.stopped != "interrupted" and not self._interrupts.requested,
            ),
            experiments=experiments_of(entrants, outcome),
            tune=record_of(
                self._spec,
                found,
                entrants,
                outcome,
                wall_s,
                costs=costs_of(found, self._machine),
                load=self._load,
                memory_bytes=self._limit_bytes,
                afterwards=afterwards,
            ),
        )
        self._folder.write_results(results)
        if results.tune.decision.winner is not None:
            self._folder.write_text("plan.yaml", plan_text(results))
        return results

    def _note(self, kind: str, **fields: Any) -> None:
        self._folder.append_progress({"kind": kind, "at_s": time.monotonic() - self._begin_s, **fields})
