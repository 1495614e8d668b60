"""What text, picture and page of a tuning agree on."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.cli.parser import build_parser
from paceline.measure.tune_result import NoiseFloor, PlanStanding
from paceline.report import tune_view as look

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_tuning import BASELINE, OTHERS, WINNER, WINNING_PLAN, step_run, tuned, tuned_with_ledgers


def left_out(name: str, reason: str, state: Any = "impossible") -> PlanStanding:
    return PlanStanding(name=name, state=state, reason=reason)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "2 runner processes with 16 envs each, 32 in all; a copy of the policy in every runner"),
        ({"num_env_runners": 0, "inference": "learner"}, "16 envs in the learner's process"),
        ({"num_env_runners": 1, "num_envs_per_env_runner": 1, "inference": "learner"}, "1 runner process with 1 env"),
        (
            {"backend": "native", "inference": "learner"},
            "2 runner threads with 16 envs each, 32 in all; stepped in native code",
        ),
        ({"num_env_runners": None}, ""),
    ],
)
def test_a_plan_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    assert look.plan_words({**WINNING_PLAN, **changes}) == words


def test_the_next_command_is_one_that_the_program_takes() -> None:
    command = look.next_command(tuned_with_ledgers(), "runs/my run/run.yaml")
    assert command == "paceline train --config 'runs/my run/run.yaml'"
    assert build_parser().parse_args(shlex.split(command)[1:]).config == "runs/my run/run.yaml"
    alone = look.next_command(tuned_with_ledgers())
    assert build_parser().parse_args(shlex.split(alone)[1:]).plan == "plan.yaml"


def test_reasons_that_differ_in_their_figures_are_one_reason() -> None:
    plans = (
        left_out("a", "a batch of 1024 would hold 16 steps of 64"),
        left_out("b", "a batch of 1024 would hold 8 steps of 128"),
        left_out("c", "it died", "failed"),
    )
    first, second = look.left_out((*plans, WINNER))
    assert (first.names, first.reason, first.likewise) == (("a", "b"), plans[0].reason, True)
    assert (second.state, second.names, second.likewise) == ("failed", ("c",), False)


def test_rivals_are_the_unmeasured_plans_that_may_be_as_fast() -> None:
    likely, hardly = (
        OTHERS[0].model_copy(update={"name": name, "p_tied": p_tied}) for name, p_tied in (("a", 0.3), ("b", 0.01))
    )
    likelier = likely.model_copy(update={"name": "c", "p_tied": 0.4})
    assert [one.name for one in look.rivals(tuned(plans=(WINNER, hardly, likely, likelier)).tune)] == ["c", "a"]


def test_how_far_predictions_were_off() -> None:
    fast = WINNER.model_copy(update={"sps": 11_000, "predicted_sps": 10_000})
    slow = WINNER.model_copy(update={"name": "slow", "sps": 7_000, "predicted_sps": 10_000})
    assert look.prediction_errors(tuned(plans=(fast, slow, *OTHERS)).tune) == pytest.approx([0.1, -0.3])
    sentence = look.prediction_sentence(tuned(plans=(fast, slow)).tune)
    assert "20% off (median of 2 plans)" in sentence and "from 30% slower to 10% faster" in sentence
    assert look.prediction_sentence(tuned(plans=OTHERS).tune) == ""


def test_steps_are_in_microseconds_and_add_up() -> None:
    times = look.step_times(tuned_with_ledgers())
    assert [(one.name, one.roles) for one in times] == [
        ("shm 2x16", ("winner",)), ("serial 0x16", ("baseline",)), ("serial 0x1", ("one environment",)),
    ]  # fmt: skip
    assert [one.total_us for one in times] == pytest.approx([100.0, 200.0, 400.0])
    told = {phase: times[0].phases_us[phase] for phase in ("env_step", "runner_wait", "learner_update")}
    assert told == pytest.approx({"env_step": 60.0, "runner_wait": 10.0, "learner_update": 30.0})
    assert look.step_phases(times) == ["env_step", "runner_wait", "inference", "learner_update"]
    first, second = look.step_sentences(times)
    assert first == (
        "A step takes shm 2x16 100 us and serial 0x16 200 us: 80.0 us less in environment steps, 20.0 us less in "
        "inference, 10.0 us more in waiting for runners."
    )
    assert "serial 0x1 400 us: 200 us less in inference" in second


def test_a_plan_of_two_roles_is_there_once_and_one_without_a_ledger_not_at_all() -> None:
    results = tuned(decision={"winner": "shm 2x16", "baseline": "shm 2x16"})
    assert look.step_times(results) == []
    alone = results.model_copy(update={"experiments": (step_run("shm 2x16", 1, env_step=5.0),)})
    assert [one.roles for one in look.step_times(alone)] == [("winner", "baseline", "one environment")]
    assert look.step_sentences(look.step_times(alone)) == []


@pytest.mark.parametrize(
    ("points", "edge"),
    [
        ([(1.0, 100.0), (2.0, 150.0), (2.0, 120.0), (3.0, 140.0)], [100.0, 150.0]),
        ([(2.0, 50.0), (1.0, 60.0)], [60.0]),
    ],
)
def test_the_frontier_is_what_nothing_beats_in_speed_and_cores(
    points: list[tuple[float, float]], edge: list[float]
) -> None:
    plans = [WINNER.model_copy(update={"cores": cores, "sps": sps}) for cores, sps in points]
    assert [one.sps for one in look.frontier(plans)] == edge


def test_measured_plans_come_first_then_those_predicted_to_be_fast() -> None:
    slow, fast = (
        OTHERS[0].model_copy(update={"name": name, "predicted_sps": sps}) for name, sps in (("slow", 10), ("fast", 99))
    )
    tune = tuned(plans=(WINNER, BASELINE, slow, fast)).tune
    assert [one.name for one in look.shown_plans(tune, 18)] == ["shm 2x16", "serial 0x16", "fast", "slow"]
    assert len(look.shown_plans(tune, 3)) == 3


@pytest.mark.parametrize(
    ("env", "cost"),
    [
        ({"mean_us": 7.0, "cpu_us": 8.0}, "7.00 us, all of it computing"),
        ({"mean_us": 100.0, "cpu_us": 30.0}, "100 us, of which 30.0 us computing and the rest waiting"),
    ],
)
def test_a_step_never_computes_for_longer_than_it_takes(env: dict[str, float], cost: str) -> None:
    facts = dict(look.part_facts({"env": {**env, "reset_us": 1.0}, "acting_us": [[1, 20.0], [8, 30.0]]}))
    assert facts["a step of the environment"] == cost
    assert facts["acting for 1 environment"] == "20.0 us" and facts["acting for 8 environments"] == "30.0 us"


def test_a_restless_machine_is_called_one() -> None:
    quiet = NoiseFloor(slice_sd=0.02, process_sd=0.01, drift_sd=0.02)
    assert not any("quiet machine" in sentence for sentence in look.noise_sentences(quiet))
    assert any("quiet machine" in one for one in look.noise_sentences(quiet.model_copy(update={"drift_sd": 0.25})))
