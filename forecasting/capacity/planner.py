"""The capacity planner: a case in, the number of instances out, by boosted trees beside a size from theory.

The trees say by which factor the truth differs from ``fluid.theory_size``, once in the middle and once at a high
quantile. The plan is the middle, raised to one below the high quantile's size, and, where an overload is coming or
going on, to one below what theory asks for when launches take longer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import (
    CAPACITY_COLUMNS,
    COST,
    DEMAND,
    LEVELS,
    MAX_INSTANCES,
    PLAN_MINUTES,
    RECLAIM_MINUTE,
    SETTLE_MINUTES,
    extrapolates,
    level_path,
    minute_path,
    names,
    read_columns,
)
from forecasting.capacity.fluid import theory_size, tolerated_utilizations
from forecasting.capacity.onnx_file import open_session
from telemetry.provenance import write_bytes

FloatArray = NDArray[np.float64]

CAPACITY_FEATURES: Final = (
    "log_slo_over_service",
    "servers",
    "cv2",
    "least_outstanding",
    "tolerated_utilization",
    "log_theory",
    "peak_over_theory",
    "log_theory_over_steady",
    "log_pessimist_over_theory",
    "spot_share",
    "early_over_in_service",
    "log_in_service_over_theory",
    "booting_over_theory",
    "ready_in_s",
    "backlog_s",
    "utilization",
    "retry_ratio",
    "log_timeout",
    "max_retries",
    "log_queue",
    "end_over_peak",
    "start_over_peak",
    "reclaim_over_peak",
    "boot_s",
)
LEAST_TOLERATED: Final = 0.05
STORM_RETRY_RATIO: Final = 0.01
STORM_UTILIZATION: Final = 0.97
LATE_LAUNCH: Final = 1.25
_CEILING_SLACK: Final = 1e-6


@dataclass(frozen=True)
class CapacityFeatures:
    """What the trees see of cases.

    Attributes:
        values: float32[N, features] in the order of ``CAPACITY_FEATURES``.
        theory: [N] instances by theory, fractional.
        pessimist: [N] the same if launches take longer and one more spot instance is lost.
        is_storm: [N] whether the fleet in service is overloaded, or will be before a new instance serves.
    """

    values: NDArray[np.float32]
    theory: FloatArray
    pessimist: FloatArray
    is_storm: NDArray[np.bool_]

    def rows(self, which: NDArray[np.int64]) -> "CapacityFeatures":
        """Return the features of some of the cases."""
        return CapacityFeatures(*(np.asarray(values)[which] for values in vars(self).values()))


def capacity_features(table: pd.DataFrame) -> CapacityFeatures:
    """Return the features of cases.

    Args:
        table: At least ``CAPACITY_COLUMNS``.

    Raises:
        ValueError: As ``read_columns``; or forecast quantiles that cross.
    """
    values = read_columns(table, CAPACITY_COLUMNS)
    at = {name: values[:, position] for position, name in enumerate(names(CAPACITY_COLUMNS))}
    demand = np.column_stack([at[name] for name in names(DEMAND)])
    quantiles = demand[:, 1:].reshape(len(table), len(PLAN_MINUTES), len(LEVELS))
    if (np.diff(quantiles, axis=2) < -1e-9 * quantiles[:, :, :-1]).any():
        row = int(np.argmax((np.diff(quantiles, axis=2) < 0).any(axis=(1, 2))))
        raise ValueError(f"row {row}: the forecast quantiles cross: {quantiles[row].tolist()}")
    path_rps = minute_path(demand[:, 0], level_path(quantiles, at["demand_level"]))
    path = np.ascontiguousarray(path_rps / at["capacity_rps"][:, None])
    servers = np.minimum(at["vcpu"], 8).astype(np.int64)
    multiple = at["slo_p95_ms"] / at["service_ms"]
    tolerated = tolerated_utilizations(servers, np.clip(at["cv2"], 1.0, 4.0), multiple)
    floor = np.maximum(tolerated, LEAST_TOLERATED)
    case = np.column_stack(
        [
            at["in_service"],
            at["booting"],
            at["ready_in_s"],
            at["boot_s"],
            at["queue_s"],
            at["timeout_s"],
            at["max_retries"],
            at["backlog_s"],
            at["retry_ratio"],
            at["spot_share"],
            at["slo_p95_ms"] / 1000.0,
            np.full(len(table), float(RECLAIM_MINUTE)),
            np.zeros(len(table)),
        ]
    )
    theory = theory_size(case, path, floor, SETTLE_MINUTES)
    pessimist = np.maximum(theory_size(_pessimist(case), path, floor, SETTLE_MINUTES), theory)
    peak = np.maximum(path[:, SETTLE_MINUTES:].max(axis=1), 1e-9)
    early = path[:, :SETTLE_MINUTES].max(axis=1) / np.maximum(at["in_service"], 1e-3)
    features = (
        np.log(multiple),
        servers,
        at["cv2"],
        at["least_outstanding"],
        tolerated,
        np.log(theory),
        peak / theory,
        np.log(theory * floor / peak),
        np.log(pessimist / theory),
        at["spot_share"],
        early,
        np.log(np.maximum(at["in_service"], 1e-3) / theory),
        at["booting"] / theory,
        at["ready_in_s"],
        at["backlog_s"],
        at["utilization"],
        at["retry_ratio"],
        np.log(at["timeout_s"]),
        at["max_retries"],
        np.log(at["queue_s"]),
        path[:, -1] / peak,
        path[:, SETTLE_MINUTES] / peak,
        path[:, RECLAIM_MINUTE - 1 : RECLAIM_MINUTE + 4].max(axis=1) / peak,
        at["boot_s"],
    )
    is_storm = (at["retry_ratio"] > STORM_RETRY_RATIO) | (early > STORM_UTILIZATION)
    return CapacityFeatures(np.column_stack(features).astype(np.float32), theory, pessimist, is_storm)


def _pessimist(case: FloatArray) -> FloatArray:
    worse = case.copy()
    worse[:, 2] = case[:, 2] * LATE_LAUNCH + (LATE_LAUNCH - 1.0) * case[:, 3] * (case[:, 1] > 0)
    worse[:, 3] = case[:, 3] * LATE_LAUNCH
    worse[:, 12] = 1.0
    return worse


@dataclass(frozen=True)
class Calibration:
    """What was fitted on cases that the trees did not see.

    Attributes:
        guard: Factor on the distance between middle and high quantile, log scale.
        residual_low: 5 % quantile of log(cheapest adequate size / middle).
        residual_high: 95 % quantile of it.
        cases: How many cases.
    """

    guard: float
    residual_low: float
    residual_high: float
    cases: int


def planned_size(scores: FloatArray, features: CapacityFeatures, guard: float) -> tuple[FloatArray, FloatArray]:
    """Return middle size (fractional) and planned size (whole, at least 1, without limit), [N] each.

    Args:
        scores: [N, 2] log factors on the theory's size, middle and high quantile.
        features: Of the same cases.
        guard: See ``Calibration``.
    """
    middle = features.theory * np.exp(scores[:, 0])
    high = middle * np.exp(guard * np.maximum(scores[:, 1] - scores[:, 0], 0.0))
    size = np.maximum(_ceiling(middle), _ceiling(high) - 1.0)
    size = np.where(features.is_storm, np.maximum(size, _ceiling(features.pessimist) - 1.0), size)
    return middle, np.maximum(size, 1.0)


def _ceiling(values: FloatArray) -> FloatArray:
    return np.ceil(values - _CEILING_SLACK)


@dataclass(frozen=True)
class CapacityPlan:
    """How many instances cases need; arrays [N].

    Attributes:
        instances: Instances to have, 1..99; fewer than adequate where the budget does not pay for more.
        adequate: Instances to have if money were no object.
        low: 5 % of cases like these need this many or fewer.
        high: 5 % need this many or more.
        usd_per_hour: What ``instances`` cost at the row's prices and spot share; NaN without prices.
        within_budget: Whether the budget pays for ``adequate``; True without one.
        is_enough: Whether 99 instances are enough.
        extrapolates: Whether the case lies outside the ranges of training.
    """

    instances: NDArray[np.int64]
    adequate: NDArray[np.int64]
    low: FloatArray
    high: FloatArray
    usd_per_hour: FloatArray
    within_budget: NDArray[np.bool_]
    is_enough: NDArray[np.bool_]
    extrapolates: NDArray[np.bool_]


class CapacityPlanner:
    """The trained planner; needs onnxruntime.

    Args:
        content: ONNX model as ``train_capacity_planner`` makes it.

    Raises:
        ValueError: The model was made for other features, or is none.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._session, metadata = open_session(content, "capacity planner", CAPACITY_FEATURES)
        self.calibration = Calibration(**metadata["calibration"])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the planner of a file."""
        return cls(path.read_bytes())

    def save(self, path: Path) -> None:
        """Write the ONNX file, whole or not at all."""
        write_bytes(path, self.content)

    def scores(self, values: NDArray[np.float32]) -> FloatArray:
        """Return [N, 2] log factors on the theory's size: middle, high quantile."""
        return np.asarray(self._session.run(["values"], {"features": values})[0], np.float64)

    def plan(self, table: pd.DataFrame) -> CapacityPlan:
        """Return how many instances cases need.

        Args:
            table: ``CAPACITY_COLUMNS``; with prices and budget (``COST``) costs are reported and the budget is kept.

        Raises:
            ValueError: As ``capacity_features``, or a price or a budget that cannot be.
        """
        features = capacity_features(table)
        middle, size = planned_size(self.scores(features.values), features, self.calibration.guard)
        adequate = np.minimum(size, MAX_INSTANCES).astype(np.int64)
        low, high = (
            np.clip(_ceiling(middle * np.exp(residual)), 1.0, None)
            for residual in (self.calibration.residual_low, self.calibration.residual_high)
        )
        usd, affordable = _prices(table, len(adequate))
        instances = np.maximum(np.minimum(adequate, affordable), 1).astype(np.int64)
        values = read_columns(table, CAPACITY_COLUMNS)
        return CapacityPlan(
            instances=instances,
            adequate=adequate,
            low=np.minimum(low, adequate),
            high=np.maximum(high, adequate),
            usd_per_hour=instances * usd,
            within_budget=adequate <= affordable,
            is_enough=size <= MAX_INSTANCES,
            extrapolates=extrapolates(values, CAPACITY_COLUMNS),
        )


def _prices(table: pd.DataFrame, rows: int) -> tuple[FloatArray, FloatArray]:
    """Return what one instance costs an hour, and how many the budget pays for, [N] each."""
    if not set(names(COST)) & set(table.columns):
        return np.full(rows, np.nan), np.full(rows, np.inf)
    price, spot, budget = read_columns(table, COST).T
    share = table["spot_share"].to_numpy(np.float64)
    usd = share * spot + (1.0 - share) * price
    return usd, np.floor(budget / usd + _CEILING_SLACK)
