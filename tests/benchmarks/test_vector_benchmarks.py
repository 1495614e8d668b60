"""What the vector benchmarks count, compare and conclude; how fast anything is, they find out elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def comparison(goals: Any) -> Any:
    rounds = import_module("benchmarks.vector_rounds")
    contender = import_module("benchmarks.vector_contenders").Contender
    names = ("ours", "theirs", "others")
    return rounds.Comparison("it", "title", tuple(contender(name, "paceline", "E", 1) for name in names), goals)


def summary(samples: dict[str, list[float]], shares: list[float], *goals: Any, missing: Any = None) -> dict[str, Any]:
    rounds = import_module("benchmarks.vector_rounds")
    measured = rounds.Rounds(samples, shares, {name: {} for name in samples}, missing or {})
    return dict(rounds.summarise(comparison(goals), measured))


def test_a_ratio_is_taken_within_a_round() -> None:
    """The machine halves its speed in the middle: medians of either side would hide that ours is always 3 times."""
    goal = import_module("benchmarks.vector_rounds").Goal(("ours",), ("theirs",), 2.9, "over")
    theirs = [100.0, 100.0, 100.0, 50.0, 50.0, 50.0]
    (row,) = summary({"ours": [3 * x for x in theirs], "theirs": theirs}, [0.0] * 6, goal)["ratios"]
    assert (row["median"], row["min"], row["max"], row["verdict"]) == (3.0, 3.0, 3.0, "met")


def test_of_several_the_best_of_each_round_counts() -> None:
    goal = import_module("benchmarks.vector_rounds").Goal(("ours",), ("theirs", "others"), None, "over")
    samples = {"ours": [6.0, 6.0, 6.0], "theirs": [3.0, 2.0, 3.0], "others": [2.0, 3.0, 3.0]}
    (row,) = summary(samples, [0.0] * 3, goal)["ratios"]
    assert (row["median"], row["verdict"]) == (2.0, "")


@pytest.mark.parametrize(
    ("interval", "goal", "verdict"),
    [
        ([2.0, 3.0], 2.0, "met"),
        ([2.0, 3.0], 3.1, "short"),
        ([2.0, 3.0], 2.5, "cannot tell"),
        (None, 1.0, "cannot tell"),
        ([2.0, 3.0], None, ""),
    ],
)
def test_a_goal_is_met_or_missed_by_the_whole_interval(interval: Any, goal: float | None, verdict: str) -> None:
    assert import_module("benchmarks.vector_rounds").verdict({"interval": interval}, goal) == verdict


def test_busy_rounds_are_left_out_where_enough_are_quiet() -> None:
    found = summary({"ours": [9.0, 1.0, 9.0, 9.0, 9.0, 9.0]}, [0.0, 0.5, 0.01, 0.0, 0.0, 0.0])
    assert (found["rounds_used"], found["quiet_rounds"], found["contenders"]["ours"]["min"]) == ("quiet", 5, 9.0)
    assert found["contenders"]["ours"]["samples"][1] == 1.0  # kept all the same
    found = summary({"ours": [9.0, 1.0]}, [0.0, 0.5])
    assert (found["rounds_used"], found["contenders"]["ours"]["min"]) == ("all", 1.0)


def test_who_cannot_be_had_is_told_in_the_tables() -> None:
    rounds = import_module("benchmarks.vector_rounds")
    goal = rounds.Goal(("ours",), ("theirs",), 2.0, "over")
    found = summary({"ours": [1.0, 1.0, 1.0]}, [0.0] * 3, goal, missing={"theirs": "not installed"})
    assert found["ratios"][0]["verdict"] == "not measured"
    told = rounds.tables(found)
    assert "| theirs | not possible | not installed |" in told
    assert "| not measured |" in told


@pytest.mark.parametrize("resets_are_rows", [True, False])
def test_reset_rows_are_no_steps(resets_are_rows: bool) -> None:
    """Two environments whose episodes have 3 and 4 steps, stepped 7 times, then 5: our counter against theirs."""
    lock_step = import_module("benchmarks.vector_contenders").LockStep
    lengths, done, steps = np.array([3, 4]), np.zeros(2, np.int64), 0
    over = np.zeros(2, np.bool_)

    def step(actions: Any) -> Any:
        nonlocal steps, over
        resetting = over if resets_are_rows else np.zeros(2, np.bool_)
        steps += int((~resetting).sum())
        done[over] = 0
        done[~resetting] += 1
        over = done == lengths
        return over

    stepper = lock_step(step, [0], 2, resets_are_rows=resets_are_rows, close=lambda: None, facts={})
    assert stepper._run(7) + stepper._run(5) == steps
    assert steps == (19 if resets_are_rows else 24)


def test_every_goal_names_contenders_that_are_there() -> None:
    peers = import_module("benchmarks.vector_peers")
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name, build in peers.COMPARISONS.items():
        found = build(2)
        contenders = [contender.name for contender in found.contenders]
        assert found.name == name
        assert len(set(contenders)) == len(contenders)
        assert found.goals
        for goal in found.goals:
            assert {*goal.ours, *goal.against} <= set(contenders)
        assert f"`{name}`" in text


def test_scaling_measures_a_ceiling_beside_every_number_of_runners() -> None:
    scaling = import_module("benchmarks.vector_scaling")
    assert scaling.default_runners(16.0) == [1, 2, 4, 8, 16]
    assert scaling.default_runners(1.5) == [1, 2]
    assert scaling.default_runners(64.0) == [1, 2, 4, 8, 16]
    runners = [1, 2, 4]
    found = scaling.comparison_of("busy1000us", 8, runners)
    rounds = import_module("benchmarks.vector_rounds")
    speeds = {name: [factor * 100.0] * 3 for count, factor in zip(runners, (1.0, 2.0, 3.0), strict=True)
              for name in (scaling.shm_name(count), scaling.free_name(count))}  # fmt: skip
    kept = rounds.summarise(found, rounds.Rounds(speeds, [0.0] * 3, {name: {} for name in speeds}))
    machine = {"cpu_model": "cpu", "usable_cores": 2}
    told = scaling.table({**kept, "runners": runners, "machine": machine, "date": "2026-01-01"})
    assert re.search(
        r"\| 4 \(more than cores\) \| 300 \| 3\.00 \| 3\.00 to 3\.00 \| 75% \| 300 \| 3\.00 \| 100% \|", told
    )


@pytest.mark.slow
def test_contenders_take_turns_in_processes_of_their_own() -> None:
    rounds = import_module("benchmarks.vector_rounds")
    contender = import_module("benchmarks.vector_contenders").Contender
    env = "CartPole-v1"
    found = rounds.Comparison(
        "it",
        "title",
        (
            contender("ours", "paceline", env, 4, "step", {"backend": "serial"}),
            contender("first ready", "paceline", env, 4, "send", {"backend": "thread", "batch_size": 2}),
            contender("sync", "gymnasium", env, 4, options={"kind": "sync"}),
            contender("free", "free", env, 4, options={"num_processes": 2}),
            contender("nobody", "paceline", "NoSuchEnv-v0", 4, options={"backend": "serial"}),
        ),
        (rounds.Goal(("ours",), ("sync",), 1.0, "over"),),
    )
    said: list[str] = []
    measured = rounds.measure(found, 2, 0.02, say=said.append)
    assert list(measured.missing) == ["nobody"]
    assert {name: len(values) for name, values in measured.samples.items()} == dict.fromkeys(
        ("ours", "first ready", "sync", "free"), 2
    )
    assert all(value > 0 for values in measured.samples.values() for value in values)
    assert len(measured.shares) == 2 and all(0.0 <= share <= 1.0 for share in measured.shares)
    turns = [re.split(r"\s{2,}", line)[1] for line in said if line.startswith("round")]
    assert turns == ["ours", "first ready", "sync", "free", "free", "sync", "first ready", "ours"]
