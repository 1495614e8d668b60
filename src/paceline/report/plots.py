"""``dashboard.png``: six panels in two columns, drawn with matplotlib's Agg, which is imported only when asked for.

The picture is meant for a README, a slide or a phone, so type is large, hatches and markers double the colours, and the
verdict stands on top. It uses ``Figure`` alone: no ``pyplot``, no window, no state that outlives the call.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from paceline.report import formats, view
from paceline.report.panel_text import say
from paceline.report.view import ReportInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 14.0
DPI = 110
STYLE: dict[str, Any] = {
    "font.size": 15,
    "axes.titlesize": 17,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelsize": 15,
    "axes.labelcolor": "#3D4550",
    "axes.edgecolor": "#59626F",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#DFE3E8",
    "xtick.color": "#3D4550",
    "ytick.color": "#3D4550",
    "xtick.labelsize": 14,
    "ytick.labelsize": 14,
    "legend.fontsize": 13,
    "legend.frameon": False,
    "lines.dashdot_pattern": (4.0, 1.2, 1.0, 1.2),  # one whole pattern fits into a legend's handle
    "hatch.linewidth": 0.8,
    "text.parse_math": False,  # a "$" in an environment's name is a dollar sign
    "text.usetex": False,
}


def draw_dashboard(source: ReportInput) -> bytes:
    """Draw the dashboard of a sweep, or of one run, and return the PNG file's content.

    Args:
        source: results and the findings made of them.
    """
    return to_png(lambda: dashboard(source))


def to_png(draw: Callable[[], Figure]) -> bytes:
    """Return the figure that ``draw`` makes, in the dashboards' style, as a PNG file's content."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context(cast(Any, STYLE)), warnings.catch_warnings():
        # A name in a script that the bundled font lacks is drawn as boxes; that is no reason to have no picture.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        FigureCanvasAgg(figure)
        picture = BytesIO()
        figure.savefig(picture, dpi=DPI, format="png", facecolor="white", metadata={"Software": "paceline"})
    return picture.getvalue()


def dashboard(source: ReportInput) -> Figure:
    """Lay out the dashboard: header, then three rows of two panels."""
    from paceline.report import panels_run, panels_sweep

    single = source.single_run
    rows_in = panels_run.ROW_HEIGHTS_IN if single else panels_sweep.row_heights_in(source.findings.primary)
    # Of a single run the second sentence, on what holds it back, is as long again: both in large type would be cut.
    verdict, rest = view.verdict_parts(source) if single else (view.verdict(source), "")
    figure, panels = headed_figure(verdict, _caption(source), rows_in, rest=rest)
    if single:
        panels_run.draw_panels(panels, source.findings, single)
    elif source.findings.primary is not None:
        panels_sweep.draw_panels(panels, source.findings.primary)
    else:
        for panel in panels:
            say(panel, "no trial was recorded")
    return figure


def headed_figure(
    verdict: str, caption: str, rows_in: Sequence[float], *, rest: str = "", most_lines: int = 4
) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``verdict`` and ``caption`` on top, and its panels, two in each row.

    Args:
        verdict: what stands first, in large type.
        caption: what was measured on what, below it; a line or more.
        rows_in: heights of the rows, inches.
        rest: what goes on from the verdict, below it in smaller type.
        most_lines: a verdict of more lines is cut.
    """
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = textwrap.wrap(verdict, 76, max_lines=most_lines, placeholder=" …", break_on_hyphens=False)
    below = [line for part in caption.splitlines() for line in textwrap.wrap(part, 116)]
    more = textwrap.wrap(rest, 104, break_on_hyphens=False)
    verdict_in, rest_in = 0.36 * len(lines), 0.28 * len(more) + 0.1 * bool(more)
    header_in = 0.5 + verdict_in + rest_in + 0.25 * len(below)
    engine = ConstrainedLayoutEngine(w_pad=0.18, h_pad=0.16, wspace=0.03, hspace=0.03)
    figure = NewFigure(figsize=(WIDTH_IN, header_in + sum(rows_in)), layout=engine)
    header, body = figure.subfigures(2, 1, height_ratios=[header_in, sum(rows_in)], squeeze=False).flat
    header.text(0.016, 0.9, "\n".join(lines), va="top", fontsize=20, fontweight="bold", linespacing=1.25)
    if more:
        top = 0.9 - (verdict_in + 0.1) / header_in
        header.text(0.016, top, "\n".join(more), va="top", fontsize=15, linespacing=1.25)
    header.text(0.016, 0.06, "\n".join(below), va="bottom", fontsize=13.5, color="#59626F")
    panels = body.subplots(len(rows_in), 2, gridspec_kw={"height_ratios": list(rows_in)}, squeeze=False)
    return figure, list(panels.flat)


def _caption(source: ReportInput) -> str:
    info = source.results.experiment_info
    findings = source.findings
    return caption_text(info.env_id or findings.env_id, info.algo or findings.algo, findings.machine, info.timestamp)


def caption_text(env_id: str, what: str, machine: Mapping[str, Any], timestamp: str) -> str:
    """Return the line below the verdict: environment, ``what``, processor, cores and date."""
    cores = machine.get("usable_cores")
    parts = [
        formats.one_line(env_id, 60),
        what,
        formats.one_line(str(machine.get("cpu_model") or ""), 48),
        f"{formats.significant(float(cores))} usable cores" if isinstance(cores, int | float) else "",
        formats.when(timestamp),
    ]
    return "  ·  ".join(part for part in parts if part)
