from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from paceline.analysis.findings import analyse
from paceline.measure.result import Results
from paceline.report import view
from paceline.report.view import ReportInput


def test_the_verdict_of_a_complete_sweep_is_the_headline(sweep: ReportInput) -> None:
    assert view.verdict(sweep) == sweep.findings.headline
    assert " ".join(part for part in view.verdict_parts(sweep) if part) == view.verdict(sweep)


@pytest.mark.parametrize(
    ("headline", "expected"),
    [
        ("Take 8x2.", "Partial: 12 of 40 trials so far. Take 8x2."),
        ("Partial results: take 8x2.", "Partial results: take 8x2."),
    ],
)
def test_a_partial_sweep_says_so_once(make_sweep: Callable[..., Results], headline: str, expected: str) -> None:
    results = make_sweep(complete=False, total=40)
    findings = dataclasses.replace(analyse(results), headline=headline)
    assert view.verdict(ReportInput(results, findings)) == expected


@pytest.mark.parametrize(
    ("outcome", "iterations", "told"),
    [
        ("interrupted", 4, "Partial: the run was stopped early. 2x8 trains at "),
        ("crash", 4, "The run broke after 4 iterations ("),
        ("crash", 0, "The run broke after 0 iterations (0 steps)."),
        ("interrupted", 0, "The run was stopped before an iteration was finished, so nothing can be said about speed."),
    ],
)
def test_a_training_run_that_ended_early_has_one_verdict(
    make_train: Callable[..., Results], outcome: str, iterations: int, told: str
) -> None:
    results = make_train(iterations, outcome=outcome)
    assert view.verdict(ReportInput(results, analyse(results))).startswith(told)


def test_bars_of_a_large_sweep_keep_the_fastest_the_baseline_and_failures(
    make_sweep: Callable[..., Results],
) -> None:
    results = make_sweep((1, 2, 3, 4, 5, 6, 8), (1, 2, 4, 8, 16), failures={(8, 16): ("oom", "")})
    table = analyse(results).workloads[0].table
    rows = view.by_speed(table.rows)
    shown = view.bars_shown(rows, table.baseline, 12)
    assert len(shown) == 12
    assert shown[:10] == rows[:10]
    assert [row.label for row in shown[10:]] == ["1x1", "8x16"]
    assert view.bars_shown(rows[:3], table.baseline, 12) == rows[:3]


def test_short_names_are_unique_and_fall_back_to_the_long_ones(wide: ReportInput) -> None:
    rows = wide.findings.workloads[0].table.rows
    names = view.short_labels(rows)
    assert len(set(names.values())) == len(rows)
    doubled = [rows[0], dataclasses.replace(rows[0], label="another")]
    assert set(view.short_labels(doubled).values()) == {rows[0].label, "another"}


def test_the_grid_holds_each_point_of_one_variant(wide: ReportInput) -> None:
    laid = view.grid(wide.findings.workloads[0])
    assert laid is not None
    assert (laid.runners, laid.envs) == ((0, 1, 2, 4), (1, 4, 16))
    assert len(laid.cells) == 12
    assert len({tuple(row.variant.items()) for row in laid.cells.values()}) == 1


def test_ledger_phases_stack_in_one_order(sweep: ReportInput) -> None:
    rows = [row for row in sweep.findings.workloads[0].table.rows if row.bottleneck]
    orders = [[s.phase for s in view.ledger_order(row.bottleneck.shares)] for row in rows if row.bottleneck]
    assert orders[0][0] == "env_step"
    assert orders[0][-1] == "unattributed"
    assert all(order == [p for p in orders[0] if p in order] for order in orders if len(order) <= len(orders[0]))


def test_settings_hold_only_what_all_runs_share(make_sweep: Callable[..., Results], train: ReportInput) -> None:
    results = make_sweep((1, 2), (1,))
    first, second = results.experiments
    changed = results.model_copy(
        update={"experiments": (first, second.model_copy(update={"algo": {**second.algo, "num_epochs": 3}}))}
    )
    text = view.settings_yaml(ReportInput(changed, analyse(changed)))
    assert "minibatch_size: 512" in text
    assert "num_epochs" not in text
    assert "num_env_runners: 2" in view.settings_yaml(train)


def test_machine_facts_leave_out_what_was_not_recorded() -> None:
    assert view.machine_facts({}, "") == []
    assert view.machine_facts({"cpu_model": "X\n1", "usable_cores": 1.5, "gpus": []}, "no GPU") == [
        ("CPU", "X 1"),
        ("cores", "1.50 usable"),
        ("GPU", "no GPU"),
    ]
