"""The race: which plan to measure next, for how long, and when to stop.

What one more measurement of a plan is worth is its expected improvement over the best so far (Jones et al. 1998), of
the joint posterior, by the second that it costs; a plan that has no process yet costs its start as well. So the race
spends its time where a plan may still win, and most plans are never started: what was measured of their like rules them
out.

1. The most promising plan is started twice. That A/A pair shows what this machine calls the same.
2. Again and again the most valuable plan is measured, next to the best so far whenever that has not been measured for a
   moment: drift is common to both. Whoever can hardly win any more makes room.
3. With what is left the finalists and the baselines are measured again, in fresh processes, in turns.

A failure teaches (:mod:`paceline.tuner.failures`). A plan that cannot be started beside others, but alone, holds
something that there is one of on the machine: from then on there is one process at a time.

No slice begins when the budget is over, but the first of all: without it there would be no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from paceline.tuner.arena import Arena, Failed, Interrupted, Measured
from paceline.tuner.belief import Belief, Floats, Slice
from paceline.tuner.candidates import CORES_TOLERANCE, Candidate, Pruned, prior
from paceline.tuner.decision import Decision, Weights, decide, worth
from paceline.tuner.failures import ruled_out
from paceline.tuner.leak import Held

_SAMPLES = 1000
_AS_LONG = 4
"""So many slices of a plan are of one length; the next ones are twice as long."""
_LONGEST = 8
_AA_SLICES = 4
_CLOSING_S = 0.3
"""What it takes to end a process that waits."""
_RESET_S = 6.0
"""The best so far is measured again beside another if its last slice is older than this."""


@dataclass(frozen=True)
class Rules:
    """How the time is spent.

    Attributes:
        budget_s: seconds in all, by the arena's clock.
        confirm_share: share of it that the finalists get.
        slice_s: length of one slice; an iteration that takes longer is measured whole.
        max_open: processes kept waiting at once.
        max_memory_bytes: what they may hold together.
        enough: the race ends early when the expected loss of its best plan, as a share of its speed, is below this.
        finalists: how many plans are confirmed, baselines not counted.
        confirmations: fresh processes for each.
        max_lag: updates that experience may be old; a plan in which it is older cannot win.
        max_cores: that a plan may keep busy; one that keeps more busy cannot win.
    """

    budget_s: float
    confirm_share: float = 0.35
    slice_s: float = 1.0
    max_open: int = 6
    max_memory_bytes: float = math.inf
    enough: float = 0.003
    finalists: int = 3
    confirmations: int = 2
    max_lag: int | None = None
    max_cores: float = math.inf


@dataclass(frozen=True)
class Event:
    """Something that happened in a race, for whoever shows it."""

    what: str
    """``opened``, ``measured``, ``failed``, ``closed``, ``skipped`` or ``phase``."""
    candidate: int | None = None
    measured: Measured | None = None
    failed: Failed | None = None
    note: str = ""


@dataclass
class Outcome:
    """What a race has found; all of it is there at any moment.

    Attributes:
        belief: what is known of every plan's speed.
        decision: who wins.
        eligible: indices of plans that may win.
        failures: index of a plan -> why it failed.
        skipped: plans that a failure of another ruled out.
        measured: index of a plan -> its slices.
        rss_bytes: index of a plan -> the most that its processes held.
        held: index of a plan -> what they held after each slice.
        aa: the two processes of the A/A pair, if there was one.
        confirmed: indices of plans measured in fresh processes at the end.
        stopped: what ended it: ``sure``, ``budget``, ``interrupted`` or ``nothing``.
    """

    belief: Belief
    decision: Decision
    eligible: set[int]
    failures: dict[int, Failed] = field(default_factory=dict)
    skipped: dict[int, Pruned] = field(default_factory=dict)
    measured: dict[int, list[Measured]] = field(default_factory=dict)
    rss_bytes: dict[int, int] = field(default_factory=dict)
    held: dict[int, list[Held]] = field(default_factory=dict)
    aa: tuple[int, int] | None = None
    confirmed: set[int] = field(default_factory=set)
    stopped: str = "nothing"


def race(
    arena: Arena,
    candidates: Sequence[Candidate],
    rules: Rules,
    *,
    baselines: Iterable[int] = (),
    weights: Weights | None = None,
    seed: int = 0,
    on_event: Callable[[Event, Outcome], None] = lambda event, outcome: None,
) -> Outcome:
    """Find the plan of the greatest worth.

    Args:
        arena: where plans are measured.
        candidates: the plans; all of them may win.
        rules: how the time is spent.
        baselines: indices of the plans that the winner is held against at the end.
        weights: what is wanted; default: speed.
        seed: of the samples of the posterior; the same measurements give the same race.
        on_event: told of everything that happens.
    """
    run = _Race(arena, candidates, rules, tuple(baselines), weights or Weights(), seed, on_event)
    try:
        run.go()
    except Interrupted:
        run.outcome.stopped = "interrupted"
    finally:
        run.close_all()
    run.decide()
    return run.outcome


def as_measured(candidates: Sequence[Candidate], outcome: Outcome) -> list[Candidate]:
    """Return the plans with the cores and the memory that they were measured to take, where they were."""
    found = list(candidates)
    for index, slices in outcome.measured.items():
        busy = [one.cores_busy for one in slices if one.cores_busy is not None]
        one = candidates[index]
        found[index] = replace(
            one,
            cores=float(np.median(busy)) if busy else one.cores,
            memory_bytes=outcome.rss_bytes.get(index) or one.memory_bytes,
        )
    return found


class _Race:
    def __init__(
        self,
        arena: Arena,
        candidates: Sequence[Candidate],
        rules: Rules,
        baselines: tuple[int, ...],
        weights: Weights,
        seed: int,
        on_event: Callable[[Event, Outcome], None],
    ) -> None:
        self._arena = arena
        self._candidates = candidates
        self._rules = rules
        self._baselines = baselines
        self._weights = weights
        self._random = np.random.default_rng(seed)
        self._on_event = on_event
        self._open: dict[int, int] = {}  # candidate -> process
        self._last_s: dict[int, float] = {}
        self._begin_s = arena.now_s()
        self._start_factor = 1.0  # of what starts are expected to take
        self._one_at_a_time = False
        self._tried_alone = False
        self.outcome = Outcome(Belief(*prior(candidates)), Decision(None), set(range(len(candidates))))

    def go(self) -> None:
        self._tell("phase", note="race")
        if not self._begin():
            return
        race_end_s = self._begin_s + (1.0 - self._rules.confirm_share) * self._rules.budget_s
        while self._arena.now_s() < race_end_s:
            choice = self._most_valuable(race_end_s - self._arena.now_s())
            if choice is None:
                break
            self._measure_beside_best(choice)
        else:
            self.outcome.stopped = "budget"
        if not self.outcome.measured and not self.outcome.eligible:
            self.outcome.stopped = "nothing"
        self.close_all()
        self._confirm()

    def decide(self) -> None:
        outcome = self.outcome
        outcome.decision = decide(
            outcome.belief,
            as_measured(self._candidates, outcome),
            outcome.eligible,
            self._weights,
            np.random.default_rng(0),
        )

    def close_all(self) -> None:
        for candidate in list(self._open):
            self._close(candidate)

    # --- 1: the first plan, twice

    def _begin(self) -> bool:
        """Measure an A/A pair of the most promising plan that can be started."""
        for candidate in self._by_promise_in_time():
            if self._left_s() <= 0.0:
                self.outcome.stopped = "budget"
                return False
            if candidate in self.outcome.eligible and self._start(candidate):
                break
        else:
            return False
        first = self._open[candidate]
        if not self._slice(candidate):
            return bool(self.outcome.eligible)
        room_bytes = self._rules.max_memory_bytes - self._held_bytes()
        if not self._affords(candidate, _AA_SLICES) or self._expected_bytes(candidate) > room_bytes:
            return True
        twin = self._arena.open(candidate)
        if isinstance(twin, Failed):
            self._one_at_a_time = twin.outcome == "crash"
            return True
        try:
            for process in (twin.process, first, twin.process, first):
                if not self._slice(candidate, process):
                    break
                self.outcome.aa = (first, twin.process)
        finally:
            self._arena.close(twin.process)
        return True

    def _by_promise(self) -> list[int]:
        expected = worth(self.outcome.belief.mean, self._candidates, self._weights)
        return [int(index) for index in np.argsort(-expected)]

    def _by_promise_in_time(self) -> list[int]:
        """Return the plans by promise; those last that there is hardly time for, the quickest of them first."""
        late = {index: self._start_s(index) + self._shortest_s(index) for index in self._by_promise()
                if not self._affords(index, 1)}  # fmt: skip
        return [*(index for index in self._by_promise() if index not in late), *sorted(late, key=late.__getitem__)]

    # --- 2: who next

    def _most_valuable(self, left_s: float) -> int | None:
        """Return the plan whose measurement is worth most by the second; None if none is worth it any more, or fits."""
        eligible = sorted(self.outcome.eligible)
        self.outcome.stopped = "sure"
        if not eligible:
            return None
        worths = worth(self.outcome.belief.sample(_SAMPLES, self._random), self._candidates, self._weights)
        best = self._best(worths)
        if best is None:
            return next(index for index in self._by_promise() if index in self.outcome.eligible)
        if float((worths[:, eligible].max(1) - worths[:, best]).mean()) < self._rules.enough:
            return None
        gain = np.maximum(worths - worths[:, [best]], 0.0).mean(0)
        rates = {index: gain[index] / self._cost_s(index) for index in eligible if index != best}
        affordable = {index: rate for index, rate in rates.items() if self._cost_s(index) <= left_s}
        if not affordable:
            self.outcome.stopped = "budget" if rates else "sure"
            return None
        self._make_room(gain, best)
        return max(affordable, key=affordable.__getitem__)

    def _best(self, worths: Floats) -> int | None:
        measured = [index for index in self.outcome.measured if index in self.outcome.eligible]
        expected = worths.mean(0)
        return max(measured, key=lambda index: expected[index], default=None)

    def _cost_s(self, index: int) -> float:
        candidate = self._candidates[index]
        slice_s = max(self._slice_s(index), candidate.iteration_s)
        return slice_s if index in self._open else self._start_s(index) + 2 * slice_s

    def _measure_beside_best(self, index: int) -> None:
        if index not in self._open and not self._start(index):
            return
        if self._left_s() > 0.0:
            self._slice(index)
        expected = worth(self.outcome.belief.mean, self._candidates, self._weights)
        measured = [other for other in self.outcome.measured if other in self.outcome.eligible]
        if not measured:
            return
        best = max(measured, key=lambda other: expected[other])
        if best == index or self._arena.now_s() - self._last_s.get(best, -math.inf) < _RESET_S:
            return
        if self._affords(best, 1) and (best in self._open or self._start(best)):
            self._slice(best)

    def _make_room(self, gain: Floats, best: int) -> None:
        """End the processes of plans that can hardly win any more, and the least promising where too many wait."""
        hopeless = [
            index
            for index in self._open
            if index != best and (gain[index] < self._rules.enough / 10 or index not in self.outcome.eligible)
        ]
        for index in hopeless:
            self._close(index)
        while len(self._open) >= self._rules.max_open or self._held_bytes() > self._rules.max_memory_bytes:
            others = [index for index in self._open if index != best]
            if not others:
                break
            self._close(min(others, key=lambda index: gain[index]))

    def _held_bytes(self) -> float:
        return sum(map(self._expected_bytes, self._open))

    def _expected_bytes(self, index: int) -> int:
        return self.outcome.rss_bytes.get(index) or self._candidates[index].memory_bytes

    # --- 3: the finalists, in fresh processes

    def _confirm(self) -> None:
        self.decide()
        finalists = self._finalists()
        if not finalists:
            return
        self._tell("phase", note="confirm")
        for turn in range(self._rules.confirmations):
            order = finalists if turn % 2 == 0 else finalists[::-1]
            for index in order:
                if index in self.outcome.eligible and self._affords(index, 2 + 2 * len(self._open)):
                    self._start(index)
            present = [index for index in order if index in self._open]
            turns = [*present, *reversed(present)]
            for done, index in enumerate(turns):
                left_s = self._left_s()
                in_time = index in self._open and self._shortest_s(index) <= left_s
                if in_time and self._slice(index, most_s=left_s / (len(turns) - done)):
                    self.outcome.confirmed.add(index)
            self.close_all()
        self.decide()

    def _finalists(self) -> list[int]:
        decision = self.outcome.decision
        if decision.winner is None:
            return []
        by_chance = sorted(decision.standings, key=lambda one: -one.p_tied)
        likely = [one.candidate for one in by_chance if one.measured and one.p_tied > 0.02]
        chosen = [decision.winner, *(index for index in likely if index != decision.winner)][: self._rules.finalists]
        return [*chosen, *(index for index in self._baselines if index not in chosen)]

    def _affords(self, index: int, slices: int) -> bool:
        """Return whether there is time for a process of a plan and so many slices."""
        return self._left_s() >= self._start_s(index) + slices * self._shortest_s(index)

    def _start_s(self, index: int) -> float:
        return self._start_factor * self._candidates[index].start_s

    def _left_s(self) -> float:
        """Return the seconds left of the budget, what ending the processes takes not counted."""
        return self._begin_s + self._rules.budget_s - self._arena.now_s() - _CLOSING_S * len(self._open)

    def _shortest_s(self, index: int) -> float:
        """Return how long the shortest slice of a plan takes: as measured, or else as believed by now."""
        walls = [piece.wall_s for piece in self.outcome.measured.get(index, ())]
        if walls:
            return min(walls)
        one = self._candidates[index]
        slower = one.predicted_sps / math.exp(self.outcome.belief.mean[index])
        return max(self._rules.slice_s, one.iteration_s * slower)

    # --- processes

    def _start(self, index: int) -> bool:
        """Start a process for a plan and return whether that worked."""
        self._make_way(index)
        begin_s = self._arena.now_s()
        opened = self._arena.open(index)
        if isinstance(opened, Failed) and self._open and self._may_work_alone(opened):
            self.close_all()
            begin_s = self._arena.now_s()
            again = self._arena.open(index)
            self._tried_alone = self._tried_alone or opened.outcome == "crash"
            self._one_at_a_time = opened.outcome == "crash" and not isinstance(again, Failed)
            opened = again
        if isinstance(opened, Failed):
            self._failed(index, opened)
            return False
        took = (self._arena.now_s() - begin_s) / max(self._candidates[index].start_s, 0.1)
        self._start_factor += 0.3 * (took - self._start_factor)
        self._open[index] = opened.process
        self.outcome.rss_bytes[index] = max(self.outcome.rss_bytes.get(index, 0), opened.rss_bytes)
        self._tell("opened", index)
        return True

    def _make_way(self, index: int) -> None:
        """End processes that a plan's cannot be beside; those that waited longest first."""
        room_bytes = self._rules.max_memory_bytes - self._expected_bytes(index)
        while self._open and (self._one_at_a_time or self._held_bytes() > room_bytes):
            self._close(min(self._open, key=lambda other: self._last_s.get(other, -math.inf)))

    def _may_work_alone(self, failed: Failed) -> bool:
        """Return whether a failure may be that of others that wait beside: they hold the memory, a port, a licence."""
        return failed.outcome == "oom" or (failed.outcome == "crash" and not self._tried_alone)

    def _slice(self, index: int, process: int | None = None, *, most_s: float = math.inf) -> bool:
        """Measure a slice and return whether that worked."""
        number = self._open[index] if process is None else process
        measured = self._arena.measure(number, min(self._slice_s(index), max(most_s, self._rules.slice_s)))
        if isinstance(measured, Failed):
            if number == self._open.get(index):
                del self._open[index]
            if measured.outcome == "oom" and self._open:  # the others may have held most of it
                self.close_all()
            else:
                self._failed(index, measured)
            return False
        self.outcome.rss_bytes[index] = max(self.outcome.rss_bytes.get(index, 0), measured.peak_bytes)
        self.outcome.held.setdefault(index, []).append(Held(number, measured.num_env_steps, measured.rss_bytes))
        is_first = index not in self.outcome.measured
        self.outcome.measured.setdefault(index, []).append(measured)
        self.outcome.belief.learn(Slice(index, number, measured.time_s, math.log(measured.sps), measured.wall_s))
        self._last_s[index] = self._arena.now_s()
        self._tell("measured", index, measured=measured)
        self._check_bounds(index, measured)
        if is_first and self.outcome.failures:
            self._learn_from_failures()
        return True

    def _check_bounds(self, index: int, measured: Measured) -> None:
        """Rule a plan out that was measured to lag, or to take cores, beyond what is allowed."""
        if index not in self.outcome.eligible:
            return
        lag, cores = measured.lag_max, measured.cores_busy
        if self._rules.max_lag is not None and lag is not None and lag > self._rules.max_lag:
            reason = f"its experience was up to {lag:g} updates old, and the limit is {self._rules.max_lag}"
        elif cores is not None and cores > self._rules.max_cores + CORES_TOLERANCE:
            reason = f"it kept {cores:.1f} cores busy, and the limit is {self._rules.max_cores:g}"
        else:
            return
        self.outcome.eligible.discard(index)
        self.outcome.skipped[index] = Pruned(self._candidates[index].name, reason)
        self._tell("skipped", index, note=reason)

    def _slice_s(self, index: int) -> float:
        """Return how long the next slice of a plan is: what is measured again and again is measured for longer."""
        before = len(self.outcome.measured.get(index, ()))
        return self._rules.slice_s * min(1 << before // _AS_LONG, _LONGEST)

    def _close(self, index: int) -> None:
        self._arena.close(self._open.pop(index))
        self._tell("closed", index)

    def _failed(self, index: int, failed: Failed) -> None:
        self.outcome.failures[index] = failed
        self.outcome.eligible.discard(index)
        self._tell("failed", index, failed=failed)
        self._learn_from_failures()

    def _learn_from_failures(self) -> None:
        """Leave out what failures rule out; what a plan that works speaks for may win again."""
        outcome = self.outcome
        out = ruled_out(self._candidates, outcome.failures, outcome.measured)
        for index in [index for index in outcome.skipped if index not in out and index not in outcome.measured]:
            del outcome.skipped[index]
            outcome.eligible.add(index)
        for index, reason in out.items():
            is_new = index not in outcome.skipped
            outcome.eligible.discard(index)
            outcome.skipped[index] = Pruned(self._candidates[index].name, reason)
            if is_new:
                self._tell("skipped", index, note=reason)

    def _tell(
        self,
        what: str,
        candidate: int | None = None,
        *,
        measured: Measured | None = None,
        failed: Failed | None = None,
        note: str = "",
    ) -> None:
        self._on_event(Event(what, candidate, measured, failed, note), self.outcome)
