"""Scenarios: where they may be played, what scales them, and which forecasts they carry."""

import numpy as np
import pytest

from simulators.scenario import WARMUP_DAYS, Forecasts, Scenario, generate, make_scenario, minute_of_week, replay
from simulators.workload import fit_workload
from telemetry.trace import Trace, load_trace

LEADS = (5, 10, 15, 30, 60, 120, 240)


def demand_of(days: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ticks = np.arange(days * 1440)
    return 200 * (1.3 + np.sin(2 * np.pi * ticks / 1440)) * rng.lognormal(0, 0.1, len(ticks))


def made(forecasts: Forecasts, demand: np.ndarray, delay: int = 1) -> Scenario:
    whole = slice(0, len(demand))
    return make_scenario("made", demand, history=whole, window=whole, forecasts=forecasts, metric_delay_ticks=delay)


def test_means_are_those_of_history_and_window() -> None:
    demand = demand_of(3)
    scenario = make_scenario("x", demand, history=slice(0, 2000), window=slice(2500, 4000))
    assert scenario.mean_demand_rps == pytest.approx(demand[:2000].mean())
    assert scenario.reference_demand_rps == pytest.approx(demand[2500:4000].mean())
    assert (scenario.first_tick, scenario.last_tick) == (2500, 4000)
    assert scenario.scored.all()
    assert (scenario.work_scale == 1).all()
    rows = 3 * 288
    assert scenario.annotation.forecast_rps.shape == (rows, len(LEADS), 4)
    assert len(scenario.annotation.available) == len(scenario.annotation.anomaly_score) == rows


@pytest.mark.parametrize("window", [slice(-1, 10), slice(10, 10), slice(0, 4321)])
def test_a_window_outside_the_tape_is_refused(window: slice) -> None:
    with pytest.raises(ValueError, match=r"x: window .* does not lie in 0\.\.4320"):
        make_scenario("x", demand_of(3), history=slice(0, 100), window=window)


def test_a_window_without_demand_is_refused() -> None:
    demand = demand_of(2)
    demand[1440:] = 0.0
    with pytest.raises(ValueError, match="x: there is no demand in its history or its window"):
        make_scenario("x", demand, history=slice(0, 1440), window=slice(1440, 2880))


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_forecasts_by_brute_force(delay: int) -> None:
    demand = demand_of(2)
    none, perfect = made("none", demand, delay).annotation, made("perfect", demand, delay).annotation
    for row in (3, 100, 400, 500):
        visible = 5 * row - 1 - delay
        np.testing.assert_allclose(none.forecast_rps[row], demand[visible], rtol=1e-6)
        for lead, minutes in enumerate(LEADS):
            coming = demand[visible + minutes - 4 : visible + minutes + 1].mean()
            np.testing.assert_allclose(perfect.forecast_rps[row, lead], coming, rtol=1e-6)
    assert not none.available.any()
    assert perfect.available.all()


def test_the_point_forecast_repeats_the_median() -> None:
    demand = demand_of(3)
    point, quantiles = made("point", demand).annotation, made("quantiles", demand).annotation
    for level in range(4):
        np.testing.assert_array_equal(point.forecast_rps[..., level], quantiles.forecast_rps[..., 1])
    np.testing.assert_array_equal(point.available, quantiles.available)


@pytest.mark.parametrize("forecasts", ["none", "point", "quantiles"])
def test_no_forecast_looks_ahead(forecasts: Forecasts) -> None:
    demand = demand_of(3)
    changed = demand.copy()
    cut = 3000
    changed[cut:] = np.random.default_rng(1).permutation(changed[cut:]) * 3.0
    first, second = made(forecasts, demand).annotation, made(forecasts, changed).annotation
    seen = -(-cut // 5) + 1
    np.testing.assert_array_equal(first.forecast_rps[:seen], second.forecast_rps[:seen])
    np.testing.assert_array_equal(first.anomaly_score[:seen], second.anomaly_score[:seen])
    assert (first.forecast_rps[seen + 2 :] != second.forecast_rps[seen + 2 :]).any()


def test_the_perfect_forecast_is_the_one_that_looks_ahead() -> None:
    """The check above can fail: on the future itself it does."""
    demand = demand_of(3)
    changed = demand.copy()
    changed[3000:] *= 3.0
    first, second = made("perfect", demand).annotation, made("perfect", changed).annotation
    assert (first.forecast_rps[:601] != second.forecast_rps[:601]).any()


def test_a_generated_scenario_keeps_warm_up_days_to_itself() -> None:
    scenario = generate("diurnal", days=3, seed=4, rps_per_reference_instance=24.0, mean_instances=10)
    assert WARMUP_DAYS == 2
    assert (scenario.first_tick, scenario.last_tick) == (2 * 1440, 5 * 1440)
    assert scenario.demand_rps.astype(np.float64).mean() == pytest.approx(240.0, rel=1e-5)
    assert scenario.name == "diurnal#4"
    assert scenario.annotation.available[scenario.first_tick // 5 :].all()
    again = generate("diurnal", days=3, seed=4, rps_per_reference_instance=24.0, mean_instances=10)
    np.testing.assert_array_equal(scenario.demand_rps, again.demand_rps)
    np.testing.assert_array_equal(scenario.annotation.forecast_rps, again.annotation.forecast_rps)


def test_a_peaky_pattern_gets_a_smaller_mean() -> None:
    scenario = generate("flash_crowd", days=5, seed=1, rps_per_reference_instance=24.0, mean_instances=40)
    assert scenario.demand_rps.mean() < 40 * 24
    assert np.quantile(scenario.demand_rps, 0.999) == pytest.approx(90 * 24, rel=1e-3)


def test_a_scenario_of_a_model_is_named_after_it() -> None:
    model = fit_workload("shop", demand_of(4), minute_of_week=0)
    scenario = generate(model, days=1, seed=9, rps_per_reference_instance=24.0)
    assert scenario.name == "model:shop#9"
    assert scenario.demand_rps.astype(np.float64).mean() == pytest.approx(480.0, rel=1e-5)


@pytest.mark.parametrize(
    ("stamp", "minute"),
    [
        ("2026-01-05T00:00", 0),
        ("2026-01-05T13:37", 13 * 60 + 37),
        ("2026-01-11T23:59", 10079),
        ("1970-01-01T00:00", 3 * 1440),
    ],
)
def test_minute_of_week(stamp: str, minute: int) -> None:
    assert minute_of_week(np.datetime64(stamp)) == minute


@pytest.fixture
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Five days of five-minute steps with a gap of three hours in the scored part."""
    path = tmp_path_factory.mktemp("traces") / "shop.csv"
    values = demand_of(5)[::5]
    stamps = np.datetime64("2026-01-07T00:00:00") + 300 * np.arange(len(values)).astype("timedelta64[s]")
    kept = (np.arange(len(values)) < 1200) | (np.arange(len(values)) >= 1236)
    lines = [f"{stamp}Z,{value:.4f}" for stamp, value, keep in zip(stamps, values, kept, strict=True) if keep]
    path.write_text("timestamp,requests_per_second\n" + "\n".join(lines) + "\n")
    return load_trace(path)


def test_a_replay_is_scaled_by_its_history_and_keeps_its_clock(trace: Trace) -> None:
    scenario = replay(trace, history=None, window=None, rps_per_reference_instance=24.0, mean_instances=15)
    ticks = 5 * 1440
    assert (scenario.first_tick, scenario.last_tick) == (7 * ticks // 10, ticks)
    assert scenario.demand_rps[: scenario.first_tick].astype(np.float64).mean() == pytest.approx(360.0, rel=1e-5)
    assert scenario.minute_of_week == 2 * 1440
    assert scenario.kind == "requests"


def test_a_long_gap_is_played_but_not_scored(trace: Trace) -> None:
    scenario = replay(trace, history=None, window=None, rps_per_reference_instance=24.0)
    unscored = np.flatnonzero(~scenario.scored)
    assert 120 <= len(unscored) <= 185
    assert unscored.min() >= 6000
    assert unscored.max() < 6180
    assert np.isfinite(scenario.demand_rps).all()


def test_a_replay_of_less_than_a_day_is_refused(trace: Trace) -> None:
    with pytest.raises(ValueError, match=r"shop: 1439 minutes to play; at least one day \(1440\) is needed"):
        replay(trace, history=slice(0, 2000), window=slice(2000, 3439), rps_per_reference_instance=24.0)
