"""Which plans there are, and what is said of those that there are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline.tuner.space import Axes, Setting, SizedPlan, all_plans

PPO = Setting(algo="ppo", batch_size=2048, num_minibatches=32, least_steps=32, whole_cores=4)


def names(setting: Setting, axes: Axes | None = None) -> set[str]:
    return {one.name for one in all_plans(setting, axes)[0]}


def test_ppo_has_plans_in_process_in_runners_and_in_halves_but_none_that_lags() -> None:
    found = names(PPO)
    assert {"serial 0x1", "serial 0x64", "shm 1x1", "shm 4x16", "runner 4x8", "shm 2x4 pipelined"} <= found
    assert not any(name.startswith(("async", "native", "thread")) for name in found)


def test_names_tell_plans_apart_and_nothing_of_a_plan_is_open() -> None:
    plans, _ = all_plans(replace(PPO, native=None, threads_help=True))
    assert len({one.name for one in plans}) == len(plans)
    for one in plans:
        assert "auto" not in (one.plan.inference, one.plan.schedule)


@pytest.mark.parametrize("algo", ["impala", "a3c"])
def test_what_lags_runs_asynchronously(algo: str) -> None:
    setting = Setting(algo=algo, batch_size=640, num_minibatches=1, least_steps=1, whole_cores=2, rollout_length=20)
    found = names(setting)
    assert "async 2x8" in found
    assert any(name.startswith("serial") for name in found) == (algo == "impala")


def test_every_batch_is_made_of_whole_steps_and_near_the_asked_one() -> None:
    for one in all_plans(replace(PPO, whole_cores=6))[0]:
        assert one.batch_size % one.plan.num_envs == 0
        assert one.batch_size % PPO.num_minibatches == 0
        assert abs(one.batch_size - 2048) <= 0.05 * 2048
    sizes = {one.name: one.batch_size for one in all_plans(replace(PPO, whole_cores=6))[0]}
    assert sizes["shm 6x8"] == 2016
    assert sizes["shm 4x8"] == 2048


def test_too_few_steps_of_each_environment_would_change_what_is_learned() -> None:
    plans, pruned = all_plans(PPO)
    assert max(one.plan.num_envs for one in plans) == 64
    reason = next(one.reason for one in pruned if one.name == "serial 0x128")
    assert "16 steps of each of 128 environments, fewer than 32, and learning would differ" in reason


def test_waiting_environments_may_have_more_runners_than_cores() -> None:
    assert max(one.plan.num_env_runners for one in all_plans(PPO)[0]) == 4
    waiting = replace(PPO, waits=True, threads_help=True)
    assert max(one.plan.num_env_runners for one in all_plans(waiting)[0] if one.plan.backend == "shm") == 16
    assert "thread 64x1" in names(waiting)


def test_axes_hold_the_plans_to_what_is_asked_for() -> None:
    axes = Axes(backends=("shm",), num_env_runners=(1, 3), num_envs_per_env_runner=(4,), inferences=("learner",),
                schedules=("sync",))  # fmt: skip
    assert names(replace(PPO, batch_size=3072), axes) == {"shm 1x4", "shm 3x4"}
    assert names(PPO, Axes(backends=("serial",), num_envs_per_env_runner=(8,))) == {"serial 0x8"}
    assert max(one.plan.num_env_runners for one in all_plans(PPO, Axes(max_cores=2))[0]) == 2


def test_native_code_that_uses_one_thread_has_plans_with_one_alone() -> None:
    one_thread = replace(PPO, native=None, native_threads=1)
    native = {name for name in names(one_thread) if name.startswith("native")}
    assert native == {f"native 1x{each}" for each in (1, 2, 4, 8, 16, 32, 64)}
    assert names(one_thread, Axes(backends=("native",), num_env_runners=(2, 4))) == set()
    assert "native 4x8" in names(replace(PPO, native=None))


def test_what_is_asked_for_and_cannot_be_is_told() -> None:
    plans, pruned = all_plans(replace(PPO, native="no native code for it"), Axes(backends=("native", "serial")))
    assert {one.plan.backend for one in plans} == {"serial"}
    assert ("native", "no native code for it") in {(one.name, one.reason) for one in pruned}


def test_an_environment_that_cannot_leave_its_process_has_no_runners() -> None:
    plans, pruned = all_plans(replace(PPO, processes="it cannot be pickled"))
    assert {one.plan.num_env_runners for one in plans} == {0}
    assert "it cannot be pickled" in {one.reason for one in pruned}


def test_the_name_of_a_plan_says_what_it_is() -> None:
    plan = all_plans(PPO, Axes(num_env_runners=(2,), num_envs_per_env_runner=(4,)))[0]
    assert {one.name for one in plan} == {"shm 2x4", "shm 2x4 pipelined", "runner 2x4"}
    assert SizedPlan(plan[0].plan, 2048).name == plan[0].name
