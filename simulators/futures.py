"""Futures of a service: what may follow its history, drawn from our forecaster's own predictive distribution.

A path of five-minute demand (``forecasting.demand.futures``), moved within each step as one-minute traces move, with
labelled anomalies played into it. The forecaster is fitted on the history and sees nothing else.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from forecasting.demand.forecaster import DemandForecaster
from forecasting.demand.futures import error_correlation, sample_futures
from simulators.anomalies import KINDS, SIGNALS, Anomaly, demand_effects, draw_anomalies
from simulators.anomalies.kinds import MINUTES_PER_WEEK
from simulators.scenario import WARMUP_DAYS, Forecasts, Scenario, make_scenario, minute_of_week
from simulators.workload import WorkloadModel, sample_workload
from telemetry.resample import NOISE_PHI, NOISE_SIGMA, tick_noise, to_ticks
from telemetry.scale import fleet_scale
from telemetry.trace import Trace

FloatArray = NDArray[np.float64]

DEMAND_KINDS: Final = tuple(name for name, kind in KINDS.items() if set(kind.affected) <= set(SIGNALS[:4]))
"""Kinds of anomaly that touch the demand tape only."""

_STEP_MINUTES: Final = 5
_LEAST_HISTORY_DAYS: Final = 2
_MOST_HISTORY_DAYS: Final = 28
_MODEL_HISTORY_DAYS: Final = 14


@dataclass(frozen=True)
class Future:
    """One path of what may follow a history.

    Attributes:
        name: Of the history.
        history_rps: [H] demand of each minute before the origin, at most 28 days.
        ordinary_rps: [1440 x days] demand of each minute after it, without anomalies.
        demand_rps: [1440 x days] with them.
        labels: The anomalies, minutes counted from the origin.
        minute_of_week: Minute of the week of the origin.
    """

    name: str
    history_rps: FloatArray
    ordinary_rps: FloatArray
    demand_rps: FloatArray
    labels: tuple[Anomaly, ...]
    minute_of_week: int


def future_demand(
    source: Trace | WorkloadModel,
    *,
    days: int,
    seed: int,
    origin_minute: int | None = None,
    anomalies_per_week: float = 0.0,
    kinds: tuple[str, ...] = DEMAND_KINDS,
    difficulty: Literal["easy", "hard", "mixed"] = "mixed",
) -> Future:
    """Draw what may follow a trace, or a sample of two weeks of a workload model.

    Args:
        source: The history: a trace of at least two days, or a model to draw one from.
        days: Whole days of future, 1 or more.
        seed: Non-negative; chooses path, noise and anomalies (and the model's history).
        origin_minute: The history ends at this minute of the trace; by default at its end.
        anomalies_per_week: Expected anomalies a week.
        kinds: Kinds to draw from.
        difficulty: How strong they are.

    Raises:
        ValueError: Less than two days of history, no demand in it, or a number out of range.
    """
    if days < 1:
        raise ValueError(f"days is {days}; expected 1 or more")
    if isinstance(source, WorkloadModel):
        history, first_minute = sample_workload(source, days=_MODEL_HISTORY_DAYS, seed=seed), 0
    else:
        ticks = to_ticks(source)
        history, first_minute = ticks.values, minute_of_week(ticks.start)
    origin = len(history) if origin_minute is None else origin_minute
    if not _LEAST_HISTORY_DAYS * 1440 <= origin <= len(history):
        raise ValueError(
            f"{source.name}: the history ends at minute {origin}; expected {_LEAST_HISTORY_DAYS} days of it, "
            f"and no more than the {len(history)} minutes there are"
        )
    kept = min(origin, _MOST_HISTORY_DAYS * 1440) // _STEP_MINUTES * _STEP_MINUTES
    history = history[origin - kept : origin]
    if history.max() <= 0.0:
        raise ValueError(f"{source.name}: the demand is zero everywhere before the origin")
    means = history.reshape(-1, _STEP_MINUTES).mean(axis=1)
    step_s = 60 * _STEP_MINUTES
    steps = days * 1440 // _STEP_MINUTES
    path = sample_futures(
        DemandForecaster(step_s=step_s).fit(means),
        steps,
        1,
        seed,
        history=means,
        correlation=error_correlation(means, step_s),
    )[0]
    noise = tick_noise(seed, steps, _STEP_MINUTES, phi=NOISE_PHI, sigma=NOISE_SIGMA)
    ordinary = (path[:, None] * noise).ravel()
    start = (first_minute + origin) % MINUTES_PER_WEEK
    labels = draw_anomalies(
        kinds,
        ticks=days * 1440,
        rate_per_week=anomalies_per_week,
        seed=seed,
        difficulty=difficulty,
        minute_of_week=start,
    )
    demand = ordinary * demand_effects(labels, days * 1440).demand_factor
    return Future(source.name, history, ordinary, demand, labels, start)


def generate_future(
    source: Trace | WorkloadModel,
    *,
    days: int,
    seed: int,
    rps_per_reference_instance: float,
    mean_instances: float = 20.0,
    origin_minute: int | None = None,
    forecasts: Forecasts = "quantiles",
    metric_delay_ticks: int = 1,
    anomalies_per_week: float = 0.0,
    kinds: tuple[str, ...] = DEMAND_KINDS,
    difficulty: Literal["easy", "hard", "mixed"] = "mixed",
) -> Scenario:
    """Draw a scenario ``futures:<name>#<seed>``: the last days of a history to warm up on, then one of its futures.

    Args:
        source: As in ``future_demand``.
        days: Playable days.
        seed: Non-negative.
        rps_per_reference_instance: Demand one reference instance serves at 60 % utilisation.
        mean_instances: Reference instances that the history's mean needs.
        origin_minute: As in ``future_demand``.
        forecasts: As in ``make_scenario``.
        metric_delay_ticks: As in ``make_scenario``.
        anomalies_per_week: As in ``future_demand``.
        kinds: As in ``future_demand``.
        difficulty: As in ``future_demand``.

    Raises:
        ValueError: As ``future_demand``.
    """
    future = future_demand(
        source,
        days=days,
        seed=seed,
        origin_minute=origin_minute,
        anomalies_per_week=anomalies_per_week,
        kinds=kinds,
        difficulty=difficulty,
    )
    warm_up = WARMUP_DAYS * 1440
    scale = fleet_scale(
        future.history_rps, rps_per_reference_instance=rps_per_reference_instance, mean_instances=mean_instances
    )
    shifted = tuple(
        replace(item, start_tick=item.start_tick + warm_up, end_tick=item.end_tick + warm_up) for item in future.labels
    )
    return make_scenario(
        f"futures:{future.name}#{seed}",
        np.concatenate((future.history_rps[-warm_up:], future.ordinary_rps)) * scale,
        history=slice(0, warm_up),
        window=slice(warm_up, warm_up + days * 1440),
        minute_of_week=(future.minute_of_week - warm_up) % MINUTES_PER_WEEK,
        kind=source.kind if isinstance(source, Trace) else "requests",
        forecasts=forecasts,
        metric_delay_ticks=metric_delay_ticks,
        anomalies=shifted,
    )
