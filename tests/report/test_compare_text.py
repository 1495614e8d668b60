from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "analysis" / "fakes"))

from made_runs import PPO, RUNNERS, made_group, made_run, three_contenders

from paceline.analysis.standings import Standings, compare_runs
from paceline.measure.result import dump_json
from paceline.report.compare_text import render_compare_text
from paceline.report.compare_view import comparison_data


@pytest.fixture(scope="module")
def three() -> Standings:
    return compare_runs(three_contenders())


def test_the_verdict_stands_first(three: Standings) -> None:
    text = render_compare_text(three)
    assert " ".join(text.split("\n\n")[0].split()) == three.headline
    assert three.headline.startswith("impala 2x8 async takes steps 1.90x as fast as ppo 0x16; ")
    assert f"- {three.sentences[0]}" in " ".join(text.split())


def test_every_section_has_every_contender_in_a_hundred_columns(three: Standings) -> None:
    text = render_compare_text(three)
    assert all(len(line) <= 100 for line in text.splitlines())
    for section in ("What was learnt", "Speed, CPU and memory", "Where the time goes"):
        part = " ".join(text.split(f"\n{section}\n")[1].split("\n\n")[0].split())
        assert all(name in part for name in ("ppo 0x16", "impala 2x8")), section
    unwrapped = " ".join(text.split())
    assert (
        "The common return is 415: 90% of the lowest final return (running mean of the last 40 episodes)." in unwrapped
    )
    assert "impala 2x8 async    9,516" in text and "1.5 (0.8 to 3.0)" in text
    assert "50.0%" in text and "ppo 0x16 env-bound" in text
    assert "plan.num_env_runners: ppo 0x16 0; ppo 2x8 runner 2; impala 2x8 async 2" in text
    assert "runs/impala-2x8/seed4: impala 2x8 async, seed 4, 40,000 total steps, 40,000 steps, ok" in text


def test_one_seed_says_that_no_interval_can_be_given() -> None:
    text = render_compare_text(compare_runs([made_run(), made_run(plan=RUNNERS)]))
    assert "ppo 0x16, ppo 2x8 runner: 1 seed, a 95% interval needs 6." in text
    assert "caution: Too few seeds for every 95% interval" in text
    assert "1 seed each: cannot be told" in text and "0.50" not in text


def test_problems_stand_below_the_verdict() -> None:
    text = render_compare_text(
        compare_runs([*made_group([1, 2, 3]), *made_group([1, 2, 3], plan=RUNNERS, fingerprint="b")])
    )
    assert text.index("problem: The machines differ") < text.index("What was learnt")
    assert text.count("The machines differ") == 1


@pytest.mark.parametrize("returns", [[None] * 4, [5.0], [-3.0, -2.0]])
def test_there_is_a_text_whatever_was_measured(returns: list[float | None]) -> None:
    found = compare_runs([made_run(returns=returns), made_run(returns=returns, plan=RUNNERS)])
    assert render_compare_text(found).startswith(("Whether ", "ppo 2x8 runner "))


def test_the_data_is_json_that_holds_every_figure(three: Standings) -> None:
    data = json.loads(dump_json(comparison_data(three)))
    assert data["verdict"] == three.headline and data["threshold"]["return"] == 415
    ppo, _, impala = data["contenders"]
    assert (ppo["name"], ppo["seeds"]) == ("ppo 0x16", [0, 1, 2, 3, 4])
    assert ppo["final_return_iqm"]["interval"] is None
    assert ppo["final_return_iqm"]["reason"] == "5 seeds, a 95% interval needs 6"
    assert data["window_episodes"] == 40
    assert impala["seconds_to_threshold"]["reached"] == 4 and impala["seconds_to_threshold"]["median"] is None
    assert impala["policy_lag"] == {"lowest": 0.75, "mean": 1.5, "highest": 3.0}
    assert sum(ppo["ledger_shares"].values()) == pytest.approx(1.0)
    over = data["comparisons"][1]
    assert (over["contender"], over["over"], over["learns"]) == ("impala 2x8 async", "ppo 0x16", "cannot tell")
    assert 0 < over["probability_of_improvement"]["interval"]["low"] < 0.5
    assert 0.05 < over["by_chance"] <= 1
    assert len(ppo["curve_by_steps"]["xs"]) == len(ppo["curve_by_steps"]["high"])


def test_one_contender_alone_has_no_section_on_others() -> None:
    found = compare_runs([made_run(), made_run()])
    text = render_compare_text(found)
    assert text.startswith("There is nothing to compare ppo 0x16 with: its 2 runs differ in nothing (seed 0 2x)")
    assert "Against" not in text and "What differs" not in text and "2 (0, 0)" in text
    assert json.loads(dump_json(comparison_data(found)))["comparisons"] == []


def test_only_words_longer_than_a_line_of_their_column_are_broken() -> None:
    algos = [{**PPO, "learning_rate": rate, "normalize_observations_and_more": rate > 1e-3} for rate in (1e-2, 1e-4)]
    lines = render_compare_text(compare_runs([made_run(algo=algo) for algo in algos])).splitlines()
    names = [line.strip().split("  ")[0] for line in lines[lines.index("What was learnt") + 4 :]]
    assert names[:4] == ["ppo 0x16", "learning_rate=0.01", "normalize_observations_and", "_more=True"]
