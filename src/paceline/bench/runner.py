"""Runs a bench: sets the cases up, lets them take turns, writes everything down as it happens.

Cases that are compared are alive at the same time and measured in short windows, round after round, forwards and
backwards in turn (A B C, C B A), so that whatever else the machine does hits all of them alike. Only one runs at a
time; the others wait to be asked.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from paceline import errors
from paceline._version import __version__
from paceline.bench.case_process import start_case, start_profile, watch_case
from paceline.bench.cases import MEMORY_SHARE, Case, expected_bytes, expected_window_s, group_cases, plan_cases
from paceline.bench.display import Display, EnduringDisplay, Forecast, make_display
from paceline.bench.outcome import CaseRecord, bench_case
from paceline.bench.spec import BenchSpec
from paceline.envs import env_factory
from paceline.errors import EnvRaisedError, EnvTimeoutError, PlanError, ResultsError, WorkError, error_named
from paceline.isolation.conversation import AnswerFailed, Conversation, Failure, Stopped, Watch
from paceline.isolation.interrupts import Interrupts
from paceline.machine import Machine, detect_machine
from paceline.measure.bench_result import BenchResults, EnvProfile
from paceline.measure.result import ExperimentInfo
from paceline.measure.store import RunFolder, holds_run
from paceline.vector.native.support import native_way

MEMORY_LIMIT_SHARE = 0.8
"""Share of the machine's memory that the bench's processes together may hold."""
MOST_PROCESSES = 512
"""Processes that may be alive at once; they wait, so that it is memory that limits them first."""


def bench(
    spec: BenchSpec,
    out: Path | str,
    *,
    display: Display | None = None,
    command: str = "",
    machine: Machine | None = None,
) -> BenchResults:
    """Measure every case of ``spec`` and return what was measured.

    Args:
        spec: what to measure.
        out: folder for ``spec.yaml``, ``progress.jsonl``, ``results.json`` and the logs of cases that failed.
        display: what shows the progress; default: what suits standard output.
        command: the command line, to be recorded.
        machine: what it runs on; default: this machine as detected.

    Raises:
        EnvNotFoundError: no environment of that name.
        RequestError: the environment, or the actions, make no sense.
        WorkError: the environment does not work by itself, or in no execution; what was measured is saved.
        ResultsError: ``out`` holds a run already.
        OutputError: ``out`` cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was measured until then is saved.
    """
    if holds_run(Path(out)):
        raise ResultsError(f"expected an empty or new folder, got {out} which already holds a run; give another --out")
    env_factory(spec.env)  # a name that is not one leaves no folder
    with RunFolder(out) as folder:
        return _Bench(spec, folder, display or make_display(), machine or detect_machine(), command).go()


@dataclass
class _Alive:
    """A case, what is known of it, and its process while it has one."""

    case: Case
    record: CaseRecord
    process: Conversation | None = None


@dataclass
class _Clock:
    """How much time there is, and how long things take."""

    deadline_s: float | None
    setups_s: list[float] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.deadline_s is not None and time.monotonic() >= self.deadline_s

    def left_s(self) -> float | None:
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())


class _Bench:
    """One bench."""

    def __init__(self, spec: BenchSpec, folder: RunFolder, display: Display, machine: Machine, command: str) -> None:
        self._spec = spec
        self._folder = folder
        self._display: Display = EnduringDisplay(display)
        self._machine = machine
        self._command = command
        self._timestamp = datetime.now(UTC).isoformat(timespec="seconds")
        native = native_way(env_factory(spec.env))
        cases = plan_cases(spec, machine.whole_cores, native.most_threads if native is not None else None)
        self._cases = [_Alive(case, CaseRecord(case)) for case in cases]
        self._profile: EnvProfile | None = None
        self._notes: list[str] = []
        self._refusals: dict[str, Failure] = {}
        self._interrupts = Interrupts()
        self._clock = _Clock(None)

    def go(self) -> BenchResults:
        """Measure, and save whatever happens."""
        minutes = self._spec.max_minutes
        self._clock = _Clock(None if minutes is None else time.monotonic() + 60 * minutes)
        with self._interrupts:
            self._display.begin(self._spec, [alive.case for alive in self._cases])
            try:
                self._profile = self._look_at_env()
                self._open_books(self._profile)
                self._run_groups(self._profile)
            except Stopped:
                pass
            finally:
                for alive in self._cases:
                    self._put_away(alive, kill=True)
                self._display.end()
        stopped = self._interrupts.requested
        if self._profile is None and stopped:
            raise KeyboardInterrupt
        self._close_books("stopped by the user" if stopped else "--max-minutes was reached")
        results = self._save(complete=not stopped)
        if stopped:
            raise KeyboardInterrupt
        self._refuse_nothing(results)
        return results

    def _refuse_nothing(self, results: BenchResults) -> None:
        """Raise if no execution could be measured: then there is a report, but the work has failed."""
        if any(case.iterations for case in results.experiments):
            return
        reasons = "; ".join(dict.fromkeys(f"{case.name}: {case.message}" for case in results.experiments))
        text = f"no execution of {self._spec.env.id} could be measured ({reasons}); choose other --backends or mend it"
        if all(case.outcome == "impossible" for case in results.experiments):
            raise PlanError(text)
        raise WorkError(text)

    def _look_at_env(self) -> EnvProfile:
        """Measure one environment by itself.

        Raises:
            PacelineError: it cannot be built, or does not work; then no case would.
        """
        self._display.message(f"Looking at one {self._spec.env.id} by itself")
        process = start_profile(self._spec, self._watch())
        try:
            event = process.answer()
        except AnswerFailed as failed:
            failure = failed.failure
            if failure.outcome == "timeout":
                raise EnvTimeoutError(f"one {self._spec.env.id} by itself {failure.message}") from None
            if failure.error_type and not isinstance(getattr(errors, failure.error_type, None), type):
                raise EnvRaisedError(
                    f"one {self._spec.env.id} by itself raised {failure.message}", original_traceback=failure.output
                ) from None
            if failure.error_type:
                raise error_named(failure.error_type, failure.message) from None
            raise WorkError(f"one {self._spec.env.id} by itself does not work: {failure.message}") from None
        finally:
            process.end()
        profile = EnvProfile.model_validate(event["profile"])
        self._display.profile(profile)
        return profile

    def _open_books(self, profile: EnvProfile) -> None:
        """Begin to write, now that there is something to be measured."""
        self._folder.write_spec(self._spec)
        self._note_progress(
            "bench",
            timestamp=self._timestamp,
            paceline_version=__version__,
            machine_fingerprint=self._machine.fingerprint,
            num_cases=len(self._cases),
        )
        self._note_progress("env", profile=profile.model_dump(mode="json"))

    def _run_groups(self, profile: EnvProfile) -> None:
        groups = group_cases(
            [alive.case for alive in self._cases],
            partial(expected_bytes, profile=profile),
            most_bytes=MEMORY_SHARE * self._machine.memory_available_bytes,
            most_processes=_most_processes(),
        )
        self._note_splits(groups)
        by_name = {alive.case.name: alive for alive in self._cases}
        for number, group in enumerate(groups):
            members = [by_name[case.name] for case in group]
            self._set_up(members)
            left_s = self._clock.left_s()
            share_s = None if left_s is None else left_s / (len(groups) - number)
            self._measure(members, None if share_s is None else time.monotonic() + share_s)
            for alive in members:
                self._put_away(alive)
            self._save(complete=False)

    def _note_splits(self, groups: list[list[Case]]) -> None:
        sizes = [size for size in self._spec.num_envs if sum(any(c.num_envs == size for c in g) for g in groups) > 1]
        if sizes:
            self._notes.append(
                f"The cases of {', '.join(map(str, sizes))} environments were too many to be alive together and were "
                f"measured one after the other: compare them with care."
            )

    def _set_up(self, members: list[_Alive]) -> None:
        """Start every case and wait until it is ready; one at a time, so that each has the machine to itself."""
        for alive in members:
            if self._clock.over:
                return
            refusal = self._refusals.get(alive.case.backend)
            if refusal is not None:
                self._fail(alive, refusal)
                continue
            self._display.setting_up(alive.case)
            begin_s = time.monotonic()
            try:
                alive.process = start_case(alive.case, self._spec, self._watch())
                ready = alive.process.answer()
            except AnswerFailed as failed:
                if failed.failure.outcome == "impossible":
                    self._refusals[alive.case.backend] = failed.failure
                self._fail(alive, failed.failure)
                continue
            alive.record.ready = ready
            self._clock.setups_s.append(time.monotonic() - begin_s)
            self._note_progress("ready", case=alive.case.name, **{k: v for k, v in ready.items() if k != "event"})
            self._display.ready(alive.case, ready["setup_s"], self._forecast())

    def _measure(self, members: list[_Alive], until_s: float | None) -> None:
        """Let the cases of a group take turns."""
        for number in range(self._spec.rounds):
            living = [alive for alive in members if alive.process is not None]
            for alive in living if number % 2 == 0 else reversed(living):
                self._measure_one(alive, number)
            if living and number + 1 < self._spec.rounds and until_s is not None and time.monotonic() >= until_s:
                sizes = sorted({alive.case.num_envs for alive in living})
                self._notes.append(
                    f"{number + 1} of {self._spec.rounds} rounds at {', '.join(map(str, sizes))} environments: "
                    f"--max-minutes left no time for more."
                )
                return

    def _measure_one(self, alive: _Alive, number: int) -> None:
        assert alive.process is not None
        try:
            event = alive.process.ask({"seconds": self._spec.seconds})
        except AnswerFailed as failed:
            self._fail(alive, failed.failure)
            return
        window = alive.record.add_window(number, event)
        self._note_progress("window", case=alive.case.name, **window.model_dump(mode="json"))
        self._display.window(alive.case, number, window.sps, self._forecast())

    def _fail(self, alive: _Alive, failure: Failure) -> None:
        message = failure.message
        if failure.output and failure.outcome != "impossible":
            name = f"logs/{alive.case.name}.log"
            self._folder.write_text(name, failure.output + "\n")
            message = f"{message}; see {name}"
        alive.record.end(failure.outcome, message)
        self._put_away(alive, kill=True)
        self._note_progress("ended", case=alive.case.name, outcome=failure.outcome, message=message)
        self._display.failed(alive.case, failure.outcome, message)

    def _put_away(self, alive: _Alive, *, kill: bool = False) -> None:
        if alive.process is not None:
            process, alive.process = alive.process, None
            process.end() if kill else process.finish()

    def _close_books(self, why: str) -> None:
        """Say of cases without a window why they have none."""
        missing = [alive for alive in self._cases if not alive.record.windows and alive.record.outcome == "ok"]
        for alive in missing:
            alive.record.end("interrupted", f"not measured: {why}")
        if missing:
            self._notes.append(f"{len(missing)} of {len(self._cases)} cases were not measured: {why}.")

    def _watch(self) -> Watch:
        return watch_case(
            self._spec.case_timeout_s,
            int(MEMORY_LIMIT_SHARE * self._machine.memory_limit_bytes),
            self._should_stop,
        )

    def _should_stop(self) -> bool:
        self._display.tick()
        return self._interrupts.requested

    def _forecast(self) -> Forecast:
        """Return how far the bench is and how long the rest takes."""
        assert self._profile is not None
        open_cases = [alive for alive in self._cases if alive.record.outcome == "ok"]
        done = sum(len(alive.record.windows) for alive in open_cases)
        left_s = 0.0
        setup_s = sum(self._clock.setups_s) / len(self._clock.setups_s) if self._clock.setups_s else 2.0
        for alive in open_cases:
            windows = alive.record.windows
            each_s = windows[-1].wall_s if windows else expected_window_s(alive.case, self._profile, self._spec.seconds)
            left_s += (self._spec.rounds - len(windows)) * each_s
            left_s += setup_s if alive.record.ready is None else 0.0
        limit_s = self._clock.left_s()
        return Forecast(done, len(open_cases) * self._spec.rounds, left_s if limit_s is None else min(left_s, limit_s))

    def _note_progress(self, kind: str, **fields: Any) -> None:
        self._folder.append_progress({"kind": kind, **fields})

    def _save(self, *, complete: bool) -> BenchResults:
        """Write ``results.json`` from what is known."""
        rounds = {alive.case.name: alive.record.sps_by_round for alive in self._cases}
        known = [alive for alive in self._cases if alive.record.windows or alive.record.outcome != "ok"]
        built = [bench_case(self._spec, alive.record, rounds, self._machine) for alive in known]
        results = BenchResults(
            experiment_info=ExperimentInfo(
                total_experiments=sum(not alive.case.is_ceiling for alive in self._cases),
                timestamp=self._timestamp,
                kind="bench",
                paceline_version=__version__,
                command=self._command,
                env_id=self._spec.env.id,
                machine=self._machine.as_dict(),
                machine_fingerprint=self._machine.fingerprint,
                complete=complete,
            ),
            experiments=tuple(case for alive, case in zip(known, built, strict=True) if not alive.case.is_ceiling),
            ceilings=tuple(case for alive, case in zip(known, built, strict=True) if alive.case.is_ceiling),
            env=self._profile,
            settings=self._spec.model_dump(mode="json"),
            notes=tuple(self._notes),
        )
        self._folder.write_results(results)
        return results


def _most_processes() -> int:
    """Return how many processes a bench may start: at most half of what the user may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return MOST_PROCESSES if allowed == resource.RLIM_INFINITY else min(MOST_PROCESSES, allowed // 2)
