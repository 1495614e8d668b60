"""The curves of a run: what every log of scalars writes for an iteration, under the same names."""

from __future__ import annotations

from typing import Protocol

from paceline.measure.result import IterationRecord


class RunLog(Protocol):
    """Somewhere that iterations are written to: a convenience, which must never end, hold up or hide a run."""

    @property
    def problem(self) -> str:
        """Why iterations are not written any more, in a sentence; empty while they are."""

    def write(self, record: IterationRecord, recent_return: float | None) -> None:
        """Write an iteration; what fails is told by ``problem`` and not tried again."""

    def close(self) -> None:
        """Close; called once. What fails is not raised."""


def scalars_of(record: IterationRecord, recent_return: float | None) -> dict[str, float]:
    """Return name -> value of every curve's point.

    Args:
        record: the iteration.
        recent_return: mean return of the last episodes, or None before the first one ended.
    """
    scalars = {"speed/sps": record.sps, **{f"learner/{name}": value for name, value in record.metrics.items()}}
    if record.episode_return_mean is not None and record.episode_length_mean is not None:
        scalars["episode/return_mean"] = record.episode_return_mean
        scalars["episode/length_mean"] = record.episode_length_mean
    if recent_return is not None:
        scalars["episode/return_mean_100"] = recent_return
    if record.resources is not None:
        scalars["machine/cores_used"] = record.resources.cores_used
        scalars["machine/rss_gib"] = record.resources.rss_bytes / 2**30
    for phase, seconds in record.ledger.phases.items():
        scalars[f"time_share/{phase}"] = seconds / record.wall_s
    return scalars
