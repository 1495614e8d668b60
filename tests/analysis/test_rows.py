"""Tables of rows from results: aggregation, baseline, comparability, failures."""

from __future__ import annotations

import math
from typing import Any

import pytest

from paceline.analysis.rows import judge_learning, scaling_tables
from paceline.analysis.table import ScalingTable
from paceline.errors import RequestError
from paceline.measure.result import Results


def first_table(found: Results, **options: Any) -> ScalingTable:
    """Return the only table of results of one workload."""
    return scaling_tables(found, **options)[0]


def test_published_rows(published: dict[str, Any], published_results: Any) -> None:
    table = first_table(published_results)
    assert table.baseline is not None and table.baseline.label == "1x1"
    bands = {"excellent": 80, "good": 60, "fair": 40, "inefficient": 0}
    for r, e, time_s, speedup, efficiency_pct in published["rows"]:
        row = table.row(f"{r}x{e}")
        assert row.time_per_iter_s is not None and row.time_per_iter_s.value == time_s
        assert row.speedup is not None and row.speedup.value == pytest.approx(speedup, abs=0.011)
        assert row.efficiency_per_env is not None
        assert 100 * row.efficiency_per_env == pytest.approx(efficiency_pct, abs=0.11)
        assert row.rating == next(name for name, least in bands.items() if efficiency_pct >= least)
        assert row.cores_basis == "planned"
    assert {notice.code for notice in table.notices} >= {"few-iterations"}


def test_repeats_share_a_row(run: Any, results: Any) -> None:
    table = first_table(
        results(run(0, 1, [2.0, 2.1, 2.2]), run(1, 4, [1.0, 1.1], repeat=0), run(1, 4, [1.2, 1.3], repeat=1))
    )
    row = table.row("1x4")
    assert (row.num_repeats, row.num_iterations, dict(row.outcome_counts)) == (2, 4, {"ok": 2})
    assert row.time_per_iter_s is not None and row.time_per_iter_s.value == pytest.approx(1.15)
    assert row.speedup is not None and row.speedup.value == pytest.approx(2.1 / 1.15)
    assert row.speedup.interval is not None and row.speedup.interval.contains(2.1 / 1.15)


@pytest.mark.parametrize(
    ("plans", "baseline", "words"),
    [
        ([(1, 1, 3.0), (2, 1, 2.0)], "1x1", "one environment"),
        ([(1, 1, 3.0), (0, 1, 2.0), (2, 4, 1.0)], "0x1", "fastest plan with one environment"),
        ([(1, 1, 3.0), (0, 1, 4.0)], "1x1", "fastest plan with one environment"),
        ([(2, 2, 3.0), (2, 4, 2.0), (1, 4, 5.0)], "2x2", "fewest environments"),
    ],
)
def test_baseline_rule(run: Any, results: Any, plans: list, baseline: str, words: str) -> None:
    table = first_table(results(*(run(r, e, [t]) for r, e, t in plans)))
    assert table.baseline is not None
    assert table.baseline.label == baseline and words in table.baseline_rule
    assert table.baseline.is_baseline and sum(row.is_baseline for row in table.rows) == 1
    assert table.baseline.speedup is not None and table.baseline.speedup.value == 1.0
    assert table.baseline.efficiency_per_env == 1.0 and table.baseline.efficiency_per_core == 1.0


def test_baseline_can_be_asked_for(run: Any, results: Any) -> None:
    data = results(run(0, 1, [2.0]), run(1, 1, [4.0]), run(2, 1, [], outcome="crash"))
    table = first_table(data, baseline="1x1")
    speedup = table.row("0x1").speedup
    assert speedup is not None and speedup.value == pytest.approx(2.0)
    for label in ("2x1", "9x9"):
        with pytest.raises(RequestError, match=r"choose from: 0x1, 1x1"):
            first_table(data, baseline=label)


def test_ideal_counts_from_the_baselines_environments(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 4, [4.0]), run(2, 8, [2.0])))
    row = table.row("2x8")
    assert row.efficiency_per_env == pytest.approx(2.0 / 4)
    assert row.gap_to_ideal == pytest.approx(4 - 2.0)
    assert row.karp_flatt == pytest.approx((1 / 2 - 1 / 4) / (1 - 1 / 4))
    assert "no-single-env" in {notice.code for notice in table.notices}


def test_efficiency_per_core_is_over_measured_cores(run: Any, results: Any) -> None:
    table = first_table(results(run(0, 1, [4.0], cores=1.25), run(2, 4, [1.0], cores=2.5)))
    row = table.row("2x4")
    assert row.cores_basis == "measured"
    assert row.efficiency_per_core == pytest.approx(4.0 / 2)
    assert row.efficiency_per_env == pytest.approx(4.0 / 8)


def test_efficiency_per_core_is_over_planned_cores_where_one_side_was_not_measured(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [4.0]), run(3, 1, [2.0], cores=2.5)))
    row = table.row("3x1")
    assert row.cores_basis == "planned" and row.cores == 4
    assert row.efficiency_per_core == pytest.approx(2.0 / (4 / 2))


def test_other_step_counts_are_compared_by_sps_with_a_warning(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [4.0, 4, 4], steps=1000), run(2, 1, [4.0, 4, 4], steps=2000)))
    row = table.row("2x1")
    assert row.speedup_basis == "sps"
    assert row.speedup is not None and row.speedup.value == pytest.approx(2.0)
    assert [notice.rows for notice in table.notices if notice.code == "mixed-steps"] == [("2x1",)]


@pytest.mark.parametrize("outcome", ["oom", "timeout", "crash", "nan", "interrupted"])
def test_failed_trials_appear_with_their_outcome(run: Any, results: Any, outcome: str) -> None:
    table = first_table(results(run(1, 1, [2.0]), run(2, 1, [], outcome=outcome, message="what happened")))
    row = table.row("2x1")
    assert (row.outcome, row.message, row.measured, row.rating) == (outcome, "what happened", False, None)
    assert any(notice.code == "failed-rows" and outcome in notice.text for notice in table.notices)


def test_only_failures_make_a_table_without_a_baseline(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [], outcome="crash"), run(2, 1, [], outcome="oom")))
    assert table.baseline is None and table.measured_rows == ()
    assert table.notices[0].severity == "problem"
    oom = table.row("2x1").bottleneck
    assert oom is not None and oom.verdict == "memory-bound"


def test_finished_repeats_count_and_failed_ones_are_told(run: Any, results: Any) -> None:
    table = first_table(
        results(
            run(1, 1, [2.0]), run(2, 1, [1.0]), run(2, 1, [9.0], outcome="nan", repeat=1), run(2, 1, [1.2], repeat=2)
        )
    )
    row = table.row("2x1")
    assert row.outcome == "ok" and dict(row.outcome_counts) == {"ok": 2, "nan": 1}
    assert row.time_per_iter_s is not None and row.time_per_iter_s.value == pytest.approx(1.1)
    assert row.learning == "nan"
    assert "partly-failed" in {notice.code for notice in table.notices}


def test_a_run_that_ended_in_nan_is_never_ranked(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [2.0]), run(2, 1, [0.1], outcome="nan")))
    assert not table.row("2x1").measured


def test_unsteady_runs_count_and_are_told(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [2.0]), run(2, 1, [1.0, 3.0], outcome="unsteady")))
    assert table.row("2x1").outcome == "unsteady" and table.row("2x1").measured
    assert "partly-failed" in {notice.code for notice in table.notices}


def test_noise_is_told(run: Any, results: Any) -> None:
    table = first_table(results(run(1, 1, [2.0, 2.0, 2.0]), run(2, 1, [1.0, 1.5, 2.0, 1.0])))
    assert [notice.rows for notice in table.notices if notice.code == "noisy"] == [("2x1",)]


def test_plan_axes_are_variants_and_other_axes_are_workloads(run: Any, results: Any) -> None:
    grid = {"plan.num_env_runners": 1, "plan.num_envs_per_env_runner": 1}
    runs = [
        run(1, 1, [4.0 / threads * epochs], axes={**grid, "plan.learner_threads": threads, "algo.num_epochs": epochs})
        for threads in (1, 2)
        for epochs in (1, 10)
    ]
    tables = scaling_tables(results(*runs))
    assert [table.title for table in tables] == ["algo.num_epochs=1", "algo.num_epochs=10"]
    for table in tables:
        assert [row.label for row in table.rows] == ["1x1 learner_threads=1", "1x1 learner_threads=2"]
        speedups = [row.speedup.value for row in table.rows if row.speedup]
        assert max(speedups) == 1.0 and min(speedups) == pytest.approx(0.5)


def test_batch_size_axis_stays_in_one_table(run: Any, results: Any) -> None:
    table = first_table(
        results(
            run(1, 1, [4.0], steps=1024, axes={"algo.batch_size": 1024}),
            run(1, 1, [4.0], steps=2048, axes={"algo.batch_size": 2048}),
        )
    )
    assert [row.label for row in table.rows] == ["1x1 batch_size=1024", "1x1 batch_size=2048"]
    assert "mixed-steps" in {notice.code for notice in table.notices}


def test_environments_are_never_compared_with_each_other(run: Any, results: Any) -> None:
    tables = scaling_tables(results(run(1, 1, [4.0]), run(1, 1, [1.0], env_id="CartPole-v1")))
    assert {table.title for table in tables} == {"env=HalfCheetah-v5", "env=CartPole-v1"}


def test_ledgers_of_repeats_add_up(run: Any, results: Any) -> None:
    table = first_table(
        results(
            run(1, 1, [1.0, 1.0], phases={"env_step": 0.9, "learner_update": 0.1}),
            run(1, 1, [3.0, 3.0], phases={"env_step": 0.1, "learner_update": 0.9}, repeat=1),
        )
    )
    bottleneck = table.row("1x1").bottleneck
    assert bottleneck is not None and bottleneck.verdict == "learner-bound"
    assert {share.phase: round(share.seconds, 6) for share in bottleneck.shares} == {
        "learner_update": pytest.approx(5.6 / 4),
        "env_step": pytest.approx(2.4 / 4),
    }


def test_an_empty_file_has_no_table(results: Any) -> None:
    assert scaling_tables(results()) == ()


def test_unmeasured_iterations_are_left_out(run: Any, results: Any) -> None:
    damaged = run(1, 1, [2.0, 2.0]).model_copy(
        update={
            "iterations": tuple(
                item.model_copy(update={"wall_s": math.nan}) for item in run(1, 1, [2.0, 2.0]).iterations
            )
        }
    )
    row = first_table(results(damaged)).row("1x1")
    assert row.time_per_iter_s is not None and row.time_per_iter_s.value == 2.0


@pytest.mark.parametrize(
    ("returns", "verdict"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "stable"),
        ([10.0, 11, 10, 9, 10, 11, 10, 9, 11, 10, 9, 10], "stable"),
        ([1, 3, 5, 7, 9, 11, 12, 12, 11, 1, 1, 0.5], "collapsing"),
        ([10, 9, 8], "unknown"),
        ([None] * 12, "unknown"),
        ([1, 2, math.nan, 4, 5, 6, 7, 8], "nan"),
    ],
)
def test_learning(run: Any, returns: list, verdict: str) -> None:
    assert judge_learning(run(1, 1, [1.0] * len(returns), returns=returns).iterations) == verdict
