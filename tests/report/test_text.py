from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import yaml

from paceline.analysis.curves import ScalingModels
from paceline.analysis.findings import analyse
from paceline.analysis.models import AmdahlFit, ModelChoice
from paceline.analysis.stats import Interval
from paceline.measure.result import Results
from paceline.report import formats, view
from paceline.report.model_text import model_sentences
from paceline.report.text import render_text
from paceline.report.text_table import WIDTH, Column, table
from paceline.report.view import ReportInput
from paceline.spec import Plan


def section(text: str, title: str) -> str:
    """Return the lines under a heading that starts with ``title``, up to the next heading."""
    found = re.search(rf"^{re.escape(title)}[^\n]*\n=+\n(.*?)(?=^[^\n]+\n=+\n|\Z)", text, re.M | re.S)
    assert found is not None, f"no section {title!r}"
    return found.group(1)


def test_the_first_line_is_the_verdict(sweep: ReportInput) -> None:
    first = render_text(sweep).split("\n\n")[0]
    assert " ".join(first.split()) == view.verdict(sweep)
    assert first.startswith("8x16 ")


@pytest.mark.parametrize("name", ["sweep", "train", "wide", "nothing", "empty"])
def test_every_report_keeps_to_its_width_and_to_printable_characters(name: str, request: pytest.FixtureRequest) -> None:
    lines = render_text(request.getfixturevalue(name)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_every_plan_is_listed_once_fastest_first_and_marked(sweep: ReportInput) -> None:
    listed = section(render_text(sweep), "Plans, fastest first")
    rows = [re.match(r"  ([*>b~]*) +(\d+x\d+) ", line) for line in listed.splitlines()]
    names = [row.group(2) for row in rows if row]
    workload = sweep.findings.workloads[0]
    assert sorted(names) == sorted(row.label for row in workload.table.rows)
    speeds = [row.sps.value for row in map(workload.table.row, names) if row.sps]
    assert speeds == sorted(speeds, reverse=True)
    marks = {row.group(2): row.group(1) for row in rows if row}
    assert marks["8x16"].startswith("*")
    assert marks["1x1"] == "b"
    assert {"4x16": "timeout", "8x1": "oom"}.items() <= {
        line.split()[0]: line.split()[-1] for line in listed.splitlines() if line.split()
    }.items()


def test_figures_are_those_of_the_findings(sweep: ReportInput) -> None:
    listed = section(render_text(sweep), "Plans, fastest first")
    row = sweep.findings.workloads[0].table.row("4x1")
    line = next(line for line in listed.splitlines() if " 4x1 " in line)
    assert row.sps and row.speedup and row.efficiency_per_env is not None
    for figure in (
        f"{row.sps.value:,.0f}",
        f"{row.speedup.value:.2f}x",
        f"{row.efficiency_per_env:.1%}",
        str(row.rating),
    ):
        assert figure in line


def test_scenarios_come_with_plan_wish_and_reason(sweep: ReportInput) -> None:
    text = " ".join(section(render_text(sweep), "Which plan to take").split())
    advice = sweep.findings.workloads[0].advice
    assert advice is not None
    for item in advice.recommendations:
        assert item.row is not None
        assert f"{item.scenario.name}: {item.row.label}" in text
        assert item.reason in text
    assert "top 3" in render_text(sweep).lower()


def test_ledger_shares_add_up_to_a_hundred(sweep: ReportInput) -> None:
    ledger = section(render_text(sweep), "Where the time goes")
    blocks = ledger.split("phase ")[1:]
    assert len(blocks) == 2  # the baseline's and the recommended plan's
    for block in blocks:
        shares = [float(value) for value in re.findall(r"(\d+\.\d)%", block.split("total")[0])]
        assert sum(shares) == pytest.approx(100, abs=0.1 * len(shares))
        assert "total" in block and "100.0%" in block


def test_failed_trials_are_told_with_outcome_and_message(sweep: ReportInput) -> None:
    failed = section(render_text(sweep), "Failed trials (2 of 12)")
    assert "8x1: oom: the process tree held 12.5 GiB" in failed
    assert "4x16: timeout: did not finish within 900 s" in failed


def test_unsteady_trials_are_not_called_failed(make_sweep: Callable[..., Results]) -> None:
    results = make_sweep((1, 2), (1,), failures={(2, 1): ("unsteady", "time per iteration varies by 20%")})
    text = render_text(ReportInput(results, analyse(results)))
    assert "Failed trials" not in text
    assert "varies by 20%" in section(text, "Unsteady trials, which finished and count (1 of 2)")
    (line,) = [line for line in section(text, "Plans, fastest first").splitlines() if " 2x1 " in line]
    assert "~" in line.split()[0]
    assert "Its run was unsteady: measure again" in " ".join(section(text, "Which plan to take").split())


def test_the_printed_plan_is_one_that_paceline_reads(sweep: ReportInput) -> None:
    row = sweep.findings.workloads[0].table.row("8x16")
    printed = section(render_text(sweep), "The plan (save as plan.yaml)")
    text = view.plan_yaml(row, sweep)
    assert "\n".join("  " + line for line in text.splitlines()) in printed
    assert Plan.model_validate(yaml.safe_load(text)["plan"]).label == "8x16"


def test_how_it_was_measured_names_machine_command_and_date(sweep: ReportInput) -> None:
    told = section(render_text(sweep), "How it was measured")
    for fact in ("i7-12700", "paceline sweep HalfCheetah-v5", "2026-11-20 10:40 UTC", "jax 0.10.2", "a1b2c3d4e5f6"):
        assert fact in told


def test_an_interrupted_sweep_says_so_in_the_verdict(wide: ReportInput) -> None:
    first = render_text(wide).split("\n\n")[0]
    assert re.search(r"partial|incomplete|not complete", first, re.I)
    assert "48 of 100" in " ".join(first.split())


def test_no_control_sequence_of_a_message_reaches_the_terminal(wide: ReportInput) -> None:
    assert "\x1b" not in render_text(wide)


def test_a_sweep_without_a_finished_trial_still_reports(nothing: ReportInput) -> None:
    text = render_text(nothing)
    assert "boom" in section(text, "Failed trials (2 of 2)")
    assert "Nothing was measured." in section(text, "CPU, memory and GPU")


def test_a_training_run_tells_returns_and_ledger_instead_of_speedups(train: ReportInput) -> None:
    text = render_text(train)
    run = section(text, "The run")
    assert re.search(r"mean return +first -?\d.*, best -?[\d,.]+ \(mean of the last 100 episodes\)", run)
    assert "learner update" in section(text, "Where the time goes")
    assert "Which plan to take" not in text


def test_mean_and_median_speed_are_told_by_name_where_they_differ(make_train: Callable[..., Results]) -> None:
    results = make_train(10)
    (run,) = results.experiments
    first = run.iterations[0]
    slow = first.model_copy(update={"wall_s": 6 * first.wall_s, "sps": first.sps / 6})
    changed = results.model_copy(
        update={"experiments": (run.model_copy(update={"iterations": (slow, *run.iterations[1:])}),)}
    )
    told = section(render_text(ReportInput(changed, analyse(changed))), "The run")
    assert re.search(r"steps per second +[\d,]+, median of the iterations \(95%: .*\)\n +[\d,]+, mean: all steps", told)
    (slow_run,) = changed.experiments
    broken = changed.model_copy(update={"experiments": (slow_run.model_copy(update={"outcome": "crash"}),)})
    assert "mean: all steps" in section(render_text(ReportInput(broken, analyse(broken))), "The run")
    even = section(render_text(ReportInput(results, analyse(results))), "The run")
    assert "median of the iterations" in even and "mean: all steps" not in even


def test_gpu_readings_appear_where_there_are_any(wide: ReportInput) -> None:
    resources = section(render_text(wide), "CPU, memory and GPU")
    assert "31%" in resources
    assert "2.40 GiB" in resources


def test_noisy_data_keep_their_warnings(make_sweep: Callable[..., Results]) -> None:
    results = make_sweep((1, 2), (1, 4), iterations=2, noise=0.4)
    source = ReportInput(results, analyse(results))
    warnings = " ".join(section(render_text(source), "Warnings").split())
    notices = view.notices(source.findings)
    assert {notice.code for notice in source.findings.notices} - {notice.code for notice in notices} == {"gpu"}
    assert notices
    assert all(notice.text in warnings for notice in notices)


def test_a_table_of_long_figures_still_fits_the_page() -> None:
    columns = [Column("plan", "<", wrap=60), *[Column(f"figure {i}") for i in range(6)]]
    lines = table(columns, [["a plan of a very long name indeed, with settings", *["1,234,567.8"] * 6]])
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(line[:20].strip() for line in lines[2:]).split()[-1] == "settings"


def test_a_table_wraps_only_its_wrapping_column() -> None:
    lines = table([Column("name", "<", wrap=6), Column("n")], [["a long name", "12345"]])
    assert lines == ["  name        n", "  ------  -----", "  a long  12345", "  name"]


def test_what_each_plan_loses_is_shown(sweep: ReportInput) -> None:
    listed = section(render_text(sweep), "What is lost to ideal scaling")
    for row in sweep.findings.workloads[0].table.rows:
        lines = [line.split() for line in listed.splitlines() if line.split()[:1] == [row.label]]
        assert len(lines) == (row.efficiency_loss is not None)
        if row.efficiency_loss is not None and row.gap_to_ideal is not None and row.speedup is not None:
            e = "–" if row.karp_flatt is None else f"{row.karp_flatt:.3f}"
            loss, gap = f"{row.efficiency_loss:.1%}", f"{row.gap_to_ideal:.2f}x"
            assert lines[0][1:] == [str(row.num_envs), f"{row.speedup.value:.2f}x", loss, gap, e]


def test_models_come_with_their_points_and_intervals(sweep: ReportInput) -> None:
    text = " ".join(section(render_text(sweep), "How it scales").split())
    models = sweep.findings.workloads[0].models
    assert models is not None and models.amdahl is not None and models.phase is not None
    points = len(models.choice.points)
    assert f"Amdahl, fitted over all {points} points with runners, speedups over 1x1: serial fraction" in text
    limit = models.amdahl.limit_interval
    assert limit is not None
    assert f"limit {models.amdahl.limit:.2f}x (95%: {limit.low:.2f}x to {limit.high:.2f}x)" in text
    for letter, name in (("L", "learner_s"), ("E", "runner_s"), ("I", "batched_s")):
        bounds = models.phase.intervals[name]
        span = f"(95%: {formats.seconds(bounds.low)} to {formats.seconds(bounds.high)})"
        assert f"{letter} {formats.seconds(getattr(models.phase, name))} {span}" in text


@pytest.mark.parametrize(
    ("serial", "bounds", "words"),
    [
        (0.0, Interval(0.0, 0.05), "serial fraction 0.0% (95%: 0.0% to 5.0%), no limit (95%: at least 20.00x)"),
        (0.1, Interval(0.0, 0.2), "limit 10.00x (95%: at least 5.00x), of which 50% is reached"),
        (0.1, None, "serial fraction 10.0%, limit 10.00x, of which 50% is reached"),
    ],
)
def test_a_limit_that_may_be_none_is_not_given_an_end(serial: float, bounds: Interval | None, words: str) -> None:
    limit = 1 / serial if serial else math.inf
    fit = AmdahlFit(serial, bounds, "", limit, 0.5 if serial else 0.0, 0.0, None, 4)
    (said,) = model_sentences(ScalingModels(ModelChoice(None, (), "", "in-process"), amdahl=fit))
    assert said.startswith("Amdahl, fitted over all 4 points in the learner's process: ")
    assert words in said
