"""Which runs are one contender, and what it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_runs import ASYNC, IMPALA, PPO, RUNNERS, SERIAL, made_group, made_run, three_contenders

from paceline.analysis.contenders import differences, group_runs
from paceline.errors import RequestError


def names_of(*runs: Any) -> list[str]:
    return [item.name for item in group_runs(runs)]


def test_runs_that_differ_in_their_seeds_alone_are_one_contender() -> None:
    contenders = group_runs(three_contenders())
    assert [item.name for item in contenders] == ["ppo 0x16", "ppo 2x8 runner", "impala 2x8 async"]
    assert [item.seeds for item in contenders] == [(0, 1, 2, 3, 4)] * 3


def test_the_order_of_the_folders_is_kept_however_they_are_mixed() -> None:
    ppo, impala = made_group([1, 2]), made_group([1, 2], algo=IMPALA, plan=ASYNC)
    contenders = group_runs([impala[0], ppo[0], ppo[1], impala[1]])
    assert [(item.name, item.seeds) for item in contenders] == [("impala 2x8 async", (0, 1)), ("ppo 0x16", (0, 1))]


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (
            {},
            {"algo": {**PPO, "learning_rate": 1e-3}},
            ["ppo 0x16 learning_rate=0.0003", "ppo 0x16 learning_rate=0.001"],
        ),
        (
            {"algo": {**PPO, "network": {"hidden_sizes": [256, 256]}}},
            {},
            ["ppo 0x16 hidden_sizes=256x256", "ppo 0x16 hidden_sizes=64x64"],
        ),
        ({"plan": RUNNERS}, {"plan": {**RUNNERS, "inference": "learner"}}, ["ppo 2x8 runner", "ppo 2x8"]),
        (
            {"plan": RUNNERS},
            {"plan": {**RUNNERS, "inference": "learner", "schedule": "pipelined"}},
            ["ppo 2x8 runner", "ppo 2x8 pipelined"],
        ),
        (
            {"plan": {**RUNNERS, "backend": "thread"}},
            {"plan": RUNNERS},
            ["ppo 2x8 runner thread", "ppo 2x8 runner shm"],
        ),
        ({}, {"plan": {**SERIAL, "learner_threads": 2}}, ["ppo 0x16", "ppo 0x16 learner_threads=2"]),
        ({}, {"plan": {**SERIAL, "pin_cores": True}}, ["ppo 0x16", "ppo 0x16 pin_cores"]),
        ({}, {"plan": RUNNERS}, ["ppo 0x16", "ppo 2x8 runner"]),  # serial and shm go without saying
    ],
)
def test_a_name_says_what_sets_it_apart(first: dict[str, Any], second: dict[str, Any], names: list[str]) -> None:
    assert names_of(made_run(**first), made_run(**second)) == names


def test_an_open_backend_is_the_one_that_it_stands_for() -> None:
    assert names_of(made_run(), made_run(seed=1, plan={**SERIAL, "backend": "serial"})) == ["ppo 0x16"]


def test_names_can_be_given() -> None:
    assert [item.name for item in group_runs(three_contenders(), ["a", " b ", "c"])] == ["a", "b", "c"]
    for names, words in ((["a"], "expected 3 names after --names, got 1"), (["a", "a", "b"], "a different name")):
        with pytest.raises(RequestError, match=words) as error:
            group_runs(three_contenders(), names)
        assert "the contenders are ppo 0x16, ppo 2x8 runner, impala 2x8 async" in str(error.value)
    with pytest.raises(RequestError, match="a different name"):
        group_runs(three_contenders(), ["a", "", "b"])


def test_different_environments_are_refused() -> None:
    with pytest.raises(RequestError, match=r"got CartPole-v1 \(runs/a\) and HalfCheetah-v5 \(runs/b\)"):
        group_runs([made_run(folder="runs/a"), made_run(folder="runs/b", env_id="HalfCheetah-v5")])
    with pytest.raises(RequestError, match=r'with {} .*and with {"length": 2.0}'):
        group_runs([made_run(), made_run(env_kwargs={"length": 2.0}, plan=RUNNERS)])
    unknown = made_run(plan=RUNNERS)
    assert len(group_runs([made_run(), type(unknown)(unknown.folder, unknown.info, unknown.result)])) == 2


def test_one_contender_may_stand_alone() -> None:
    (alone,) = group_runs(made_group([1.0, 2.0, 3.0]))
    assert (alone.name, alone.seeds) == ("ppo 0x16", (0, 1, 2))
    with pytest.raises(RequestError, match="expected a training run or more, got none"):
        group_runs([])
    with pytest.raises(RequestError, match="expected 1 name after --names, got 2"):
        group_runs([made_run()], ["a", "b"])


@pytest.mark.parametrize(
    ("budgets", "names"),
    [
        (({"total_steps": 100_000}, {"total_steps": 1_000_000}), ["ppo 0x16 100k steps", "ppo 0x16 1M steps"]),
        (({"total_steps": 149_504}, {"total_steps": 149_000}), ["ppo 0x16 149,504 steps", "ppo 0x16 149k steps"]),
        (({"minutes": 10.0}, {"minutes": 0.5}), ["ppo 0x16 10 min", "ppo 0x16 0.5 min"]),
        (({"iterations": 30}, {}), ["ppo 0x16 30 iterations", "ppo 0x16 unknown budget"]),
    ],
)
def test_runs_of_another_budget_are_another_contender(budgets: tuple[dict[str, Any], ...], names: list[str]) -> None:
    """The learning rate is annealed over the budget: the curves differ from the first step on."""
    contenders = group_runs([made_run(seed=seed, budget=budget) for budget in budgets for seed in range(2)])
    assert [(item.name, item.seeds) for item in contenders] == [(name, (0, 1)) for name in names]
    assert [item.field for item in differences(contenders)] == ["budget"]


def test_a_budget_is_named_only_where_nothing_else_differs() -> None:
    runs = [made_run(budget={"total_steps": 1000}), made_run(budget={"total_steps": 2000}, plan=RUNNERS)]
    assert names_of(*runs) == ["ppo 0x16", "ppo 2x8 runner"]
    found = {item.field: item.values for item in differences(group_runs(runs))}
    assert found["budget"] == ("1,000 total steps", "2,000 total steps")


def test_only_settings_that_all_have_are_told_as_differences() -> None:
    found = {item.field: item.values for item in differences(group_runs(three_contenders()))}
    assert found["algo.name"] == ("ppo", "ppo", "impala")
    assert found["plan.backend"] == ("serial", "shm", "shm")
    assert "algo.rho_bar" not in found and "algo.learning_rate" not in found
