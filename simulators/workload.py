"""A workload model fitted to a trace, which can be sampled for any seed: profile, residual, bursts.

log demand = weekly profile + slow residual + fast residual + bursts. The profile is the median log demand per hour of
the week; the slow residual is an AR(1) over hours (levels that wander for days), the fast one an AR(1) over five-minute
steps; bursts are runs of fast residuals beyond four robust standard deviations, sampled by rate, height and length.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.provenance import write_json

_STEP_MINUTES = 5
_STEPS_PER_HOUR = 12
_HOURS_PER_WEEK = 168
_BURST_SIGMAS = 4.0
_MINUTE_SIGMA = 0.03


@dataclass(frozen=True)
class WorkloadModel:
    """Parameters of a fitted workload; all in log demand relative to the trace's mean.

    Attributes:
        name: Trace it was fitted to.
        profile: [168] log demand per hour of the week, Monday 00:00 UTC first.
        slow_sigma: Standard deviation of the slow residual.
        slow_persistence: Its lag-one-hour correlation.
        fast_sigma: Standard deviation of the fast residual, bursts left out.
        fast_persistence: Its lag-five-minutes correlation.
        bursts_per_day: Rate of bursts.
        burst_heights: Quantiles of burst height (0, .25, .5, .75, .95), log units.
        burst_steps: Mean length of a burst, five-minute steps.
    """

    name: str
    profile: tuple[float, ...]
    slow_sigma: float
    slow_persistence: float
    fast_sigma: float
    fast_persistence: float
    bursts_per_day: float
    burst_heights: tuple[float, ...]
    burst_steps: float


def _five_minute_log(demand_rps: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = len(demand_rps) // _STEP_MINUTES
    means = demand_rps[: steps * _STEP_MINUTES].reshape(steps, _STEP_MINUTES).mean(axis=1)
    return np.asarray(np.log(means / means.mean() + 0.02))


def _lag_one(values: NDArray[np.float64]) -> float:
    centred = values - values.mean()
    variance = float(centred @ centred)
    return float(np.clip(centred[1:] @ centred[:-1] / variance, 0.0, 0.999)) if variance > 0 else 0.0


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def fit_workload(name: str, demand_rps: NDArray[np.float64], *, minute_of_week: int) -> WorkloadModel:
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
    log_demand = _five_minute_log(demand_rps)
    hour = ((minute_of_week + _STEP_MINUTES * np.arange(len(log_demand))) // 60) % _HOURS_PER_WEEK
    profile = _profile(log_demand, hour)
    residual = log_demand - profile[hour]
    width = 6 * _STEPS_PER_HOUR
    padded = np.pad(residual, width // 2, mode="edge")
    slow = np.convolve(padded, np.ones(width) / width, mode="valid")[: len(residual)]
    fast = residual - slow
    spread = 1.4826 * float(np.median(np.abs(fast - np.median(fast)))) + 1e-6
    bursting = fast > _BURST_SIGMAS * spread
    runs = _runs(bursting)
    heights = [float(fast[start:end].max()) for start, end in runs] or [0.0]
    return WorkloadModel(
        name=name,
        profile=tuple(float(round(value, 4)) for value in profile),
        slow_sigma=round(float(slow.std()), 4),
        slow_persistence=round(_lag_one(slow[::_STEPS_PER_HOUR]), 4),
        fast_sigma=round(float(fast[~bursting].std()), 4),
        fast_persistence=round(_lag_one(fast[~bursting]), 4),
        bursts_per_day=round(len(runs) / (len(fast) / 288.0), 4),
        burst_heights=tuple(round(float(q), 4) for q in np.quantile(heights, [0, 0.25, 0.5, 0.75, 0.95])),
        burst_steps=round(float(np.mean([end - start for start, end in runs] or [1])), 3),
    )


def _profile(log_demand: NDArray[np.float64], hour: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median per hour of the week, falling back on the hour of the day where a week is not covered."""
    profile = np.empty(_HOURS_PER_WEEK)
    for slot in range(_HOURS_PER_WEEK):
        own = log_demand[hour == slot]
        profile[slot] = np.median(own if len(own) >= _STEPS_PER_HOUR else log_demand[hour % 24 == slot % 24])
    return profile


def _ar1(steps: int, sigma: float, persistence: float, rng: np.random.Generator) -> NDArray[np.float64]:
    shocks = sigma * np.sqrt(1.0 - persistence**2) * rng.standard_normal(steps)
    path = np.empty(steps)
    value = sigma * rng.standard_normal()
    for step in range(steps):
        value = persistence * value + shocks[step]
        path[step] = value
    return path


def sample_workload(model: WorkloadModel, *, days: int, seed: int) -> NDArray[np.float64]:
    """Draw a demand path, one value a minute, mean 1, starting on a Monday 00:00.

    Args:
        model: Fitted model.
        days: Whole days, at least 1.
        seed: Non-negative; the same seed gives the same path.

    Returns:
        [1440 x days] relative demand, positive.

    Raises:
        ValueError: ``days`` is below 1.
    """
    if days < 1:
        raise ValueError(f"a workload sample needs at least 1 day, got {days}")
    rng = np.random.default_rng([seed, len(model.name), 0x3A17])
    steps = days * 288
    position = np.arange(steps) / _STEPS_PER_HOUR
    hours = np.arange(_HOURS_PER_WEEK + 1)
    wrapped = np.append(model.profile, model.profile[0])
    profile = np.interp((position - 0.5) % _HOURS_PER_WEEK, hours, wrapped)
    slow = _ar1(days * 24 + 1, model.slow_sigma, model.slow_persistence, rng)
    log_demand = profile + np.interp(position, np.arange(days * 24 + 1), slow)
    log_demand += _ar1(steps, model.fast_sigma, model.fast_persistence, rng)
    for start in np.flatnonzero(rng.random(steps) < model.bursts_per_day / 288.0):
        height = np.interp(rng.random(), [0, 0.25, 0.5, 0.75, 1.0], model.burst_heights)
        length = 1 + rng.poisson(max(model.burst_steps - 1.0, 0.0))
        log_demand[start : start + length] += height
    per_minute = np.repeat(np.exp(log_demand), _STEP_MINUTES)
    per_minute *= np.exp(_MINUTE_SIGMA * rng.standard_normal(len(per_minute)))
    return np.asarray(per_minute / per_minute.mean())


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
    if len(model.profile) != _HOURS_PER_WEEK:
        raise ValueError(f"{path}: profile has {len(model.profile)} values, expected {_HOURS_PER_WEEK}")
    return model
