"""A tuning's answer measured again: the four words against machines of known truth, and against real processes."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_plans import candidate

import paceline
from paceline.errors import RequestError, WorkError
from paceline.machine import detect_machine
from paceline.measure.result import ExperimentInfo, RunResult
from paceline.measure.tune_result import NoiseFloor, PlanStanding, TuneDecision, TuneRecord, TuneResults
from paceline.measure.verify_result import Role, VerifyRecord, load_verification
from paceline.spec import PPOSpec, RunSpec, dump_yaml
from paceline.tuner.arena import Failed, Interrupted
from paceline.tuner.cache import Cache
from paceline.tuner.processes import ProcessArena
from paceline.tuner.race import Rules, race
from paceline.tuner.simulated import SimulatedArena, Troubles
from paceline.tuner.spec import TuneSpec
from paceline.tuner.tuned import Contender
from paceline.tuner.verify import Comparison, Found, WinnerFailed, found_by, judge, verify

QUIET = Troubles(noise=0.01, process=0.005, drift=0.01, burst_chance=0.0)
WILD = Troubles(noise=0.16, process=0.06, drift=0.2, burst_chance=0.2)
TRUTH = (2000.0, 1900.0, 1500.0, 1000.0)
PLANS = [candidate(2, 16, 2000), candidate(2, 8, 1900), candidate(2, 4, 1500), candidate(0, 16, 1000)]
HOURS = candidate(1, 1, 1.0, start_s=1e4)
"""A plan whose start takes so long that drift has forgotten where it was."""


def later(plans: Sequence[Any], truth: Sequence[float], troubles: Troubles, seed: int) -> SimulatedArena:
    """Return the arena of another day."""
    arena = SimulatedArena([*plans, HOURS], [*truth, 1.0], troubles, seed=seed)
    opened = arena.open(len(plans))
    assert not isinstance(opened, Failed)
    arena.close(opened.process)
    return arena


Recorded = tuple[list[int], list[Contender], NoiseFloor]
"""Which plans, how they stood, and how much the machine differed from itself."""
ROLES: tuple[Role, ...] = ("winner", "baseline", "runner-up")


def compared(seed: int, troubles: Troubles) -> Recorded:
    """Return what a comparison of two minutes recorded of the plans 0 and 3."""
    chosen = [0, 3]
    before = [
        Contender(role, PlanStanding(name=PLANS[i].name, state="measured", sps=TRUTH[i]))
        for role, i in zip(ROLES, chosen, strict=False)
    ]
    arena = later([PLANS[i] for i in chosen], [TRUTH[i] for i in chosen], troubles, seed)
    comparison = Comparison(arena, before, 120.0)
    comparison.go()
    found = found_by(comparison, None)
    stood = [PlanStanding(name=one.name, state="measured", sps=one.sps[0], sps_ci95=one.sps[1:])
             for one in found.plans if one.sps]  # fmt: skip
    return chosen, [Contender(role, one) for role, one in zip(ROLES, stood, strict=False)], found.noise


def raced(seed: int, troubles: Troubles) -> Recorded:
    """Return what a race of all plans recorded of its winner, the baseline and the runner-up."""
    outcome = race(later(PLANS, TRUTH, troubles, seed), PLANS, Rules(120.0), baselines=(3,), seed=seed)
    decision, belief = outcome.decision, outcome.belief
    assert decision.winner is not None
    chosen = list(dict.fromkeys(index for index in (decision.winner, 3, decision.runner_up) if index is not None))
    standings = {one.candidate: one for one in decision.standings}
    stood = [PlanStanding(name=PLANS[i].name, state="measured", sps=standings[i].sps, sps_ci95=standings[i].sps_ci95)
             for i in chosen]  # fmt: skip
    noise = NoiseFloor(slice_sd=belief.noise_sd(), process_sd=belief.process_sd(), drift_sd=belief.drift_sd())
    return chosen, [Contender(role, one) for role, one in zip(ROLES, stood, strict=False)], noise


def verified(
    recorded: Recorded, troubles: Troubles, seed: int, *, winner_now: float = 1.0, baseline_now: float = 1.0
) -> tuple[Found, float]:
    """Return what is found on another day, and the true ratio of the winner to the baseline.

    Args:
        recorded: what the tuning said.
        troubles: what the machine does.
        seed: of the day.
        winner_now: speed of the winner in units of what it was.
        baseline_now: speed of the baseline likewise.
    """
    chosen, contenders, noise = recorded
    truth = [TRUTH[index] for index in chosen]
    truth[0], truth[1] = truth[0] * winner_now, truth[1] * baseline_now
    comparison = Comparison(later([PLANS[i] for i in chosen], truth, troubles, seed + 10_000), contenders, 60.0)
    comparison.go()
    return found_by(comparison, noise), truth[0] / truth[1]


@pytest.mark.parametrize(
    ("now", "answer"), [(1.0, "SAME"), (0.8, "SLOWER"), (1.25, "FASTER"), (1.02, "SAME"), (0.98, "SAME")]
)
def test_on_a_quiet_machine_the_answer_is_the_truth(now: float, answer: str) -> None:
    found = [verified(compared(seed, QUIET), QUIET, seed, winner_now=now)[0].answer for seed in range(10)]
    assert Counter(found) == {answer: 10}


def test_on_a_wild_machine_the_answer_is_that_it_cannot_be_told() -> None:
    answers = Counter(verified(compared(seed, WILD), WILD, seed)[0].answer for seed in range(20))
    assert answers["CANNOT TELL"] >= 17
    assert answers["SAME"] <= 1


def random_troubles(seed: int) -> Troubles:
    """Return the troubles of one of all kinds of machines."""
    random = np.random.default_rng(seed)
    return Troubles(
        noise=float(np.exp(random.uniform(math.log(0.005), math.log(0.08)))),
        process=float(np.exp(random.uniform(math.log(0.003), math.log(0.03)))),
        drift=float(random.uniform(0.0, 0.1)),
        burst_chance=float(random.uniform(0.0, 0.1)),
    )


@pytest.mark.parametrize(
    ("tuned", "count"), [(compared, 60), pytest.param(raced, 120, marks=pytest.mark.slow)], ids=["compared", "raced"]
)
def test_where_nothing_has_changed_a_change_is_seen_in_one_of_twenty_at_most(
    tuned: Callable[[int, Troubles], Recorded], count: int
) -> None:
    days = [(seed, random_troubles(seed)) for seed in range(count)]
    found = [verified(tuned(seed, troubles), troubles, seed) for seed, troubles in days]
    false = [one.answer for one, _ in found if one.answer in ("SLOWER", "FASTER")]
    assert len(false) <= 0.05 * count
    held = [one.plans[1].ratio[1] <= truth <= one.plans[1].ratio[2] for one, truth in found if one.plans[1].ratio]
    assert len(held) == count
    assert np.mean(held) >= 0.9, "the interval of the ratio holds the truth"


def test_a_baseline_that_has_become_faster_is_seen_beside_a_winner_that_has_not() -> None:
    for seed in range(5):
        found, truth = verified(compared(seed, QUIET), QUIET, seed, baseline_now=2.5)
        assert found.answer == "SAME"
        ratio = found.plans[1].ratio
        assert ratio is not None
        assert ratio[2] < 1.0
        assert ratio[1] <= truth * 1.02 and ratio[2] >= truth * 0.98


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ((1.0, 0.95, 1.05), "SAME"),
        ((1.04, 1.01, 1.07), "SAME"),  # surely another, and of no consequence
        ((1.06, 1.01, 1.11), "FASTER"),
        ((0.94, 0.90, 0.99), "SLOWER"),
        ((0.9, 0.75, 1.05), "CANNOT TELL"),
        ((1.1, 0.95, 1.25), "CANNOT TELL"),
    ],
)
def test_the_rule(change: tuple[float, float, float], answer: str) -> None:
    assert judge(change) == answer


def contenders(count: int) -> list[Contender]:
    return [
        Contender(role, PlanStanding(name=PLANS[index].name, state="measured", sps=TRUTH[index]))
        for index, role in enumerate(ROLES[:count])
    ]


class Watched(SimulatedArena):
    """Notes what is asked of it; may be stopped, or have a plan that breaks."""

    def __init__(self, *, stop_after: int | None = None, breaks: int | None = None, start_s: float = 4.0) -> None:
        plans = [replace(one, start_s=start_s) for one in PLANS]
        super().__init__(plans, TRUTH, QUIET, seed=1)
        self.opened: list[int] = []
        self.slices: list[int] = []
        self.left: set[int] = set()
        self._stop_after, self._breaks = stop_after, breaks

    def open(self, candidate: int) -> Any:
        self.opened.append(candidate)
        opened = super().open(candidate)
        self.left.add(opened.process)  # type: ignore[union-attr]
        return opened

    def measure(self, process: int, seconds: float) -> Any:
        candidate = self.processes[process][0]
        if self._stop_after == len(self.slices):
            raise Interrupted
        if candidate == self._breaks:
            self.left.discard(process)
            return Failed("crash", "it fell over", while_starting=False)
        self.slices.append(candidate)
        return super().measure(process, seconds)

    def close(self, process: int) -> None:
        self.left.discard(process)
        super().close(process)


def test_slices_alternate_and_every_turn_has_fresh_processes() -> None:
    arena = Watched()
    comparison = Comparison(arena, contenders(2), 60.0)
    comparison.go()
    assert arena.slices[:8] == [0, 1, 1, 0, 0, 1, 1, 0]
    assert arena.slices[8:16] == [1, 0, 0, 1, 1, 0, 0, 1]
    assert arena.opened[:4] == [0, 1, 1, 0]
    assert not arena.left
    assert 40.0 < arena.now_s() < 66.0
    processes = {process for process, _ in comparison.measured[0]}
    assert len(processes) == len(arena.opened) / 2 >= 2


def test_the_runner_up_takes_part_where_there_is_time() -> None:
    short, long = Watched(), Watched()
    Comparison(short, contenders(3), 30.0).go()
    Comparison(long, contenders(3), 120.0).go()
    assert set(short.opened) == {0, 1}
    assert set(long.opened) == {0, 1, 2}


def test_one_turn_is_gone_through_however_short_the_time() -> None:
    arena = Watched(start_s=30.0)
    Comparison(arena, contenders(3), 1.0).go()
    assert arena.opened == [0, 1]
    assert len(arena.slices) == 8


def test_a_winner_that_breaks_is_an_error_and_another_plan_is_passed_over() -> None:
    arena = Watched(breaks=0)
    with pytest.raises(WinnerFailed, match="it fell over"):
        Comparison(arena, contenders(2), 60.0).go()
    assert not arena.left
    lines: list[str] = []
    arena = Watched(breaks=1)
    comparison = Comparison(arena, contenders(2), 60.0, lines.append)
    comparison.go()
    found = found_by(comparison, None)
    assert found.plans[1].failure == "it fell over"
    assert (found.plans[1].ratio, found.plans[1].sps) == (None, None)
    assert len(comparison.measured[0]) >= 8
    assert f"{PLANS[1].name}: crash: it fell over" in lines
    assert arena.opened.count(1) == 1, "what broke is not started again"


def test_what_is_known_when_it_is_stopped_is_there() -> None:
    arena = Watched(stop_after=3)
    comparison = Comparison(arena, contenders(2), 60.0)
    with pytest.raises(Interrupted):
        comparison.go()
    assert not arena.left
    found = found_by(comparison, None)
    assert [len(plan.slices) for plan in found.plans] == [1, 2]


def test_the_speed_of_another_machine_is_not_held_against_this_one() -> None:
    comparison = Comparison(Watched(), contenders(2), 30.0)
    comparison.go()
    found = found_by(comparison, None, same_machine=False)
    assert (found.answer, found.change) == ("CANNOT TELL", None)
    assert found.plans[1].ratio is not None, "the ratio is"


# --- folders and processes

RUN = RunSpec(env=paceline.EnvSpec(id="CartPole-v1"), algo=PPOSpec(batch_size=64, minibatch_size=32, num_epochs=1))
SPEC = TuneSpec(base=RUN)


def tuning_folder(folder: Path, *, fingerprint: str | None = None) -> Path:
    """Leave the folder of a tuning in which 2x2 environments won over one in the learner's process."""
    machine = detect_machine()
    plans = {"shm 2x2": (2, 2, 400.0), "serial 0x1": (0, 1, 100.0)}
    runs, standings = [], []
    for name, (runners, envs, sps) in plans.items():
        plan = {"backend": "auto", "num_env_runners": runners, "num_envs_per_env_runner": envs}
        standings.append(
            PlanStanding(name=name, state="measured", plan=plan, sps=sps, sps_ci95=(0.98 * sps, 1.02 * sps),
                         speedup=(sps / 100, sps / 102, sps / 98))
        )  # fmt: skip
        runs.append(
            RunResult(
                name=name, config={"num_env_runners": runners, "num_envs_per_env_runner": envs, "total_envs": 4},
                outcome="ok", env_id="CartPole-v1", plan=plan, algo=RUN.algo.model_dump(mode="json"),
            )
        )  # fmt: skip
    results = TuneResults(
        experiment_info=ExperimentInfo(
            total_experiments=2, timestamp="2026-01-01T00:00:00+00:00", kind="tune", env_id="CartPole-v1",
            machine=machine.as_dict(), machine_fingerprint=fingerprint or machine.fingerprint,
            paceline_version=paceline.__version__,
        ),
        experiments=tuple(runs),
        tune=TuneRecord(
            objective="fastest", budget_s=60.0, wall_s=60.0, plans=tuple(standings),
            noise=NoiseFloor(slice_sd=0.01, process_sd=0.01, drift_sd=0.02),
            decision=TuneDecision(winner="shm 2x2", runner_up="serial 0x1", baseline="serial 0x1", tells=True),
        ),
    )  # fmt: skip
    folder.mkdir()
    (folder / "spec.yaml").write_text(dump_yaml(SPEC))
    (folder / "results.json").write_text(results.to_json())
    return folder


def fake_processes(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """Have real processes whose task is a fake."""

    def make(runs: Any, bounds: Any, should_stop: Any) -> ProcessArena:
        return ProcessArena(runs, bounds, should_stop, task=f"fake_contenders:{task}")

    monkeypatch.setattr("paceline.tuner.verify.ProcessArena", make)


def test_what_was_found_is_left_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_processes(monkeypatch, "steady")
    folder, lines, records = tuning_folder(tmp_path / "tuned"), list[str](), list[VerifyRecord]()
    found = verify(folder, minutes=0.01, on_line=lines.append, on_record=records.append)
    assert records == [found] == [load_verification(folder)]
    assert json.loads((folder / "verify.json").read_text())["format"] == "paceline.verify"
    assert (found.complete, found.same_machine, found.env_id) == (True, True, "CartPole-v1")
    assert [plan.name for plan in found.plans] == ["shm 2x2", "serial 0x1"]
    assert {piece.sps for piece in found.winner.slices} == {400.0}
    ratio = found.plans[1].ratio
    assert ratio is not None
    assert ratio[1] < 4.0 < ratio[2]
    assert found.plans[1].recorded_ratio is not None and found.plans[1].recorded_ratio[0] == 4.0
    assert lines[0] == "measuring shm 2x2 and serial 0x1 again, for 0.01 min"
    assert sorted(path.name for path in folder.iterdir()) == ["results.json", "spec.yaml", "verify.json"]


def test_another_machine_is_told_and_measured_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_processes(monkeypatch, "steady")
    found = verify(tuning_folder(tmp_path / "tuned", fingerprint="another"), minutes=0.01)
    assert (found.same_machine, found.answer, found.change) == (False, "CANNOT TELL", None)
    assert found.plans[1].ratio is not None
    assert any("another machine" in sentence for sentence in found.differences)


@pytest.mark.parametrize("task", ["refuses", "dies_later"])
def test_a_plan_that_cannot_be_run_any_more_is_failed_work(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_processes(monkeypatch, task)
    with pytest.raises(WorkError, match=r"expected shm 2x2 to run as it did, got: .*; run `paceline tune` again"):
        verify(tuning_folder(tmp_path / "tuned"), minutes=0.01)
    assert not (tmp_path / "tuned" / "verify.json").exists()


def test_it_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_processes(monkeypatch, "steady")
    records: list[VerifyRecord] = []

    def stop(line: str) -> None:
        if line.startswith("shm 2x2: "):  # once: a second time would be to leave at once
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"what is known so far is in .*verify\.json"):
        verify(tuning_folder(tmp_path / "tuned"), minutes=5.0, on_line=stop, on_record=records.append)
    assert [record.complete for record in records] == [False]
    assert records == [load_verification(tmp_path / "tuned")]


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_minutes_are_positive(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="expected a positive number of minutes"):
        verify(tmp_path, minutes=minutes)


@pytest.mark.slow
def test_a_real_tuning_is_measured_again(tmp_path: Path) -> None:
    options = {"budget_minutes": 0.3, "backends": ("serial",), "num_envs_per_env_runner": (1, 2)}
    tuned = paceline.tune(RUN, tmp_path / "tuned", cache=Cache(tmp_path / "cache"), **options)
    found = paceline.verify(tmp_path / "tuned", minutes=0.1)
    assert found.winner.name == tuned.tune.decision.winner
    assert found.answer in ("SAME", "FASTER", "SLOWER", "CANNOT TELL")
    assert all(piece.num_env_steps % 64 == 0 and piece.wall_s >= 1.0 for piece in found.winner.slices)
    assert found.change is not None and found.change[1] < found.change[0] < found.change[2]
    assert not [sentence for sentence in found.differences if "Versions" in sentence or "machine" in sentence]
    assert "paceline.tuner.verify" in sys.modules
