"""What is believed of speeds, against the equations written out for few plans, and against simulated truths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from paceline.tuner import belief as beliefs
from paceline.tuner.belief import DRIFT_SDS, DRIFT_TAU_S, NOISE_SDS, PROCESS_SDS, Belief, Slice

PREDICTED = np.log([1000.0, 2000.0, 1500.0])
COVARIANCE = np.array([[0.10, 0.05, 0.02], [0.05, 0.12, 0.02], [0.02, 0.02, 0.08]])
SLICES = [Slice(0, 1, 0.0, math.log(1100)), Slice(1, 2, 2.0, math.log(1900)), Slice(0, 1, 4.0, math.log(1150))]


def told(slices: list[Slice], covariance: np.ndarray = COVARIANCE) -> Belief:
    belief = Belief(PREDICTED, covariance)
    for piece in slices:
        belief.learn(piece)
    return belief


def test_before_anything_is_measured_the_prediction_is_believed() -> None:
    belief = told([])
    np.testing.assert_allclose(belief.mean, PREDICTED)
    np.testing.assert_allclose(belief.sd, np.sqrt(np.diag(COVARIANCE)))
    drawn = belief.sample(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.cov(drawn.T), COVARIANCE, atol=0.005)


def test_the_posterior_is_the_average_of_exact_ones_over_the_grid() -> None:
    """Every covariance written out, entry by entry, and inverted."""
    which = [piece.candidate for piece in SLICES]
    gap = np.array([piece.log_sps for piece in SLICES]) - PREDICTED[which]
    means, weights = [], []
    for noise, process, drift in itertools.product(NOISE_SDS, PROCESS_SDS, DRIFT_SDS):
        total = np.empty((3, 3))
        for i, a in enumerate(SLICES):
            for j, b in enumerate(SLICES):
                total[i, j] = COVARIANCE[a.candidate, b.candidate]
                total[i, j] += process**2 * (a.process == b.process)
                total[i, j] += drift**2 * math.exp(-abs(a.time_s - b.time_s) / DRIFT_TAU_S)
                total[i, j] += noise**2 * (i == j)
        inverse = np.linalg.inv(total)
        means.append(PREDICTED + COVARIANCE[:, which] @ inverse @ gap)
        prior = sum(
            (math.log(sd / middle) / beliefs._PRIOR_LOG_SD) ** 2
            for sd, middle in ((noise, NOISE_SDS[2]), (process, PROCESS_SDS[1]), (drift, DRIFT_SDS[1]))
        )
        weights.append(math.exp(-0.5 * (gap @ inverse @ gap + prior)) / math.sqrt(np.linalg.det(total)))
    expected = np.average(means, axis=0, weights=weights)
    np.testing.assert_allclose(told(SLICES).mean, expected, atol=2e-3)  # what weighs next to nothing is left out


def test_samples_have_the_mean_and_the_spread_that_are_told() -> None:
    belief = told(SLICES)
    drawn = belief.sample(40_000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(0), belief.mean, atol=0.01)
    np.testing.assert_allclose(drawn.std(0), belief.sd, rtol=0.05)


def test_a_measurement_teaches_about_plans_that_are_alike_and_not_about_others() -> None:
    alike = np.array([[0.1, 0.09, 0.0], [0.09, 0.1, 0.0], [0.0, 0.0, 0.1]])
    belief = told([Slice(0, 1, 0.0, math.log(2000))], alike)
    assert belief.mean[1] > PREDICTED[1] + 0.4
    assert belief.mean[2] == pytest.approx(PREDICTED[2])
    assert belief.sd[1] < 0.8 * math.sqrt(0.1)


def test_drift_that_hits_all_alike_is_no_difference_between_plans() -> None:
    """The machine slows down by a third while two equal plans take turns; one is measured twice as often early on."""
    random = np.random.default_rng(0)
    slices = []
    for turn in range(20):
        for candidate in (0, 1) if turn % 2 == 0 else (1, 0):
            time_s = float(2 * len(slices))
            level = math.log(1000) - 0.4 * time_s / 80 + float(random.normal(0, 0.005))
            slices.append(Slice(candidate, 1 + candidate, time_s, level))
    belief = Belief(np.log([1000.0, 1000.0]), np.array([[0.1, 0.05], [0.05, 0.1]]))
    for piece in slices:
        belief.learn(piece)
    drawn = belief.sample(4000, np.random.default_rng(0))
    assert abs(float(np.median(drawn[:, 0] - drawn[:, 1]))) < 0.02
    assert belief.drift_sd() > 0.05


def test_slices_that_something_else_slowed_down_count_for_less() -> None:
    calm = [Slice(0, 1, float(t), math.log(1000) + 0.002 * (-1) ** t) for t in range(8)]
    burst = Slice(0, 1, 8.0, math.log(1000) - 0.5)
    belief = told([*calm, burst])
    assert float(np.exp(belief.mean[0])) == pytest.approx(1000, rel=0.03)
    assert belief.noise_sd() < 0.05


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_noise_of_slices_is_found(noise: float) -> None:
    random = np.random.default_rng(3)
    belief = told([Slice(0, 1, float(t), 7.0 + float(random.normal(0, noise))) for t in range(30)])
    assert noise / 2 < belief.noise_sd() < 2 * noise
    assert PROCESS_SDS[0] <= belief.process_sd() <= PROCESS_SDS[-1]
