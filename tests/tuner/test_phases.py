"""The phase model: what it must get right whatever its constants are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paceline.spec import Plan
from paceline.tuner.phases import PhaseCosts, bound_sps, predict, start_s
from paceline.vector.env_cost import EnvCost

BUSY = EnvCost(build_s=0.001, reset_us=100, step_us=1000, p95_us=1010, mean_us=1000, cv=0.01, cpu_us=1000)
TINY = replace(BUSY, step_us=6, p95_us=7, mean_us=6, cpu_us=6, reset_us=5)
SLEEP = replace(BUSY, step_us=2000, mean_us=2000, cpu_us=60, cv=1.0, waiting_share=0.97)
ACTING = ((1, 20.0), (8, 25.0), (64, 40.0))


def costs(env: EnvCost, **more: Any) -> PhaseCosts:
    return PhaseCosts(**{"env": env, "acting_us": ACTING, "update_s": 0.05, "cores": 4.0, **more})


def plan(runners: int, envs: int, **more: Any) -> Plan:
    kind = {"backend": "shm", "inference": "learner", "schedule": "sync"}
    if not runners:
        kind["backend"] = "serial"
    return Plan.model_validate({**kind, "num_env_runners": runners, "num_envs_per_env_runner": envs, **more})


def sps(of: Plan, parts: PhaseCosts, batch: int = 2048) -> float:
    return predict(of, parts, batch_size=batch).sps


def test_in_process_the_parts_add_up() -> None:
    found = predict(plan(0, 8), costs(BUSY), batch_size=2048)
    assert found.sps == pytest.approx(1e6 / (found.acting_us + found.env_us + found.update_us))
    assert found.env_us == pytest.approx(1000, rel=0.01)
    assert found.update_us == pytest.approx(0.05e6 / 2048)
    assert found.iteration_s == pytest.approx(2048 / found.sps)


def test_costly_steps_are_shared_by_runners_up_to_the_cores() -> None:
    one, two, four, eight = (sps(plan(runners, 8), costs(BUSY)) for runners in (1, 2, 4, 8))
    assert two == pytest.approx(2 * one, rel=0.1)
    assert four == pytest.approx(4 * one, rel=0.2)
    assert eight < 1.1 * four


def test_tiny_steps_are_not_worth_a_wake_up() -> None:
    assert sps(plan(0, 4), costs(TINY)) > sps(plan(4, 1), costs(TINY))


def test_waiting_steps_hide_each_other_beyond_the_cores() -> None:
    assert sps(plan(16, 2), costs(SLEEP)) > 1.5 * sps(plan(4, 8), costs(SLEEP))


def test_the_slowest_of_many_is_not_waited_for_at_every_step_with_the_policy_in_the_runners() -> None:
    at_every_step, once = plan(16, 2), plan(16, 2, backend="auto", inference="runner")
    assert sps(once, costs(SLEEP)) > 1.3 * sps(at_every_step, costs(SLEEP))


def test_an_asynchronous_run_is_bound_by_the_slower_of_learner_and_actors() -> None:
    lags = plan(4, 8, backend="auto", inference="runner", schedule="async")
    learner = 2048 / 0.5
    assert sps(lags, costs(TINY, update_s=0.5)) == pytest.approx(learner, rel=0.1)
    assert 0.8 * 4000 < sps(lags, costs(BUSY)) < 4000


def test_native_code_takes_what_it_was_measured_to_take() -> None:
    native = plan(4, 16, backend="native")
    assert sps(native, costs(BUSY, native_us=100.0)) > 5 * sps(native, costs(BUSY, native_us=1000.0))


@pytest.mark.parametrize("each", [1, 4, 16, 64, 128])
def test_a_batch_in_native_code_costs_something_by_itself_that_its_environments_share(each: int) -> None:
    found = predict(plan(1, each, backend="native"), costs(TINY, native_us=0.5, native_step_us=40.0), batch_size=2048)
    assert found.env_us == pytest.approx(0.5 + 40.0 / each)
    free = predict(plan(1, each, backend="native"), costs(TINY, native_us=0.0, native_step_us=40.0), batch_size=2048)
    assert free.env_us == pytest.approx(40.0 / each), "nothing for one more is a figure, too"


def test_no_more_cores_are_busy_than_there_are_and_more_processes_hold_more() -> None:
    few, many = (predict(plan(runners, 8), costs(BUSY), batch_size=2048) for runners in (1, 4))
    assert few.cores < many.cores <= 4
    assert few.memory_bytes < many.memory_bytes
    held = predict(plan(0, 8), costs(BUSY, env_bytes=10**9), batch_size=2048).memory_bytes
    assert held > 8 * 10**9


def test_acting_is_in_between_by_line_and_goes_on_by_the_last_one() -> None:
    parts = costs(BUSY)
    assert [parts.acting(size) for size in (1, 8, 64)] == [20.0, 25.0, 40.0]
    assert parts.acting(36) == pytest.approx(32.5)
    assert parts.acting(120) == pytest.approx(55.0)


def test_environments_that_are_slow_to_build_are_slow_to_start() -> None:
    slow = costs(replace(BUSY, build_s=2.0))
    assert start_s(plan(2, 8), slow) > start_s(plan(2, 8), costs(BUSY)) + 15


def test_what_is_measured_is_known_and_what_lies_between_processes_is_assumed() -> None:
    long, short = (predict(plan(2, 8), costs(env, update_s=0.01), batch_size=2048) for env in (BUSY, TINY))
    assert predict(plan(0, 8), costs(BUSY), batch_size=2048).unknown < 0.01
    assert long.unknown < 0.1 < 0.3 < short.unknown
    assert long.together == pytest.approx(1.0, abs=0.1)
    assert predict(plan(0, 8), costs(BUSY), batch_size=2048).together == 0.0


@pytest.mark.parametrize("env", [BUSY, TINY])
@pytest.mark.parametrize("kind", [{}, {"schedule": "pipelined"}, {"backend": "auto", "inference": "runner"}])
def test_no_plan_exceeds_the_bound_of_its_kind(env: EnvCost, kind: dict[str, str]) -> None:
    for runners in (1, 2, 4, 8):
        one = plan(runners, 16, **kind)
        assert sps(one, costs(env)) <= 1.02 * bound_sps(one, costs(env), batch_size=2048)
