"""A predictive-like hourly load forecast: what predictive scaling is documented to know, made by a simple method.

EC2 Auto Scaling documents the frame of its predictive scaling (an hourly forecast 48 hours ahead, refreshed every six
hours, from at least 24 hours and at most 14 days of history) and keeps the algorithm to itself. This one fills the
frame with the mean of two values: the same hour of the last known day, and the mean of the same hour of the week (of
the day, while no week is known). The mean is then scaled toward the level of the last six hours. It stands in for
that service and says nothing about how well the service forecasts.

The blend and the scaling were chosen on the first 70 % of the five training traces of configs/splits.yaml. Absolute
error over load, leads of 1 to 6 hours, mean of the traces: last day alone 0.367, blend 0.323, scaled blend 0.292.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

HORIZON_HOURS: Final = 48
REFRESH_HOURS: Final = 6
MOST_HISTORY_HOURS: Final = 14 * 24
LEAST_HISTORY_HOURS: Final = 24
LEAD_HOURS: Final = 1

_MINUTES_PER_HOUR = 60
_DAY_HOURS = 24
_WEEK_HOURS = 7 * _DAY_HOURS
_LARGEST_LEVEL = 4.0
_FADING = 0.5 * np.exp(-np.arange(HORIZON_HOURS) / _DAY_HOURS)

FloatArray = npt.NDArray[np.float64]


def hourly_forecast_at(history: npt.ArrayLike) -> FloatArray:
    """Return the mean load of each of the next 48 hours, as known after the last hour of the history.

    Args:
        history: Mean load of each past hour, oldest first, any non-negative unit; NaN where nothing is known. Only the
            last 14 days count.

    Returns:
        float64[48], in the unit of the history; all NaN with fewer than 24 known hours.
    """
    recent = np.asarray(history, dtype=np.float64)[-MOST_HISTORY_HOURS:]
    if np.count_nonzero(np.isfinite(recent)) < LEAST_HISTORY_HOURS:
        return np.full(HORIZON_HOURS, np.nan)
    return _seasonal(recent) * _level(recent) ** _FADING


def hourly_load_forecast(demand_rps: npt.ArrayLike, minute_of_week: int) -> npt.NDArray[np.float32]:
    """Return the mean load of each hour of a tape, as known an hour before it begins or earlier.

    The forecast of an hour is the one of the latest refresh at least an hour before its start. Refreshes happen at
    hours 0, 6, 12 and 18 of the day. Hours are counted from the first minute of the tape.

    Args:
        demand_rps: float[T], demand of each minute, requests per second; NaN where nothing is known.
        minute_of_week: Minute of the week of the first value, Monday 00:00 being 0.

    Returns:
        float32[ceil(T / 60)], requests per second; NaN where no refresh knew 24 hours yet.
    """
    hours = _hourly_means(np.asarray(demand_rps, dtype=np.float64))
    forecast = np.full(len(hours), np.nan, dtype=np.float32)
    first_refresh = -(minute_of_week // _MINUTES_PER_HOUR) % REFRESH_HOURS
    for refresh in range(first_refresh, len(hours) - LEAD_HOURS, REFRESH_HOURS):
        start = refresh + LEAD_HOURS
        part = forecast[start : start + REFRESH_HOURS]
        ahead = hourly_forecast_at(hours[max(0, refresh - MOST_HISTORY_HOURS) : refresh])
        part[:] = ahead[LEAD_HOURS : LEAD_HOURS + len(part)]
    return forecast


def _seasonal(recent: FloatArray) -> FloatArray:
    """Return the mean of the last day and the profile of the week, for the 48 hours that follow."""
    days = _by_slot(recent, _DAY_HOURS)
    of_week = _mean_of_known(_by_slot(recent, _WEEK_HOURS)[:, :HORIZON_HOURS], axis=0)
    of_day = _mean_of_known(days, axis=0)
    profile = _first_known(of_week, np.resize(of_day, HORIZON_HOURS))
    last_day = _first_known(np.resize(days[-1], HORIZON_HOURS), profile)
    return 0.5 * last_day + 0.5 * profile


def _level(recent: FloatArray) -> float:
    """Return the load of the last six hours over what the hours before them let expect, 1 where that is unknown."""
    earlier, latest = recent[:-REFRESH_HOURS], recent[-REFRESH_HOURS:]
    if len(earlier) < _DAY_HOURS:
        return 1.0
    expected = _seasonal(earlier)[:REFRESH_HOURS]
    known = np.isfinite(latest) & np.isfinite(expected)
    total = expected[known].sum()
    return float(np.clip(latest[known].sum() / total, 1.0 / _LARGEST_LEVEL, _LARGEST_LEVEL)) if total > 0.0 else 1.0


def _by_slot(values: FloatArray, period: int) -> FloatArray:
    """Return [rounds, period]: the last row is the last round, its first slot the one that follows the history."""
    rounds = -(-len(values) // period)
    padded = np.full(rounds * period, np.nan)
    padded[len(padded) - len(values) :] = values
    return padded.reshape(rounds, period)


def _hourly_means(minutes: FloatArray) -> FloatArray:
    padded = np.full(-(-len(minutes) // _MINUTES_PER_HOUR) * _MINUTES_PER_HOUR, np.nan)
    padded[: len(minutes)] = minutes
    return _mean_of_known(padded.reshape(-1, _MINUTES_PER_HOUR), axis=1)


def _mean_of_known(values: FloatArray, axis: int) -> FloatArray:
    known = np.isfinite(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _first_known(preferred: FloatArray, otherwise: FloatArray) -> FloatArray:
    return np.where(np.isfinite(preferred), preferred, otherwise)
