"""A tuning's answer, measured again: is the winner as fast as recorded, and does it still win?

The winner and what it was held against (the baseline; the runner-up, where time allows) run in fresh processes, turn by
turn, and in each turn their slices alternate, ``A B B A``: what the machine does meanwhile is common to both. What the
slices say is the posterior of :mod:`paceline.tuner.belief`, which allows for noise, for differences between processes
of one plan, and for drift; the recorded speed has the interval that the tuning gave it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from paceline._version import __version__
from paceline.envs import env_factory
from paceline.errors import RequestError, WorkError
from paceline.isolation.interrupts import Interrupts
from paceline.machine import Machine, detect_machine
from paceline.measure.result import dump_json
from paceline.measure.store import write_atomically
from paceline.measure.tune_result import NoiseFloor, PlanStanding
from paceline.measure.verify_result import (
    VERIFY_FILE,
    Answer,
    Interval,
    VerifiedPlan,
    VerifiedSlice,
    VerifyRecord,
)
from paceline.tuner.arena import Arena, Failed, Interrupted, Measured
from paceline.tuner.belief import Belief, Floats, Slice
from paceline.tuner.lock import only_tuner
from paceline.tuner.processes import Bounds, ProcessArena
from paceline.tuner.tune import MEMORY_SHARE, START_TIMEOUT_S
from paceline.tuner.tuned import Contender, contenders_of, differences_of, load_tuning, run_of

MARGIN = 0.05
"""A change of less than this share is none."""
RESOLUTION = 0.20
"""The answer is "same" if the interval leaves out changes of more than this share; else noise hides too much."""
SLICE_S = 1.0
_PASSES = 2
"""How often ``A B B A`` is gone through in one turn."""
_PRIOR_SD = 1.0
"""Of log SPS around the recorded one: next to no prejudice."""
_NUM_SAMPLES = 4000
_WRITABLE = "free the folder, or copy it to a writable place and run `paceline verify` there"


class WinnerFailed(Exception):
    """The winner cannot be run."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class Comparison:
    """Plans that are measured in turns.

    Args:
        arena: where; a contender's number is its place in ``contenders``.
        contenders: the winner first; what takes part in any case second.
        budget_s: seconds, by the arena's clock.
        on_line: told what happens.

    Attributes:
        contenders: the plans.
        belief: what is known of their speeds.
        measured: number of a contender -> its slices, each with its process.
        failures: number of a contender -> why it cannot be measured.
    """

    def __init__(
        self,
        arena: Arena,
        contenders: Sequence[Contender],
        budget_s: float,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._arena = arena
        self.contenders = contenders
        self._end_s = arena.now_s() + budget_s
        self._on_line = on_line
        recorded = np.log([one.recorded.sps or 1.0 for one in contenders])
        self.belief = Belief(recorded, _PRIOR_SD**2 * np.eye(len(contenders)))
        self.measured: dict[int, list[tuple[int, Measured]]] = {}
        self.failures: dict[int, Failed] = {}

    def go(self) -> None:
        """Measure turn by turn while another turn fits; the first one is always gone through.

        Raises:
            WinnerFailed: the winner cannot be run.
            Interrupted: it was stopped; what was measured until then is there.
        """
        taking_part = list(range(min(2, len(self.contenders))))
        number, longest_s = 0, 0.0
        while number == 0 or self._left_s() >= longest_s * len(taking_part):
            begin_s = self._arena.now_s()
            self._turn(taking_part if number % 2 == 0 else taking_part[::-1])
            number += 1
            longest_s = max(longest_s, (self._arena.now_s() - begin_s) / len(taking_part))
            if len(self.contenders) == 3 and self._left_s() >= 2 * 3 * longest_s:
                taking_part = [0, 1, 2]
            taking_part = [index for index in taking_part if index not in self.failures]

    def _left_s(self) -> float:
        return self._end_s - self._arena.now_s()

    def _turn(self, order: Sequence[int]) -> None:
        """Start each plan anew, measure slices of all in turns, and end them."""
        processes: dict[int, int] = {}
        try:
            for index in order:
                opened = self._arena.open(index)
                if isinstance(opened, Failed):
                    self._failed(index, opened)
                else:
                    processes[index] = opened.process
            for index in [*order, *reversed(order)] * _PASSES:
                if index in processes and not self._slice(index, processes[index]):
                    del processes[index]
            for index in processes:
                self._tell(index, processes[index])
        finally:
            for process in processes.values():
                self._arena.close(process)

    def _slice(self, index: int, process: int) -> bool:
        measured = self._arena.measure(process, SLICE_S)
        if isinstance(measured, Failed):
            self._failed(index, measured)
            return False
        self.measured.setdefault(index, []).append((process, measured))
        self.belief.learn(Slice(index, process, measured.time_s, math.log(measured.sps), measured.wall_s))
        return True

    def _failed(self, index: int, failed: Failed) -> None:
        self.failures[index] = failed
        if index == 0:
            raise WinnerFailed(failed)
        self._on_line(f"{self.contenders[index].recorded.name}: {failed.outcome}: {failed.message}")

    def _tell(self, index: int, process: int) -> None:
        speeds = [measured.sps for number, measured in self.measured[index] if number == process]
        name = self.contenders[index].recorded.name
        self._on_line(f"{name}: {np.median(speeds):,.0f} steps/s in a fresh process")


def judge(change: Interval) -> Answer:
    """Return the word for a change.

    It counts as one if it is larger than :data:`MARGIN` and noise does not explain it (the 95 % interval leaves out 1);
    otherwise it is none, if the interval leaves out changes of more than :data:`RESOLUTION`.

    Args:
        change: speed now in units of the recorded one, median and 95 % interval.
    """
    middle, low, high = change
    if high < 1.0 and middle < 1.0 / (1.0 + MARGIN):
        return "SLOWER"
    if low > 1.0 and middle > 1.0 + MARGIN:
        return "FASTER"
    return "SAME" if low > 1.0 / (1.0 + RESOLUTION) and high < 1.0 + RESOLUTION else "CANNOT TELL"


def change_of(belief: Belief, recorded: PlanStanding, drift_sd_then: float, random: np.random.Generator) -> Interval:
    """Return the winner's speed now in units of the recorded one, whose own interval counts.

    Both intervals hold the drift of the minutes in which they were measured. How far it goes over hours neither has
    seen: it is taken to be as much again, then and now.

    Args:
        belief: what was measured now; the winner is plan 0.
        recorded: how the winner stood.
        drift_sd_then: standard deviation of drift in the tuning, of log SPS.
        random: for samples of the posterior.
    """
    sps = recorded.sps or 1.0
    low, high = recorded.sps_ci95 or (sps, sps)
    sd = math.hypot(math.log(high / low) / (2 * 1.96), drift_sd_then, belief.drift_sd())
    now = belief.sample(_NUM_SAMPLES, random)[:, 0]
    return _interval(now - random.normal(math.log(sps), sd, _NUM_SAMPLES))


@dataclass(frozen=True)
class Found:
    """What a comparison says.

    Attributes:
        answer: the winner's speed beside the recorded one.
        change: the winner's speed now in units of the recorded one; None on another machine.
        plans: how each plan stands, the winner first.
        noise: how much the machine differed from itself.
    """

    answer: Answer
    change: Interval | None
    plans: tuple[VerifiedPlan, ...]
    noise: NoiseFloor


def found_by(comparison: Comparison, noise_then: NoiseFloor | None, *, same_machine: bool = True) -> Found:
    """Return what a comparison says so far; its winner must have been measured.

    Args:
        comparison: what was measured.
        noise_then: how much the machine differed from itself in the tuning, as far as that is known.
        same_machine: whether the tuning was made on this machine.
    """
    belief, random = comparison.belief, np.random.default_rng(0)
    winner = comparison.contenders[0].recorded
    drift_sd_then = belief.drift_sd() if noise_then is None else noise_then.drift_sd or belief.drift_sd()
    change = change_of(belief, winner, drift_sd_then, random) if same_machine else None
    drawn = belief.sample(_NUM_SAMPLES, random)
    return Found(
        answer="CANNOT TELL" if change is None else judge(change),
        change=change,
        plans=tuple(_plan(comparison, index, drawn) for index in range(len(comparison.contenders))),
        noise=NoiseFloor(slice_sd=belief.noise_sd(), process_sd=belief.process_sd(), drift_sd=belief.drift_sd()),
    )


def _plan(comparison: Comparison, index: int, log_sps: Floats) -> VerifiedPlan:
    one, winner = comparison.contenders[index], comparison.contenders[0].recorded
    pieces, failed = comparison.measured.get(index, []), comparison.failures.get(index)
    return VerifiedPlan(
        name=one.recorded.name,
        role=one.role,
        sps=_interval(log_sps[:, index]) if pieces else None,
        recorded_sps=one.recorded.sps or 0.0,
        recorded_ci95=one.recorded.sps_ci95,
        ratio=_interval(log_sps[:, 0] - log_sps[:, index]) if pieces and index else None,
        recorded_ratio=winner.speedup if one.role == "baseline" else _recorded_ratio(winner, one.recorded),
        failure="" if failed is None else failed.message,
        slices=tuple(
            VerifiedSlice(
                process=process, time_s=piece.time_s, wall_s=piece.wall_s, num_env_steps=piece.num_env_steps,
                sps=piece.sps,
            )
            for process, piece in pieces
        ),
    )  # fmt: skip


def _recorded_ratio(winner: PlanStanding, other: PlanStanding) -> Interval | None:
    """Return how many times as fast the winner was, at the least and at the most that the intervals of both allow."""
    if not winner.sps or not other.sps or winner.sps_ci95 is None or other.sps_ci95 is None:
        return None
    (low, high), (other_low, other_high) = winner.sps_ci95, other.sps_ci95
    return winner.sps / other.sps, low / other_high, high / other_low


def _interval(log_ratios: Floats) -> Interval:
    low, middle, high = np.exp(np.quantile(log_ratios, (0.025, 0.5, 0.975)))
    return float(middle), float(low), float(high)


def verify(
    folder: Path | str,
    *,
    minutes: float = 1.0,
    machine: Machine | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    on_record: Callable[[VerifyRecord], None] = lambda record: None,
) -> VerifyRecord:
    """Measure the answer of a tuning again, and leave what was found in its folder, as ``verify.json``.

    Args:
        folder: the ``out`` of :func:`paceline.tune`.
        minutes: how long it may take; winner and baseline are measured in one process each in any case.
        machine: what it runs on; default: this machine as detected.
        on_line: told in a line what happens.
        on_record: given what was found, also of a verification that is stopped.

    Raises:
        RequestError: ``minutes`` is not positive.
        ResultsError: the folder holds no tuning that found a plan.
        EnvNotFoundError: there is no such environment here.
        WorkError: the winner cannot be run any more.
        ResourceError: a tuner is at work on this machine.
        OutputError: ``verify.json`` cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is known is saved.
    """
    if not 0.0 < minutes < math.inf:
        raise RequestError(f"expected a positive number of minutes, got {minutes:g}; give for example 1")
    folder = Path(folder)
    spec, results = load_tuning(folder)
    env_factory(spec.base.env)  # makes the working directory importable, too
    contenders = contenders_of(results)
    runs = [run_of(spec, results, one.recorded.name) for one in contenders]
    machine = machine or detect_machine()
    differences = differences_of(spec, results, machine)
    memory_bytes = int(MEMORY_SHARE * machine.memory_limit_bytes)
    longest_s = max((one.wall_s for run in results.experiments for one in run.iterations), default=0.0)
    timestamp, begin_s = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    bounds = Bounds(START_TIMEOUT_S + 3.0 * longest_s, START_TIMEOUT_S + 3.0 * longest_s, memory_bytes)
    with only_tuner(), Interrupts() as interrupts:
        on_line(f"measuring {' and '.join(one.recorded.name for one in contenders[:2])} again, for {minutes:g} min")
        arena = ProcessArena(runs, bounds, lambda: interrupts.requested)
        comparison = Comparison(arena, contenders, 60.0 * minutes, on_line)
        try:
            with contextlib.suppress(Interrupted):
                comparison.go()
        except WinnerFailed as error:
            name = contenders[0].recorded.name
            raise WorkError(f"expected {name} to run as it did, got: {error}; run `paceline tune` again") from None
        finally:
            arena.end()
    if 0 not in comparison.measured:
        raise KeyboardInterrupt
    same_machine = results.experiment_info.machine_fingerprint == machine.fingerprint
    record = VerifyRecord(
        **vars(found_by(comparison, results.tune.noise, same_machine=same_machine)),
        margin=MARGIN,
        resolution=RESOLUTION,
        differences=differences,
        same_machine=same_machine,
        complete=not interrupts.requested,
        env_id=spec.base.env.id,
        tuned=results.experiment_info.timestamp,
        timestamp=timestamp,
        budget_s=60.0 * minutes,
        wall_s=time.monotonic() - begin_s,
        machine_fingerprint=machine.fingerprint,
        paceline_version=__version__,
    )
    try:
        write_atomically(folder / VERIFY_FILE, (dump_json(record, indent=1) + "\n").encode(), advice=_WRITABLE)
    finally:
        on_record(record)
    if interrupts.requested:
        raise KeyboardInterrupt(f"what is known so far is in {folder / VERIFY_FILE}")
    return record
