"""``dashboard.png`` of a tuning: speeds as expected and as measured, where the time goes, speed against cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from paceline.analysis.bottleneck import PHASE_LABELS, phase_shares
from paceline.measure.result import LedgerRecord
from paceline.measure.tune_result import PlanStanding, TuneResults
from paceline.report import formats, palette
from paceline.report.panel_text import say
from paceline.report.plots import caption_text, headed_figure, to_png
from paceline.report.tune_text import tune_headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PLANS = 18
"""Plans that are drawn by name; the report's table holds all that were measured."""
_PHASE_ORDER = tuple(PHASE_LABELS)


def draw_tune_dashboard(results: TuneResults) -> bytes:
    """Draw the dashboard of a tuning and return the PNG file's content."""
    return to_png(lambda: tune_dashboard(results))


def tune_dashboard(results: TuneResults) -> Figure:
    """Lay out the dashboard: header, then two rows of two panels."""
    info = results.experiment_info
    plans = shown_plans(results)
    caption = caption_text(info.env_id, f"{info.algo}, plans tuned", info.machine, info.timestamp)
    rows_in = [max(5.0, 1.8 + 0.36 * len(plans)), 5.6]
    figure, panels = headed_figure(tune_headline(results), caption, rows_in)
    speed_panel(panels[0], plans, results.tune.decision.winner)
    agreement_panel(panels[1], results)
    time_panel(panels[2], results)
    frontier_panel(panels[3], results)
    return figure


def shown_plans(results: TuneResults) -> list[PlanStanding]:
    """Return the plans that are drawn by name: those measured, then those that were expected to be the fastest."""
    plans = results.tune.plans
    measured = [one for one in plans if one.state == "measured"]
    others = [one for one in plans if one.state != "measured" and one.predicted_sps]
    others.sort(key=lambda one: -(one.predicted_sps or 0.0))
    return [*measured, *others][:MOST_PLANS]


def speed_panel(axes: Axes, plans: Sequence[PlanStanding], winner: str | None) -> None:
    """Draw every plan's expected and measured speed, a line each."""
    axes.set_title("Steps per second")
    if not plans:
        say(axes, "no plan was looked at")
        return
    for place, one in enumerate(plans):
        if one.predicted_sps:
            axes.plot([one.predicted_sps], [place], "D", ms=8, mfc="none", mec=palette.GREY, mew=1.6,
                      label="expected" if place == 0 else None)  # fmt: skip
        if one.state == "measured" and one.sps and one.sps_ci95:
            color = palette.VERMILION if one.name == winner else palette.BLUE
            axes.plot(one.sps_ci95, [place, place], color=color, lw=2)
            label = "measured, 95 %" if place == 0 else None
            axes.plot([one.sps], [place], "o", ms=10, color=color, label=label)
    names = [one.name + (f" ({one.state})" if one.state in ("failed", "ruled out") else "") for one in plans]
    axes.set_yticks(range(len(plans)), names)
    for tick, one in zip(axes.get_yticklabels(), plans, strict=True):
        tick.set_fontweight("bold" if one.name == winner else "normal")
        tick.set_color("#14181F" if one.state == "measured" else "#6B7480")
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True, axis="x")
    if any(one.state != "measured" for one in plans):
        axes.set_xlabel("grey names: not measured")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def agreement_panel(axes: Axes, results: TuneResults) -> None:
    """Draw measured against expected speed: what lies on the line was expected rightly."""
    axes.set_title("Expected against measured")
    known = [one for one in results.tune.plans if one.state == "measured" and one.sps and one.predicted_sps]
    if not known:
        say(axes, "nothing was measured")
        return
    x, y = [one.predicted_sps or 0.0 for one in known], [one.sps or 0.0 for one in known]
    high = 1.1 * max(*x, *y)
    axes.plot([0.0, high], [0.0, high], color=palette.GREY, lw=1.4, ls=":", label="as expected")
    axes.plot(x, y, "o", ms=9, color=palette.BLUE)
    for one in known:
        if one.name == results.tune.decision.winner:
            ring: dict[str, Any] = {"ms": 14, "mfc": "none", "mec": palette.VERMILION, "mew": 2.4}
            axes.plot([one.predicted_sps or 0.0], [one.sps or 0.0], "o", label="the winner", **ring)
    axes.set_xlim(0.0, high)
    axes.set_ylim(0.0, high)
    axes.set_xlabel("expected steps/s")
    axes.set_ylabel("measured steps/s")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True)
    axes.legend(loc="best")


def time_panel(axes: Axes, results: TuneResults) -> None:
    """Draw where the time of the winner, of its baseline and of the slowest plan goes, a stacked bar each."""
    axes.set_title("Where the time goes (%)")
    decision = results.tune.decision
    slowest = min(results.experiments, key=lambda run: run.summary.avg_sps if run.summary else 0.0, default=None)
    wanted = [decision.winner, decision.runner_up, decision.baseline, slowest.name if slowest else None]
    ledgers: dict[str, LedgerRecord] = {}
    for name in wanted:
        run = next((run for run in results.experiments if run.name == name), None)
        if run is not None and run.ledger is not None:
            ledgers[run.name] = run.ledger
    if not ledgers:
        say(axes, "no ledger was kept")
        return
    places = list(range(len(ledgers)))
    shares = [{one.phase: one.percent for one in phase_shares(ledger)} for ledger in ledgers.values()]
    left = [0.0] * len(ledgers)
    for phase in _PHASE_ORDER:
        widths = [found.get(phase, 0.0) for found in shares]
        if max(widths) < 0.5:
            continue
        style = palette.phase_style(phase)
        axes.barh(places, widths, left=left, height=0.66, color=style.color, hatch=style.hatch, edgecolor="#3D4550",
                  linewidth=0.6, label=PHASE_LABELS[phase])  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(places, list(ledgers))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.08), ncols=2)


def frontier_panel(axes: Axes, results: TuneResults) -> None:
    """Draw speed against cores kept busy, and the plans that nothing beats in both."""
    axes.set_title("Speed against cores")
    known = [one for one in results.tune.plans if one.state == "measured" and one.sps and one.cores]
    if not known:
        say(axes, "nothing was measured")
        return
    axes.plot([one.cores or 0.0 for one in known], [one.sps or 0.0 for one in known], "o", ms=9, color=palette.BLUE)
    edge = frontier(known)
    axes.plot([one.cores or 0.0 for one in edge], [one.sps or 0.0 for one in edge], color=palette.GREY, lw=1.4, ls="--",
              label="nothing is faster with fewer cores")  # fmt: skip
    for one in edge:
        winner = one.name == results.tune.decision.winner
        axes.annotate(one.name, (one.cores or 0.0, one.sps or 0.0), xytext=(8, 6), textcoords="offset points",
                      fontsize=13, fontweight="bold" if winner else "normal")  # fmt: skip
    axes.margins(x=0.25, y=0.15)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("cores kept busy")
    axes.yaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True)
    axes.legend(loc="lower right")


def frontier(plans: Sequence[PlanStanding]) -> list[PlanStanding]:
    """Return the plans that no other one beats both in speed and in cores, fewest cores first."""
    found: list[PlanStanding] = []
    for one in sorted(plans, key=lambda one: (one.cores or 0.0, -(one.sps or 0.0))):
        if not found or (one.sps or 0.0) > (found[-1].sps or 0.0):
            found.append(one)
    return found
