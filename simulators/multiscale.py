"""Noise made of fluctuations of several time scales, each an autoregressive path of order one.

How far a sum of such paths wanders in a lag is a sum of known curves, so the sizes of the scales follow from the mean
squared change at each lag (the structure function) by non-negative least squares. Scales up to hours have heavy tails
and live on five-minute steps; slower ones are drawn hour by hour and interpolated.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, nnls
from scipy.signal import lfilter
from scipy.stats import t as student_t

FloatArray = NDArray[np.float64]

FAST_MINUTES: Final = (0.0, 10.0, 40.0, 180.0)
"""Relaxation times of the scales drawn in five-minute steps; 0 is independent from step to step."""
SLOW_MINUTES: Final = (720.0, 2880.0, 10_080.0, 40_320.0)
"""Relaxation times of the scales drawn hour by hour: half a day, two days, a week, four weeks."""
SCALES: Final = len(FAST_MINUTES) + len(SLOW_MINUTES)

_STEP_MINUTES: Final = 5
_STEPS_PER_HOUR: Final = 12
_LARGEST_SHOCK: Final = 60.0
_FREEDOM: Final = (1.2, 50.0)


def structure_functions(lags: NDArray[np.int64]) -> FloatArray:
    """Return the mean squared change of each scale of size one, [lags, SCALES], at lags in five-minute steps.

    A fast scale is the mean of the path's values at both ends of a step. A slow one is interpolated linearly inside an
    hour, so its change within the hour is that of an interpolated random walk, x^2 - x^3 / 3 of an hour's change.
    """
    lag = lags.astype(np.float64)
    columns = []
    for minutes in FAST_MINUTES:
        if minutes == 0.0:
            columns.append(np.full(len(lag), 2.0))
            continue
        keep = np.exp(-_STEP_MINUTES / minutes)
        columns.append(1.0 + keep - (2.0 * keep**lag + keep ** (lag - 1.0) + keep ** (lag + 1.0)) / 2.0)
    hours = lag / _STEPS_PER_HOUR
    for minutes in SLOW_MINUTES:
        hourly = 2.0 * (1.0 - np.exp(-60.0 / minutes))
        within = hourly * (hours**2 - hours**3 / 3.0)
        beyond = 2.0 * (1.0 - np.exp(-_STEP_MINUTES * lag / minutes)) - hourly / 3.0
        columns.append(np.where(hours <= 1.0, within, beyond))
    return np.stack(columns, axis=1)


def fit_sizes(lags: NDArray[np.int64], squared_change: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the size (standard deviation) of each scale, [SCALES].

    Args:
        lags: [N] five-minute steps.
        squared_change: [N] mean squared change at each lag, at least 0.
        weights: [N] how much the relative error at a lag counts.
    """
    moving = squared_change > 1e-12
    if not moving.any():
        return np.zeros(SCALES)
    curves = structure_functions(lags[moving])
    scale = weights[moving] / squared_change[moving]
    variances, _ = nnls(curves * scale[:, None], weights[moving])
    return np.asarray(np.sqrt(variances))


def fit_freedom(changes: FloatArray) -> float:
    """Return the degrees of freedom of Student's t whose 99th over 75th percentile of size is that of the changes."""
    sizes = np.abs(changes - np.median(changes))
    usual, rare = np.quantile(sizes, [0.75, 0.99])
    if usual <= 0.0:
        return _FREEDOM[1]

    def excess(freedom: float) -> float:
        return float(student_t.ppf(0.995, freedom) / student_t.ppf(0.875, freedom) - rare / usual)

    if excess(_FREEDOM[0]) < 0.0:
        return _FREEDOM[0]
    if excess(_FREEDOM[1]) > 0.0:
        return _FREEDOM[1]
    return float(brentq(excess, *_FREEDOM))


@lru_cache(maxsize=64)
def _shock_unit(freedom: float) -> float:
    """Return what a bounded t draw is divided by, so that its mean size is that of a standard normal."""
    grid = student_t.ppf((np.arange(20_000) + 0.5) / 20_000, freedom)
    return float(np.sqrt(np.pi / 2.0) * np.abs(np.clip(grid, -_LARGEST_SHOCK, _LARGEST_SHOCK)).mean())


def _path(size: float, keep: float, shocks: FloatArray, start: float) -> FloatArray:
    """Return an AR(1) path of standard deviation ``size`` (for unit shocks), from a stationary normal start."""
    gain = size * np.sqrt(1.0 - keep * keep)
    return np.asarray(lfilter([gain], [1.0, -keep], shocks, zi=[keep * size * start])[0])


def draw_fast(sizes: tuple[float, ...], freedom: float, steps: int, rng: np.random.Generator) -> FloatArray:
    """Draw the fast scales, [len(FAST_MINUTES), steps], with Student-t shocks.

    Args:
        sizes: [len(FAST_MINUTES)] of each scale.
        freedom: Degrees of freedom of the shocks, above 1.
        steps: Five-minute steps.
        rng: Source of the draw.
    """
    paths = np.empty((len(sizes), steps))
    for position, (minutes, size) in enumerate(zip(FAST_MINUTES, sizes, strict=True)):
        shocks = np.clip(rng.standard_t(freedom, steps + 1), -_LARGEST_SHOCK, _LARGEST_SHOCK) / _shock_unit(freedom)
        keep = float(np.exp(-_STEP_MINUTES / minutes)) if minutes else 0.0
        path = _path(size, keep, shocks, rng.standard_normal())
        paths[position] = (path[1:] + path[:-1]) / 2.0 if minutes else path[1:]
    return paths


def draw_slow(sizes: tuple[float, ...], steps: int, rng: np.random.Generator) -> FloatArray:
    """Draw the sum of the slow scales, [steps], Gaussian, hourly values joined by straight lines.

    Args:
        sizes: [len(SLOW_MINUTES)] of each scale.
        steps: Five-minute steps.
        rng: Source of the draw.
    """
    hours = np.arange(steps // _STEPS_PER_HOUR + 2)
    position = np.arange(steps) / _STEPS_PER_HOUR
    total = np.zeros(steps)
    for minutes, size in zip(SLOW_MINUTES, sizes, strict=True):
        path = _path(size, float(np.exp(-60.0 / minutes)), rng.standard_normal(len(hours)), rng.standard_normal())
        total += np.interp(position, hours, path)
    return total
