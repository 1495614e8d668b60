"""``dashboard.png`` of a tuning: speeds predicted and measured, where a step's time goes, speed against cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from paceline.measure.tune_result import PlanStanding, TuneResults
from paceline.report import formats, palette
from paceline.report import tune_view as look
from paceline.report.panel_text import PointName, say, write_names
from paceline.report.plots import caption_text, headed_figure, to_png
from paceline.report.tune_text import tune_headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PLANS = 18
"""Plans that are drawn by name; the report's table holds all that were measured."""
NAME_CHARS = 24
_INK, _SOFT = "#14181F", "#59626F"
_PREDICTED: dict[str, Any] = {"ls": "", "marker": "D", "ms": 8, "mfc": "none", "mec": palette.GREY, "mew": 1.6}
_WINNER: dict[str, Any] = {"color": palette.VERMILION, "marker": "D", "ms": 11, "mec": "white"}
_OTHER: dict[str, Any] = {"color": palette.BLUE, "marker": "o", "ms": 10, "mec": "white"}


def draw_tune_dashboard(results: TuneResults) -> bytes:
    """Draw the dashboard of a tuning and return the PNG file's content."""
    return to_png(lambda: tune_dashboard(results))


def tune_dashboard(results: TuneResults) -> Figure:
    """Lay out the dashboard: header, then two rows of two panels."""
    info = results.experiment_info
    plans = look.shown_plans(results.tune, MOST_PLANS)
    caption = caption_text(info.env_id, f"{info.algo}, plans tuned", info.machine, info.timestamp)
    rows_in = [max(5.0, 1.8 + 0.36 * len(plans)), 5.6]
    figure, panels = headed_figure(tune_headline(results), caption, rows_in)
    speed_panel(panels[0], plans, results.tune.decision.winner)
    agreement_panel(panels[1], results)
    time_panel(panels[2], results)
    names = frontier_panel(panels[3], results)
    if names:
        # The label placer works in pixels, so everything else must lie where it will be.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        write_names(panels[3], [one for one in names if one.name], [(one.x, one.y) for one in names if not one.name])
    return figure


def speed_panel(axes: Axes, plans: Sequence[PlanStanding], winner: str | None) -> None:
    """Draw every plan's predicted and measured speed, a line each; of the others where it was believed to lie."""
    axes.set_title("Steps per second")
    if not plans:
        say(axes, "no plan was looked at")
        return
    for place, one in enumerate(plans):
        done = one.state == "measured"
        style = _WINNER if one.name == winner else _OTHER
        if one.sps_ci95:
            drawn = {"color": style["color"], "lw": 2.4} if done else {"color": palette.GREY, "lw": 1.6, "ls": ":"}
            axes.plot(one.sps_ci95, [place, place], **drawn)
        if one.predicted_sps:
            axes.plot([one.predicted_sps], [place], **_PREDICTED)
        if done and one.sps:
            axes.plot([one.sps], [place], **{**style, "marker": "o"})
    names = [formats.one_line(one.name, NAME_CHARS) for one in plans]
    states = [f" ({one.state})" if one.state in ("failed", "ruled out") else "" for one in plans]
    axes.set_yticks(range(len(plans)), [name + state for name, state in zip(names, states, strict=True)])
    for tick, one in zip(axes.get_yticklabels(), plans, strict=True):
        tick.set_fontweight("bold" if one.name == winner else "normal")
        tick.set_color(_INK if one.state == "measured" else _SOFT)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True, axis="x")
    _explain_speeds(axes, plans)


def _explain_speeds(axes: Axes, plans: Sequence[PlanStanding]) -> None:
    from matplotlib.lines import Line2D

    signs = [
        (Line2D([], [], **_PREDICTED), "predicted"),
        (Line2D([], [], lw=2.4, **_OTHER), "measured, 95%"),
    ]
    if any(one.state != "measured" and one.sps_ci95 for one in plans):
        signs.append((Line2D([], [], color=palette.GREY, lw=1.6, ls=":"), "not measured: believed, 95%"))
    handles, labels = zip(*signs, strict=True)
    axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.42, -0.05), ncols=2, columnspacing=1.2)


def agreement_panel(axes: Axes, results: TuneResults) -> None:
    """Draw measured against predicted speed: what lies on the line was predicted rightly."""
    axes.set_title("Predicted against measured")
    known = [one for one in look.measured(results.tune) if one.sps and one.predicted_sps]
    if not known:
        say(axes, "nothing was measured")
        return
    high = 1.1 * max(max(one.sps or 0.0, one.predicted_sps or 0.0) for one in known)
    high = max([high, *(1.02 * one.sps_ci95[1] for one in known if one.sps_ci95)])
    axes.plot([0.0, high], [0.0, high], color=palette.GREY, lw=1.8, ls=":", label="as predicted")
    for one in known:
        if one.sps_ci95:
            axes.vlines(one.predicted_sps or 0.0, *one.sps_ci95, color=_SOFT, lw=1.4, zorder=2)
    _draw_plans(axes, known, [one.predicted_sps or 0.0 for one in known], results.tune.decision.winner)
    axes.set_xlim(0.0, high)
    axes.set_ylim(0.0, high)
    axes.set_xlabel("predicted steps/s")
    axes.set_ylabel("measured steps/s")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True)
    axes.legend(loc="upper left")


def _draw_plans(axes: Axes, plans: Sequence[PlanStanding], xs: Sequence[float], winner: str | None) -> None:
    """Draw a point a plan at ``xs`` and its speed, the winner with its own sign."""
    for own, style, label in ((True, _WINNER, "the winner"), (False, _OTHER, "other plans")):
        points = [(x, one.sps or 0.0) for x, one in zip(xs, plans, strict=True) if (one.name == winner) is own]
        if points:
            axes.plot([x for x, _ in points], [y for _, y in points], ls="", zorder=4, label=label, **style)


def time_panel(axes: Axes, results: TuneResults) -> None:
    """Draw where a step's time goes for the winner, its baseline and one environment, a stacked bar each."""
    axes.set_title("Where the time of a step goes (us)")
    times = look.step_times(results)
    if not times:
        say(axes, "no ledger was kept")
        return
    places = list(range(len(times)))
    left = [0.0] * len(times)
    for phase in look.step_phases(times):
        widths = [one.phases_us.get(phase, 0.0) for one in times]
        style = palette.phase_style(phase)
        axes.barh(places, widths, left=left, height=0.62, color=style.color, hatch=style.hatch, edgecolor="#3D4550",
                  linewidth=0.6, label=look.label_of(phase))  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, one in zip(places, times, strict=True):
        axes.text(one.total_us, place, f" {look.microseconds(one.total_us)}", va="center", fontsize=14)
    axes.set_yticks(places, [formats.one_line(one.name, NAME_CHARS) for one in times])
    axes.set_ylim(len(times) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * max(one.total_us for one in times))
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.08), ncols=2)


def frontier_panel(axes: Axes, results: TuneResults) -> list[PointName]:
    """Draw speed against cores kept busy, and the plans that nothing beats in both.

    Returns:
        The points; those that want a name have one, the winner first.
    """
    axes.set_title("Speed against cores")
    winner = results.tune.decision.winner
    known = [one for one in look.measured(results.tune) if one.sps and one.cores]
    if not known:
        say(axes, "nothing was measured")
        return []
    edge = look.frontier(known)
    if len(edge) > 1:
        axes.plot([one.cores or 0.0 for one in edge], [one.sps or 0.0 for one in edge], color=palette.GREY, lw=1.8,
                  ls="--", label="nothing is faster with fewer cores")  # fmt: skip
    _draw_plans(axes, known, [one.cores or 0.0 for one in known], winner)
    axes.set_xlim(0, 1.25 * max(one.cores or 0.0 for one in known))
    axes.set_ylim(0, 1.2 * max(one.sps or 0.0 for one in known))
    axes.set_xlabel("cores kept busy")
    axes.set_ylabel("steps/s")
    axes.yaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.grid(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.14), ncols=2, columnspacing=1.2)
    return [
        PointName(
            one.cores or 0.0,
            one.sps or 0.0,
            formats.one_line(one.name, NAME_CHARS) if one in edge or one.name == winner else "",
            bold=one.name == winner,
        )
        for one in sorted(known, key=lambda one: one.name != winner)
    ]
