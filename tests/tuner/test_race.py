"""The race against simulated machines: whom it measures, whom it does not, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_plans import candidate, line_up

from paceline.tuner.arena import Failed, Interrupted, Measured, Opened
from paceline.tuner.candidates import Candidate
from paceline.tuner.race import Event, Outcome, Rules, race
from paceline.tuner.simulated import SimulatedArena, Troubles


def with_schedule(one: Candidate, schedule: str) -> Candidate:
    return replace(one, name=f"{one.name} {schedule}", plan=one.plan.model_copy(update={"schedule": schedule}))


QUIET = Troubles(noise=0.005, process=0.003, drift=0.0, burst_chance=0.0)


def run(
    plans: Sequence[Candidate], speeds: Sequence[float], troubles: Troubles = QUIET, budget_s: float = 300.0,
    *, memory_bytes: float = math.inf, baselines: Sequence[int] = (), **rules: Any,
) -> tuple[Outcome, list[Event]]:  # fmt: skip
    events: list[Event] = []
    arena = SimulatedArena(plans, speeds, troubles, memory_bytes=memory_bytes)
    outcome = race(
        arena, plans, Rules(budget_s, **rules), baselines=baselines, on_event=lambda event, _: events.append(event)
    )
    assert not arena.processes, "all of them were ended"
    assert arena.now_s() < 1.15 * budget_s
    return outcome, events


def test_the_fastest_plan_is_found_though_it_was_not_predicted() -> None:
    plans = line_up([1000, 2000, 3000, 4000, 2500])
    outcome, _ = run(plans, [1000, 2400, 5000, 3800, 2000])
    assert outcome.decision.winner == 2
    assert outcome.decision.certain
    assert outcome.stopped == "sure"
    assert 2 in outcome.confirmed


def test_plans_that_cannot_win_are_not_measured() -> None:
    speeds = [100.0 * 2**power for power in range(8)]
    outcome, _ = run(line_up(speeds), speeds)
    assert outcome.decision.winner == 7
    assert len(outcome.measured) <= 4
    assert 0 not in outcome.measured


def test_the_first_plan_runs_twice_to_show_what_is_called_the_same() -> None:
    outcome, _ = run(line_up([1000, 2000]), [1000, 2000])
    assert outcome.aa is not None and outcome.aa[0] != outcome.aa[1]
    assert {piece.candidate for piece in outcome.belief.slices if piece.process in outcome.aa} == {1}


def test_baselines_are_confirmed_beside_the_finalists_in_processes_of_their_own() -> None:
    plans = [candidate(0, 1, 300.0), *line_up([1000, 2000])]
    outcome, _ = run(plans, [280, 1000, 2000], baselines=[0])
    assert {0, 2} <= outcome.confirmed
    processes = {piece.process for piece in outcome.belief.slices if piece.candidate == 0}
    assert len(processes) >= 2
    assert 0 in outcome.decision.beaten


def test_the_best_so_far_is_measured_again_beside_others() -> None:
    speeds = [1000.0, 1010.0, 1005.0, 1015.0]
    outcome, _ = run(line_up(speeds), speeds, Troubles(noise=0.03, drift=0.1))
    counts = sorted(len(slices) for slices in outcome.measured.values())
    assert counts[-2] >= 8, "what cannot be told apart is measured in turns"


def test_more_budget_tells_more() -> None:
    speeds = [1000.0, 1060.0]
    troubles = Troubles(noise=0.05, process=0.005, drift=0.0, burst_chance=0.0)
    short, _ = run(line_up(speeds), speeds, troubles, 30.0)
    long, _ = run(line_up(speeds), speeds, troubles, 600.0, confirmations=4)
    widths = []
    for outcome in (short, long):
        ratio = next(one.ratio for one in outcome.decision.standings if one.candidate == 0)
        widths.append(ratio[2] / ratio[1])
    assert widths[1] < widths[0]


def test_a_kind_that_cannot_be_started_does_not_rule_out_the_others_of_its_backend() -> None:
    pipelined = [with_schedule(candidate(2, each, 9000.0), "pipelined") for each in (2, 4, 8, 16)]
    plans = [*pipelined, *line_up([2000, 3000]), candidate(0, 8, 1000.0)]
    troubles = Troubles(noise=0.005, drift=0.0, burst_chance=0.0, broken=frozenset({pipelined[0].kind}))
    outcome, _ = run(plans, [9000, 9000, 9000, 9000, 2000, 3000, 1000], troubles)
    assert outcome.decision.winner == 5
    assert {*outcome.failures, *outcome.skipped} == {0, 1, 2, 3}
    assert len(outcome.failures) == 2
    assert "pipelined" in next(iter(outcome.skipped.values())).name


def test_where_two_kinds_of_a_backend_fail_alike_the_backend_is_out() -> None:
    shm = [candidate(2, 4, 9000.0), with_schedule(candidate(2, 4, 8900.0), "pipelined")]
    shm += [replace(one, plan=one.plan.model_copy(update={"num_envs_per_env_runner": 8}), predicted_sps=8800.0,
                    name=f"{one.name} more") for one in shm]  # fmt: skip
    troubles = Troubles(noise=0.005, drift=0.0, burst_chance=0.0, broken=frozenset(one.kind for one in shm))
    outcome, _ = run([*shm, candidate(0, 8, 1000.0)], [9000, 8900, 8800, 8800, 1000], troubles)
    assert outcome.decision.winner == 4
    assert len(outcome.failures) == 2
    assert all("failed alike" in one.reason for one in outcome.skipped.values())


def test_where_a_plan_ran_out_of_memory_larger_ones_are_skipped() -> None:
    plans = [candidate(2, 1 << k, 1000.0 * (k + 1), memory_bytes=(k + 1) * 10**9) for k in range(6)]
    outcome, events = run(plans, [1000.0 * (k + 1) for k in range(6)], memory_bytes=3.5e9)
    assert outcome.decision.winner == 2
    opened_too_large = [event for event in events if event.what == "failed"]
    assert {event.candidate for event in opened_too_large} <= {3, 4, 5}
    assert len(outcome.failures) + len(outcome.skipped) == 3
    assert all("ran out of memory" in skipped.reason for skipped in outcome.skipped.values())


def test_a_backend_that_does_not_work_costs_a_few_failures() -> None:
    shm = line_up([4000 + 1000 * power for power in range(8)])
    plans = [*shm, candidate(0, 8, 1000.0)]
    troubles = Troubles(noise=0.005, drift=0.0, burst_chance=0.0, broken=frozenset({shm[0].kind}))
    outcome, _ = run(plans, [one.predicted_sps for one in plans], troubles)
    assert outcome.decision.winner == 8
    assert len(outcome.failures) == 4
    assert 0 in outcome.failures, "the smallest was tried"
    assert set(outcome.failures) | set(outcome.skipped) == set(range(8))
    assert all("failed alike (EnvError)" in skipped.reason for skipped in outcome.skipped.values())


class BreaksFromEight(SimulatedArena):
    """Eight environments in a process are too many for it."""

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        if self.processes[process][0] >= 3:
            del self.processes[process]
            return Failed("crash", "its process exited with status 9", while_starting=False)
        return super().measure(process, seconds)


def test_what_breaks_from_a_size_on_is_raced_below_it() -> None:
    plans = line_up([1000.0 * 1.4**power for power in range(8)])
    arena = BreaksFromEight(plans, [one.predicted_sps for one in plans], QUIET)
    outcome = race(arena, plans, Rules(300.0))
    assert outcome.decision.winner == 2
    assert 2 <= len(outcome.failures) <= 5
    assert set(outcome.failures) | set(outcome.skipped) == {3, 4, 5, 6, 7}, "the others were given another chance"
    assert not arena.processes


class Exclusive(SimulatedArena):
    """What an environment needs there is once on the machine."""

    def open(self, candidate: int) -> Opened | Failed:
        if self.processes:
            return Failed("crash", "the port is taken", "EnvRaisedError")
        return super().open(candidate)


def test_plans_that_cannot_be_beside_others_race_one_at_a_time() -> None:
    plans = line_up([2000, 2100, 2200])
    arena = Exclusive(plans, [1000, 3500, 3000], QUIET)
    outcome = race(arena, plans, Rules(300.0))
    assert outcome.decision.winner == 1
    assert not outcome.failures
    assert not arena.processes


class Ten(SimulatedArena):
    """Has room for 10 GB, whoever holds them; processes hold more than expected."""

    def open(self, candidate: int) -> Opened | Failed:
        if 4e9 * (len(self.processes) + 1) > 10e9:
            return Failed("oom", "the tuner's processes held too much")
        return super().open(candidate)


def test_memory_that_others_hold_rules_nobody_out() -> None:
    plans = [candidate(2, 1 << k, 1000.0, memory_bytes=10**9) for k in range(5)]
    arena = Ten(plans, [1000.0 + 100 * k for k in range(5)], Troubles(noise=0.05))
    outcome = race(arena, plans, Rules(200.0))
    assert not outcome.failures and not outcome.skipped
    assert len(outcome.measured) > 2


@pytest.mark.parametrize("budget_s", [1.0, 15.0, 60.0])
@pytest.mark.parametrize("iteration_s", [0.2, 3.0, 9.0])
def test_the_budget_is_overrun_by_one_slice_at_most(budget_s: float, iteration_s: float) -> None:
    speeds = [1000.0, 1005.0, 995.0, 990.0]
    plans = [candidate(2, 1 << k, sps, iteration_s=iteration_s) for k, sps in enumerate(speeds)]
    for seed in range(2):
        arena = SimulatedArena(plans, speeds, Troubles(noise=0.05, drift=0.1), seed=seed)
        outcome = race(arena, plans, Rules(budget_s), baselines=(0, 1), seed=seed)
        assert outcome.decision.winner is not None
        least_s = 1.3 * plans[0].start_s + max(iteration_s, 1.0)  # of one plan, whatever the budget
        assert arena.now_s() <= max(budget_s, least_s) + max(iteration_s, 1.0)


def test_where_there_is_hardly_time_the_quickest_plan_is_measured() -> None:
    plans = [
        candidate(2, 8, 2000.0, start_s=5.0),
        candidate(0, 8, 1000.0, start_s=3.0),
        candidate(0, 4, 900.0, start_s=4.0),
    ]
    hasty, _ = run_within(plans, 2.0)
    assert set(hasty.measured) == {1}
    patient, _ = run_within(plans, 8.0)
    assert 0 in patient.measured


def run_within(plans: Sequence[Candidate], budget_s: float) -> tuple[Outcome, SimulatedArena]:
    arena = SimulatedArena(plans, [one.predicted_sps for one in plans], QUIET)
    return race(arena, plans, Rules(budget_s)), arena


def test_nothing_that_can_be_started_is_no_winner() -> None:
    plans = line_up([1000, 2000, 3000])
    outcome, _ = run(plans, [1000, 2000, 3000], Troubles(broken=frozenset({plans[0].kind})))
    assert outcome.decision.winner is None
    assert outcome.stopped == "nothing"


class StopsAfter(SimulatedArena):
    """Is interrupted after some slices."""

    left = 5

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        return super().measure(process, seconds)


def test_an_interruption_leaves_the_best_so_far_and_no_process() -> None:
    plans = line_up([1000, 2000, 3000])
    arena = StopsAfter(plans, [1000, 2000, 3000], QUIET)
    outcome = race(arena, plans, Rules(300.0))
    assert outcome.stopped == "interrupted"
    assert outcome.decision.winner == 2
    assert not arena.processes


class BreaksLater(SimulatedArena):
    """The fastest plan dies when it is measured for the third time."""

    seen = 0

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        if self.processes[process][0] == 2:
            self.seen += 1
            if self.seen == 3:
                del self.processes[process]
                return Failed("crash", "it died", while_starting=False)
        return super().measure(process, seconds)


def test_a_plan_that_dies_under_way_cannot_win() -> None:
    plans = line_up([1000, 2000, 3000])
    arena = BreaksLater(plans, [1000, 2000, 3000], QUIET)
    outcome = race(arena, plans, Rules(300.0))
    assert outcome.decision.winner == 1
    assert outcome.failures[2].message == "it died"
    assert not outcome.skipped, "it worked before, so it is no fault of its backend"


class Crowded(SimulatedArena):
    most = 0

    def open(self, candidate: int) -> Opened | Failed:
        opened = super().open(candidate)
        self.most = max(self.most, len(self.processes))
        return opened


@pytest.mark.parametrize(("rules", "most"), [({"max_open": 3}, 4), ({"max_memory_bytes": 3e9}, 5)])
def test_no_more_processes_wait_than_there_is_room_for(rules: dict[str, Any], most: int) -> None:
    plans = [candidate(2, 1 << k, 1000.0, memory_bytes=10**9) for k in range(8)]
    arena = Crowded(plans, [1000.0 + k for k in range(8)], Troubles(noise=0.05))
    race(arena, plans, Rules(200.0, **rules), baselines=())
    assert 2 <= arena.most <= most


class _AllDie(SimulatedArena):
    def measure(self, process: int, seconds: float) -> Measured | Failed:
        self.processes.pop(process)
        return Failed("crash", "it died", while_starting=False)


def test_plans_that_start_but_cannot_be_measured_leave_nothing() -> None:
    plans = line_up([1000, 2000])
    outcome = race(_AllDie(plans, [1000, 2000], QUIET), plans, Rules(300.0))
    assert outcome.decision.winner is None
    assert outcome.stopped == "nothing"


class _TakesCores(SimulatedArena):
    def measure(self, process: int, seconds: float) -> Measured | Failed:
        index = self.processes[process][0]
        found = super().measure(process, seconds)
        return replace(found, cores_busy=3.0 if index == 1 else 1.0) if isinstance(found, Measured) else found


def test_a_plan_that_takes_more_cores_than_it_may_cannot_win_and_ties_go_by_what_was_measured() -> None:
    plans = [replace(one, cores=1.0) for one in line_up([1000, 2000])]
    outcome = race(_TakesCores(plans, [1000, 2000], QUIET), plans, Rules(300.0, max_cores=2))
    assert outcome.decision.winner == 0
    assert outcome.skipped[1].reason == "it kept 3.0 cores busy, and the limit is 2"
    equal = [replace(one, cores=2.0 - number) for number, one in enumerate(line_up([1000, 1000]))]
    outcome = race(_TakesCores(equal, [1000, 1000], QUIET), equal, Rules(300.0))
    assert outcome.decision.winner == 0, "expected to take more cores, it took fewer"


def test_what_does_not_fit_into_the_time_is_no_certainty() -> None:
    plans = [replace(one, start_s=25.0 if number else 1.0) for number, one in enumerate(line_up([1000, 990, 980]))]
    outcome, _ = run(plans, [1000, 990, 980], budget_s=30.0)
    assert outcome.stopped == "budget"
