"""What a demand forecast asks of a fleet: when to have how many instances, how they answer, and what that costs.

The plan is made on a grid of ``STEP_MINUTES``. At each step the planner sees the forecast of the half hour from there
and the fleet planned so far; more instances are launched early enough to serve at their step, fewer are kept until the
step itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from forecasting.capacity.columns import (
    LEVELS,
    PLAN_MINUTES,
    SETTLE_MINUTES,
    demand_column,
)
from forecasting.capacity.demand import DemandForecast, read_forecast
from forecasting.capacity.performance import PerformanceForecast, PerformancePredictor
from forecasting.capacity.planner import CapacityPlanner
from forecasting.capacity.scaling import (
    CostImpact,
    FleetState,
    Interval,
    Resources,
    ScalingRequirements,
    ScalingStep,
    StepPerformance,
)

FloatArray = NDArray[np.float64]

STEP_MINUTES: Final = 10
MAX_HORIZON_HOURS: Final = 24.0
LAUNCH_SPREAD: Final = 1.6
"""Launches are ordered this many usual launch times ahead: nine of ten then serve in time."""


@dataclass(frozen=True)
class CapacityModels:
    """The two models a plan needs."""

    planner: CapacityPlanner
    predictor: PerformancePredictor


def predict_scaling_requirements(
    current_state: FleetState,
    demand_rps: ArrayLike,
    models: CapacityModels,
    *,
    lead_minutes: Sequence[float],
    levels: Sequence[float] = LEVELS,
    horizon_hours: float = 4.0,
) -> ScalingRequirements:
    """Return when to have how many instances over the horizon, how they answer, and what that costs.

    Args:
        current_state: Fleet, service and constraints now.
        demand_rps: float[L, Q] forecast quantiles of demand, requests per second, of any forecaster.
        models: Trained planner and predictor.
        lead_minutes: [L] minutes from now the rows stand for.
        levels: [Q] quantile levels the columns stand for.
        horizon_hours: How far to plan; beyond the last lead its quantiles are held.

    Raises:
        ValueError: A horizon outside 10 minutes to 24 hours, a forecast as in ``read_forecast``, a state as in
            ``forecasting.capacity.columns.read_columns``.
    """
    if not STEP_MINUTES / 60.0 <= horizon_hours <= MAX_HORIZON_HOURS:
        raise ValueError(
            f"horizon_hours: expected {STEP_MINUTES} minutes to {MAX_HORIZON_HOURS:g} h, got {horizon_hours}"
        )
    forecast = read_forecast(demand_rps, lead_minutes, levels)
    minutes = np.arange(0, round(horizon_hours * 60.0), STEP_MINUTES)
    plan = _plan_steps(current_state, forecast, models.planner, minutes)
    middle, low, high = (
        _performance(current_state, forecast, models.predictor, minutes, plan.instances, level)
        for level in (current_state.demand_level, 0.1, 0.9)
    )
    present = np.full(len(minutes), max(current_state.in_service + current_state.booting, 1))
    kept = _performance(current_state, forecast, models.predictor, minutes, present, current_state.demand_level)
    return ScalingRequirements(
        scaling_timeline=_timeline(current_state, minutes, plan.instances),
        resource_requirements=_resources(current_state, minutes, plan),
        performance_forecast=tuple(
            StepPerformance(
                int(minute),
                float(middle.p95_ms[step]),
                float(middle.p99_ms[step]),
                float(middle.error_rate[step]),
                float(middle.bad_probability[step]),
                bool(middle.extrapolates[step]),
            )
            for step, minute in enumerate(minutes)
        ),
        cost_impact=_cost(current_state, plan.instances, present, middle, kept),
        confidence_intervals=_intervals(
            forecast.at(current_state.demand_rps, minutes + STEP_MINUTES), minutes, plan, low, high
        ),
        extrapolates=bool(plan.extrapolates or middle.extrapolates.any()),
    )


@dataclass(frozen=True)
class _Steps:
    """The planned sizes: instances, and the sizes adequate at the 0.1 and 0.9 quantile of demand, [steps] each."""

    instances: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    within_budget: bool
    is_enough: bool
    extrapolates: bool


def _plan_steps(
    state: FleetState, forecast: DemandForecast, planner: CapacityPlanner, minutes: NDArray[np.int64]
) -> _Steps:
    """Plan step by step: the fleet of a step is the one the next starts from, at ease if it was adequate.

    A case is not judged by its first minutes; that of a later step starts so much earlier that the step itself counts.
    """
    first = _case(state, forecast, 0, state)
    sizes, extremes, flags = [], [], []
    fleet = state
    for minute in minutes:
        row = first if minute == 0 else _case(fleet, forecast, int(minute) - SETTLE_MINUTES, state)
        cases = pd.DataFrame([row, row | {"demand_level": 0.1}, row | {"demand_level": 0.9}])
        plan = planner.plan(cases)
        sizes.append(int(plan.instances[0]))
        extremes.append((int(plan.low[1]), int(plan.high[2])))
        flags.append((bool(plan.within_budget[0]), bool(plan.is_enough[0]), bool(plan.extrapolates[0])))
        fleet = replace(fleet, in_service=sizes[-1], booting=0, ready_in_s=0.0, backlog_s=0.0, retry_ratio=0.0)
    low, high = np.array(extremes).T
    within, enough, beyond = np.array(flags).T
    instances = np.array(sizes)
    return _Steps(
        instances,
        np.minimum(low, instances),
        np.maximum(high, instances),
        bool(within.all()),
        bool(enough.all()),
        bool(beyond.any()),
    )


def _case(fleet: FleetState, forecast: DemandForecast, minute: int, now: FleetState) -> dict[str, float]:
    """Return the capacity case of a step: the fleet planned so far before the forecast of the half hour from there."""
    row = {
        name: value for name, value in vars(fleet).items() if name not in ("instance_type", "memory_gib", "demand_rps")
    }
    ahead = forecast.at(now.demand_rps, minute + np.array(PLAN_MINUTES))
    start = forecast.at(now.demand_rps, [minute])[0]
    level = float(np.interp(now.demand_level, LEVELS, start))
    row["demand_now_rps"] = level
    for position, lead in enumerate(PLAN_MINUTES):
        for place, quantile in enumerate(LEVELS):
            row[demand_column(lead, quantile)] = float(ahead[position, place])
    if minute > 0:
        row["utilization"] = min(level / (fleet.capacity_rps * max(fleet.in_service, 1)), 1.0)
    return row


def _performance(
    state: FleetState,
    forecast: DemandForecast,
    predictor: PerformancePredictor,
    minutes: NDArray[np.int64],
    instances: NDArray[np.int64],
    level: float,
) -> PerformanceForecast:
    """Return how fleets of so many instances answer in the steps, at a level of demand.

    At the first step the state is that of now, its additional instances on their way; later ones are whole and calm.
    """
    quantiles = forecast.at(state.demand_rps, minutes + STEP_MINUTES / 2.0)
    demand = np.array([np.interp(level, LEVELS, row) for row in quantiles])
    table = pd.DataFrame({"demand_rps": demand, "in_service": instances.astype(np.float64)})
    for name in ("vcpu", "service_ms", "capacity_rps", "queue_s", "cv2", "timeout_s", "max_retries"):
        table[name] = getattr(state, name)
    table["least_outstanding"] = float(state.least_outstanding)
    table["utilization"] = np.minimum(demand / (state.capacity_rps * instances), 1.0)
    table[["booting", "ready_in_s", "backlog_s", "retry_ratio"]] = 0.0
    serving = float(min(state.in_service, instances[0]))
    coming = float(instances[0]) - serving
    table.loc[0, ["in_service", "booting", "ready_in_s"]] = [serving, coming, state.boot_s if coming else 0.0]
    table.loc[0, ["backlog_s", "utilization", "retry_ratio"]] = [state.backlog_s, state.utilization, state.retry_ratio]
    return predictor.predict(table)


def _timeline(state: FleetState, minutes: NDArray[np.int64], instances: NDArray[np.int64]) -> tuple[ScalingStep, ...]:
    """Return the steps at which the size changes, the first always among them."""
    lead = LAUNCH_SPREAD * state.boot_s / 60.0
    before = state.in_service + state.booting
    steps = []
    for minute, size in zip(minutes.tolist(), instances.tolist(), strict=True):
        change = size - before
        if change or minute == 0:
            order = max(minute - lead, 0.0) if change > 0 else float(minute)
            steps.append(ScalingStep(minute, size, change, order, bool(change > 0 and minute < lead)))
        before = size
    return tuple(steps)


def _resources(state: FleetState, minutes: NDArray[np.int64], plan: _Steps) -> Resources:
    peak = int(plan.instances.max())
    on_demand = int(np.ceil(peak * (1.0 - state.spot_share) - 1e-9))
    return Resources(
        instance_type=state.instance_type,
        peak_instances=peak,
        peak_minute=int(minutes[np.argmax(plan.instances)]),
        peak_vcpu=peak * state.vcpu,
        peak_memory_gib=peak * state.memory_gib,
        on_demand_instances=on_demand,
        spot_instances=peak - on_demand,
        instance_hours=float(plan.instances.sum()) * STEP_MINUTES / 60.0,
        within_budget=plan.within_budget,
        is_enough=plan.is_enough,
    )


def _cost(
    state: FleetState,
    planned: NDArray[np.int64],
    present: NDArray[np.int64],
    answers: PerformanceForecast,
    kept: PerformanceForecast,
) -> CostImpact:
    """Return what both fleets cost; launches pay from their order on, which is not counted here."""
    usd = state.spot_share * state.spot_usd_per_hour + (1.0 - state.spot_share) * state.price_usd_per_hour
    planned_usd, present_usd = (float(sizes.sum()) * STEP_MINUTES / 60.0 * usd for sizes in (planned, present))
    return CostImpact(
        planned_usd=planned_usd,
        present_usd=present_usd,
        difference_usd=planned_usd - present_usd,
        present_bad_steps=int(kept.is_bad.sum()),
        planned_bad_steps=int(answers.is_bad.sum()),
    )


def _intervals(
    demand: FloatArray, minutes: NDArray[np.int64], plan: _Steps, low: PerformanceForecast, high: PerformanceForecast
) -> tuple[Interval, ...]:
    lowest, highest = LEVELS.index(0.1), LEVELS.index(0.9)
    return tuple(
        Interval(
            minute=int(minute),
            demand_low_rps=float(demand[step, lowest]),
            demand_high_rps=float(demand[step, highest]),
            instances_low=int(plan.low[step]),
            instances_high=int(plan.high[step]),
            p95_low_ms=float(low.p95_low_ms[step]),
            p95_high_ms=float(max(high.p95_high_ms[step], low.p95_low_ms[step])),
        )
        for step, minute in enumerate(minutes)
    )
