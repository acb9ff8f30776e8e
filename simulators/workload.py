"""A workload model fitted to a trace, which can be sampled for any seed: profile, trend, noise of many scales, bursts.

log demand = weekly profile + shape of the hour + trend + slow noise + demand^-e x short noise + bursts. The profile is
the median log demand per hour of the week, the shape of the hour what repeats within every hour. Noise comes in eight
time scales from five minutes to four weeks (``simulators.multiscale``), the fast ones with heavy tails; relative noise
shrinks as demand grows. Bursts (``simulators.realism.find_bursts``) rise at once and decay.

Noise and burst rate are scaled until our own forecaster errs as much on samples as on the trace, at every lead from
five minutes to four hours: where forecasting is easier than in the real world, agents learn to trust it too much.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from simulators.multiscale import FAST_MINUTES, SCALES, draw_fast, draw_slow, fit_freedom, fit_sizes
from simulators.realism import (
    FLOOR,
    STEP_MINUTES,
    STEPS_PER_DAY,
    find_bursts,
    five_minute_means,
    forecast_wape,
    log_relative,
)
from telemetry.provenance import write_json
from telemetry.resample import NOISE_PHI, NOISE_SIGMA, tick_noise

FloatArray = NDArray[np.float64]

BURST_QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0)
_STEPS_PER_HOUR: Final = 12
_HOURS_PER_WEEK: Final = 168
_STEPS_PER_WEEK: Final = 7 * STEPS_PER_DAY
_TREND_DAYS: Final = 14
_FEWEST_BURSTS: Final = 10
_LONGEST_DECAY_STEPS: Final = 12.0
_LARGEST_EXPONENT: Final = 0.5
_LONGEST_SHRINKING_MINUTES: Final = 40.0
_SMALLEST_DEMAND: Final = 1e-3
_LEAD_LAGS: Final = (1, 2, 3, 6, 12, 24, 48)
_LEVEL_LAGS: Final = (144, 288, 576, 2016, 4032, 6048, 8640)
_LEAD_WEIGHT: Final = 8.0
_ROUNDS: Final = 12
_PATHS: Final = 4
_FIRST_PATH: Final = 900_000


@dataclass(frozen=True)
class WorkloadModel:
    """Parameters of a fitted workload; logs are natural, of demand relative to the trace's mean.

    Attributes:
        name: Trace it was fitted to.
        profile: [168] log demand per hour of the week, Monday 00:00 UTC first.
        hour_shape: [12] log demand per five minutes of the hour, around that.
        trend_per_week: Growth of log demand a week; 0 for a trace under two weeks.
        noise_sizes: [8] standard deviation of each time scale, fast ones first (``simulators.multiscale``).
        noise_freedom: Degrees of freedom of the fast noise's Student-t shocks.
        noise_exponent: e: noise of scales up to 40 minutes goes with relative demand to the power -e, 0..0.5.
        bursts_per_day: Rate of bursts beyond those that the noise makes.
        burst_heights: Quantiles of burst height at BURST_QUANTILES, log units.
        burst_decay_minutes: A burst's log height falls by a factor e in this time.
        peak: Highest log demand of the trace; samples stay below it.
        trace_days: Whole days of the trace; a shorter sample is a window of a path of this length.
    """

    name: str
    profile: tuple[float, ...]
    hour_shape: tuple[float, ...]
    trend_per_week: float
    noise_sizes: tuple[float, ...]
    noise_freedom: float
    noise_exponent: float
    bursts_per_day: float
    burst_heights: tuple[float, ...]
    burst_decay_minutes: float
    peak: float
    trace_days: int


_LENGTHS: Final = {
    "profile": _HOURS_PER_WEEK,
    "hour_shape": _STEPS_PER_HOUR,
    "noise_sizes": SCALES,
    "burst_heights": len(BURST_QUANTILES),
}


def fit_workload(name: str, demand_rps: FloatArray, *, minute_of_week: int) -> WorkloadModel:
    """Fit the model to a demand series.

    Args:
        name: Kept in the model.
        demand_rps: [T] one value a minute, non-negative, at least two days.
        minute_of_week: Minute of the week of the first value (Monday 00:00 UTC is 0).

    Raises:
        ValueError: Less than two days of demand, or no demand at all.
    """
    if len(demand_rps) < 2 * 1440:
        raise ValueError(f"{name}: a workload model needs two days of demand, got {len(demand_rps)} minutes")
    if demand_rps.mean() <= 0:
        raise ValueError(f"{name}: the demand is zero everywhere")
    log_demand = log_relative(five_minute_means(demand_rps))
    steps = len(log_demand)
    level = _moving_mean(log_demand, _STEPS_PER_WEEK)
    weeks = np.arange(steps) / _STEPS_PER_WEEK
    trend = float(np.polyfit(weeks, level, 1)[0]) if steps >= _TREND_DAYS * STEPS_PER_DAY else 0.0
    profile, shape = _fit_profile(log_demand - level, minute_of_week)
    residual = log_demand - _season(profile, shape, minute_of_week, steps) - trend * weeks
    model = WorkloadModel(
        name=name,
        profile=_rounded(profile),
        hour_shape=_rounded(shape),
        trend_per_week=round(trend, 4),
        noise_sizes=(0.0,) * SCALES,
        noise_freedom=50.0,
        noise_exponent=round(_fit_exponent(residual, _moving_mean(log_demand, 3 * _STEPS_PER_HOUR)), 3),
        bursts_per_day=0.0,
        burst_heights=(0.0,) * len(BURST_QUANTILES),
        burst_decay_minutes=5.0,
        peak=round(float(log_demand.max()), 4),
        trace_days=len(demand_rps) // 1440,
    )
    return _calibrate(_with_bursts(model, demand_rps), demand_rps, residual, log_demand)


def _rounded(values: FloatArray, digits: int = 4) -> tuple[float, ...]:
    return tuple(round(float(value), digits) for value in values)


def _moving_mean(values: FloatArray, width: int) -> FloatArray:
    """Return centred moving means; the series is mirrored at its ends, and the width at most half of it."""
    width = min(width, len(values) // 2)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="reflect")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _fit_profile(log_demand: FloatArray, minute_of_week: int) -> tuple[FloatArray, FloatArray]:
    """Return medians per hour of the week (of the day, where a week is not covered), and within the hour."""
    minute = minute_of_week + STEP_MINUTES * np.arange(len(log_demand))
    hour = minute // 60 % _HOURS_PER_WEEK
    profile = np.empty(_HOURS_PER_WEEK)
    for slot in range(_HOURS_PER_WEEK):
        own = log_demand[hour == slot]
        profile[slot] = np.median(own if len(own) >= _STEPS_PER_HOUR else log_demand[hour % 24 == slot % 24])
    rest = log_demand - _season(profile, np.zeros(_STEPS_PER_HOUR), minute_of_week, len(log_demand))
    rest = rest - _moving_mean(rest, _STEPS_PER_HOUR)
    part = minute % 60 // STEP_MINUTES
    shape = np.array([np.median(rest[part == slot]) for slot in range(_STEPS_PER_HOUR)])
    return profile, shape - shape.mean()


def _season(profile: FloatArray, shape: FloatArray, minute_of_week: int, steps: int) -> FloatArray:
    """Return log demand expected at each step: hourly medians joined by straight lines, and the hour's shape."""
    minute = minute_of_week + STEP_MINUTES * np.arange(steps)
    position = (minute + STEP_MINUTES / 2.0) / 60.0 - 0.5
    hours = np.arange(_HOURS_PER_WEEK + 1)
    joined = np.interp(position % _HOURS_PER_WEEK, hours, np.append(profile, profile[0]))
    return np.asarray(joined + shape[minute % 60 // STEP_MINUTES])


def _fit_exponent(residual: FloatArray, level: FloatArray) -> float:
    """Return by which power of demand the usual five-minute change shrinks, from eight classes of demand."""
    change, level = np.abs(np.diff(residual)), level[1:]
    if np.ptp(level) < 0.1:
        return 0.0
    group = np.searchsorted(np.quantile(level, np.arange(1, 8) / 8.0), level)
    usual = np.array([np.median(change[group == index]) for index in range(8) if (group == index).any()])
    middle = np.array([level[group == index].mean() for index in range(8) if (group == index).any()])
    slope = np.polyfit(middle, np.log(usual + 1e-6), 1)[0]
    return float(np.clip(-slope, 0.0, _LARGEST_EXPONENT))


def _with_bursts(model: WorkloadModel, demand_rps: FloatArray) -> WorkloadModel:
    """Return the model with the heights and the decay of the trace's bursts, if there are enough to know them."""
    bursts = find_bursts(demand_rps)
    if len(bursts.heights) < _FEWEST_BURSTS:
        return model
    above = bursts.minutes - STEP_MINUTES / 2.0
    decay = float(above.sum() / np.log(bursts.heights / bursts.threshold).sum())
    return replace(
        model,
        burst_heights=_rounded(np.quantile(bursts.heights, BURST_QUANTILES)),
        burst_decay_minutes=round(float(np.clip(decay / STEP_MINUTES, 0.5, _LONGEST_DECAY_STEPS)) * STEP_MINUTES, 2),
    )


def _squared_changes(residual: FloatArray, lags: NDArray[np.int64], leads: NDArray[np.bool_]) -> FloatArray:
    """Return the mean squared change at each lag; at lags of a lead that of a normal of the same mean size."""
    changes = np.empty(len(lags))
    for position, lag in enumerate(lags):
        size = np.abs(residual[lag:] - residual[:-lag])
        if leads[position]:
            changes[position] = np.pi / 2.0 * float(size.mean()) ** 2
        else:
            changes[position] = float((size**2).mean())
    return changes


def _calibrate(
    model: WorkloadModel, demand_rps: FloatArray, residual: FloatArray, log_demand: FloatArray
) -> WorkloadModel:
    """Return the model with noise and burst rate at which samples are as hard to forecast as the trace.

    Each round draws a few paths, scales the squared change wanted at each lead by how far the forecaster's error is
    off, and fits the time scales again; what the noise lacks in bursts is added to their rate, up to the trace's own.
    """
    lags = np.array([lag for lag in (*_LEAD_LAGS, *_LEVEL_LAGS) if lag <= len(residual) / 2])
    leads = lags <= _LEAD_LAGS[-1]
    weight = np.exp(model.noise_exponent * _moving_mean(log_demand, 3 * _STEPS_PER_HOUR))
    model = replace(model, noise_freedom=round(fit_freedom(np.diff(residual) * weight[1:]), 3))
    first = _squared_changes(residual, lags, leads)
    wanted = first.copy()
    error = forecast_wape(demand_rps)
    if error.max() < 1e-6:
        return model
    days = len(demand_rps) // 1440
    bursts = find_bursts(demand_rps)
    rate = len(bursts.heights) / days if any(model.burst_heights) else 0.0
    for _ in range(_ROUNDS):
        model = replace(model, noise_sizes=_rounded(fit_sizes(lags, wanted, np.where(leads, _LEAD_WEIGHT, 1.0)), 5))
        paths = [sample_workload(model, days=days, seed=_FIRST_PATH + index) for index in range(_PATHS)]
        ratio = error / np.exp(np.mean([np.log(forecast_wape(path)) for path in paths], axis=0))
        wanted[leads] = np.clip(wanted[leads] * ratio**1.2, first[leads] / 8.0, first[leads] * 8.0)
        found = sum(len(find_bursts(path, threshold=bursts.threshold).heights) for path in paths) / (_PATHS * days)
        if any(model.burst_heights):
            model = replace(
                model, bursts_per_day=round(float(np.clip(model.bursts_per_day + 0.7 * (rate - found), 0.0, rate)), 4)
            )
    return model


def sample_workload(model: WorkloadModel, *, days: int, seed: int) -> FloatArray:
    """Draw a demand path, one value a minute, mean 1, starting on a Monday 00:00.

    Args:
        model: Fitted model.
        days: Whole days, at least 1.
        seed: Non-negative; the same seed gives the same path.

    Returns:
        [1440 x days] relative demand, positive. A sample shorter than the trace is some weeks of a path as long as the
        trace; within five minutes it moves as one-minute traces do (``telemetry.resample``).

    Raises:
        ValueError: ``days`` is below 1.
    """
    if days < 1:
        raise ValueError(f"a workload sample needs at least 1 day, got {days}")
    rng = np.random.default_rng([seed, crc32(model.name.encode()), 0x3A17])
    whole_days = max(days, model.trace_days)
    path = _draw_path(model, whole_days * STEPS_PER_DAY, rng)
    first = int(rng.integers((whole_days - days) // 7 + 1)) * _STEPS_PER_WEEK
    per_step = path[first : first + days * STEPS_PER_DAY]
    within = tick_noise(int(rng.integers(2**62)), len(per_step), STEP_MINUTES, phi=NOISE_PHI, sigma=NOISE_SIGMA)
    per_minute = (per_step[:, None] * within).ravel()
    return np.asarray(per_minute / per_minute.mean())


def _draw_path(model: WorkloadModel, steps: int, rng: np.random.Generator) -> FloatArray:
    """Draw five-minute demand of mean about 1, [steps], from a Monday 00:00."""
    fast, slow = model.noise_sizes[: len(FAST_MINUTES)], model.noise_sizes[len(FAST_MINUTES) :]
    level = _season(np.array(model.profile), np.array(model.hour_shape), 0, steps)
    level += model.trend_per_week * np.arange(steps) / _STEPS_PER_WEEK + draw_slow(slow, steps, rng)
    level -= np.log(np.exp(level).mean())
    noise = draw_fast(fast, model.noise_freedom, steps, rng)
    short = np.array(FAST_MINUTES) <= _LONGEST_SHRINKING_MINUTES
    level += noise[~short].sum(axis=0)
    log_demand = (
        level + np.exp(-model.noise_exponent * level) * noise[short].sum(axis=0) + _draw_bursts(model, steps, rng)
    )
    log_demand -= np.log(np.exp(np.minimum(log_demand, model.peak)).mean())
    return np.asarray(np.maximum(np.exp(np.minimum(log_demand, model.peak)) - FLOOR, _SMALLEST_DEMAND))


def _draw_bursts(model: WorkloadModel, steps: int, rng: np.random.Generator) -> FloatArray:
    """Draw the log excess of bursts, [steps]."""
    excess = np.zeros(steps)
    decay = model.burst_decay_minutes / STEP_MINUTES
    shape = np.exp(-np.arange(int(8 * decay) + 1) / decay)
    for start in np.flatnonzero(rng.random(steps) < model.bursts_per_day / STEPS_PER_DAY):
        height = np.interp(rng.random(), BURST_QUANTILES, model.burst_heights)
        length = min(len(shape), steps - int(start))
        excess[start : start + length] += height * shape[:length]
    return excess


def save_workload(model: WorkloadModel, path: Path) -> None:
    """Write a model as JSON, by a temporary file and a rename."""
    write_json(path, asdict(model))


def load_workload(path: Path) -> WorkloadModel:
    """Read a model written by ``save_workload``.

    Raises:
        ValueError: The file is not a workload model, with its path and the missing or unknown key.
    """
    try:
        data: Any = json.loads(path.read_text())
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        model = WorkloadModel(**fields)
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a workload model: {error}") from error
    for key, length in _LENGTHS.items():
        values = getattr(model, key)
        if len(values) != length:
            raise ValueError(f"{path}: {key} has {len(values)} values, expected {length}")
    return model
