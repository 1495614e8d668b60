"""What-ifs: measured where there is time, else labelled as predictions, and never asked twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_plans import candidate

from paceline.machine import detect_machine
from paceline.spec import RunSpec, build_spec
from paceline.tuner.arena import Failed, Interrupted, Measured, Opened
from paceline.tuner.belief import Belief, Slice
from paceline.tuner.candidates import Candidate, prior
from paceline.tuner.entrants import Entrants
from paceline.tuner.probe import ProbeResult
from paceline.tuner.what_ifs import Question, answer, questions
from paceline.vector.env_cost import EnvCost

TINY = EnvCost(build_s=0.001, reset_us=5, step_us=7, p95_us=8, mean_us=7, cv=0.1, cpu_us=7)
TWO_CORES = replace(detect_machine(), usable_cores=2.0)
BUSY = EnvCost(build_s=0.001, reset_us=100, step_us=1000, p95_us=1010, mean_us=1000, cv=0.01, cpu_us=1000)


def run_of(one: Candidate) -> RunSpec:
    algo = {"name": "ppo", "batch_size": 1024, "minibatch_size": 64, "num_epochs": 10}
    return build_spec(
        RunSpec, {"env": {"id": "CartPole-v1"}, "algo": algo, "plan": one.plan.model_dump(mode="json")}, source="test"
    )


def entrants(*candidates: Candidate) -> Entrants:
    runs = tuple(run_of(one) for one in candidates)
    return Entrants(candidates, runs, ("",) * len(candidates), (), 0, None)


def asked_of(env: EnvCost, update_s: float, *candidates: Candidate) -> list[Question]:
    found = ProbeResult(
        run=run_of(candidates[0]), env=env, env_bytes=0, acting_us=((1, 20.0), (64, 40.0)), update_s=update_s,
        compile_s=1.0, row_bytes=40, native="no native code for it",
    )  # fmt: skip
    return questions(entrants(*candidates), 0, found, TWO_CORES)


class Alone:
    """An arena in which run k is ``1 + 0.1 k`` times as fast as the first; some cannot be started."""

    def __init__(
        self, runs: Sequence[RunSpec], broken: Sequence[int] = (), dying: Sequence[int] = (), stop_at: int = -1
    ) -> None:
        self.runs, self.broken, self.dying, self.stop_at = runs, broken, dying, stop_at
        self.opened, self.alive = 0, set[int]()

    def now_s(self) -> float:
        return 0.0

    def open(self, candidate: int) -> Opened | Failed:
        if candidate == self.stop_at:
            raise Interrupted
        if candidate in self.broken:
            return Failed("crash", "it broke")
        self.alive.add(candidate)
        self.opened += 1
        return Opened(candidate)

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        if process in self.dying:
            return Failed("crash", "it died")
        return Measured(1000.0 * (1.0 + 0.1 * process), seconds, 0.0)

    def close(self, process: int) -> None:
        self.alive.discard(process)

    def end(self) -> None:
        self.alive.clear()


def asked(*what: tuple[str, float | None, RunSpec | None]) -> list[Question]:
    return [Question(name, factor, run) for name, factor, run in what]


def learnt(candidates: Sequence[Candidate], **log_sps: float) -> Belief:
    belief = Belief(*prior(candidates))
    for index, one in enumerate(candidates):
        if one.name.replace(" ", "_") in log_sps:
            for process in (0, 1):
                belief.learn(
                    Slice(index, 10 * index + process, 1.0 * process, log_sps[one.name.replace(" ", "_")], 4.0)
                )
    return belief


def answered(questions: list[Question], arenas: list[Alone], belief: Belief, left_s: float = 60.0, **more: Any) -> Any:
    def opened(runs: Sequence[RunSpec]) -> Alone:
        arenas.append(Alone(runs, **more))
        return arenas[-1]

    found = answer(questions, run_of(candidate(0, 8)), belief, 0, opened, lambda: left_s, 5.0)
    assert not any(arena.alive for arena in arenas), "nothing is left"
    return found


def test_what_can_be_measured_is_measured_beside_the_winner_and_the_rest_is_called_a_prediction() -> None:
    plans = [candidate(0, 8)]
    run = run_of(candidate(0, 16))
    arenas: list[Alone] = []
    found = answered(
        asked(("Twice the environments", 3.0, run), ("Another machine", 2.0, None)), arenas, learnt(plans, serial_0x8=7)
    )
    assert [one.measured for one in found] == [True, False]
    assert found[0].change == pytest.approx(0.1)
    assert found[0].ci95[0] < 0.1 < found[0].ci95[1]
    assert found[1].change == pytest.approx(1.0)
    assert "measured" in found[0].sentence and "+10%" in found[0].sentence
    assert "predicted, not measured" in found[1].sentence
    assert arenas[0].runs[1] == run


def test_without_time_nothing_is_started_and_everything_is_a_prediction() -> None:
    arenas: list[Alone] = []
    found = answered(asked(("More", 1.5, run_of(candidate(0, 16)))), arenas, learnt([candidate(0, 8)]), left_s=0.0)
    assert not arenas
    assert [one.measured for one in found] == [False]


def test_what_the_race_measured_is_not_measured_again() -> None:
    plans = [candidate(0, 8), candidate(2, 8)]
    belief = learnt(plans, serial_0x8=np.log(1000.0), shm_2x8=np.log(1500.0))
    arenas: list[Alone] = []
    found = answered([Question("Runners", 9.0, run_of(plans[1]), candidate=1)], arenas, belief)
    assert not arenas
    assert found[0].measured
    assert found[0].change == pytest.approx(0.5, abs=0.05)


def test_one_that_cannot_be_run_says_so_and_the_others_are_measured() -> None:
    runs = [run_of(candidate(0, envs)) for envs in (16, 32, 64)]
    arenas: list[Alone] = []
    questions = asked(("One", 1.5, runs[0]), ("Other", 1.5, runs[1]), ("Third", 1.5, runs[2]))
    found = answered(questions, arenas, learnt([candidate(0, 8)], serial_0x8=7), broken=(1,), dying=(2,))
    assert [one.measured for one in found] == [False, False, True]
    assert [one.change for one in found[:2]] == [None, None]
    assert "One: it cannot be run: it broke" in found[0].sentence
    assert "Other: it cannot be run: it died" in found[1].sentence
    assert found[2].change == pytest.approx(0.3)


def test_a_stop_at_any_moment_keeps_what_is_known() -> None:
    runs = [run_of(candidate(0, envs)) for envs in (16, 32)]
    for stop_at in (0, 1, 2):
        found = answered(
            asked(("One", 1.5, runs[0]), ("Other", 1.5, runs[1])), [], learnt([candidate(0, 8)], serial_0x8=7),
            stop_at=stop_at,
        )  # fmt: skip
        assert [one.measured for one in found] == [stop_at == 2, False]


def test_what_was_requested_by_value_is_measured_though_the_time_is_up() -> None:
    one = replace(asked(("One", None, run_of(candidate(0, 16))))[0], requested=True)
    other = asked(("Other", 1.5, run_of(candidate(0, 32))))[0]
    found = answered([one, other], [], learnt([candidate(0, 8)], serial_0x8=7), left_s=0.0)
    assert [answer.measured for answer in found] == [True, False]


def test_what_nobody_can_predict_is_not_called_a_prediction() -> None:
    found = answered(asked(("Batch 4096", None, None)), [], learnt([candidate(0, 8)]))
    assert found[0].change is None
    assert found[0].sentence == "Batch 4096: not measured, and not predicted."


def test_a_learner_that_takes_the_time_is_asked_about_epochs_and_minibatches_that_learn_differently() -> None:
    found = asked_of(TINY, 0.012, candidate(0, 8, 50_000.0))
    epochs = next(one for one in found if "epochs" in one.what)
    assert epochs.what == "Half the epochs (5 in place of 10)"
    assert epochs.learns_differently
    assert epochs.run is not None and getattr(epochs.run.algo, "num_epochs", 0) == 5
    assert epochs.factor is not None and 1.2 < epochs.factor < 1.6
    assert any("Twice the minibatch (128 in place of 64)" in one.what and one.learns_differently for one in found)


def test_a_costly_environment_is_asked_about_runners_cores_and_its_own_speed_not_about_the_learner() -> None:
    plans = [candidate(2, 8, 1900.0), candidate(2, 16, 1900.0)]
    found = {one.what: one for one in asked_of(BUSY, 0.012, *plans)}
    assert not any(one.learns_differently for one in found.values())
    more = found["One more runner (shm 3x8)"]
    assert more.factor is not None and more.factor < 1.1  # the cores are taken
    assert more.run is not None
    assert (more.run.algo.batch_size or 0) % 24 == 0  # the nearest batch of whole steps of 24 environments
    assert found["Twice the environments in each runner (shm 2x16)"].candidate == 1
    assert found["An environment twice as fast"].factor == pytest.approx(2.0, abs=0.2)
    assert found["Twice the cores (4), with twice the runners"].factor == pytest.approx(2.0, abs=0.2)
    assert found["An environment twice as fast"].run is None


def test_a_learner_of_other_threads_is_not_said_to_take_more_than_all_of_the_time() -> None:
    one = candidate(0, 8, 200_000.0)
    found = ProbeResult(
        run=run_of(one), env=TINY, env_bytes=0, acting_us=((1, 20.0), (64, 40.0)), update_s=0.02, compile_s=1.0,
        row_bytes=40, native="no native code for it",
    )  # fmt: skip
    many = Entrants((one,), (run_of(one),), ("",), (), 0, None, learner_speeds=(2.8,))
    factors = [question.factor for question in questions(many, 0, found, TWO_CORES)]
    assert all(factor is None or 0.0 < factor <= 20.0 for factor in factors)


def test_plans_that_failed_or_are_not_allowed_are_not_asked_about() -> None:
    plans = [candidate(2, 8, 1900.0), candidate(3, 8, 1900.0), candidate(2, 16, 1900.0)]
    found = ProbeResult(
        run=run_of(plans[0]), env=BUSY, env_bytes=0, acting_us=((1, 20.0), (64, 40.0)), update_s=0.01, compile_s=1.0,
        row_bytes=40, native="no native code for it",
    )  # fmt: skip
    names = [one.what for one in questions(entrants(*plans), 0, found, TWO_CORES, gone=(2,), max_cores=2)]
    assert not any("shm" in name for name in names)
    single = found.model_copy(update={"native": "yes", "native_threads": 1})
    native = replace(plans[0], plan=plans[0].plan.model_copy(update={"backend": "native", "num_env_runners": 1}))
    names = [one.what for one in questions(entrants(native), 0, single, TWO_CORES)]
    assert not any("One more runner" in name or "Twice the cores" in name for name in names)
