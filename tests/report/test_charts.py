from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from paceline.analysis.findings import analyse
from paceline.analysis.models import CurvePoint
from paceline.measure.result import Results, RunResult
from paceline.report import charts
from paceline.report.svg import Axis, Line, Mark, draw, marker_path
from paceline.report.view import ReportInput


def coordinates(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_the_scaling_chart_marks_every_measured_plan(sweep: ReportInput) -> None:
    workload = sweep.findings.workloads[0]
    chart = charts.scaling_chart(workload)
    assert chart is not None
    assert len(chart.marks) == len(workload.table.measured_rows)
    assert [line.label for line in chart.lines if line.label][-1] == "ideal"
    for mark in chart.marks:
        assert chart.frame.x0 <= mark.x <= chart.frame.x1
        assert chart.frame.y0 - 1 <= mark.y <= chart.frame.y1 + 1
    lines = [point for line in chart.lines for point in coordinates(line.path)]
    assert all(chart.frame.x0 - 1 <= x <= chart.frame.x1 + 1 for x, _ in lines)


def test_the_decision_chart_names_the_recommended_plans(sweep: ReportInput) -> None:
    workload = sweep.findings.workloads[0]
    chart = charts.decision_chart(workload)
    assert chart is not None and workload.advice is not None
    named = {text.text for text in chart.texts}
    assert {item.row.label for item in workload.advice.recommendations if item.row} <= named
    assert [region.label.split(":")[0] for region in chart.regions] == ["frugal", "balanced"]


def test_charts_that_would_show_nothing_are_left_out(nothing: ReportInput) -> None:
    workload = nothing.findings.workloads[0]
    assert charts.scaling_chart(workload) is None
    assert charts.decision_chart(workload) is None
    assert charts.return_charts(nothing.findings.runs[0]) == []
    assert charts.throughput_chart(()) is None


def test_smoothing_follows_the_phase_model_exactly() -> None:
    def point(envs: float) -> CurvePoint:
        time_s = 1.5 + 2.14 / 2 + 8.87 / (2 * envs)
        return CurvePoint(2, envs, 2 * envs, time_s, 12.51 / time_s)

    for dense in charts.smooth([point(1), point(4), point(16)]):
        exact = point(dense.num_envs / 2)
        assert dense.time_s == pytest.approx(exact.time_s)
        assert dense.speedup == pytest.approx(exact.speedup)


def test_long_curves_are_averaged_not_cut() -> None:
    points = [(float(i), float(i % 2)) for i in range(10_000)]
    few = charts.binned(points)
    assert len(few) <= charts.MOST_POINTS
    assert all(y == pytest.approx(0.5, abs=0.05) for _, y in few)
    assert few[-1][0] > 9_900
    assert charts.binned(points[:5]) == points[:5]


def test_memory_is_drawn_from_one_kind_of_reading(train: ReportInput) -> None:
    run = train.results.experiments[0]

    def with_pss(every: int) -> RunResult:
        return run.model_copy(
            update={
                "iterations": tuple(
                    record.model_copy(
                        update={
                            "resources": record.resources.model_copy(
                                update={"pss_bytes": 2**30 if every and i % every == 0 else None}
                            )
                        }
                    )
                    for i, record in enumerate(run.iterations)
                    if record.resources
                )
            }
        )

    assert charts.memory_points(with_pss(4)) == [(float(i), 1.0) for i in range(1, 61, 4)]
    assert len(charts.memory_points(with_pss(0))) == 60


def test_gpu_utilisation_gets_a_chart_where_it_was_read(make_train: Callable[..., Results]) -> None:
    with_gpu = make_train(10, gpu=True).experiments[0]
    without = make_train(10).experiments[0]
    assert [chart.title for chart in charts.resource_charts(with_gpu)] == ["CPU use", "GPU utilisation", "Memory (GiB)"]
    assert [chart.title for chart in charts.resource_charts(without)] == ["CPU use", "Memory (GiB)"]


def test_infinite_and_missing_returns_are_not_drawn(make_train: Callable[..., Results]) -> None:
    results = make_train(10)
    (run,) = results.experiments
    broken = run.iterations[3].model_copy(update={"episode_return_mean": float("nan")})
    iterations = (run.iterations[0], *(broken for _ in range(3)), *run.iterations[4:])
    changed = results.model_copy(update={"experiments": (run.model_copy(update={"iterations": iterations}),)})
    chart = charts.return_charts(analyse(changed).runs[0])[0]
    assert "nan" not in chart.lines[0].path
    assert len(coordinates(chart.lines[0].path)) == 6


def test_a_line_maps_its_ends_to_the_frame() -> None:
    chart = draw("t", "d", Axis("x", 0, 10), Axis("y", 0, 100), lines=[Line([(0, 0), (10, 100)])], marks=[Mark(5, 50)])
    start, end = coordinates(chart.lines[0].path)
    assert start == pytest.approx((chart.frame.x0, chart.frame.y1), abs=0.1)
    assert end == pytest.approx((chart.frame.x1, chart.frame.y0), abs=0.1)


@pytest.mark.parametrize("shape", ["o", "s", "D", "^", "v", "P", "X"])
def test_markers_are_closed_and_centred(shape: str) -> None:
    path = marker_path(shape, 100, 50, 5)
    assert path.endswith("Z")
    if shape != "o":
        xs = [x for x, _ in coordinates(path)]
        assert (min(xs) + max(xs)) / 2 == pytest.approx(100, abs=0.1)
