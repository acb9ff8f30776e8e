"""Every feature, defined once: a table that batch and stream both read.

A definition says what is computed, never how. Windows and lags are hours, so a table made at one step means the same
at another:

- a window of ``h`` hours at time ``t`` holds the readings stamped in ``(t - h, t]``;
- a lag of ``h`` hours is the newest reading stamped at or before ``t - h``, to the step;
- missing readings do not count. A statistic is missing unless at least half of the rows of its window are known;
  standard deviation and trend need two readings besides.

A combination is missing where one of its parts is, or where what it divides by is below ``least``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from forecasting.features.observations import METRIC_BY_NAME

Statistic = Literal["mean", "std", "min", "max", "p95", "trend"]
STATISTICS: Final[tuple[Statistic, ...]] = ("mean", "std", "min", "max", "p95", "trend")
"""Sample standard deviation; 95th percentile interpolated between neighbours; least-squares slope per hour."""

LEAST_KNOWN_SHARE: Final = 0.5


@dataclass(frozen=True)
class Lag:
    """A metric ``hours`` ago; 0 is the newest reading."""

    metric: str
    hours: int = 0


@dataclass(frozen=True)
class Window:
    """A statistic of a metric over the last hours, times ``scale``."""

    metric: str
    hours: int
    statistic: Statistic
    scale: float = 1.0


Operation = Literal["ratio", "mean", "share"]
OPERATIONS: Final[tuple[Operation, ...]] = ("ratio", "mean", "share")


@dataclass(frozen=True)
class Combination:
    """Two features further up in the table: ``first / second``, their mean, or ``first / (first + second)``."""

    operation: Operation
    first: str
    second: str
    least: float = 0.0


@dataclass(frozen=True)
class Feature:
    """A number that a model may see.

    Attributes:
        name: Column name.
        group: ``usage``, ``cost``, ``infrastructure``, ``lag`` or ``rolling``; calendar features are made elsewhere
            (``forecasting.features.local_time``), they depend on the clock only.
        unit: Unit of the value.
        rule: What it is.
        low: Least value that can be right.
        high: Greatest value that can be right.
    """

    name: str
    group: str
    unit: str
    rule: Lag | Window | Combination
    low: float = -math.inf
    high: float = math.inf


_TINY: Final = 1e-6
"""Mean or share below which a ratio to it says nothing."""


def _of_metric(name: str, group: str, rule: Lag | Window) -> Feature:
    """Return a feature in the unit and range of its metric."""
    metric = METRIC_BY_NAME[rule.metric]
    return Feature(name, group, metric.unit, rule, metric.low, metric.high)


def _usage(metric: str) -> tuple[Feature, ...]:
    """Return statistics of a day, the trend of six hours and the volatility of a day of one metric."""
    unit = METRIC_BY_NAME[metric].unit
    bounded: tuple[tuple[str, Statistic], ...] = (
        ("mean", "mean"),
        ("min", "min"),
        ("max", "max"),
        ("percentile_95", "p95"),
    )
    return (
        *(_of_metric(f"{metric}_{label}_24h", "usage", Window(metric, 24, which)) for label, which in bounded),
        Feature(f"{metric}_std_24h", "usage", unit, Window(metric, 24, "std"), low=0.0),
        Feature(f"{metric}_trend_6h", "usage", f"{unit} per hour", Window(metric, 6, "trend")),
        Feature(
            f"{metric}_volatility_24h",
            "usage",
            "1",
            Combination("ratio", f"{metric}_std_24h", f"{metric}_mean_24h", least=_TINY),
            low=0.0,
        ),
    )


def _ratio(name: str, group: str, unit: str, first: str, second: str, *, least: float) -> Feature:
    return Feature(name, group, unit, Combination("ratio", first, second, least), low=0.0)


_AVERAGES: Final = tuple(
    _of_metric(name, "usage", Window(metric, 1, "mean"))
    for name, metric in (
        ("cpu_utilization_avg", "cpu_utilization"),
        ("memory_utilization_avg", "memory_utilization"),
        ("network_io_avg", "network_io"),
        ("storage_io_avg", "storage_io"),
        ("error_rate", "error_rate"),
        ("active_users_avg", "active_users"),
    )
)

_COST: Final = (
    _of_metric("hourly_cost", "cost", Window("cost_usd_per_hour", 1, "mean")),
    Feature("daily_cost_trend", "cost", "USD/h per day", Window("cost_usd_per_hour", 24, "trend", scale=24.0)),
    _of_metric("hourly_cost_mean_24h", "cost", Window("cost_usd_per_hour", 24, "mean")),
    Feature(
        "request_count_mean_24h", "cost", "requests/h", Window("requests_per_second", 24, "mean", scale=3600.0), low=0.0
    ),
    _ratio("cost_per_request", "cost", "USD", "hourly_cost", "request_count", least=1.0),
    _ratio("cost_per_request_24h", "cost", "USD", "hourly_cost_mean_24h", "request_count_mean_24h", least=1.0),
    _ratio("cost_per_user", "cost", "USD/h", "hourly_cost", "active_users_avg", least=1.0),
    Feature(
        "cost_efficiency_score",
        "cost",
        "1",
        Combination("share", "cost_per_request_24h", "cost_per_request", least=1e-15),
        low=0.0,
        high=1.0,
    ),
)
"""The score is ``c24 / (c24 + c1)`` of the costs per request of the last day and the last hour: 0.5 is as usual,
towards 1 the last hour was cheaper than the day."""

_LAGS: Final = tuple(
    _of_metric(f"{metric}_lag_{hours}h" if hours else metric, "lag", Lag(metric, hours))
    for metric in ("requests_per_second", "cpu_utilization", "cost_usd_per_hour")
    for hours in (0, 1, 2, 4, 23, 24, 168)
)

_ROLLED: Final[tuple[tuple[int, tuple[Statistic, ...]], ...]] = (
    (1, ("mean", "max")),
    (6, ("mean", "std", "max")),
    (24, ("mean", "std", "min", "max")),
)
_ROLLING: Final = tuple(
    Feature(
        f"requests_per_second_{statistic}_{hours}h",
        "rolling",
        "requests/s",
        Window("requests_per_second", hours, statistic),
        low=0.0,
    )
    for hours, statistics in _ROLLED
    for statistic in statistics
)

FEATURES: Final = (
    *(feature for metric in ("cpu_utilization", "memory_utilization", "network_io") for feature in _usage(metric)),
    *_AVERAGES,
    Feature("request_count", "usage", "requests/h", Window("requests_per_second", 1, "mean", scale=3600.0), low=0.0),
    _ratio("cpu_memory_ratio", "usage", "1", "cpu_utilization_avg", "memory_utilization_avg", least=_TINY),
    Feature(
        "resource_efficiency",
        "usage",
        "share",
        Combination("mean", "cpu_utilization_avg", "memory_utilization_avg"),
        low=0.0,
        high=1.0,
    ),
    _ratio("network_io_per_request", "usage", "bytes*h/s", "network_io_avg", "request_count", least=1.0),
    *_COST,
    _of_metric("spot_vs_ondemand", "infrastructure", Lag("spot_share")),
    _of_metric("reserved_capacity", "infrastructure", Lag("reserved_share")),
    *_LAGS,
    *_ROLLING,
)
"""Every numeric feature but those of the calendar, parts before the combinations that use them."""


def features_of(*metrics: str, features: Sequence[Feature] = FEATURES) -> tuple[Feature, ...]:
    """Return the features that need no other metric than these, in table order.

    Raises:
        ValueError: An unknown metric.
    """
    for metric in metrics:
        if metric not in METRIC_BY_NAME:
            raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRIC_BY_NAME)}")
    chosen: list[Feature] = []
    names: set[str] = set()
    for feature in features:
        rule = feature.rule
        possible = {rule.first, rule.second} <= names if isinstance(rule, Combination) else rule.metric in metrics
        if possible:
            chosen.append(feature)
            names.add(feature.name)
    return tuple(chosen)
