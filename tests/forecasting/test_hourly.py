"""The hourly load forecast: exact on weeks that repeat, inside the documented frame, blind to the future."""

from pathlib import Path

import numpy as np
import pytest
from facts import fact
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecasting import hourly
from forecasting.hourly import hourly_forecast_at, hourly_load_forecast
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

DAY, WEEK = 24, 168


def noisy_minutes(days: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    minutes = np.arange(days * 1440)
    return 100.0 + 50.0 * np.sin(2 * np.pi * minutes / 1440) + rng.gamma(2.0, 10.0, len(minutes))


@fact("PS-01")
def test_a_forecast_has_48_hours_and_is_absent_before_24_are_known() -> None:
    assert hourly_forecast_at(np.ones(23)).shape == (48,)
    assert np.isnan(hourly_forecast_at(np.ones(23))).all()
    assert (hourly_forecast_at(np.ones(24)) == 1.0).all()
    known = np.isfinite(hourly_load_forecast(np.ones(3 * 1440), 0))
    assert not known[: DAY + 1].any()
    assert known[DAY + 1 :].all()


@fact("PS-01")
def test_only_the_last_14_days_count() -> None:
    hours = np.random.default_rng(1).gamma(2.0, 10.0, 20 * DAY)
    older, newer = hours.copy(), hours.copy()
    older[: 6 * DAY] *= 9.0
    newer[6 * DAY] *= 9.0
    assert (hourly_forecast_at(older) == hourly_forecast_at(hours)).all()
    assert (hourly_forecast_at(newer) != hourly_forecast_at(hours)).any()


@fact("PS-01")
@pytest.mark.parametrize("first_hour", [0, 1, 5])
def test_the_forecast_changes_only_every_six_hours(first_hour: int) -> None:
    demand = noisy_minutes(16)
    hours = demand.reshape(-1, 60).mean(axis=1)
    found = hourly_load_forecast(demand, first_hour * 60)
    refresh = -first_hour % 6 + 2 * DAY
    fresher = 0
    while refresh + 7 <= len(hours):
        held = found[refresh + 1 : refresh + 7]
        np.testing.assert_allclose(held, hourly_forecast_at(hours[:refresh])[1:7], rtol=1e-6)
        fresher += not np.allclose(held[-1], hourly_forecast_at(hours[: refresh + 3])[3], rtol=1e-4)
        refresh += 6
    assert fresher > 20


@given(st.integers(0, 6 * 1440 - 1), st.integers(0, 10079))
@hypothesis_settings(max_examples=25, deadline=None)
def test_the_future_changes_no_past_forecast(cut: int, minute_of_week: int) -> None:
    demand = noisy_minutes(6)
    base = hourly_load_forecast(demand, minute_of_week)
    other = demand.copy()
    other[cut:] = np.random.default_rng(2).gamma(2.0, 500.0, len(other) - cut)
    decided_before = cut // 60 + 1 + hourly.LEAD_HOURS
    found = hourly_load_forecast(other, minute_of_week)
    np.testing.assert_array_equal(found[:decided_before], base[:decided_before])


def scaled(values: np.ndarray, expected: np.ndarray, latest: np.ndarray) -> np.ndarray:
    """The seasonal values with half (in logs) of the last six hours' deviation, fading over a day."""
    level = np.sum(latest) / np.sum(expected)
    return np.array([value * level ** (0.5 * np.exp(-lead / 24)) for lead, value in enumerate(values)])


@fact("PS-09")
def test_the_stand_in_is_last_day_and_week_profile_over_14_days_at_the_last_level() -> None:
    hours = 10.0 + np.random.default_rng(3).gamma(2.0, 10.0, 14 * DAY)

    def seasonal(end: int, lead: int) -> float:
        week = [hours[at] for at in (end + lead - WEEK, end + lead - 2 * WEEK) if at >= 0]
        return float(0.5 * hours[end - DAY + lead % DAY] + 0.5 * np.mean(week))

    end = len(hours)
    expected = np.array([seasonal(end - 6, lead) for lead in range(6)])
    values = np.array([seasonal(end, lead) for lead in range(48)])
    np.testing.assert_allclose(hourly_forecast_at(hours), scaled(values, expected, hours[-6:]))
    assert "predictive-like" in str(hourly.__doc__)


def test_before_a_week_is_known_the_day_profile_stands_in() -> None:
    hours = np.random.default_rng(4).gamma(2.0, 10.0, DAY)
    np.testing.assert_allclose(hourly_forecast_at(hours), np.tile(hours, 2))
    longer = np.concatenate([hours, 3.0 * hours])
    fading = 0.5 * np.exp(-np.arange(2) / 24)
    np.testing.assert_allclose(hourly_forecast_at(longer)[:2], 2.5 * hours[:2] * 3.0**fading)


@pytest.mark.parametrize("start", [0, 61, 5 * 1440 + 17])
def test_days_that_repeat_are_forecast_exactly(start: int) -> None:
    shape = 100.0 + np.random.default_rng(5).gamma(2.0, 10.0, DAY)
    demand = np.repeat(np.tile(shape, 16), 60)
    found = hourly_load_forecast(demand, start)
    known = np.isfinite(found)
    assert known[31:].all()
    np.testing.assert_allclose(found[known], np.tile(shape, 16)[known], rtol=1e-6)


def test_missing_minutes_and_hours_are_left_out() -> None:
    demand = np.repeat(np.tile(np.arange(1.0, 25.0), 10), 60)
    holes = demand.copy()
    holes[::7] = np.nan
    holes[9 * 1440 : 9 * 1440 + 180] = np.nan
    np.testing.assert_allclose(hourly_load_forecast(holes, 0), hourly_load_forecast(demand, 0), rtol=1e-6)
    assert np.isnan(hourly_load_forecast(np.full(4 * 1440, np.nan), 0)).all()


@pytest.mark.parametrize("minutes", [0, 1, 59, 60, 61, 1441])
def test_every_hour_begun_has_a_place(minutes: int) -> None:
    found = hourly_load_forecast(np.ones(minutes), 0)
    assert found.shape == (-(-minutes // 60),)
    assert found.dtype == np.float32


@pytest.mark.traces
def test_it_beats_the_last_day_alone_on_the_training_traces(traces_dir: Path) -> None:
    splits = load_splits()
    blend, last_day = [], []
    for name in splits.divided.traces:
        ticks = to_ticks(load_trace(traces_dir / f"{name}.parquet"))
        values = ticks.values[: int(len(ticks.values) * splits.divided.train) // 1440 * 1440]
        hours = values.reshape(-1, 60).mean(axis=1)
        found = hourly_load_forecast(values, 0)
        scored = np.flatnonzero(np.isfinite(found))[DAY:]
        blend.append(np.abs(found[scored] - hours[scored]).sum() / hours[scored].sum())
        last_day.append(np.abs(hours[scored - DAY] - hours[scored]).sum() / hours[scored].sum())
    assert np.mean(blend) < np.mean(last_day)
