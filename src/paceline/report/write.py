"""Writes the three forms of the report beside the results they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paceline.analysis.findings import analyse
from paceline.analysis.standings import Standings
from paceline.errors import RequestError, ResultsError, SpecError
from paceline.measure.bench_result import BenchResults
from paceline.measure.race_log import load_race
from paceline.measure.result import Results
from paceline.measure.store import WRITABLE_OUT, load_results, write_atomically
from paceline.measure.trained_run import load_restarts
from paceline.measure.tune_result import TuneResults
from paceline.measure.verify_result import load_verification
from paceline.report.bench_page import render_bench_html
from paceline.report.bench_plots import draw_bench_dashboard
from paceline.report.bench_text import render_bench_text
from paceline.report.bench_view import bench_input
from paceline.report.compare_page import render_compare_html
from paceline.report.compare_plots import draw_comparison
from paceline.report.compare_text import render_compare_text
from paceline.report.export import export_text
from paceline.report.html import render_html
from paceline.report.plots import draw_dashboard
from paceline.report.text import render_text
from paceline.report.tune_page import render_tune_html
from paceline.report.tune_plots import draw_tune_dashboard
from paceline.report.tune_text import render_tune_text, tune_headline
from paceline.report.verify_text import verify_section
from paceline.report.view import ReportInput, plan_yaml, verdict

TEXT_NAME = "report.txt"
PICTURE_NAME = "dashboard.png"
PAGE_NAME = "report.html"
PLAN_NAME = "plan.yaml"
RUN_NAME = "run.yaml"
COMPARE_STEM = "compare"
"""A comparison's files are ``compare.txt``, ``compare.png`` and ``compare.html``."""

WRITABLE_FOLDER = "free the folder, or copy results.json to a writable one and run `paceline report` there"
"""What to do about a report that cannot be written."""


@dataclass(frozen=True)
class ReportPaths:
    """What was written, and the verdict to print with it.

    Attributes:
        text: ``report.txt`` (``compare.txt`` of a comparison, and so on).
        picture: ``dashboard.png``.
        page: ``report.html``, None where it was not asked for.
        plan: ``plan.yaml`` with the recommended plan of a sweep or a tuning, None where there is none.
        run: ``run.yaml`` with the whole run that a tuning recommends, None where there is none.
        verdict: the first line of the report.
    """

    text: Path
    picture: Path
    page: Path | None
    plan: Path | None
    verdict: str
    run: Path | None = None


def write_report(out_dir: Path, *, html: bool = True) -> ReportPaths:
    """Analyse the results in ``out_dir`` and write report, dashboard, page and recommended plan there.

    Nothing is measured or started; partial results are reported as such. Each file appears whole or not at all.

    Args:
        out_dir: a folder that holds ``results.json``.
        html: also write the page.

    Raises:
        ResultsError: there are no results, or they are damaged or of another program; or ``progress.jsonl`` cannot be
            read.
        OutputError: a file cannot be written.
    """
    results: Results = load_results(out_dir)
    text, picture, page = out_dir / TEXT_NAME, out_dir / PICTURE_NAME, out_dir / PAGE_NAME
    if results.experiment_info.kind == "bench":
        bench = bench_input(load_results(out_dir, BenchResults))
        _write(text, render_bench_text(bench))
        _write(picture, draw_bench_dashboard(bench))
        if html:
            _write(page, render_bench_html(bench))
        return ReportPaths(text, picture, page if html else None, None, bench.findings.verdict)
    if results.experiment_info.kind == "tune":
        return _write_tune(out_dir, load_results(out_dir, TuneResults), html=html)
    restarts = load_restarts(out_dir) if results.experiment_info.kind == "train" else ()
    source = ReportInput(results, analyse(results, restarts=restarts))
    _write(text, render_text(source))
    _write(picture, draw_dashboard(source))
    if html:
        _write(page, render_html(source))
    plan = _write_plan(out_dir / PLAN_NAME, source)
    return ReportPaths(text, picture, page if html else None, plan, verdict(source))


def _write_tune(out_dir: Path, results: TuneResults, *, html: bool) -> ReportPaths:
    """Write a tuning's report; its ``plan.yaml`` is there already, written by who decided."""
    text, picture, page, plan = (out_dir / name for name in (TEXT_NAME, PICTURE_NAME, PAGE_NAME, PLAN_NAME))
    verified = load_verification(out_dir)
    run_file = _write_run(out_dir) if results.tune.decision.winner is not None else ""
    again = "" if verified is None else "\n".join(verify_section(verified, out_dir)) + "\n"
    _write(text, render_tune_text(results, run_file=run_file) + again)
    _write(picture, draw_tune_dashboard(results))
    if html:
        plan_yaml = plan.read_text(encoding="utf-8", errors="replace") if plan.is_file() else ""
        _write(page, render_tune_html(results, race=load_race(out_dir), plan_yaml=plan_yaml, run_file=run_file))
    found = plan if plan.is_file() else None
    return ReportPaths(
        text, picture, page if html else None, found, tune_headline(results), Path(run_file) if run_file else None
    )


def _write_run(out_dir: Path) -> str:
    """Write the whole run as it was measured, for ``paceline train --config``; return the file, "" if it cannot be."""
    try:
        text = export_text(out_dir, "yaml")
    except (RequestError, ResultsError, SpecError):
        return ""  # results.json alone was copied here
    _write(out_dir / RUN_NAME, text)
    return str(out_dir / RUN_NAME)


def write_comparison(out_dir: Path, found: Standings) -> ReportPaths:
    """Write a comparison of training runs as text, picture and page; each file appears whole or not at all.

    Args:
        out_dir: the folder; made if there is none. Files of an earlier comparison are replaced.
        found: what was found.

    Raises:
        OutputError: a file cannot be written.
    """
    text, picture, page = (out_dir / f"{COMPARE_STEM}.{ending}" for ending in ("txt", "png", "html"))
    _write(text, render_compare_text(found), advice=WRITABLE_OUT)
    _write(picture, draw_comparison(found), advice=WRITABLE_OUT)
    _write(page, render_compare_html(found), advice=WRITABLE_OUT)
    return ReportPaths(text, picture, page, None, found.headline)


def _write_plan(path: Path, source: ReportInput) -> Path | None:
    """Write the recommended plan of a sweep, for ``paceline train --plan``."""
    workload = source.findings.primary
    row = workload.advice.recommended if workload is not None and workload.advice is not None else None
    if source.single_run is not None or row is None:
        return None
    _write(path, plan_yaml(row, source))
    return path


def _write(path: Path, content: str | bytes, *, advice: str = WRITABLE_FOLDER) -> None:
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")  # a lone surrogate (a file name in a message) costs no report
    write_atomically(path, content, advice=advice)
