"""Measures of demand series: on series whose answer is known, and on planted differences that must be seen."""

from pathlib import Path

import numpy as np
import pytest

from simulators.multiscale import SCALES, draw_fast, draw_slow, fit_freedom, fit_sizes, structure_functions
from simulators.realism import (
    autocorrelation,
    burst_threshold,
    daily_share,
    find_bursts,
    five_minute_means,
    forecast_wape,
    hourly_profile,
    log_distance,
    log_relative,
    profile_distance,
    spread,
)

DAY = 1440
MINUTE = np.arange(14 * DAY)
DAILY = 1.0 + 0.5 * np.sin(2 * np.pi * MINUTE / DAY)


def noisy(days: int = 14, seed: int = 0, size: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(np.exp(size * rng.standard_normal(288 * days)), 5) * np.resize(DAILY, days * DAY)


def test_autocorrelation_of_a_daily_cycle() -> None:
    found = autocorrelation(np.exp(0.3 * np.sin(2 * np.pi * MINUTE / DAY)), (1, 360, 720, 1440))
    np.testing.assert_allclose(found, [1.0, 0.0, -1.0, 1.0], atol=0.02)


def test_autocorrelation_of_what_never_moves_or_is_too_short_is_nan() -> None:
    assert np.isnan(autocorrelation(np.ones(DAY), (1, 5))).all()
    assert np.isnan(autocorrelation(DAILY[:DAY], (10_080,))).all()


def test_an_autoregressive_series_has_its_theory() -> None:
    rng = np.random.default_rng(3)
    values = np.zeros(200_000)
    for index, shock in enumerate(0.1 * rng.standard_normal(len(values) - 1), 1):
        values[index] = 0.9 * values[index - 1] + shock
    found = autocorrelation(np.exp(0.1 * values), (1, 5, 10))
    np.testing.assert_allclose(found, [0.9, 0.9**5, 0.9**10], atol=0.02)


def test_profiles_follow_the_clock() -> None:
    demand = np.where(MINUTE // 60 % 24 == 9, 3.0, 1.0)
    profile = hourly_profile(demand, minute_of_week=0, hours=24)
    assert np.argmax(profile) == 9
    assert profile.mean() == pytest.approx(1.0)
    assert np.argmax(hourly_profile(demand, minute_of_week=120, hours=24)) == 11
    assert np.argmax(hourly_profile(np.where(MINUTE // 60 % 168 == 50, 3.0, 1.0), minute_of_week=0, hours=168)) == 50
    assert profile_distance(profile, profile) == (pytest.approx(1.0), 0.0)
    shifted = np.roll(profile, 5)
    assert profile_distance(profile, shifted)[0] < 0.1
    assert profile_distance(profile, shifted)[1] == pytest.approx(np.sqrt(2 / 24) * (profile[9] - profile[0]), rel=1e-6)


def test_an_hour_that_never_occurs_is_named() -> None:
    with pytest.raises(ValueError, match="hour 5 of 24 never occurs in 300 minutes"):
        hourly_profile(np.ones(300), minute_of_week=0, hours=24)


def test_a_planted_burst_is_found_with_height_and_length() -> None:
    demand = noisy()
    demand[5000:5025] *= 4.0
    found = find_bursts(demand)
    assert found.starts.tolist() == [1000]
    assert found.minutes.tolist() == [25]
    assert found.heights[0] == pytest.approx(np.log(4.0), abs=0.2)
    assert len(find_bursts(noisy()).starts) == 0


@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_lasting_jumps_daily_rises_and_dips_are_no_bursts(factor: float) -> None:
    jump = noisy()
    jump[9000:] *= factor
    assert len(find_bursts(jump).starts) == 0
    dip = noisy()
    dip[9000:9030] *= 0.2
    assert len(find_bursts(dip).starts) == 0


def test_the_threshold_grows_with_the_usual_change() -> None:
    assert burst_threshold(noisy(size=0.01)) == pytest.approx(np.log(1.25))
    assert burst_threshold(noisy(size=0.2)) == pytest.approx(6 * 0.2 * np.sqrt(2), rel=0.1)
    demand = noisy()
    demand[5000:5025] *= 4.0
    assert len(find_bursts(demand, threshold=2.0).starts) == 0


def test_spread_and_distance_of_distributions() -> None:
    demand = np.repeat([1.0, 3.0], 7 * DAY)
    found = spread(demand)
    assert found == pytest.approx({"cv": 0.5, "p01": 0.5, "p50": 1.0, "p99": 1.5, "peak": 1.5}, rel=1e-3)
    assert log_distance(demand, demand[::-1]) == 0.0
    assert log_distance(demand, 7 * demand) == pytest.approx(0.0, abs=1e-12)
    narrow = np.repeat([1.5, 2.5], 7 * DAY)
    moved = (np.log(0.76) - np.log(0.51) + np.log(1.51) - np.log(1.26)) / 2
    assert log_distance(demand, narrow) == pytest.approx(moved, rel=1e-6)


def test_the_share_of_the_daily_cycle() -> None:
    assert daily_share(DAILY) > 0.98
    rng = np.random.default_rng(0)
    assert daily_share(np.exp(rng.standard_normal(14 * DAY) * 0.3)) < 0.02
    twelve_hours = 1.0 + 0.3 * np.sin(2 * np.pi * MINUTE / 720)
    assert daily_share(twelve_hours) > 0.98
    weekly = 1.0 + 0.3 * np.sin(2 * np.pi * MINUTE / (7 * DAY))
    assert daily_share(weekly) < 0.01
    assert daily_share(np.ones(3 * DAY)) == 0.0
    with pytest.raises(ValueError, match=r"needs two days, got 1\.0"):
        daily_share(DAILY[:DAY])


def test_forecast_errors_grow_with_noise_and_vanish_without() -> None:
    calm, loud = forecast_wape(noisy(size=0.02)), forecast_wape(noisy(size=0.1))
    assert calm.shape == (7,)
    assert (loud > 3 * calm).all()
    assert forecast_wape(np.ones(3 * DAY)).max() < 1e-9
    with pytest.raises(ValueError, match="more than a day and 240 minutes, got 1440 minutes"):
        forecast_wape(np.ones(DAY))


def test_windowed_forecast_errors_count_quiet_windows_as_much_as_busy_ones() -> None:
    quiet, busy = noisy(9, seed=1, size=0.1), 50 * noisy(9, seed=2, size=0.01)
    both = np.concatenate((quiet, busy))
    windowed = forecast_wape(both, window_days=9)
    np.testing.assert_allclose(windowed, (forecast_wape(quiet) + forecast_wape(busy)) / 2)
    assert forecast_wape(both)[0] < 0.5 * windowed[0]
    np.testing.assert_array_equal(forecast_wape(quiet, window_days=30), forecast_wape(quiet))


def test_demand_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="zero everywhere"):
        log_relative(np.zeros(10))
    assert five_minute_means(np.arange(12.0)).tolist() == [2.0, 7.0]


LAGS = np.array([1, 2, 3, 6, 12, 24, 48, 144, 288, 2016])


@pytest.mark.parametrize("scale", range(SCALES))
def test_structure_functions_are_those_of_the_paths(scale: int) -> None:
    sizes = np.zeros(SCALES)
    sizes[scale] = 1.0
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        path = draw_slow(tuple(sizes[4:]), 50_000, rng) + draw_fast(tuple(sizes[:4]), 50.0, 50_000, rng).sum(axis=0)
        found.append([np.mean((path[lag:] - path[:-lag]) ** 2) for lag in LAGS])
    np.testing.assert_allclose(np.mean(found, axis=0), structure_functions(LAGS)[:, scale], rtol=0.25)


def test_sizes_are_found_again_from_their_structure_function() -> None:
    sizes = np.array([0.02, 0.0, 0.05, 0.0, 0.1, 0.0, 0.2, 0.0])
    found = fit_sizes(LAGS, structure_functions(LAGS) @ sizes**2, np.ones(len(LAGS)))
    np.testing.assert_allclose(found, sizes, atol=0.01)
    assert fit_sizes(LAGS, np.zeros(len(LAGS)), np.ones(len(LAGS))).tolist() == [0.0] * SCALES


@pytest.mark.parametrize("freedom", [2.0, 4.0, 10.0])
def test_the_weight_of_the_tails_is_found_again(freedom: float) -> None:
    draws = np.random.default_rng(1).standard_t(freedom, 200_000)
    assert fit_freedom(0.3 + 0.01 * draws) == pytest.approx(freedom, rel=0.15)


def test_tails_beyond_the_range_are_its_ends() -> None:
    rng = np.random.default_rng(1)
    assert fit_freedom(rng.standard_cauchy(50_000)) == 1.2
    assert fit_freedom(rng.uniform(-1, 1, 50_000)) == 50.0
    assert fit_freedom(np.zeros(100)) == 50.0


@pytest.mark.traces
@pytest.mark.slow
def test_the_report_of_generated_against_real(traces_dir: Path) -> None:
    from simulators.validation.realism import checks, table

    rows = table(traces_dir)
    assert rows["trace"].nunique() == 5
    assert (rows["low"].dropna() <= rows["generated"].dropna() + 1e-9).all()
    found = checks(traces_dir)
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    whole = [check for check in found if "lead, whole" in check.name]
    assert len(whole) == 10
    assert all(0.8 < check.measured < 1.2 for check in whole)
    assert sum(check.holds for check in found) > 0.75 * len(found)
