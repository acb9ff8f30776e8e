"""Features of a direct multi-horizon regression: levels, lags, same times of earlier days, calendar; all in own scale.

A row belongs to an origin (the last known step) and a lead. Values are given as distance from the last day's mean in
units of the last day's spread, so one model serves series of any size.

Axes: O origins, L leads, F features.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray

DAY_S = 86_400
KEPT_DAYS = 8
_MEAN_HOURS = (0.25, 1.0, 4.0, 12.0)
_DAYS_AGO = (1, 2, 7)
_EPOCH_WEEKDAY = 3
_LEAST_SPREAD = 0.02

NAMES = (
    "lead hours",
    "last value",
    "one step before",
    "two steps before",
    *(f"mean of {hours:g} h" for hours in _MEAN_HOURS),
    "spread of 1 h",
    "spread of the day over its mean",
    *(f"{days} days ago" for days in _DAYS_AGO),
    *(f"{days} days ago, mean of 1 h" for days in _DAYS_AGO),
    *(f"origin against {days} days ago" for days in _DAYS_AGO),
    "median of the week",
    "median of the week at the origin",
    "median of the week, moved to the last hour's level",
    "sine of the day",
    "cosine of the day",
    "day of the week",
    "weekend",
)


def scales(values: FloatArray, origins: npt.NDArray[np.int64], step_s: int) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the spread of the day that ends at each origin.

    Args:
        values: float64[N], no gaps.
        origins: int64[O].
        step_s: seconds per step.

    Returns:
        float64[O] and float64[O]; the spread is the standard deviation plus 2 % of the mean, and 1 for a day of zeros.
    """
    day = DAY_S // step_s
    mean = _trailing(values, day)[origins]
    variance = _trailing((values - values[0]) ** 2, day)[origins] - (mean - values[0]) ** 2
    spread = np.sqrt(np.maximum(variance, 0.0)) + _LEAST_SPREAD * mean
    return mean, np.where(spread > 0.0, spread, 1.0)


def lag_features(
    values: FloatArray, origins: npt.NDArray[np.int64], leads: Sequence[int], *, step_s: int, start_s: int
) -> FloatArray:
    """Return the features of every origin and lead.

    Args:
        values: float64[N], no gaps.
        origins: int64[O], steps of the last known values; later values are not read.
        leads: leads in steps, at most a day.
        step_s: seconds per step.
        start_s: seconds since 1970 of the first value.

    Returns:
        float64[O, L, F] in the order of ``NAMES``; NaN where the series is too young.
    """
    steps = np.asarray(leads, dtype=np.int64)
    day = DAY_S // step_s
    hour = max(1, 3600 // step_s)
    mean, spread = scales(values, origins, step_s)
    target = origins[:, None] + steps[None, :]
    hourly = _trailing(values, hour)

    def scaled(found: FloatArray) -> FloatArray:
        tail = (1,) * (found.ndim - 1)
        return (found - mean.reshape(-1, *tail)) / spread.reshape(-1, *tail)

    per_origin = [scaled(_at(values, origins - back)) for back in range(3)]
    per_origin += [scaled(_trailing(values, max(1, round(hours * 3600 / step_s)))[origins]) for hours in _MEAN_HOURS]
    squares = _trailing((values - values[0]) ** 2, hour)[origins] - (hourly[origins] - values[0]) ** 2
    per_origin += [np.sqrt(np.maximum(squares, 0.0)) / spread, np.log(spread / np.maximum(mean, 1e-3 * spread))]
    week = np.arange(1, 8)[None, None, :] * day
    profile = _median(_at(values, target[:, :, None] - week))
    profile_now = _median(_at(hourly, origins[:, None, None] - week))[:, 0]
    lags = [scaled(_at(values, target - days * day)) for days in _DAYS_AGO]
    lags += [scaled(_at(hourly, target - days * day + _half(hour))) for days in _DAYS_AGO]
    differences = [(hourly[origins] - _at(hourly, origins - days * day)) / spread for days in _DAYS_AGO]
    second = start_s + target * step_s
    angle = 2.0 * np.pi * (second % DAY_S) / DAY_S
    weekday = (second // DAY_S + _EPOCH_WEEKDAY) % 7
    shape = target.shape
    columns = [
        np.broadcast_to(steps * step_s / 3600.0, shape),
        *(np.broadcast_to(column[:, None], shape) for column in per_origin),
        *lags,
        *(np.broadcast_to(column[:, None], shape) for column in differences),
        scaled(profile),
        np.broadcast_to(scaled(profile_now)[:, None], shape),
        scaled(profile + (hourly[origins] - profile_now)[:, None]),
        np.sin(angle),
        np.cos(angle),
        weekday,
        weekday >= 5,
    ]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=-1)


def _half(hour: int) -> int:
    """Return the steps by which an hourly mean is moved to lie around its step."""
    return hour // 2


def _at(values: FloatArray, steps: npt.NDArray[np.int64]) -> FloatArray:
    """Return values at steps; NaN before the first."""
    return np.where(steps >= 0, values[np.clip(steps, 0, len(values) - 1)], np.nan)


def _trailing(values: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last ``window`` values up to each step (of those there are, at the start)."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - window, 0)
    return (total[ends] - total[begins]) / (ends - begins)


def _median(rows: FloatArray) -> FloatArray:
    """Return medians over the last axis without its NaN; NaN where nothing is known."""
    ordered = np.sort(rows, axis=-1)
    known = np.isfinite(rows).sum(axis=-1)
    low = np.take_along_axis(ordered, np.maximum((known - 1) // 2, 0)[..., None], axis=-1)
    high = np.take_along_axis(ordered, np.minimum(known // 2, rows.shape[-1] - 1)[..., None], axis=-1)
    middle = 0.5 * (low + high)[..., 0]
    return np.where(known > 0, middle, np.nan)
