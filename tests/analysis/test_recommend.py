"""Scenarios, guards, ties and honesty of the advice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.analysis.recommend import SCENARIOS, Advice, Recommendation, guard_violations, recommend
from paceline.analysis.rows import scaling_tables
from paceline.analysis.table import ScalingTable
from paceline.measure.result import Results


def first_table(found: Results, **options: Any) -> ScalingTable:
    """Return the only table of results of one workload."""
    return scaling_tables(found, **options)[0]


STEADY = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98]


def around(time_s: float) -> list[float]:
    return [time_s * factor for factor in STEADY]


def answer(advice: Advice, name: str) -> Recommendation:
    return next(item for item in advice.recommendations if item.scenario.name == name)


def chosen(advice: Advice, name: str) -> str:
    row = answer(advice, name).row
    assert row is not None
    return row.label


def test_published_scenarios(published_results: Any) -> None:
    advice = recommend(first_table(published_results))
    assert {item.scenario.name: item.row.label for item in advice.recommendations if item.row} == {
        "frugal": "2x1",
        "balanced": "4x1",
        "fastest": "8x2",
    }
    assert all(item.qualifies for item in advice.recommendations)
    assert "efficiency 82.1% per env" in answer(advice, "frugal").reason
    assert [pick.title for pick in advice.top] == ["fastest", "recommended", "most efficient"]
    assert [pick.row.label for pick in advice.top] == ["8x2", "4x1", "2x1"]


def test_published_figures_are_single_averages_so_nothing_is_certain(published_results: Any) -> None:
    advice = recommend(first_table(published_results))
    assert not any(item.certain for item in advice.recommendations)
    assert all("not measured" in " ".join(item.guard_notes) for item in advice.recommendations)


def test_chart_data_hold_the_thresholds_and_who_meets_them(published_results: Any) -> None:
    chart = recommend(first_table(published_results)).chart
    assert chart.scenarios == SCENARIOS and chart.efficiency_basis == "env"
    points = {point.label: point for point in chart.points}
    assert len(points) == 10
    assert points["4x1"].chosen_by == ("balanced",) and points["4x1"].scenarios == ("balanced", "fastest")
    assert points["8x2"].chosen_by == ("fastest",)
    for point in chart.points:
        assert ("frugal" in point.scenarios) == (point.efficiency >= 0.8)
        assert ("balanced" in point.scenarios) == (point.efficiency >= 0.6 and point.speedup >= 2.5)


def test_none_qualifies_names_the_nearest(run: Any, results: Any) -> None:
    advice = recommend(first_table(results(run(0, 1, around(4.0)), run(2, 1, around(2.5)), run(2, 8, around(2.0)))))
    balanced = answer(advice, "balanced")
    assert not balanced.qualifies and not balanced.certain
    assert balanced.row is not None and balanced.row.label == "2x1"
    assert balanced.reason.startswith(
        "None qualifies for efficiency >= 60% and speedup >= 2.5; nearest is 2x1: speedup 1.60"
    )


def test_frugal_says_when_only_the_baseline_is_efficient(run: Any, results: Any) -> None:
    advice = recommend(first_table(results(run(0, 1, around(4.0)), run(0, 8, around(2.0)))))
    frugal = answer(advice, "frugal")
    assert frugal.row is not None and frugal.row.is_baseline
    assert "no parallel plan that was measured is this efficient" in frugal.reason


def test_thresholds_hold_on_their_very_edge(run: Any, results: Any) -> None:
    advice = recommend(first_table(results(run(1, 1, [4.0]), run(2, 2, [1.6]), run(4, 1, [1.6 / 0.99]))))
    assert chosen(advice, "balanced") == "2x2"


def test_fastest_may_use_the_whole_cpu_and_says_so(run: Any, results: Any) -> None:
    advice = recommend(
        first_table(
            results(
                run(0, 1, around(4.0), cores=1.0, cpu=0.5),
                run(0, 8, around(2.5), cores=1.1, cpu=0.55),
                run(2, 8, around(1.0), cores=1.9, cpu=0.95),
            )
        )
    )
    fastest = answer(advice, "fastest")
    assert chosen(advice, "fastest") == "2x8"
    assert not fastest.passes_guards and any("CPU 95% is above 80%" in note for note in fastest.guard_notes)
    assert "fastest plan that keeps all guards is 0x8" in fastest.reason
    assert advice.recommended is not None and advice.recommended.label == "2x8"


def test_frugal_and_balanced_pass_over_a_busy_cpu_where_they_can(run: Any, results: Any) -> None:
    advice = recommend(
        first_table(
            results(
                run(1, 1, around(4.0), cores=1.0, cpu=0.25),
                run(3, 1, around(1.5), cores=3.0, cpu=0.75),
                run(4, 1, around(1.2), cores=3.8, cpu=0.95),
            )
        )
    )
    assert chosen(advice, "balanced") == "3x1"
    assert "4x1 is faster (3.33) but keeps the CPU above 80%" in answer(advice, "balanced").reason
    assert chosen(advice, "fastest") == "4x1"


@pytest.mark.parametrize("trouble", [{"ram": 0.85}, {"returns": [1, 3, 5, 7, 9, 11, 12, 12, 11, 1, 1, 0.5]}])
def test_memory_and_learning_are_guarded_even_for_the_fastest(run: Any, results: Any, trouble: dict) -> None:
    times = [1.0] * 12
    runs = [run(1, 1, [4.0] * 12, cores=1.0), run(2, 4, [2.0] * 12, cores=1.5), run(2, 8, times, cores=1.5, **trouble)]
    advice = recommend(first_table(results(*runs)))
    assert chosen(advice, "fastest") == "2x4"
    assert "2x8 is faster" in answer(advice, "fastest").reason
    assert advice.recommended is not None and advice.recommended.label == "2x4"


def test_guards_never_leave_the_user_without_an_answer(run: Any, results: Any) -> None:
    runs = [
        run(1, 1, around(4.0), cores=1.9, cpu=0.95, ram=0.95),
        run(2, 1, around(2.1), cores=1.9, cpu=0.95, ram=0.95),
    ]
    advice = recommend(first_table(results(*runs)))
    for item in advice.recommendations:
        assert item.row is not None and not item.passes_guards and len(item.guard_notes) == 2
    assert len(advice.top) == 3


def test_ties_go_to_fewer_cores_and_name_both(run: Any, results: Any) -> None:
    advice = recommend(
        first_table(
            results(
                run(0, 1, around(4.0), cores=1.0),
                run(2, 8, around(1.0), cores=1.9),
                run(1, 16, around(1.005), cores=1.4),
            )
        )
    )
    fastest = answer(advice, "fastest")
    assert chosen(advice, "fastest") == "1x16"
    assert "It is taken before 2x8: within 5%, not to be told apart, and it needs less" in fastest.reason
    assert fastest.contenders == ("2x8",) and not fastest.certain


def test_overlap_alone_does_not_give_away_speed(run: Any, results: Any) -> None:
    """Noise wide enough to hide a third of the speed names the contender, but does not choose the slower plan."""
    wide = [0.6, 0.8, 1.0, 1.2, 1.4]
    advice = recommend(
        first_table(
            results(
                run(0, 1, around(4.0), cores=1.0),
                run(2, 8, wide, cores=1.9),
                run(0, 8, [1.3 * t for t in wide], cores=1.0),
            )
        )
    )
    assert chosen(advice, "fastest") == "2x8"
    assert answer(advice, "fastest").contenders == ("0x8",)


def test_clear_winner_is_certain(run: Any, results: Any) -> None:
    advice = recommend(first_table(results(run(0, 1, around(4.0), cores=1.0), run(2, 8, around(1.0), cores=1.5))))
    assert answer(advice, "fastest").certain


def test_scenarios_can_use_efficiency_per_core(run: Any, results: Any) -> None:
    table = first_table(results(run(0, 1, around(4.0), cores=1.0), run(0, 8, around(1.0), cores=1.0)))
    by_env, by_core = recommend(table), recommend(table, efficiency="core")
    assert chosen(by_env, "frugal") == "0x1" and chosen(by_core, "frugal") == "0x8"
    assert "per environment" in by_env.efficiency_note and "per core" in by_core.efficiency_note
    assert "1 of 2 plans rate" not in by_core.efficiency_note


def test_most_efficient_gains_something(run: Any, results: Any) -> None:
    """1x1 beside a faster 0x1 has a high efficiency and gains nothing."""
    runs = [run(0, 1, [4.0]), run(1, 1, [4.2]), run(2, 2, [2.0])]
    assert recommend(first_table(results(*runs))).top[2].row.label == "2x2"
    assert recommend(first_table(results(*runs[:2]))).top[2].row.label == "0x1"


def test_recommended_does_not_waste_cores(run: Any, results: Any) -> None:
    runs = [run(0, 1, around(4.0), cores=1.0), run(0, 8, around(1.5), cores=1.0), run(8, 8, around(1.2), cores=7.9)]
    advice = recommend(first_table(results(*runs)))
    assert chosen(advice, "fastest") == "8x8"
    assert advice.recommended is not None and advice.recommended.label == "0x8"


def test_a_run_that_ended_in_nan_is_not_recommended(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [4.0]), run(2, 1, [2.0]), run(2, 1, [], outcome="nan", repeat=1)))
    assert table.row("2x1").learning == "nan"
    assert chosen(recommend(table), "fastest") == "1x1"


def test_nothing_measured(run: Any, results: Any) -> None:
    advice = recommend(first_table(results(run(1, 1, [], outcome="crash"), run(2, 1, [], outcome="oom"))))
    assert [item.row for item in advice.recommendations] == [None] * 3
    assert advice.top == () and advice.chart.points == () and advice.recommended is None


def test_unknown_use_violates_nothing(run: Any, results: Any) -> None:
    assert guard_violations(first_table(results(run(1, 1, [4.0]))).rows[0]) == ()


plans = st.lists(
    st.tuples(
        st.integers(0, 8), st.integers(1, 32), st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 8)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda plan: plan[:2],
)


@given(plans=plans, basis=st.sampled_from(["env", "core"]))
@settings(max_examples=40, deadline=None)
def test_advice_keeps_its_word(run: Any, results: Any, plans: list, basis: Any) -> None:
    table = first_table(
        results(*(run(r, e, around(t), cpu=cpu, ram=ram, cores=cores) for r, e, t, cpu, ram, cores in plans))
    )
    advice = recommend(table, efficiency=basis)
    assert len(advice.top) == 3 and len(advice.chart.points) == len(plans)
    meets_of = {point.label: point.scenarios for point in advice.chart.points}
    for item in advice.recommendations:
        assert item.row is not None and item.row.speedup is not None
        efficiency = item.row.efficiency_per_env if basis == "env" else item.row.efficiency_per_core
        assert efficiency is not None
        meets = (
            efficiency >= item.scenario.min_efficiency - 1e-6
            and item.row.speedup.value >= item.scenario.min_speedup - 1e-6
        )
        assert meets == item.qualifies
        assert item.passes_guards == (not guard_violations(item.row))
        assert item.row.label in item.reason
        able = [row for row in table.rows if item.scenario.name in meets_of[row.label]]
        if item.qualifies and "ram" in guard_violations(item.row):
            assert all("ram" in guard_violations(row) for row in able)
        if item.qualifies and item.scenario.name != "fastest" and not item.passes_guards:
            assert all(guard_violations(row) for row in able)
