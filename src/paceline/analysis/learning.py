"""What one training run learnt: its learning curve, its final return, and when it reached a given return."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.measure.result import IterationRecord

FINAL_SHARE = 0.1
"""The final return is taken over this share of a run's iterations, its last."""
WINDOW_EPISODES = 100
"""Episodes of the running mean, as in the live display."""
WINDOW_SHARE = 0.1
"""A comparison's running mean covers no more than this share of the episodes of any run."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A run's running mean of returns, from the iteration in which its first episode ended.

    Attributes:
        steps: environment steps since the run began, ``[K]``, ascending.
        seconds: measured wall time since its first iteration began, ``[K]``, ascending.
        returns: mean return of the last episodes, as many as the window has, or of all where that is less, ``[K]``.
        num_iterations: iterations of the whole run; the curve has the last K of them.
    """

    steps: NDArray[np.float64]
    seconds: NDArray[np.float64]
    returns: NDArray[np.float64]
    num_iterations: int

    def __len__(self) -> int:
        """Return the number of its points."""
        return len(self.steps)

    def final_return(self, until_step: float = math.inf) -> float:
        """Return the mean of the curve over the last tenth of the iterations up to ``until_step``, at least one.

        The curve reaches it by then: a mean is not above the highest of its parts. A run that ended earlier has the
        final return that it ended with.

        Args:
            until_step: environment steps at which the run is looked at; its first iteration always counts.
        """
        last = max(1, int(np.searchsorted(self.steps, until_step, side="right")))
        before_the_curve = self.num_iterations - len(self)
        first = max(0, last - math.ceil(FINAL_SHARE * (before_the_curve + last)))
        return float(self.returns[first:last].mean())

    def reached(self, threshold: float) -> tuple[float, float] | None:
        """Return (environment steps, seconds) when the running mean first reached ``threshold``; None if never."""
        places = np.flatnonzero(self.returns >= threshold)
        if not places.size:
            return None
        return float(self.steps[places[0]]), float(self.seconds[places[0]])


def smoothing_window(runs: Iterable[Sequence[IterationRecord]]) -> int:
    """Return the episodes of a running mean that suits all ``runs``, so that like is compared with like.

    A window longer than a tenth of a run would hold its curve back; the shortest run decides.
    """
    played = [total for iterations in runs if (total := _episodes(_returns(iterations), iterations).sum())]
    return min(WINDOW_EPISODES, max(1, int(WINDOW_SHARE * min(played)))) if played else WINDOW_EPISODES


def learning_curve(iterations: Sequence[IterationRecord], window: int = WINDOW_EPISODES) -> LearningCurve | None:
    """Return the learning curve of a run; None where no episode ended.

    Returns that are not finite (a run that broke) are left out, as if their episodes had not ended.

    Args:
        iterations: of the run.
        window: episodes of the running mean.
    """
    seconds = np.cumsum([item.wall_s if math.isfinite(item.wall_s) else 0.0 for item in iterations])
    steps = np.array([item.total_env_steps for item in iterations], dtype=np.float64)
    raw = _returns(iterations)
    episodes = _episodes(raw, iterations)
    known = np.flatnonzero(episodes)
    if not known.size:
        return None
    returns = _running_mean(np.nan_to_num(raw), episodes, window)
    first = int(known[0])
    return LearningCurve(steps[first:], seconds[first:], returns[first:], len(iterations))


def _returns(iterations: Sequence[IterationRecord]) -> NDArray[np.float64]:
    """Return the mean return of every iteration, NaN where no episode ended or it is not finite."""
    raw = np.array([math.nan if (mean := item.episode_return_mean) is None else mean for item in iterations])
    return np.where(np.isfinite(raw), raw, math.nan)


def _episodes(raw: NDArray[np.float64], iterations: Sequence[IterationRecord]) -> NDArray[np.float64]:
    # A file of another program may not count its episodes; then every iteration weighs the same.
    return np.where(np.isnan(raw), 0.0, [max(1, item.num_episodes) for item in iterations])


def _running_mean(raw: NDArray[np.float64], episodes: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean over the last ``window`` episodes; of the oldest iteration in it, only as many as fit."""
    count = np.concatenate([[0.0], np.cumsum(episodes)])
    total = np.concatenate([[0.0], np.cumsum(raw * episodes)])
    # The sum of returns as a function of the episodes so far is piecewise linear: it can be read between iterations.
    begin = np.maximum(0.0, count - window)
    share = np.interp(begin, *_strictly_rising(count, total))
    with np.errstate(invalid="ignore"):
        mean = (total - share) / (count - begin)
    return np.asarray(mean[1:])


def _strictly_rising(
    count: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept = np.concatenate([[True], np.diff(count) > 0])
    return count[kept], total[kept]
