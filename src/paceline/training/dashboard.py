"""The panel that a terminal shows while a run trains: progress, speed, return, lag, memory, and where time goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paceline.isolation.memory import size_text
from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import IterationRecord
from paceline.training.status import Status, format_duration, ledger_line

_TREND_LENGTH = 24
_BAR_WIDTH = 40
_BLOCKS = "▁▂▃▄▅▆▇█"
# Neighbours differ in brightness as well as in hue, and each is named in its order beside the bar.
_SHADES = ("blue", "bright_yellow", "magenta", "bright_cyan", "red", "bright_white", "green", "bright_black")


class Dashboard:
    """Remembers what its trends need, and draws.

    Args:
        ascii_only: the terminal's encoding has no block characters: trends and the bar of time are left out.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        self._ascii_only = ascii_only
        self._speeds: deque[float] = deque(maxlen=_TREND_LENGTH)
        self._returns: deque[float] = deque(maxlen=_TREND_LENGTH)

    def draw(self, status: Status) -> Group:
        """Return the panel after an iteration."""
        record = status.record
        self._speeds.append(record.sps)
        if status.recent_return is not None:
            self._returns.append(status.recent_return)
        spent = min(status.progress, 1.0)
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=1.0, completed=spent, width=_BAR_WIDTH),
            Text(f"{spent:.0%}"),
            Text(f"ETA {format_duration(status.remaining_s)}", style="bold"),
        )
        rows = Table.grid(padding=(0, 2))
        for name, figure, trend in self._rows(status):
            rows.add_row(Text(name, style="dim"), Text(figure), Text(trend, style="cyan"))
        parts: list[ProgressBar | Table | Text] = [head, rows]
        if not self._ascii_only:
            parts.append(ledger_bar(record))
        return Group(*parts, Text(ledger_line(record)))

    def _rows(self, status: Status) -> Iterable[tuple[str, str, str]]:
        record = status.record
        recent, best = (
            "-" if value is None else f"{value:,.1f}" for value in (status.recent_return, status.best_return)
        )
        yield (
            "steps",
            f"{record.total_env_steps:,} in {format_duration(status.elapsed_s)} (iteration {record.iteration + 1:,})",
            "",
        )
        yield "SPS", f"{record.sps:,.0f}", self._trend(self._speeds)
        yield "return", f"{recent} (best {best})", self._trend(self._returns)
        metrics = record.metrics
        if "lag_mean" in metrics:
            least, most = (metrics.get(f"lag_{name}", metrics["lag_mean"]) for name in ("min", "max"))
            yield "lag", f"{metrics['lag_mean']:.1f} updates ({least:.0f} to {most:.0f})", ""
        if (use := record.resources) is not None:
            held = use.rss_bytes if use.pss_bytes is None else use.pss_bytes
            processes = "1 process" if use.num_processes == 1 else f"{use.num_processes} processes"
            yield (
                "machine",
                f"{use.cores_used:.1f} of {use.usable_cores:g} cores, {size_text(held)} of "
                f"{size_text(use.memory_limit_bytes)} in {processes}",
                "",
            )

    def _trend(self, values: Sequence[float]) -> str:
        return "" if self._ascii_only else sparkline(values)


def sparkline(values: Sequence[float]) -> str:
    """Return one block character per value, from the lowest to the highest; nothing for fewer than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


def ledger_bar(record: IterationRecord, width: int = _BAR_WIDTH + 5) -> Text:
    """Return the phases of an iteration as one bar, largest first, as :func:`ledger_line` names them."""
    phases = record.ledger.phases
    names = sorted((*PHASES, UNATTRIBUTED), key=lambda name: -phases.get(name, 0.0))
    bar, drawn, reached = Text(), 0, 0.0
    for index, name in enumerate(names):
        reached += phases.get(name, 0.0) / record.wall_s
        until = min(width, round(reached * width))
        bar.append("█▓"[index % 2] * (until - drawn), style=_SHADES[index % len(_SHADES)])
        drawn = max(drawn, until)
    return bar
