"""How much one demand series looks like another: pure measures of a one-minute series.

Unless said otherwise a measure works on log demand relative to the series' mean, plus one per cent so that minutes
without demand stay finite: ratios are what a fleet has to follow, and one peak must not decide an autocorrelation.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.stats import wasserstein_distance

from forecasting.demand.boosted import LEADS_MINUTES, LEVELS
from forecasting.demand.seasonal_naive import SeasonalNaive, run_series
from forecasting.metrics.forecast import wape

FloatArray = NDArray[np.float64]

STEP_MINUTES: Final = 5
STEPS_PER_DAY: Final = 288
FLOOR: Final = 0.01
LAGS_MINUTES: Final = (1, 5, 60, 1440, 10_080)
BURST_FACTOR: Final = 1.25
BURST_CHANGES: Final = 6.0
_BURST_SIDE_STEPS: Final = 36
_DAILY_HARMONICS: Final = 4
_STILL: Final = 1e-12
_MAD_TO_SIGMA: Final = 1.4826


@dataclass(frozen=True)
class Bursts:
    """The bursts of a series.

    Attributes:
        starts: [N] five-minute step at which each begins.
        heights: [N] highest log excess over what surrounds it.
        minutes: [N] how long it stays above the threshold.
        threshold: Log excess from which a step counts.
    """

    starts: NDArray[np.int64]
    heights: FloatArray
    minutes: NDArray[np.int64]
    threshold: float


def five_minute_means(demand: FloatArray) -> FloatArray:
    """Return the mean of each whole five minutes of a one-minute series."""
    steps = len(demand) // STEP_MINUTES
    return np.asarray(demand[: steps * STEP_MINUTES].reshape(steps, STEP_MINUTES).mean(axis=1))


def log_relative(demand: FloatArray) -> FloatArray:
    """Return log(demand / its mean + 0.01); ValueError if there is no demand at all."""
    mean = float(demand.mean())
    if not mean > 0.0:
        raise ValueError("the demand is zero everywhere")
    return np.asarray(np.log(demand / mean + FLOOR))


def autocorrelation(demand: FloatArray, lags_minutes: tuple[int, ...] = LAGS_MINUTES) -> FloatArray:
    """Return the correlation of the log series with itself at each lag; NaN where it is no longer than the lag."""
    values = log_relative(demand)
    found = np.full(len(lags_minutes), np.nan)
    for position, lag in enumerate(lags_minutes):
        if len(values) > lag + 1:
            early, late = values[:-lag], values[lag:]
            if min(early.std(), late.std()) > _STILL:
                found[position] = np.corrcoef(early, late)[0, 1]
    return found


def hourly_profile(demand: FloatArray, *, minute_of_week: int, hours: int) -> FloatArray:
    """Return mean demand by hour of the day (``hours`` 24) or of the week (168) over the mean of those hours.

    Args:
        demand: [T] one value a minute.
        minute_of_week: Minute of the week of the first value; Monday 00:00 is 0.
        hours: Length of the cycle.

    Raises:
        ValueError: An hour of the cycle is never seen.
    """
    hour = (minute_of_week + np.arange(len(demand))) // 60 % hours
    count = np.bincount(hour, minlength=hours)
    if (count == 0).any():
        raise ValueError(f"hour {int(np.argmin(count))} of {hours} never occurs in {len(demand)} minutes")
    profile = np.bincount(hour, weights=demand, minlength=hours) / count
    return np.asarray(profile / profile.mean())


def profile_distance(profile: FloatArray, other: FloatArray) -> tuple[float, float]:
    """Return the correlation of two profiles and the root mean square of their difference."""
    return float(np.corrcoef(profile, other)[0, 1]), float(np.sqrt(np.mean((profile - other) ** 2)))


def burst_threshold(demand: FloatArray) -> float:
    """Return the log excess that makes a burst of a series: a quarter more, and six usual five-minute changes.

    The usual change is the robust standard deviation (from the median absolute deviation) of log five-minute changes.
    """
    change = np.diff(log_relative(five_minute_means(demand)))
    usual = _MAD_TO_SIGMA * float(np.median(np.abs(change - np.median(change))))
    return max(float(np.log(BURST_FACTOR)), BURST_CHANGES * usual)


def find_bursts(demand: FloatArray, *, threshold: float | None = None) -> Bursts:
    """Find the bursts: runs of five-minute means that stand out from the hours before and the hours after.

    A step's excess is its log demand over the higher of two medians: of the three hours that end with it and of the
    three that begin with it. A daily rise, a lasting jump and the end of a dip are therefore no bursts.

    Args:
        demand: [T] one value a minute.
        threshold: Log excess of a burst; :func:`burst_threshold` of this series if None. Two series are compared with
            the threshold of one of them.
    """
    threshold = burst_threshold(demand) if threshold is None else threshold
    values = log_relative(five_minute_means(demand))
    size = _BURST_SIDE_STEPS + 1
    before = median_filter(values, size, mode="nearest", origin=size // 2)
    after = median_filter(values, size, mode="nearest", origin=-(size // 2))
    excess = values - np.maximum(before, after)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (excess > threshold).astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    heights = np.array([excess[start:end].max() for start, end in zip(starts, ends, strict=True)])
    return Bursts(starts, heights, STEP_MINUTES * (ends - starts), threshold)


def log_distance(demand: FloatArray, other: FloatArray) -> float:
    """Return the Wasserstein-1 distance of the two distributions of log five-minute demand (0.1: about 10 %)."""
    first, second = (log_relative(five_minute_means(values)) for values in (demand, other))
    return float(wasserstein_distance(first, second))


def spread(demand: FloatArray) -> dict[str, float]:
    """Return ``cv``, ``p01``, ``p50``, ``p99`` and ``peak`` of five-minute demand over its mean."""
    values = five_minute_means(demand)
    values = values / values.mean()
    low, middle, high = np.quantile(values, [0.01, 0.5, 0.99])
    return {
        "cv": float(values.std()),
        "p01": float(low),
        "p50": float(middle),
        "p99": float(high),
        "peak": float(values.max()),
    }


def daily_share(demand: FloatArray) -> float:
    """Return the share of the log series' variance at one cycle a day and its first three harmonics, 0..1."""
    values = log_relative(five_minute_means(demand))
    days = len(values) // STEPS_PER_DAY
    if days < 2:
        raise ValueError(f"the share of the daily cycle needs two days, got {len(values) / STEPS_PER_DAY:.1f}")
    values = values[: days * STEPS_PER_DAY]
    power = np.abs(np.fft.rfft(values - values.mean())) ** 2
    total = float(power.sum())
    daily = power[days * np.arange(1, _DAILY_HARMONICS + 1)]
    return float(daily.sum()) / total if total > 0.0 else 0.0


def forecast_wape(demand: FloatArray, *, window_days: int | None = None) -> FloatArray:
    """Return how far the seasonal experts' median is off, [7] by lead: the sum of absolute errors over that of demand.

    They start untouched, are fed five-minute means and count from the second day on. They are the yardstick because
    they learn from the series alone: a model trained on real traces would judge generated ones by its training.

    Args:
        demand: [T] one value a minute.
        window_days: If given, the mean over successive windows of this length, each with a fresh forecaster, so that a
            busy month does not decide for the quiet ones; one window where the series is shorter.

    Raises:
        ValueError: Not longer than a day and the longest lead.
    """
    values = five_minute_means(demand)
    width = len(values) if window_days is None else min(len(values), window_days * STEPS_PER_DAY)
    starts = range(0, len(values) - width + 1, max(width, 1))
    return np.asarray(np.mean([_window_wape(values[start : start + width]) for start in starts], axis=0))


def _window_wape(values: FloatArray) -> FloatArray:
    leads = [minutes // STEP_MINUTES for minutes in LEADS_MINUTES]
    forecasts, ready = run_series(SeasonalNaive(step_s=60 * STEP_MINUTES, leads=leads, levels=LEVELS), values)
    if not ready[: -(LEADS_MINUTES[-1] // STEP_MINUTES)].any():
        minutes = len(values) * STEP_MINUTES
        raise ValueError(f"forecast errors need more than a day and {LEADS_MINUTES[-1]} minutes, got {minutes} minutes")
    errors = np.empty(len(LEADS_MINUTES))
    for position, minutes in enumerate(LEADS_MINUTES):
        lead = minutes // STEP_MINUTES
        origins = np.flatnonzero(ready[:-lead])
        errors[position] = wape(values[origins + lead], forecasts[origins, position, LEVELS.index(0.5)])
    return errors
