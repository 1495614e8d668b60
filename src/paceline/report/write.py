"""Writes the three forms of the report beside the results they were made from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paceline.analysis.findings import analyse
from paceline.errors import OutputError
from paceline.measure.store import load_results
from paceline.report.html import render_html
from paceline.report.plots import draw_dashboard
from paceline.report.text import render_text
from paceline.report.view import ReportInput, plan_yaml, verdict

TEXT_NAME = "report.txt"
PICTURE_NAME = "dashboard.png"
PAGE_NAME = "report.html"
PLAN_NAME = "plan.yaml"


@dataclass(frozen=True)
class ReportPaths:
    """What was written, and the verdict to print with it.

    Attributes:
        text: ``report.txt``.
        picture: ``dashboard.png``.
        page: ``report.html``, None where it was not asked for.
        plan: ``plan.yaml`` with the recommended plan of a sweep, None where there is none.
        verdict: the first line of the report.
    """

    text: Path
    picture: Path
    page: Path | None
    plan: Path | None
    verdict: str


def write_report(out_dir: Path, *, html: bool = True) -> ReportPaths:
    """Analyse the results in ``out_dir`` and write report, dashboard, page and recommended plan there.

    Nothing is measured or started; partial results are reported as such. Each file appears whole or not at all.

    Args:
        out_dir: a folder that holds ``results.json``.
        html: also write the page.

    Raises:
        ResultsError: there are no results, or they are damaged or of another program.
        OutputError: a file cannot be written.
    """
    results = load_results(out_dir)
    source = ReportInput(results, analyse(results))
    text, picture, page = out_dir / TEXT_NAME, out_dir / PICTURE_NAME, out_dir / PAGE_NAME
    _write_atomically(text, lambda path: _write_text(path, render_text(source)))
    _write_atomically(picture, lambda path: draw_dashboard(source, path))
    if html:
        _write_atomically(page, lambda path: _write_text(path, render_html(source)))
    plan = _write_plan(out_dir / PLAN_NAME, source)
    return ReportPaths(text, picture, page if html else None, plan, verdict(source))


def _write_plan(path: Path, source: ReportInput) -> Path | None:
    """Write the recommended plan of a sweep, for ``paceline train --plan``."""
    workload = source.findings.primary
    row = workload.advice.recommended if workload is not None and workload.advice is not None else None
    if source.single_run is not None or row is None:
        return None
    _write_atomically(path, lambda temporary: _write_text(temporary, plan_yaml(row, source)))
    return path


def _write_text(path: Path, text: str) -> None:
    # A lone surrogate (a file name in a message) must not cost the report.
    path.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def _write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write through a temporary file in the same folder, then rename it over ``path``."""
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: expected to write the report here, got: {reason}; free the folder or copy results.json to a "
            f"writable one and run `paceline report` there"
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
