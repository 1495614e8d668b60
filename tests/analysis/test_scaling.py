"""The arithmetic and the fits against the published table, exact data, and properties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paceline
from paceline.analysis import scaling
from paceline.errors import RequestError

positive = st.floats(1e-3, 1e4, allow_nan=False)
fractions = st.floats(0.0, 1.0)
grids = st.lists(st.tuples(st.integers(1, 16), st.integers(1, 64)), min_size=6, max_size=16, unique=True).filter(
    lambda grid: any((r, e) != (1, 1) for r, e in grid)
)


def rows(published: dict[str, Any]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(published["rows"]).T)


# --- the published table -------------------------------------------------------------------------------------------


def test_published_speedups_and_efficiencies(published: dict[str, Any]) -> None:
    base_s = published["rows"][0][2]
    for r, e, time_s, speedup, efficiency_pct in published["rows"]:
        ours = scaling.speedup(base_s, time_s, base_steps=16384, steps=16384)
        assert ours == pytest.approx(speedup, abs=0.011)
        assert 100 * scaling.efficiency(ours, r * e) == pytest.approx(efficiency_pct, abs=0.11)
        assert ours == pytest.approx(scaling.speedup_by_sps(16384 / base_s, 16384 / time_s))


def test_published_sps(published: dict[str, Any]) -> None:
    times = {(r, e): t for r, e, t, *_ in published["rows"]}
    assert 16384 / times[1, 1] == pytest.approx(published["sps_baseline"], abs=1)
    assert 16384 / times[8, 2] == pytest.approx(published["sps_8x2"], rel=2e-3)


def test_published_worked_example(published: dict[str, Any]) -> None:
    example = published["worked_example_6x2"]
    ours = scaling.speedup(published["rows"][0][2], example["time_per_iter_s"])
    assert ours == pytest.approx(example["speedup"], abs=0.01)
    assert 100 * scaling.efficiency(ours, 12) == pytest.approx(example["efficiency_pct"], abs=0.1)


def test_published_serial_fraction_from_one_point(published: dict[str, Any]) -> None:
    fit = scaling.amdahl_fit([16], [5.41])
    assert fit.serial_fraction == pytest.approx(published["amdahl_serial_fraction_from_8x2"], abs=0.005)
    assert fit.serial_fraction == pytest.approx(scaling.karp_flatt(5.41, 16))
    assert fit.interval is None and fit.held_out_error is None and "1 point," in fit.reason


def test_published_amdahl_check_was_miscomputed() -> None:
    assert scaling.amdahl_speedup(0.13, 16) == pytest.approx(5.42, abs=0.005)


def test_published_karp_flatt_shows_that_one_serial_fraction_does_not_fit(published: dict[str, Any]) -> None:
    base_s = published["rows"][0][2]
    values = [scaling.karp_flatt(base_s / t, r * e) for r, e, t, *_ in published["rows"][1:]]
    assert min(values) == pytest.approx(0.13, abs=0.005)
    assert max(values) == pytest.approx(0.33, abs=0.005)


def test_published_phase_model(published: dict[str, Any]) -> None:
    fit = scaling.phase_fit([row[:3] for row in published["rows"]])
    assert (fit.learner_s, fit.runner_s, fit.batched_s) == pytest.approx((1.50, 2.14, 8.87), abs=0.005)
    assert fit.held_out_error == pytest.approx(0.064, abs=0.001)
    for name in ("learner_s", "runner_s", "batched_s"):
        assert fit.intervals[name].contains(getattr(fit, name))


def test_published_choice_is_the_phase_model(published: dict[str, Any]) -> None:
    choice = scaling.choose_model([row[:3] for row in published["rows"]])
    errors = {model.name: model.held_out_error for model in choice.candidates}
    assert choice.chosen is not None and choice.chosen.name == "phase"
    assert errors["phase"] == pytest.approx(0.064, abs=0.001)
    assert errors["amdahl"] == pytest.approx(0.194, abs=0.001)
    assert "6.4%" in choice.reason and "Amdahl's law 19.4%" in choice.reason
    assert choice.chosen.predict(8, 2) == pytest.approx(1.496 + 2.137 / 8 + 8.866 / 16, abs=0.002)


def test_published_amdahl_over_all_points(published: dict[str, Any]) -> None:
    r, e, time_s, *_ = rows(published)
    fit = scaling.amdahl_fit(r * e, time_s[0] / time_s)
    # Oracle: the weighted sum of squares, searched on a grid.
    grid = np.linspace(0, 1, 100_001)[:, None]
    relative = time_s / time_s[0]
    cost = np.square((grid + (1 - grid) / (r * e)) / relative - 1).sum(axis=1)
    assert fit.serial_fraction == pytest.approx(grid[cost.argmin(), 0], abs=1e-5)
    assert fit.interval is not None and fit.interval.contains(fit.serial_fraction)
    assert fit.limit == pytest.approx(1 / fit.serial_fraction)
    assert fit.limit_interval is not None and fit.limit_interval.contains(fit.limit)
    assert fit.limit_interval.low == pytest.approx(1 / fit.interval.high)
    assert fit.share_of_limit == pytest.approx((time_s[0] / time_s).max() * fit.serial_fraction)


@pytest.mark.parametrize(
    ("percent", "rating"),
    [(100, "excellent"), (80, "excellent"), (79.99, "good"), (60, "good"), (59.9, "fair"), (40, "fair"),
     (39.9, "inefficient"), (0, "inefficient"), (250, "excellent")],
)  # fmt: skip
def test_rating_bands(percent: float, rating: str) -> None:
    assert scaling.rate(percent / 100) == rating


# --- the arithmetic ------------------------------------------------------------------------------------------------


def test_speedup_by_time_refuses_other_step_counts() -> None:
    with pytest.raises(RequestError, match=r"got 16384 and 8192; compare SPS instead"):
        scaling.speedup(10.0, 5.0, base_steps=16384, steps=8192)


def test_speedup_refuses_half_a_comparison() -> None:
    with pytest.raises(RequestError, match="give both"):
        scaling.speedup(10.0, 5.0, base_steps=16384)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_figures_that_were_not_measured_are_refused(bad: float) -> None:
    for call in (
        lambda: scaling.speedup(bad, 1.0),
        lambda: scaling.speedup(1.0, bad),
        lambda: scaling.speedup_by_sps(1.0, bad),
        lambda: scaling.efficiency(bad, 4),
        lambda: scaling.efficiency(2.0, bad),
        lambda: scaling.karp_flatt(2.0, bad),
    ):
        with pytest.raises(RequestError, match="expected"):
            call()


def test_karp_flatt_refuses_the_baseline() -> None:
    with pytest.raises(RequestError, match="leave the baseline out"):
        scaling.karp_flatt(1.0, 1)


@given(speedup=positive, n=st.integers(1, 4096))
def test_efficiency_loss_and_gap_belong_together(speedup: float, n: int) -> None:
    efficiency = scaling.efficiency(speedup, n)
    assert efficiency * n == pytest.approx(speedup)
    assert efficiency + scaling.efficiency_loss(speedup, n) == pytest.approx(1.0)
    assert scaling.gap_to_ideal(speedup, n) == pytest.approx(n * scaling.efficiency_loss(speedup, n), abs=1e-6 * n)


@given(base=positive, time=positive, steps=st.integers(1, 10**6))
def test_speedup_by_time_is_speedup_by_sps_for_the_same_steps(base: float, time: float, steps: int) -> None:
    by_time = scaling.speedup(base, time, base_steps=steps, steps=steps)
    assert by_time == pytest.approx(scaling.speedup_by_sps(steps / base, steps / time))


@given(serial=fractions, n=st.integers(2, 10_000))
def test_karp_flatt_inverts_amdahl(serial: float, n: int) -> None:
    assert scaling.karp_flatt(scaling.amdahl_speedup(serial, n), n) == pytest.approx(serial, abs=1e-9)


@given(serial=fractions, n=st.integers(1, 1000))
def test_amdahl_grows_with_n_and_stays_below_its_limit(serial: float, n: int) -> None:
    here, more = scaling.amdahl_speedup(serial, n), scaling.amdahl_speedup(serial, n + 1)
    assert 1 - 1e-12 <= here <= more + 1e-12
    assert more <= scaling.amdahl_speedup(serial, math.inf) * (1 + 1e-12)


@pytest.mark.parametrize(("serial", "n"), [(-0.1, 2), (1.1, 2), (0.5, 0.5), (math.nan, 2), (0.5, math.nan)])
def test_amdahl_refuses_what_makes_no_sense(serial: float, n: float) -> None:
    with pytest.raises(RequestError, match="expected"):
        scaling.amdahl_speedup(serial, n)


# --- the fits recover exact data -----------------------------------------------------------------------------------


@given(serial=fractions, workers=st.lists(st.integers(1, 512), min_size=2, max_size=10, unique=True))
@settings(max_examples=40, deadline=None)
def test_amdahl_fit_recovers_s(serial: float, workers: list[int]) -> None:
    fit = scaling.amdahl_fit(workers, [scaling.amdahl_speedup(serial, n) for n in workers])
    assert fit.serial_fraction == pytest.approx(serial, abs=1e-7)
    assert fit.residual_error == pytest.approx(0.0, abs=1e-7)
    assert fit.predict(7) == pytest.approx(scaling.amdahl_speedup(serial, 7), rel=1e-5)


@given(serial=st.floats(0.01, 0.99), scale=st.floats(0.5, 2.0))
@settings(max_examples=20, deadline=None)
def test_free_amdahl_fit_does_not_care_what_the_speedups_are_over(serial: float, scale: float) -> None:
    workers = [2, 4, 8, 16]
    fit = scaling.amdahl_fit(workers, [scale * scaling.amdahl_speedup(serial, n) for n in workers], anchored=False)
    assert fit.serial_fraction == pytest.approx(serial, abs=1e-6)


@given(sigma=st.floats(0, 0.9), kappa=st.floats(0, 0.05))
@settings(max_examples=40, deadline=None)
def test_usl_fit_recovers_its_coefficients(sigma: float, kappa: float) -> None:
    workers = [1, 2, 4, 8, 16, 32]
    fit = scaling.usl_fit(workers, [n / (1 + sigma * (n - 1) + kappa * n * (n - 1)) for n in workers])
    assert (fit.contention, fit.coherency) == pytest.approx((sigma, kappa), abs=1e-7)
    assert fit.held_out_error == pytest.approx(0.0, abs=1e-6)


def test_usl_peak_is_where_speedup_is_largest() -> None:
    sigma, kappa = 0.05, 0.001
    workers = np.arange(1, 65)
    speedups = workers / (1 + sigma * (workers - 1) + kappa * workers * (workers - 1))
    fit = scaling.usl_fit(workers, speedups)
    assert fit.peak_num_envs is not None
    assert abs(fit.peak_num_envs - workers[speedups.argmax()]) < 1
    assert fit.peak_speedup == pytest.approx(fit.predict(fit.peak_num_envs))


def test_usl_without_coherency_is_amdahl_and_has_no_peak(published: dict[str, Any]) -> None:
    r, e, time_s, *_ = rows(published)
    usl = scaling.usl_fit(r * e, time_s[0] / time_s)
    amdahl = scaling.amdahl_fit(r * e, time_s[0] / time_s)
    assert usl.coherency == 0.0 and usl.peak_num_envs is None
    assert usl.contention == pytest.approx(amdahl.serial_fraction)


coefficients = st.floats(0.05, 50.0)


@given(learner=coefficients, runner=coefficients, batched=coefficients, grid=grids)
@settings(max_examples=40, deadline=None)
def test_phase_fit_recovers_its_coefficients(learner: float, runner: float, batched: float, grid: list) -> None:
    grid = sorted({*grid, (1, 1), (2, 1), (1, 2), (2, 2)})
    points = [(r, e, learner + runner / r + batched / (r * e)) for r, e in grid]
    fit = scaling.phase_fit(points)
    assert (fit.learner_s, fit.runner_s, fit.batched_s) == pytest.approx((learner, runner, batched), rel=1e-4)
    assert fit.predict(3, 5) == pytest.approx(learner + runner / 3 + batched / 15, rel=1e-5)


@given(times=st.lists(st.floats(0.1, 100), min_size=6, max_size=6))
@settings(max_examples=30, deadline=None)
def test_fits_stay_physical_on_any_data(times: list[float]) -> None:
    grid = [(1, 1), (1, 4), (2, 1), (2, 4), (4, 1), (4, 4)]
    phase = scaling.phase_fit([(r, e, t) for (r, e), t in zip(grid, times, strict=True)])
    assert min(phase.learner_s, phase.runner_s, phase.batched_s) >= 0
    amdahl = scaling.amdahl_fit([r * e for r, e in grid], [times[0] / t for t in times])
    assert 0 <= amdahl.serial_fraction <= 1
    assert amdahl.interval is not None and 0 <= amdahl.interval.low <= amdahl.interval.high <= 1
    usl = scaling.usl_fit([r * e for r, e in grid], [times[0] / t for t in times])
    assert usl.contention >= 0 and usl.coherency >= 0


# --- the choice ----------------------------------------------------------------------------------------------------


def test_in_process_points_are_not_one_runner(published: dict[str, Any]) -> None:
    """r = 0 has no IPC: fitting it as r = 1 would spoil the phase model, so it is left out and counted."""
    points = [tuple(row[:3]) for row in published["rows"]]
    mixed = [*points, (0, 1, 1.0), (0, 8, 0.5)]
    assert scaling.phase_fit(mixed).learner_s == pytest.approx(scaling.phase_fit(points).learner_s)
    assert scaling.phase_fit(mixed).num_excluded == 2
    choice = scaling.choose_model(mixed)
    assert choice.family == "runners" and choice.excluded == ("0x1", "0x8")
    assert "0x1, 0x8" in choice.reason


def test_in_process_only_is_fitted_over_envs() -> None:
    choice = scaling.choose_model([(0, e, 1.0 + 4.0 / e) for e in (1, 2, 4, 8, 16)])
    assert choice.family == "in-process"
    assert choice.chosen is not None and choice.chosen.name == "amdahl"
    assert choice.chosen.predict(0, 32) == pytest.approx(1.0 + 4.0 / 32)


def test_the_simpler_of_equal_models_is_chosen() -> None:
    choice = scaling.choose_model([(r, e, 2.0 + 8.0 / (r * e)) for r in (1, 2, 4) for e in (1, 2, 4)])
    assert choice.chosen is not None and choice.chosen.name == "amdahl"
    assert "Not clearly better" not in choice.reason


def test_a_little_better_is_not_enough_for_more_terms() -> None:
    rng = np.random.default_rng(3)
    grid = [(r, e) for r in (1, 2, 4, 8) for e in (1, 2, 4, 8)]
    points = [(r, e, (2.0 + 0.3 / r + 8.0 / (r * e)) * math.exp(rng.normal(0, 0.03))) for r, e in grid]
    choice = scaling.choose_model(points)
    errors = {model.name: model.held_out_error for model in choice.candidates}
    assert errors["phase"] is not None and errors["amdahl"] is not None
    assert 0.9 * errors["amdahl"] < errors["phase"] < errors["amdahl"]
    assert choice.chosen is not None and choice.chosen.name == "amdahl"
    assert "Not clearly better, and with more terms: the phase model." in choice.reason


def test_retrograde_scaling_is_the_usl() -> None:
    points = [(r, 1, (1 + 0.05 * (r - 1) + 0.02 * r * (r - 1)) / r) for r in (1, 2, 4, 8, 16, 32)]
    choice = scaling.choose_model(points)
    assert choice.chosen is not None and choice.chosen.name == "usl"


@pytest.mark.parametrize("points", [[], [(1, 1, 2.0)], [(1, 1, 2.0), (2, 1, 1.2), (4, 1, 0.9), (0, 1, 1.0)]])
def test_too_few_points_are_called_so(points: list) -> None:
    choice = scaling.choose_model(points)
    assert choice.chosen is None and choice.candidates == ()
    assert choice.reason.startswith("Too few points")


def test_a_model_that_predicts_poorly_says_so() -> None:
    choice = scaling.choose_model([(1, 1, 9.0), (2, 1, 1.0), (1, 2, 7.0), (4, 1, 6.0), (1, 4, 1.5), (4, 4, 5.0)])
    assert choice.chosen is not None and "poor" in choice.reason


def test_phase_fit_refuses_points_that_cannot_tell_the_terms_apart() -> None:
    with pytest.raises(RequestError, match="2 x 2"):
        scaling.phase_fit([(1, e, 1.0 + 1.0 / e) for e in (1, 2, 4, 8)])


@pytest.mark.parametrize("point", [(1, 0, 1.0), (-1, 1, 1.0), (1, 1, 0.0), (1, 1, math.nan)])
def test_points_out_of_range_are_refused(point: tuple[int, int, float]) -> None:
    with pytest.raises(RequestError, match="expected"):
        scaling.choose_model([(1, 1, 1.0), (1, 2, 1.0), (2, 1, 1.0), (2, 2, 1.0), point])


@pytest.mark.parametrize(("n", "speedups"), [([1, 2], [1.0]), ([], []), ([0.5], [1.0]), ([2], [0.0]), ([1], [1.0])])
def test_amdahl_fit_refuses_what_it_cannot_fit(n: list, speedups: list) -> None:
    with pytest.raises(RequestError, match="expected"):
        scaling.amdahl_fit(n, speedups)


def test_scaling_is_public() -> None:
    assert paceline.scaling is scaling
    assert all(hasattr(scaling, name) for name in scaling.__all__)
