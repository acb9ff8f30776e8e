"""How far each metric of each service is from what the time before the incident lets expect.

Expected. Five-minute means, on a log scale, follow the load that the whole graph carries by a parabola fitted robustly
to the time before the start: latency and CPU rise with the hour of the day, and that is no news. The load of a bin is
the median over services of the log request rate less its usual level, so retries toward one service do not count.
What the load itself should be is the same hour of the day before, moved to the level of the last hour.

How far. The mean residual of the window over the spread that means over windows as long have shown before.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.rootcause.incident import METRICS, FloatArray, Incident

BIN_TICKS: Final = 5
SERIES: Final = (*METRICS, "latency_mean_ms")
"""The metrics, and the mean latency implied by its two quantiles: means add up along calls, quantiles do not."""

RPS, P50, P95, ERROR, CPU, SATURATION, MEAN = range(len(SERIES))

Z95: Final = 1.6449
"""95 % quantile of the standard normal distribution."""

_DAY_BINS = 1440 // BIN_TICKS
_HOUR_BINS = 60 // BIN_TICKS
_EDGE_BINS = 10 // BIN_TICKS
_LONGEST_MEAN = 24
_LEAST_SPREAD = 0.004
_SMALL_ERROR = 1e-4
_LARGEST = 20.0
_USUAL_SIGMA = 0.8


@dataclass(frozen=True)
class Deviations:
    """Deviations of an incident; NaN where a metric is missing before or throughout the window.

    Attributes:
        effect: [S, 7] mean log ratio of actual to expected in the window; series in the order of `SERIES`.
        z: [S, 7] effect over its usual spread.
        early: [S, 7] largest log ratio within ten minutes of the start, before or after: it may be detected late.
        late: [S, 7] mean log ratio of the last quarter of the window.
        actual: [S, 7] mean in the window, in the unit of the metric.
        expected: [S, 7] what it should have been.
        spread: [S, 7] usual spread of the effect.
        load_effect: mean log ratio of the graph's load to that expected by the clock.
        load_z: the same over its usual spread.
        load_jump: mean log load of the window less that of the half hour before.
        load: [B] log load of the graph relative to its usual level, the past first.
        logs: [B, S, 7] logs of the bins' means.
        residual: [B, S, 7] log ratios of actual to expected.
        window_bins: how many of the B bins are the window's.
    """

    effect: FloatArray
    z: FloatArray
    early: FloatArray
    late: FloatArray
    actual: FloatArray
    expected: FloatArray
    spread: FloatArray
    load_effect: float
    load_z: float
    load_jump: float
    load: FloatArray
    logs: FloatArray
    residual: FloatArray
    window_bins: int


def measure_deviations(incident: Incident) -> Deviations:
    """Return the deviations of every metric; nothing after ``end_tick`` is read."""
    past, window = _bins(incident)
    history = len(past)
    means = np.concatenate((past, window))
    means = np.concatenate((means, _mean_latency(means, history)[:, :, None]), axis=2)
    floor = np.full(len(SERIES), 1e-9)
    floor[ERROR] = _SMALL_ERROR
    with np.errstate(divide="ignore"):
        logs = np.log(means + floor)
    load = _load(logs[:, :, RPS], history)
    expected = _expected(logs, load, history)
    residual = np.clip(logs - expected, -_LARGEST, _LARGEST)
    inside = residual[history:]
    effect = nan_mean(inside)
    spread = _spread(residual[:history], min(len(inside), _LONGEST_MEAN))
    spread = np.where(np.isnan(spread), np.nan, np.maximum(spread, _LEAST_SPREAD))
    surge = load[history:] - _clock_load(load, history)
    load_spread = max(float(_spread(_clock_residual(load, history)[:, None], min(len(inside), _LONGEST_MEAN))[0]), 0.02)
    return Deviations(
        effect=effect,
        z=effect / spread,
        early=_nan_max(residual[max(0, history - _EDGE_BINS) : history + _EDGE_BINS]),
        late=nan_mean(inside[-max(1, len(inside) // 4) :]),
        actual=nan_mean(means[history:]),
        expected=nan_mean(np.exp(expected[history:])),
        spread=spread,
        load_effect=float(surge.mean()),
        load_z=float(surge.mean()) / load_spread,
        load_jump=float(load[history:].mean() - load[max(0, history - _HOUR_BINS // 2) : history].mean()),
        load=load,
        logs=logs,
        residual=residual,
        window_bins=len(inside),
    )


def _bins(incident: Incident) -> tuple[FloatArray, FloatArray]:
    """Return [B, S, M] means of the history, aligned to end at the start, and of the window."""
    values = np.asarray(incident.values[: incident.end_tick], dtype=np.float64)
    values = np.where(np.isfinite(values) & (values >= 0.0), values, np.nan)
    start = incident.start_tick
    past = values[start % BIN_TICKS : start]
    window = values[start:]
    pad = np.full((-len(window) % BIN_TICKS, *window.shape[1:]), np.nan)
    window = np.concatenate((window, pad))
    shape = (-1, BIN_TICKS, *values.shape[1:])
    return nan_mean(past.reshape(shape), axis=1), nan_mean(window.reshape(shape), axis=1)


def _mean_latency(means: FloatArray, history: int) -> FloatArray:
    """Return [B, S] mean milliseconds of a lognormal response time with the measured quantiles, or one of them."""
    positive = np.where(means > 0.0, means, np.nan)
    median, high = np.log(positive[:, :, P50]), np.log(positive[:, :, P95])
    sigma = np.clip((high - median) / Z95, 0.0, 3.0)
    usual = nan_median(sigma[:history])
    usual = np.where(np.isnan(usual), _USUAL_SIGMA, usual)
    spread = np.where(np.isnan(sigma), usual, sigma)
    center = np.where(np.isnan(median), high - Z95 * spread, median)
    return np.asarray(np.exp(np.minimum(center + 0.5 * spread**2, 50.0)))


def _load(log_rps: FloatArray, history: int) -> FloatArray:
    """Return [B] log load of the graph relative to its usual level, without holes."""
    relative = log_rps - nan_median(log_rps[:history])
    load = nan_median(relative, axis=1)
    known = np.flatnonzero(np.isfinite(load))
    if not len(known):
        return np.zeros(len(load))
    return np.asarray(np.interp(np.arange(len(load)), known, load[known]))


def _expected(logs: FloatArray, load: FloatArray, history: int) -> FloatArray:
    """Return [B, S, M] what the load lets expect: a parabola, a straight line beyond the loads seen before."""
    seen = load[:history]
    bent = np.clip(load, seen.min(), seen.max())
    basis = np.stack((np.ones(len(load)), load, bent * bent), axis=1)
    flat = logs.reshape(len(logs), -1)
    known = np.isfinite(flat[:history])
    target = np.where(known, flat[:history], 0.0)
    weight = known.astype(np.float64)
    for _ in range(3):
        moments = np.einsum("bj,bk,bl->jkl", weight, basis[:history], basis[:history], optimize=True)
        right = np.einsum("bj,bk->jk", weight * target, basis[:history], optimize=True)
        ridge = np.diag([1e-9, 1e-3, 1e-1])
        fit = np.linalg.solve(moments + ridge, right[:, :, None])[:, :, 0]
        residual = np.where(known, flat[:history] - basis[:history] @ fit.T, np.nan)
        scale = 1.4826 * nan_median(np.abs(residual)) + 1e-6
        weight = np.where(known, np.minimum(1.0, 2.0 * scale / np.maximum(np.abs(residual), 1e-12)), 0.0)
    expected = basis @ fit.T
    expected[:, known.sum(axis=0) < 6] = np.nan
    return expected.reshape(logs.shape)


def _clock_load(load: FloatArray, history: int) -> FloatArray:
    """Return the load of the window's bins by the clock: yesterday's, moved to the level of the last hour."""
    window = np.arange(history, len(load))
    recent = load[max(0, history - _HOUR_BINS) : history].mean()
    if history < _DAY_BINS + _HOUR_BINS:
        return np.full(len(window), recent)
    smooth = _smooth(load[:history])
    yesterday = smooth[window - _DAY_BINS * (1 + (window - history) // _DAY_BINS)]
    level = recent - smooth[history - _DAY_BINS - _HOUR_BINS : history - _DAY_BINS].mean()
    return np.asarray(yesterday + level)


def _clock_residual(load: FloatArray, history: int) -> FloatArray:
    """Return how wrong the clock was in the history: moves within an hour that yesterday did not make as well.

    Before there are a day and three hours of history the moves themselves, yesterday's share unknown.
    """
    past = load[:history]
    if history >= _DAY_BINS + 3 * _HOUR_BINS:
        past = past[_DAY_BINS:] - _smooth(past)[:-_DAY_BINS]
    if len(past) <= _HOUR_BINS:
        return np.zeros(1)
    return np.asarray(past[_HOUR_BINS:] - _smooth(past)[:-_HOUR_BINS])


def _smooth(load: FloatArray) -> FloatArray:
    width = 7
    padded = np.pad(load, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")


def _spread(residual: FloatArray, bins: int) -> FloatArray:
    """Return the robust spread of means over ``bins`` consecutive bins of a history [B, ...]."""
    bins = max(1, min(bins, len(residual) // 4))
    known = np.isfinite(residual)
    total = np.cumsum(np.where(known, residual, 0.0), axis=0)
    count = np.cumsum(known, axis=0)
    total[bins:] -= total[:-bins].copy()
    count[bins:] -= count[:-bins].copy()
    enough = count[bins - 1 :] > bins // 2
    means = np.where(enough, total[bins - 1 :] / np.maximum(count[bins - 1 :], 1), np.nan)
    return 1.4826 * nan_median(np.abs(means - nan_median(means)))


def nan_mean(values: FloatArray, axis: int = 0) -> FloatArray:
    """Return the mean of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _nan_max(values: FloatArray) -> FloatArray:
    largest = np.where(np.isfinite(values), values, -np.inf).max(axis=0)
    return np.where(np.isfinite(largest), largest, np.nan)


def nan_median(values: FloatArray, axis: int = 0) -> FloatArray:
    """Return the median of what is known, NaN where nothing is; numpy's own warns and is slow."""
    known = np.isfinite(values)
    count = known.sum(axis=axis, keepdims=True)
    ordered = np.sort(np.where(known, values, np.inf), axis=axis)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[axis] - 1), axis)
    none = count == 0
    middle = 0.5 * (np.where(none, 0.0, low) + np.where(none, 0.0, high))
    return np.squeeze(np.where(none, np.nan, middle), axis)
