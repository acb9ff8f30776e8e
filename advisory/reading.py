"""From a request to the TELEMETRY record that policies know, and what the demand history adds to it.

Where a request leaves something out, the derived value follows the simulator's own rule
(``simulators.kernel``, ``read_telemetry``): visible demand and its 5, 15 and 60 minute means, forecasts by
the shipped forecaster on five-minute means that end with the newest value, the weakest instance's capacity
under round robin.
"""

import math
from dataclasses import dataclass
from datetime import UTC

import numpy as np
from numpy.typing import NDArray

from advisory.schemas import FleetState, Market, RecommendationRequest
from advisory.served import ServedModel
from forecasting.annotate import annotation_forecaster
from forecasting.anomaly.detector import AnomalyDetector, score_series
from forecasting.demand.forecaster import run_series
from simulators.adjustments import on_demand_count
from simulators.records import LEAD_MINUTES, POLICY_MANUAL, QUANTILE_LEVELS, TELEMETRY, TICK_S, TICKS_PER_ROW
from simulators.scenario import minute_of_week

FloatArray = NDArray[np.float64]
_DAY_MINUTES = 1440.0
_MEAN_MINUTES = (5, 15, 60)


class RequestError(ValueError):
    """A request that is well formed but does not fit the bundle or itself.

    Args:
        pointer: JSON pointer to the field, as a URI fragment.
        value: What was there; None where it was missing.
        expected: What should have been there.
    """

    def __init__(self, pointer: str, value: object, expected: str) -> None:
        super().__init__(f"{pointer}: expected {expected}, got {value!r}")
        self.pointer = pointer
        self.value = value
        self.expected = expected


@dataclass(frozen=True)
class Situation:
    """A request as the policy and the estimates see it.

    Demand is in requests of the workload the policy was trained for: the request's own times ``work``.

    Attributes:
        records: [1] TELEMETRY.
        spot_usd_per_hour: [K] spot price of each instance type.
        past_demand_rps: [R] visible demand at the decisions before this one, every five minutes, newest last.
        past_forecast_rps: [R, leads, levels] what was forecast then.
        work: CPU time of a request over that of the trained workload.
    """

    records: NDArray[np.void]
    spot_usd_per_hour: FloatArray
    past_demand_rps: FloatArray
    past_forecast_rps: FloatArray
    work: float

    @property
    def record(self) -> np.void:
        """The TELEMETRY record."""
        return self.records[0]  # type: ignore[no-any-return]


def read_situation(request: RecommendationRequest, model: ServedModel) -> Situation:
    """Return what the policy may know of a request.

    Raises:
        RequestError: A name the bundle does not know, counts that contradict each other, or no demand to
            scale by.
    """
    records = np.zeros(1, TELEMETRY)
    for name in TELEMETRY.names or ():
        if name.startswith(("candidate_", "minutes_since_launch", "minutes_since_interruption")):
            records[name] = np.nan
    record = records[0]
    cpu_ms = model.task.world.workload.cpu_ms_per_request
    work = 1.0 if request.cpu_ms_per_request is None else request.cpu_ms_per_request / cpu_ms
    demand = np.array(request.demand.requests_per_second) * work
    _write_demand(record, request, demand, work, model.task.world.physics.metric_delay_s)
    _write_fleet(record, request.fleet, model)
    if request.telemetry.capacity_rps is not None:
        record["capacity_rps"] = request.telemetry.capacity_rps * work
    _write_metrics(record, request)
    spot_usd_per_hour = _write_market(record, request.market, model)
    past_demand, past_forecast = _write_forecast(record, request, demand, work, model)
    return Situation(records, spot_usd_per_hour, past_demand, past_forecast, work)


def _write_demand(
    record: np.void, request: RecommendationRequest, demand: FloatArray, work: float, metric_delay_s: int
) -> None:
    mean = request.mean_demand_rps
    if mean is None and demand.mean() <= 1e-9:
        raise RequestError("#/mean_demand_rps", None, "a value, because the demand history holds no demand")
    record["mean_demand_rps"] = demand.mean() if mean is None else mean * work
    record["demand_rps"] = demand[-1]
    for place, minutes in enumerate(_MEAN_MINUTES):
        newest_first = demand[::-1][: minutes * 60 // request.demand.step_s]
        record["demand_mean_rps"][place] = np.cumsum(newest_first)[-1] / len(newest_first)
    start = np.datetime64(request.demand.last_timestamp.astimezone(UTC).replace(tzinfo=None), "s")
    record["minute_of_week"] = minute_of_week(start + np.timedelta64(request.demand.step_s + metric_delay_s, "s"))


def five_minute_means(demand: FloatArray, step_s: int) -> FloatArray:
    """Return means of five minutes that end with the newest value; the oldest one may be cut short."""
    width = TICK_S * TICKS_PER_ROW // step_s
    oldest = len(demand) % width
    means = demand[oldest:].reshape(-1, width).sum(axis=1) / width
    return np.concatenate(([demand[:oldest].mean()], means)) if oldest else means


def _write_forecast(
    record: np.void, request: RecommendationRequest, demand: FloatArray, work: float, model: ServedModel
) -> tuple[FloatArray, FloatArray]:
    """Write forecast and anomaly score; return visible demand and forecasts of the decisions before."""
    step_s = request.demand.step_s
    means = five_minute_means(demand, step_s)
    hold_rows = math.ceil(max(policy.hold_minutes for policy in model.task.menu) / TICKS_PER_ROW)
    rows = min(len(means), hold_rows + 1)
    forecaster = annotation_forecaster(boosted=model.boosted)
    forecaster.feed(means[: len(means) - rows])
    forecasts, ready = run_series(
        forecaster, means[len(means) - rows :], [minutes // TICKS_PER_ROW for minutes in LEAD_MINUTES]
    )
    width = TICK_S * TICKS_PER_ROW // step_s
    visible = demand[::-1][: rows * width : width][::-1]
    forecasts[~ready] = visible[~ready, None, None]
    forecasts = forecasts.astype(np.float32).astype(np.float64)
    exact = request.telemetry
    record["forecast_rps"] = forecasts[-1]
    record["forecast_available"] = ready[-1]
    record["anomaly_score"] = np.float32(score_series(AnomalyDetector(step_s=TICK_S * TICKS_PER_ROW), means)[-1])
    if exact.forecast_rps is not None:
        record["forecast_rps"] = np.array(exact.forecast_rps) * work
        record["forecast_available"] = exact.forecast_available
    if exact.anomaly_score is not None:
        record["anomaly_score"] = exact.anomaly_score
    return visible[:-1], forecasts[:-1]


def _specification(name: str, model: ServedModel) -> int:
    """Return the launch specification of a name, or the first that holds the instance type of that name."""
    names = model.specification_names
    if name in names:
        return names.index(name)
    for spec, candidate in enumerate(model.task.candidates):
        if name in candidate.types:
            return spec
    known = sorted({kind for candidate in model.task.candidates for kind in candidate.types} - set(names))
    raise RequestError("#/fleet/launch_specification", name, f"one of {', '.join(names + known)}")


def _write_fleet(record: np.void, fleet: FleetState, model: ServedModel) -> None:
    physics = model.physics
    spec = _specification(fleet.launch_specification, model)
    in_service = max(0, fleet.desired - fleet.pending) if fleet.in_service is None else fleet.in_service
    wanted = in_service + fleet.pending
    record["spec"], record["policy"] = spec, _policy(fleet.scaling_policy, model)
    record["desired"], record["in_service"], record["pending"] = fleet.desired, in_service, fleet.pending
    record["draining"], record["refreshing"] = fleet.draining, fleet.refreshing
    record["leaving"], record["commitment_used"] = fleet.leaving, fleet.commitment_used
    record["commitment_usd_per_hour"] = fleet.commitment_usd_per_hour
    record["spot_in_use"], record["spot_fraction"] = _spot(fleet, wanted, model)
    _write_types(record, fleet, wanted, model)
    counts = record["type_count"]
    used = counts > 0
    share_in_service = in_service / wanted if wanted else 0.0
    record["capacity_rps"] = float(counts @ physics["capacity_rps"]) * share_in_service
    record["dependable_rps"] = dependable_rps(model, spec, used)


def dependable_rps(model: ServedModel, spec: int, used: NDArray[np.bool_]) -> float:
    """Return what one target can be counted on for: under round robin, no more than the weakest one.

    Args:
        model: Whose physics count.
        spec: Launch specification asked for.
        used: [K] instance types in service or pending.
    """
    own = float(model.physics["candidate_capacity_rps"][spec])
    if model.physics["least_outstanding"] or not used.any():
        return own
    return min(own, float(model.physics["capacity_rps"][used].min()))


def _policy(name: str | None, model: ServedModel) -> int:
    if name is None:
        manual = np.flatnonzero(model.menu["kind"] == POLICY_MANUAL)
        return int(manual[0]) if len(manual) else 0
    if name not in model.policy_names:
        raise RequestError("#/fleet/scaling_policy", name, f"one of {', '.join(model.policy_names)}")
    return model.policy_names.index(name)


def _spot(fleet: FleetState, wanted: int, model: ServedModel) -> tuple[int, float]:
    """Return spot instances in use and the share asked for, 0..1."""
    if fleet.spot_instances is not None and fleet.spot_instances > wanted:
        raise RequestError(
            "#/fleet/spot_instances", fleet.spot_instances, f"at most the {wanted} in service or pending"
        )
    if fleet.spot_percent is None:
        in_use = fleet.spot_instances or 0
        return in_use, in_use / wanted if wanted else 0.0
    fraction = fleet.spot_percent / 100.0
    if fleet.spot_instances is None:
        return wanted - on_demand_count(wanted, int(model.physics["on_demand_base"]), 1.0 - fraction), fraction
    return fleet.spot_instances, fraction


def _write_types(record: np.void, fleet: FleetState, wanted: int, model: ServedModel) -> None:
    counts = fleet.type_counts
    if counts is None:
        named = fleet.launch_specification
        only = model.catalogue.index.get(named, int(model.members(int(record["spec"]))[0]))
        record["type_count"][only] = wanted
        return
    for name, count in counts.items():
        record["type_count"][_type_index(name, "#/fleet/type_counts", model)] = count
    if sum(counts.values()) != wanted:
        expected = f"counts that add up to the {wanted} instances in service or pending"
        raise RequestError("#/fleet/type_counts", sum(counts.values()), expected)


def _type_index(name: str, pointer: str, model: ServedModel) -> int:
    if name not in model.catalogue.index:
        raise RequestError(f"{pointer}/{name}", name, f"one of {', '.join(model.catalogue.index)}")
    return model.catalogue.index[name]


def _write_metrics(record: np.void, request: RecommendationRequest) -> None:
    metrics = request.metrics
    demand_rps, in_service = float(record["demand_rps"]), float(record["in_service"])
    cpu, per_target = metrics.cpu_utilization, metrics.requests_per_target
    if cpu is None:
        capacity_rps = float(record["capacity_rps"])
        missing = "cpu_utilization" in metrics.model_fields_set or capacity_rps <= 0.0
        cpu = math.nan if missing else min(1.0, demand_rps / capacity_rps)
    if per_target is None:
        per_target = demand_rps * TICK_S / in_service if in_service else math.nan
    record["cpu_utilization"], record["requests_per_target"] = cpu, per_target
    record["late_fraction"], record["error_fraction"] = metrics.late_fraction, metrics.error_fraction
    record["bad_recent"] = metrics.bad_recent
    record["minutes_since_bad"] = min(metrics.minutes_since_bad, _DAY_MINUTES)


def _write_market(record: np.void, market: Market, model: ServedModel) -> FloatArray:
    """Write prices and troubles of every launch specification; return spot prices of types, USD per hour."""
    types = model.catalogue.types
    prices = np.array([item.price_usd_per_hour * (1.0 - item.spot_saving) for item in types])
    failures, interruptions = np.full((2, len(types)), _DAY_MINUTES)
    for name, values, given in (
        ("spot_usd_per_hour", prices, market.spot_usd_per_hour),
        ("minutes_since_launch_failure", failures, market.minutes_since_launch_failure),
        ("minutes_since_interruption", interruptions, market.minutes_since_interruption),
    ):
        for kind, value in given.items():
            values[_type_index(kind, f"#/market/{name}", model)] = value
    physics = model.physics
    for spec in range(len(model.task.candidates)):
        members = model.members(spec)
        record["candidate_capacity_rps"][spec] = physics["candidate_capacity_rps"][spec]
        record["candidate_on_demand_usd_per_hour"][spec] = physics["candidate_on_demand_usd_per_hour"][spec]
        record["candidate_spot_usd_per_hour"][spec] = prices[members].min()
        record["minutes_since_launch_failure"][spec] = min(failures[members].min(), _DAY_MINUTES)
        record["minutes_since_interruption"][spec] = min(interruptions[members].min(), _DAY_MINUTES)
    return prices


NEAR_LEADS = tuple(place for place, minutes in enumerate(LEAD_MINUTES) if minutes <= 15)


def near_demand_rps(situation: Situation, level: float) -> float:
    """Return the highest forecast quantile of the next 15 minutes, trained workload's requests per second."""
    column = QUANTILE_LEVELS.index(level)
    return float(situation.record["forecast_rps"][list(NEAR_LEADS), column].max())
