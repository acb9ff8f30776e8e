"""The observation codec: a telemetry record in, a normalised vector out, in the action's own units where it can be.

Load is shown relative to mean demand, forecasts as instances still needed at the current type (over the scale action's
range), candidates in the order in which the action names them, prices relative to the on-demand reference type. Every
number is clipped to [-5, 5]. The codec sees nothing but telemetry.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.action import MAX_SCALE, price_ranks, unit_price
from envs.settings import TaskSettings, menu_names
from simulators.catalogue import REFERENCE_TYPE
from simulators.physics import service_s
from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS
from telemetry.compiled import Record, compiled, compiled_in_place

OBSERVATION_VERSION: Final = 2
BOUND: Final = 5.0
PLANNING_UTILIZATION: Final = 0.7
DESIRED_UNIT: Final = 50.0
_CANDIDATE_PARTS: Final = 6
_LOWEST: Final = np.float32(-BOUND)
_HIGHEST: Final = np.float32(BOUND)


@dataclass(frozen=True)
class Feature:
    """One component of the observation: its name, unit and meaning."""

    name: str
    unit: str
    meaning: str


_LEADING: Final = (
    Feature("day_sin", "1", "sine of the time of day, service clock"),
    Feature("day_cos", "1", "cosine of the time of day"),
    Feature("week_sin", "1", "sine of the time of week, Monday 00:00 is 0"),
    Feature("week_cos", "1", "cosine of the time of week"),
    Feature("demand", "log2", "visible minute's demand over mean demand, log2(ratio + 0.05) / 2"),
    Feature("demand_5m", "log2", "the same for the mean of 5 visible minutes"),
    Feature("demand_15m", "log2", "the same for 15"),
    Feature("demand_60m", "log2", "the same for 60"),
    Feature("trend", "1", "5-minute over 60-minute mean, less 1"),
    Feature("cpu", "share", "mean CPU utilisation of warm instances, -1 where missing"),
    Feature("late", "10 %", "share of requests slower than the objective, x 10"),
    Feature("errors", "1 %", "share of requests failed, x 100"),
    Feature("bad_recent", "5 %", "share of bad minutes, one-day exponential mean, x 20"),
    Feature("since_bad", "1", "exp(-minutes since a bad one / 30)"),
    Feature("desired", "50 instances", "desired capacity / 50"),
    Feature("missing", "19 instances", "desired less in service, / 19"),
    Feature("pending", "19 instances", "instances not serving yet, / 19"),
    Feature("draining", "19 instances", "instances going down, / 19"),
    Feature("leaving", "19 instances", "instances that serve until their replacement does, / 19"),
    Feature("spot_in_use", "share", "share of wanted instances that are spot"),
    Feature(
        "needed_now", "19 instances", "instances the visible demand needs at 70 %, less the capacity in service, / 19"
    ),
    Feature("forecast_available", "0/1", "1 where the forecast is more than the last value"),
    Feature("anomaly_score", "0..1", "high is anomalous"),
    Feature("refreshing", "0/1", "1 while a rolling replacement runs"),
    Feature("spot_fraction", "share", "spot share asked for"),
    Feature("commitment", "1", "Savings Plan commitment over the reference type's cost for the mean demand"),
    Feature("commitment_used", "share", "share of it the fleet uses at its present size"),
)


def observation_features(task: TaskSettings) -> list[Feature]:
    """Return the components of the observation of a task, in order."""
    features = list(_LEADING)
    for minutes in LEAD_MINUTES:
        for level in QUANTILE_LEVELS:
            features.append(
                Feature(
                    f"needed_{minutes}m_q{level}",
                    "19 instances",
                    f"instances needed at 70 % for the {level} quantile {minutes} min ahead, less desired, / 19",
                )
            )
    for rank in range(len(task.candidates)):
        place = f"candidate at rank {rank}"
        features += [
            Feature(f"on_demand_{rank}", "1", f"{place}: on-demand price per capacity over the reference type's"),
            Feature(f"spot_{rank}", "1", f"{place}: spot price per capacity over the reference type's on-demand"),
            Feature(f"refused_{rank}", "1", f"{place}: exp(-minutes since a launch failure / 60), 0 after a day"),
            Feature(f"reclaimed_{rank}", "1", f"{place}: exp(-minutes since an interruption / 60), 0 after a day"),
            Feature(f"current_{rank}", "0/1", f"{place}: 1 if it is the current one"),
            Feature(f"size_{rank}", "1", f"{place}: capacity of one instance over the current candidate's, less 1"),
        ]
    features += [Feature(f"policy_{name}", "0/1", "1 if current") for name in menu_names(task.menu)]
    return features


def observation_space(task: TaskSettings) -> Box:
    """Return the observation space of a task."""
    return Box(-BOUND, BOUND, (len(observation_features(task)),), np.float32)


def schema_hash(task: TaskSettings) -> str:
    """Return the hash of everything that gives an observation and an action their meaning."""
    content = {
        "version": OBSERVATION_VERSION,
        "features": [feature.name for feature in observation_features(task)],
        "task": task.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def reference_unit_price(task: TaskSettings) -> float:
    """Return the on-demand price of the reference type per request per second of capacity, USD per hour."""
    catalogue = task.catalogue()
    item = catalogue[REFERENCE_TYPE]
    seconds = service_s(catalogue, task.world.workload)[catalogue.index[REFERENCE_TYPE]]
    return float(item.price_usd_per_hour / (item.vcpu / seconds))


@compiled_in_place
def _relative(value: float, mean: float) -> float:
    return 0.5 * math.log2(value / mean + 0.05)


@compiled_in_place
def _recency(minutes: float) -> float:
    """Return exp(-minutes / 60), and 0 for a day or more."""
    return math.exp(-minutes / 60.0) if minutes < 1440.0 else 0.0


@compiled_in_place
def _encode(
    reading: Record,
    out: NDArray[np.float32],
    candidates: int,
    policies: int,
    by_price: bool,
    hysteresis: float,
    reference_price: float,
    prices: NDArray[np.float64],
    ranks: NDArray[np.int64],
    needs: NDArray[np.float64],
) -> None:
    day = 2.0 * math.pi * (reading.minute_of_week % 1440.0) / 1440.0
    week = 2.0 * math.pi * reading.minute_of_week / 10080.0
    spec = int(reading.spec)
    capacity = reading.dependable_rps
    wanted = max(1.0, reading.in_service + reading.pending)
    needed = reading.demand_rps / PLANNING_UTILIZATION - reading.capacity_rps
    out[0], out[1], out[2], out[3] = math.sin(day), math.cos(day), math.sin(week), math.cos(week)
    out[4] = _relative(reading.demand_rps, reading.mean_demand_rps)
    for window in range(3):
        out[5 + window] = _relative(reading.demand_mean_rps[window], reading.mean_demand_rps)
    hour_mean = reading.demand_mean_rps[2]
    out[8] = reading.demand_mean_rps[0] / hour_mean - 1.0 if hour_mean > 0.0 else 0.0
    out[9] = -1.0 if math.isnan(reading.cpu_utilization) else reading.cpu_utilization
    out[10] = 10.0 * reading.late_fraction
    out[11] = 100.0 * reading.error_fraction
    out[12] = 20.0 * reading.bad_recent
    out[13] = math.exp(-reading.minutes_since_bad / 30.0)
    out[14] = reading.desired / DESIRED_UNIT
    out[15] = (reading.desired - reading.in_service) / MAX_SCALE
    out[16] = reading.pending / MAX_SCALE
    out[17] = reading.draining / MAX_SCALE
    out[18] = reading.leaving / MAX_SCALE
    out[19] = reading.spot_in_use / wanted
    out[20] = needed / capacity / MAX_SCALE
    out[21] = reading.forecast_available
    out[22] = reading.anomaly_score
    out[23] = reading.refreshing
    out[24] = reading.spot_fraction
    out[25] = reading.commitment_usd_per_hour / (reference_price * reading.mean_demand_rps)
    out[26] = reading.commitment_used
    at = 27
    for lead in range(len(LEAD_MINUTES)):
        for level in range(len(QUANTILE_LEVELS)):
            needs[len(QUANTILE_LEVELS) * lead + level] = reading.forecast_rps[lead, level]
    usable_rps, desired = PLANNING_UTILIZATION * capacity, reading.desired
    for index in range(needs.shape[0]):
        out[at + index] = (needs[index] / usable_rps - desired) / MAX_SCALE
    at += needs.shape[0]
    if by_price:
        price_ranks(reading, reading.spot_fraction, candidates, hysteresis, prices, ranks)
    own_rps, policy = reading.candidate_capacity_rps[spec], int(reading.policy)
    for candidate in range(candidates):
        place = at + _CANDIDATE_PARTS * (ranks[candidate] if by_price else candidate)
        out[place] = unit_price(reading, candidate, 0.0) / reference_price
        out[place + 1] = unit_price(reading, candidate, 1.0) / reference_price
        out[place + 2] = _recency(reading.minutes_since_launch_failure[candidate])
        out[place + 3] = _recency(reading.minutes_since_interruption[candidate])
        out[place + 4] = 1.0 if candidate == spec else 0.0
        out[place + 5] = reading.candidate_capacity_rps[candidate] / own_rps - 1.0
    at += _CANDIDATE_PARTS * candidates
    for entry in range(policies):
        out[at + entry] = 1.0 if entry == policy else 0.0
    for index in range(out.shape[0]):
        above = _LOWEST if out[index] < _LOWEST else out[index]
        out[index] = _HIGHEST if above > _HIGHEST else above


@compiled
def _encode_batch(
    readings: NDArray[np.void],
    out: NDArray[np.float32],
    candidates: int,
    policies: int,
    by_price: bool,
    hysteresis: float,
    reference_price: float,
) -> None:
    prices, ranks = np.empty(candidates), np.empty(candidates, np.int64)
    needs = np.empty(len(LEAD_MINUTES) * len(QUANTILE_LEVELS))
    for row in range(readings.shape[0]):
        _encode(
            readings[row],
            out[row],
            candidates,
            policies,
            by_price,
            hysteresis,
            reference_price,
            prices,
            ranks,
            needs,
        )


class ObservationEncoder(Protocol):
    """What turns telemetry into observations."""

    @property
    def space(self) -> Space[Any]:
        """Space of one observation."""
        ...

    def encode(self, readings: NDArray[np.void]) -> NDArray[np.float32]:
        """Return fresh observations, [B, ...], for [B] TELEMETRY records."""
        ...


class ObservationCodec:
    """Encodes batches of telemetry for one task."""

    def __init__(self, task: TaskSettings) -> None:
        self.space = observation_space(task)
        self._task = task
        self._constants = (
            len(task.candidates),
            len(task.menu),
            task.candidate_order == "price",
            task.rank_hysteresis,
            reference_unit_price(task),
        )

    def encode(self, readings: NDArray[np.void]) -> NDArray[np.float32]:
        """Return fresh observations, [B, F] float32 in [-5, 5]."""
        out = np.empty((len(readings), *self.space.shape), np.float32)
        _encode_batch(readings, out, *self._constants)
        return out

    def as_dict(self, observation: NDArray[np.float32]) -> dict[str, float]:
        """Return one observation by component name."""
        names = (feature.name for feature in observation_features(self._task))
        return dict(zip(names, (float(value) for value in observation), strict=True))
