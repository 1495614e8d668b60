"""Training runs beside each other: the figures of every contender, and of each against the first.

:func:`compare_runs` makes everything that a comparison says; ``report`` only draws it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from statistics import median

import numpy as np

from paceline.analysis.bottleneck import Bottleneck, PhaseShare, find_bottleneck, peak_memory_bytes
from paceline.analysis.comparability import compared_notices
from paceline.analysis.contenders import Contender, Difference, differences, group_runs
from paceline.analysis.duel import Duel, Mark, Side, duel, duel_sentence, leading, too_few_iterations
from paceline.analysis.learning import FINAL_SHARE, WINDOW_EPISODES, LearningCurve, learning_curve, smoothing_window
from paceline.analysis.over_seeds import MIN_DUEL_SEEDS, estimate_iqm, iqm_band
from paceline.analysis.rows import add_ledgers, run_ledger, throughput_samples
from paceline.analysis.stats import FULL_SAMPLES, Estimate, at_full_confidence, estimate_median
from paceline.analysis.table import Notice
from paceline.errors import ResultsError
from paceline.measure.result import ResourceUse, RunResult
from paceline.measure.trained_run import TrainedRun

THRESHOLD_SHARE = 0.9
"""The common return is this share of the lowest final return, where that is positive."""
SAME_BUDGET_WITHIN = 0.05
"""Runs whose numbers of steps differ by less are compared by what each had learnt at its end."""
CURVE_POINTS = 121


@dataclass(frozen=True, slots=True)
class Band:
    """A learning curve over the seeds of a contender, at common points.

    Attributes:
        xs: environment steps, or seconds.
        centre: interquartile mean over seeds of the running mean of returns.
        low: lower end of its pointwise interval; empty where there are too few seeds for one.
        high: upper end, likewise.
    """

    xs: tuple[float, ...]
    centre: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Lag:
    """By how many updates the policies that acted were older than the one that learnt, over all iterations."""

    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What one contender's runs measured, over its seeds. Figures are None where nothing was measured.

    Attributes:
        contender: who.
        total_env_steps: environment steps at the end, median over runs.
        training_s: measured wall seconds, median over runs.
        finals: final return of every run that has one.
        final_return: their interquartile mean, with interval.
        mark: when the common return was reached.
        sps: environment steps per second, median over iterations of all runs, with interval.
        lag: of policies, where it was recorded.
        bottleneck: what holds its runs back, from the ledger of all of them together.
        cores_used: CPU seconds per second of the process tree, median over runs.
        cpu_utilization: that / usable cores, a fraction.
        peak_memory_bytes: of the process tree, the largest of any run.
        restarts: environments and runners that were replaced, over all runs.
        by_steps: learning curve against environment steps.
        by_seconds: learning curve against measured wall time.
    """

    contender: Contender
    total_env_steps: float
    training_s: float
    finals: tuple[float, ...] = ()
    final_return: Estimate | None = None
    mark: Mark | None = None
    sps: Estimate | None = None
    lag: Lag | None = None
    bottleneck: Bottleneck | None = None
    cores_used: float | None = None
    cpu_utilization: float | None = None
    peak_memory_bytes: int | None = None
    restarts: int = 0
    by_steps: Band | None = None
    by_seconds: Band | None = None

    @property
    def name(self) -> str:
        """The contender's name."""
        return self.contender.name

    @property
    def shares(self) -> tuple[PhaseShare, ...]:
        """The phases of the ledger, largest first."""
        return self.bottleneck.shares if self.bottleneck else ()


@dataclass(frozen=True, slots=True)
class Standings:
    """What a comparison of training runs says.

    Attributes:
        headline: the verdict, one sentence; of a single contender, that there is nothing to compare it with.
        sentences: the same for the other contenders, against the first.
        env_id: the environment.
        threshold: the common return whose reaching is timed, None where no episode ended.
        threshold_rule: how it was chosen, in words.
        window: episodes of the running mean behind every curve, final return and time to a return.
        horizon: environment steps at which learning is compared; None where all ran about as long, and each is taken
            at its end.
        standings: every contender, in the order given; the first is what the others are held against.
        duels: every other one against it; empty where there is no other.
        differences: the settings in which they differ.
        notices: what weakens the comparison, worst first.
        method: how the figures were made, one sentence per item.
    """

    headline: str
    sentences: tuple[str, ...]
    env_id: str
    threshold: float | None
    threshold_rule: str
    window: int
    horizon: float | None
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    differences: tuple[Difference, ...]
    notices: tuple[Notice, ...]
    method: tuple[str, ...]


def compare_runs(runs: Sequence[TrainedRun], *, names: Sequence[str] = (), left_out: Sequence[str] = ()) -> Standings:
    """Compare training runs of one environment; runs of a single contender are laid over each other.

    Args:
        runs: at least one, finished or not; runs that differ in their seeds alone are one contender.
        names: of the contenders, instead of those made of what sets them apart.
        left_out: folders that were meant but have no results, for the notices.

    Raises:
        RequestError: no runs, different environments, or names that do not fit the contenders.
        ResultsError: of several contenders fewer than two have a finished iteration, or the only one has none.
    """
    contenders = group_runs(runs, names)
    empty = [item for item in contenders if not any(run.result.iterations for run in item.runs)]
    if len(contenders) - len(empty) < min(2, len(contenders)):
        least, without = "two contenders or more" if len(contenders) > 1 else "a run", ", ".join(c.name for c in empty)
        raise ResultsError(f"expected {least} with a finished iteration, got none of {without}; run them again")
    measured = [_measured(item) for item in contenders if item not in empty]
    window = smoothing_window(run.iterations for item in measured for run in _complete(_results(item)))
    curves = [[learning_curve(run.result.iterations, window) for run in item.runs] for item in measured]
    known = [[curve for curve in each if curve is not None] for each in curves]
    finals = [[curve.final_return() for curve in each] for each in known]
    threshold = _threshold([estimate_iqm(each).value for each in finals if each])
    horizon = _horizon(measured)
    scores = [[curve.final_return(horizon or math.inf) for curve in each] for each in known]
    standings = [
        _standing(item, each, returns, threshold) for item, each, returns in zip(measured, curves, finals, strict=True)
    ]
    sides = [
        Side(item, throughput_samples(_results(item)), standing.mark, score)
        for item, standing, score in zip(measured, standings, scores, strict=True)
    ]
    duels = [duel(sides[0], side) for side in sides[1:]]
    lead = leading(duels) if duels else None
    return Standings(
        headline=duel_sentence(lead, threshold) if lead else _alone_sentence(measured[0]),
        sentences=tuple(duel_sentence(each, threshold) for each in duels if each is not lead),
        env_id=runs[0].result.env_id,
        threshold=threshold,
        threshold_rule=_threshold_rule(finals, threshold),
        window=window,
        horizon=horizon,
        standings=tuple(standings),
        duels=tuple(duels),
        differences=tuple(differences(measured)),
        notices=compared_notices(contenders, horizon, left_out),
        method=_method(standings, horizon, window),
    )


def _alone_sentence(contender: Contender) -> str:
    """Say that there is one contender, by what its runs differ, and which of them repeat a seed."""
    seeds = contender.seeds
    if len(seeds) == 1:
        return f"There is nothing to compare {contender.name} with: it is the only run."
    repeats = ", ".join(f"seed {seed} {seeds.count(seed)}x" for seed in sorted(set(seeds)) if seeds.count(seed) > 1)
    differ = "nothing" if len(set(seeds)) == 1 else "their seeds alone"
    return (
        f"There is nothing to compare {contender.name} with: its {len(seeds)} runs differ in {differ}"
        f"{f' ({repeats})' if repeats else ''}; give a run of another algorithm, setting, plan or budget as well."
    )


def _measured(contender: Contender) -> Contender:
    """Leave out runs that ended before their first iteration did; the notices name them."""
    return Contender(contender.name, tuple(run for run in contender.runs if run.result.iterations))


def _results(contender: Contender) -> list[RunResult]:
    return [run.result for run in contender.runs]


def _threshold(finals: Sequence[float]) -> float | None:
    """Return the return that all contenders are timed to, to three significant digits, so that it can be said.

    It is rounded down where it is the lowest final return itself: whoever has that must have reached it.
    """
    if not finals:
        return None
    lowest = min(finals)
    return float(f"{THRESHOLD_SHARE * lowest:.3g}") if lowest > 0 else _rounded_down(lowest)


def _rounded_down(value: float) -> float:
    rounded = Decimal(value).normalize(Context(prec=3, rounding=ROUND_FLOOR))
    return float(rounded)


def _threshold_rule(finals: Sequence[Sequence[float]], threshold: float | None) -> str:
    if threshold is None:
        return "no episode ended, so there is no return to be timed"
    share = f"{THRESHOLD_SHARE:.0%} of " if threshold > 0 else ""
    missing = " of those that have one" if not all(finals) else ""
    return f"{share}the lowest final return{missing}"


def _horizon(contenders: Sequence[Contender]) -> float | None:
    """Return the steps up to which all contenders ran, None where they ran about equally long."""
    ends = [_end(item) for item in contenders]
    return min(ends) if min(ends) < (1 - SAME_BUDGET_WITHIN) * max(ends) else None


def _end(contender: Contender) -> float:
    """Return the steps that a contender's complete runs took (median); of all its runs where none is complete."""
    return float(median(run.iterations[-1].total_env_steps for run in _complete(_results(contender))))


def _complete(runs: Sequence[RunResult]) -> Sequence[RunResult]:
    """Return the runs that finished; all where none did."""
    return [run for run in runs if run.outcome == "ok"] or runs


def _standing(
    contender: Contender, curves: Sequence[LearningCurve | None], finals: Sequence[float], threshold: float | None
) -> Standing:
    results = _results(contender)
    complete = [curve for run, curve in zip(results, curves, strict=True) if curve and run.outcome == "ok"]
    known = [curve for curve in curves if curve is not None]
    used = [run.resources for run in results if run.resources is not None]
    reached = [None if curve is None or threshold is None else curve.reached(threshold) for curve in curves]
    speeds = throughput_samples(results)
    return Standing(
        contender=contender,
        total_env_steps=float(median(run.iterations[-1].total_env_steps for run in results)),
        training_s=float(median(sum(item.wall_s for item in run.iterations) for run in results)),
        finals=tuple(finals),
        final_return=estimate_iqm(finals) if finals else None,
        mark=None if threshold is None else Mark.of(reached),
        sps=_speed(speeds),
        lag=_lag(results),
        bottleneck=_bottleneck(results),
        cores_used=float(median(use.cores_used for use in used)) if used else None,
        cpu_utilization=float(median(use.cpu_utilization for use in used)) if used else None,
        peak_memory_bytes=max((peak_memory_bytes(use) for use in used), default=None),
        restarts=sum(len(run.restarts) for run in contender.runs),
        by_steps=_band(known, complete or known, lambda curve: curve.steps),
        by_seconds=_band(known, complete or known, lambda curve: curve.seconds),
    )


def _speed(speeds: Sequence[Sequence[float]]) -> Estimate | None:
    if not any(speeds):
        return None
    found = estimate_median(*speeds)
    return at_full_confidence(found, too_few_iterations(found.count))


def _bottleneck(results: Sequence[RunResult]) -> Bottleneck | None:
    ledgers = [ledger for run in results if (ledger := run_ledger(run)) is not None]
    if not ledgers:
        return None
    used: list[ResourceUse] = [run.resources for run in results if run.resources]
    return find_bottleneck(
        add_ledgers(ledgers),
        max(used, key=peak_memory_bytes, default=None),
        num_env_runners=results[0].config.num_env_runners,
        iterations=sum(len(run.iterations) for run in results),
    )


def _lag(results: Sequence[RunResult]) -> Lag | None:
    metrics = [item.metrics for run in results for item in run.iterations if "lag_mean" in item.metrics]
    if not metrics:
        return None
    return Lag(
        min(each.get("lag_min", each["lag_mean"]) for each in metrics),
        sum(each["lag_mean"] for each in metrics) / len(metrics),
        max(each.get("lag_max", each["lag_mean"]) for each in metrics),
    )


def _band(
    curves: Sequence[LearningCurve],
    complete: Sequence[LearningCurve],
    pick: Callable[[LearningCurve], np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> Band | None:
    """Lay the curves of all seeds over each other, from where all have begun to where the first complete one ends.

    A run that broke before that counts on with the return that it had last: leaving it out from there would raise the
    curve of a contender whose bad seeds break.
    """
    if not curves:
        return None
    begin = max(float(pick(curve)[0]) for curve in curves)
    end = min(float(pick(curve)[-1]) for curve in complete)
    xs = np.linspace(begin, end, CURVE_POINTS) if begin < end else np.array([max(begin, end)])
    low, centre, high = iqm_band(np.stack([np.interp(xs, pick(curve), curve.returns) for curve in curves]))
    if np.isnan(low).any():
        return Band(tuple(xs.tolist()), tuple(centre.tolist()))
    return Band(tuple(xs.tolist()), tuple(centre.tolist()), tuple(low.tolist()), tuple(high.tolist()))


def _method(standings: Sequence[Standing], horizon: float | None, window: int) -> tuple[str, ...]:
    at = "at the end of each run" if horizon is None else f"after {horizon:,.0f} environment steps, as far as all ran"
    why = "as in the live display" if window == WINDOW_EPISODES else "a tenth of those of the run that had the fewest"
    said = [
        f"Curves, final returns and times to a return are of one running mean for all runs: that of the last "
        f"{window} episode{'s' * (window != 1)} ({why}; sampled actions, no evaluation). Curves are interquartile "
        f"means over seeds, bands their pointwise intervals (about the range of the seeds where these are fewer than "
        f"{FULL_SAMPLES}).",
        f"Final return: mean of that curve over the last {FINAL_SHARE:.0%} of a run's iterations; over seeds the "
        f"interquartile mean with a stratified bootstrap interval (Agarwal et al. 2021), its percentiles expanded for "
        f"few seeds. Every interval is one of 95%: where there are too few seeds or iterations for that there is none.",
        "Time is measured wall time of the iterations: set-up and compilation are not in it.",
        "Steps per second: the median over all iterations, with a bootstrap first over runs, then over iterations.",
    ]
    if len(standings) > 1:
        chance = (
            f"Probability of improvement: how often a seed of the contender beats a seed of {standings[0].name}, ties "
            f"counting half (same paper), by the returns {at}; told from {MIN_DUEL_SEEDS} seeds of each on. It is "
            f"called better or worse only where its whole interval lies on one side of 0.5 and at most 5% of random "
            f"exchanges of seeds between the two differ as much."
        )
        said.insert(2, chance)
    if any(standing.lag for standing in standings):
        said.append("Policy lag: updates between the policy that acted and the one that learnt from it.")
    return tuple(said)
