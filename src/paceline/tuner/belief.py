"""What is believed of the speed of every plan, measured or not, and how sure that is.

The logarithm of a plan's steps per second is a Gaussian process around what a model predicts, and a slice k of
measurement of plan i, in process p, at time t, gives

    y_k = theta_i + process_p + drift(t) + noise_k

    theta = prediction + residual,   residual ~ N(0, K)
    process ~ N(0, sigma_p^2)        the same plan in another process: memory layout, placement
    drift   ~ Ornstein-Uhlenbeck(sigma_d, tau)   heat, neighbours: common to whatever runs at about the same time
    noise   ~ N(0, sigma_n^2 / sqrt(seconds))    slices that something else slowed down count for less

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
from scipy.linalg import solve_triangular

Floats = NDArray[np.float64]

NOISE_SDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
PROCESS_SDS = (0.01, 0.025, 0.06)
DRIFT_SDS = (0.02, 0.08, 0.25)
"""Standard deviations that are considered, of log SPS: 0.01 is 1 %."""
DRIFT_TAU_S = 60.0
"""How long drift takes to be forgotten."""
_PRIOR_LOG_SD = 1.5
"""Of each sigma around the middle of its grid, in natural logarithms; wide."""
_NU = 4.0
_MOST_REWEIGHTINGS = 10
_SETTLED = 0.05
_JITTER = 1e-10
_SHORTEST_S = 0.1
_NEGLIGIBLE = 1e-3

_GRID = np.array(list(itertools.product(NOISE_SDS, PROCESS_SDS, DRIFT_SDS)))  # [G, 3]
_WEIGHT_GRID = np.array(list(itertools.product(NOISE_SDS, PROCESS_SDS[1:2], DRIFT_SDS)))  # [G', 3]
_GRID_WEIGHTS = np.array(
    [
        noise * len(DRIFT_SDS) + drift
        for noise in range(len(NOISE_SDS))
        for _ in PROCESS_SDS
        for drift in range(len(DRIFT_SDS))
    ]
)
"""Row of the second grid whose weights a row of the first one takes, ``[G]``."""


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
        self._weights: Floats = np.ones((len(_WEIGHT_GRID), 0))
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
        self._weights = data.settled_weights(self._weights)
        fit = data.solve(_GRID, self._weights[_GRID_WEIGHTS])
        shares = np.exp(fit.evidence - fit.evidence.max())
        shares[shares < _NEGLIGIBLE * shares.sum()] = 0.0
        shares /= shares.sum()
        return [
            _Posterior(float(shares[index]), Sigmas(*_GRID[index].tolist()), mean, _root(covariance))
            for index in np.flatnonzero(shares)
            for mean, covariance in [data.posterior(fit, int(index))]
        ]


@dataclass(frozen=True)
class _Fit:
    """Of G points of the grid."""

    factor: Floats  # [G, K, K], lower
    solved: Floats  # [G, K]
    evidence: Floats  # [G], a logarithm


class _Data:
    """K slices as arrays, and what follows from them for given sigmas."""

    def __init__(self, slices: Sequence[Slice], prediction: Floats, covariance: Floats) -> None:
        which = np.array([piece.candidate for piece in slices])
        process = np.array([piece.process for piece in slices])
        time_s = np.array([piece.time_s for piece in slices])
        self._prediction, self._covariance = prediction, covariance
        self._gap = np.array([piece.log_sps for piece in slices]) - prediction[which]
        self._cross = covariance[:, which]
        self._alike = covariance[np.ix_(which, which)]
        self._same_process = (process[:, None] == process).astype(np.float64)
        self._brevity = np.array([max(piece.wall_s, _SHORTEST_S) for piece in slices]) ** -0.5
        self._nearness = np.exp(-np.abs(time_s[:, None] - time_s) / DRIFT_TAU_S)

    def solve(self, sigmas: Floats, weights: Floats) -> _Fit:
        """Solve for all ``sigmas`` ``[G, 3]`` at once, with the slices' ``weights`` ``[G, K]``."""
        noise, process, drift = np.square(sigmas.T[:, :, None, None])
        total = self._alike + process * self._same_process + drift * self._nearness
        rows = np.arange(len(self._gap))
        total[:, rows, rows] += noise[:, :, 0] * self._brevity / weights + _JITTER
        factor = np.linalg.cholesky(total)
        solved = np.linalg.solve(total, self._gap[None, :, None])[..., 0]
        log_determinant = 2.0 * np.log(factor[:, rows, rows]).sum(1)
        likelihood = -0.5 * (solved @ self._gap + log_determinant)
        # The prior of a weight is Gamma(nu/2, nu/2), which makes the noise Student's t.
        of_weights = ((_NU / 2 - 1) * np.log(weights) - _NU / 2 * (weights - 1)).sum(1)
        return _Fit(factor, solved, likelihood + of_weights + _log_prior(sigmas))

    def settled_weights(self, before: Floats) -> Floats:
        """Return the weight of each slice: less than 1 for one that was slowed by a burst of something else.

        They are those of Student's t with nu degrees of freedom, ``(nu + 1) / (nu + r^2)``, r being what a slice's own
        noise is thought to be in units of the noise's standard deviation (Lange et al. 1989); on the slow side alone:
        nothing makes a machine faster for a moment. What stands out depends on the noise, so there are weights for each
        standard deviation of noise and drift.

        Args:
            before: the weights of the slices that were known before, ``[G', <= K]``.
        """
        weights = np.ones((len(_WEIGHT_GRID), len(self._gap)))
        weights[:, : before.shape[1]] = before
        noise = _WEIGHT_GRID[:, :1]
        for _ in range(_MOST_REWEIGHTINGS):
            solved = self.solve(_WEIGHT_GRID, weights).solved
            slow = np.maximum(-noise * np.sqrt(self._brevity) / weights * solved, 0.0)
            after = np.minimum((_NU + 1.0) / (_NU + slow**2), 1.0)
            change = float(np.abs(after - weights).max())
            weights = after
            if change < _SETTLED:
                break
        return weights

    def posterior(self, fit: _Fit, index: int) -> tuple[Floats, Floats]:
        """Return mean and covariance of all plans at one point of the grid."""
        mean = self._prediction + self._cross @ fit.solved[index]
        half = solve_triangular(fit.factor[index], self._cross.T, lower=True, check_finite=False)
        return mean, self._covariance - half.T @ half


def _log_prior(sigmas: Floats) -> Floats:
    gaps = np.log(sigmas / np.array([NOISE_SDS[2], PROCESS_SDS[1], DRIFT_SDS[1]]))
    return np.asarray(-0.5 * np.square(gaps).sum(-1) / _PRIOR_LOG_SD**2)


def _root(covariance: Floats) -> Floats:
    """Return a matrix whose product with its transpose is ``covariance``, even where that is singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
