"""What is believed of the speed of every plan, measured or not, and how sure that is.

The logarithm of a plan's steps per second is a Gaussian process around what a model predicts, and a slice k of
measurement of plan i, in process p, at time t, gives

    y_k = theta_i + process_p + drift(t) + noise_k

    theta = prediction + residual,   residual ~ N(0, K)
    process ~ N(0, sigma_p^2)        the same plan in another process: memory layout, placement
    drift   ~ Ornstein-Uhlenbeck(sigma_d, tau)   heat, neighbours: common to whatever runs at about the same time
    noise   ~ N(0, sigma_n^2)        slices that something else slowed down count for less

All of it is linear and Gaussian, so the posterior is exact for given sigmas (Rasmussen and Williams 2006, eq. 2.23).
The sigmas are not known: the posterior is averaged over a grid of them, weighed by marginal likelihood (eq. 2.30).
Plans that are alike share residuals, so that each measurement teaches about its neighbours, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

Floats = NDArray[np.float64]

NOISE_SDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
PROCESS_SDS = (0.01, 0.025, 0.06)
DRIFT_SDS = (0.02, 0.08, 0.25)
"""Standard deviations that are considered, of log SPS: 0.01 is 1 %."""
DRIFT_TAU_S = 60.0
"""How long drift takes to be forgotten."""
_PRIOR_LOG_SD = 1.5
"""Of each sigma around the middle of its grid, in natural logarithms; wide."""
_BURST_SDS = 3.0
"""A slice that is slower by more than this many standard deviations than the others say was disturbed."""
_JITTER = 1e-10


@dataclass(frozen=True, slots=True)
class Slice:
    """One measurement.

    Attributes:
        candidate: index of the plan.
        process: number of the process that ran it; the same number, the same process.
        time_s: middle of the slice, on any clock that does not jump.
        log_sps: natural logarithm of steps per second.
        wall_s: how long it took.
    """

    candidate: int
    process: int
    time_s: float
    log_sps: float
    wall_s: float = 1.0


@dataclass(frozen=True)
class Sigmas:
    """One point of the grid of standard deviations."""

    noise: float
    process: float
    drift: float


@dataclass(frozen=True)
class _Posterior:
    """Given one set of sigmas."""

    weight: float
    sigmas: Sigmas
    mean: Floats  # [n]
    root: Floats  # [n, n]: covariance = root @ root.T


class Belief:
    """The posterior over the speed of ``n`` plans.

    Args:
        prediction: log SPS of each plan before anything is measured, ``[n]``.
        covariance: K of the residuals, ``[n, n]``.
    """

    def __init__(self, prediction: Floats, covariance: Floats) -> None:
        self._prediction = np.asarray(prediction, np.float64)
        self._covariance = np.asarray(covariance, np.float64)
        self._slices: list[Slice] = []
        self._posteriors: list[_Posterior] | None = None

    @property
    def slices(self) -> Sequence[Slice]:
        """Everything measured so far."""
        return self._slices

    def learn(self, piece: Slice) -> None:
        """Take a measurement into account."""
        self._slices.append(piece)
        self._posteriors = None

    @property
    def mean(self) -> Floats:
        """Expected log SPS of each plan, ``[n]``."""
        return np.asarray(sum(one.weight * one.mean for one in self._posterior()), np.float64)

    @property
    def sd(self) -> Floats:
        """Standard deviation of the log SPS of each plan, ``[n]``, over all sigmas."""
        mean = self.mean
        second = sum(
            one.weight * (np.einsum("ij,ij->i", one.root, one.root) + (one.mean - mean) ** 2)
            for one in self._posterior()
        )
        return np.asarray(np.sqrt(second), np.float64)

    def sample(self, count: int, generator: np.random.Generator) -> Floats:
        """Draw joint log SPS of all plans, ``[count, n]``."""
        posteriors = self._posterior()
        shares = generator.multinomial(count, [one.weight for one in posteriors])
        size = len(self._prediction)
        drawn = [
            one.mean + generator.standard_normal((share, size)) @ one.root.T
            for one, share in zip(posteriors, shares, strict=True)
            if share
        ]
        return np.concatenate(drawn)

    def noise_sd(self) -> float:
        """Return the standard deviation of one slice against another of the same process, of log SPS."""
        return float(sum(one.weight * one.sigmas.noise for one in self._posterior()))

    def process_sd(self) -> float:
        """Return the standard deviation from process to process of the same plan, of log SPS."""
        return float(sum(one.weight * one.sigmas.process for one in self._posterior()))

    def drift_sd(self) -> float:
        """Return the standard deviation of what is common to all plans and changes with time, of log SPS."""
        return float(sum(one.weight * one.sigmas.drift for one in self._posterior()))

    def _posterior(self) -> list[_Posterior]:
        if self._posteriors is None:
            self._posteriors = self._fit()
        return self._posteriors

    def _fit(self) -> list[_Posterior]:
        if not self._slices:
            middle = Sigmas(NOISE_SDS[2], PROCESS_SDS[1], DRIFT_SDS[1])
            return [_Posterior(1.0, middle, self._prediction, _root(self._covariance))]
        data = _Data(self._slices, self._prediction, self._covariance)
        weights = np.ones(len(self._slices))
        grid = [Sigmas(*sds) for sds in itertools.product(NOISE_SDS, PROCESS_SDS, DRIFT_SDS)]
        for _ in range(2):  # once to see which slices stand out, once without them
            fits = [data.solve(sigmas, weights) for sigmas in grid]
            evidence = np.array([fit.log_likelihood + _log_prior(fit.sigmas) for fit in fits])
            best = fits[int(np.argmax(evidence))]
            weights = data.weights(best, weights)
        shares = np.exp(evidence - evidence.max())
        shares /= shares.sum()
        kept = shares > 1e-3
        found = []
        for share, fit in zip(shares[kept] / shares[kept].sum(), itertools.compress(fits, kept), strict=True):
            mean, covariance = data.posterior(fit)
            found.append(_Posterior(float(share), fit.sigmas, mean, _root(covariance)))
        return found


@dataclass(frozen=True)
class _Fit:
    sigmas: Sigmas
    factor: tuple[Floats, bool]
    solved: Floats
    log_likelihood: float
    noise: Floats


class _Data:
    """Slices as arrays, and what follows from them for given sigmas."""

    def __init__(self, slices: Sequence[Slice], prediction: Floats, covariance: Floats) -> None:
        self._which = np.array([piece.candidate for piece in slices])
        process = np.array([piece.process for piece in slices])
        time_s = np.array([piece.time_s for piece in slices])
        self._prediction, self._covariance = prediction, covariance
        self._gap = np.array([piece.log_sps for piece in slices]) - prediction[self._which]
        self._cross = covariance[:, self._which]
        self._alike = covariance[np.ix_(self._which, self._which)]
        self._same_process = (process[:, None] == process).astype(np.float64)
        self._nearness = np.exp(-np.abs(time_s[:, None] - time_s) / DRIFT_TAU_S)

    def solve(self, sigmas: Sigmas, weights: Floats) -> _Fit:
        noise = sigmas.noise**2 / weights
        total = (
            self._alike
            + sigmas.process**2 * self._same_process
            + sigmas.drift**2 * self._nearness
            + np.diag(noise + _JITTER)
        )
        factor = cho_factor(total, lower=True, check_finite=False)
        solved = cho_solve(factor, self._gap, check_finite=False)
        log_determinant = 2.0 * float(np.log(np.diag(factor[0])).sum())
        return _Fit(sigmas, factor, solved, -0.5 * (float(self._gap @ solved) + log_determinant), noise)

    def weights(self, fit: _Fit, weights: Floats) -> Floats:
        """Return the weight of each slice: less than 1 for one that was slowed by a burst of something else.

        What a slice's own noise is thought to be follows from the fit (noise_k times the k-th solved entry); Huber's
        weight is taken of it, on the slow side alone: nothing makes a machine faster for a moment.
        """
        residual = fit.noise * fit.solved / np.sqrt(fit.noise)
        slow = np.maximum(-residual, 0.0)
        return np.where(slow > _BURST_SDS, weights * _BURST_SDS / np.maximum(slow, _BURST_SDS) / 4.0, weights)

    def posterior(self, fit: _Fit) -> tuple[Floats, Floats]:
        mean = self._prediction + self._cross @ fit.solved
        half = solve_triangular(fit.factor[0], self._cross.T, lower=True, check_finite=False)
        return mean, self._covariance - half.T @ half


def _log_prior(sigmas: Sigmas) -> float:
    gaps = (
        np.log(sigmas.noise / NOISE_SDS[2]),
        np.log(sigmas.process / PROCESS_SDS[1]),
        np.log(sigmas.drift / DRIFT_SDS[1]),
    )
    return float(-0.5 * sum(gap**2 for gap in gaps) / _PRIOR_LOG_SD**2)


def _root(covariance: Floats) -> Floats:
    """Return a matrix whose product with its transpose is ``covariance``, even where that is singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
