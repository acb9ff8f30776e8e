"""Columns of the performance and capacity tables: names, units and the ranges the models were trained in.

Axis letters: N rows, L leads of a demand forecast, Q its quantile levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LEVELS: Final = (0.1, 0.5, 0.9, 0.99)
PLAN_MINUTES: Final = (5, 10, 15, 20, 30)
"""Leads of the demand forecast that a capacity case holds, minutes."""
WINDOW_MINUTES: Final = 30
"""A planned fleet has to be adequate until this many minutes from now."""
SETTLE_MINUTES: Final = 5
"""Minutes in which new instances start; a plan is not judged by them."""
RECLAIM_MINUTE: Final = 15
"""Minute of the window in which all spot instances of one zone of three get their notice."""
PERFORMANCE_MINUTES: Final = 5
"""Length of the window that a performance row describes."""
SLO_P95_MS: Final = 250.0
SLO_LATE_FRACTION: Final = 0.05
SLO_ERROR_FRACTION: Final = 0.001
MAX_INSTANCES: Final = 99


@dataclass(frozen=True)
class Column:
    """One input column.

    Attributes:
        name: Header in the table.
        low: Least value that has a meaning.
        high: Greatest value that has a meaning.
        trained_low: Least value the models see in training.
        trained_high: Greatest.
        meaning: What it says, with its unit.
    """

    name: str
    low: float
    high: float
    trained_low: float
    trained_high: float
    meaning: str


def _positive(name: str, trained_low: float, trained_high: float, meaning: str) -> Column:
    return Column(name, np.nextafter(0.0, 1.0), np.inf, trained_low, trained_high, meaning)


def _amount(name: str, trained_high: float, meaning: str) -> Column:
    return Column(name, 0.0, np.inf, 0.0, trained_high, meaning)


ALLOCATION: Final = (
    _positive("vcpu", 2, 16, "virtual CPUs of an instance"),
    _positive("service_ms", 4, 270, "mean work of a request on one vCPU of this type, milliseconds"),
    _positive("capacity_rps", 3, 4000, "requests per second one always busy instance serves"),
    _positive("queue_s", 0.02, 31, "work an instance lets queue before it rejects, seconds of its capacity"),
    Column("least_outstanding", 0, 1, 0, 1, "1 where the balancer routes by least outstanding requests, 0 round robin"),
    Column("in_service", 0, np.inf, 1, MAX_INSTANCES, "instances that take requests now"),
    _amount("booting", MAX_INSTANCES, "instances that are on their way"),
    _amount("ready_in_s", 240, "seconds until those usually take requests; 0 where there are none"),
)
WORKLOAD: Final = (
    Column("cv2", 0.0, np.inf, 1, 4, "squared coefficient of variation of the work per request"),
    _positive("timeout_s", 1, 30, "seconds after which a client gives up"),
    Column("max_retries", 0, 3, 0, 3, "how often it tries again"),
)
STATE: Final = (
    _amount("backlog_s", 31, "work that is queued, seconds of the capacity in service"),
    Column("utilization", 0, 1, 0, 1, "CPU metric of the last minute, 0..1"),
    _amount("retry_ratio", 3, "requests of the last minute that were tried again, over its first attempts"),
)
PERFORMANCE_COLUMNS: Final = (
    *ALLOCATION,
    *WORKLOAD,
    _amount("demand_rps", 400_000, "first attempts per second in the window"),
    *STATE,
)
PERFORMANCE_TARGETS: Final = ("p95_ms", "p99_ms", "error_rate", "is_bad")


def demand_column(minutes: int, level: float) -> str:
    """Return the header of a forecast quantile: ``demand_rps_m15_q0.9`` is the 0.9 quantile 15 minutes from now."""
    return f"demand_rps_m{minutes}_q{level:g}"


DEMAND: Final = (
    _amount("demand_now_rps", 400_000, "first attempts per second in the last minute"),
    *(
        _amount(demand_column(minutes, level), 400_000, f"{level:g} quantile of it {minutes} minutes from now")
        for minutes in PLAN_MINUTES
        for level in LEVELS
    ),
)
CONSTRAINTS: Final = (
    _positive("boot_s", 50, 130, "usual seconds from the launch of an instance to its first request"),
    Column("demand_level", 0.1, 0.99, 0.1, 0.99, "quantile level of the demand that the fleet has to serve"),
    Column("slo_p95_ms", np.nextafter(0.0, 1.0), np.inf, 150, 500, "95 % of the requests take no longer, milliseconds"),
    Column("spot_share", 0, 1, 0, 1, "share of the instances that may be spot"),
)
COST: Final = (
    _positive("price_usd_per_hour", 0.01, 10, "list price of an instance, USD"),
    _positive("spot_usd_per_hour", 0.003, 10, "spot price of one, USD"),
    Column("max_usd_per_hour", 0, np.inf, 0, np.inf, "what the instances may cost together, USD"),
)
CAPACITY_COLUMNS: Final = (*ALLOCATION, *WORKLOAD, *DEMAND, *STATE, *CONSTRAINTS)
CAPACITY_TARGET: Final = "instances"


def names(columns: Sequence[Column]) -> list[str]:
    """Return the headers of columns."""
    return [column.name for column in columns]


def read_columns(table: pd.DataFrame, columns: Sequence[Column]) -> FloatArray:
    """Return the values of a table's columns, [N, columns], in the order of ``columns``.

    Raises:
        ValueError: A column is missing or not numeric, or holds NaN, infinity, or a value without meaning; the
            message names column, row and value.
    """
    missing = [name for name in names(columns) if name not in table.columns]
    if missing:
        raise ValueError(f"the table lacks columns: {', '.join(missing)}")
    values = np.empty((len(table), len(columns)))
    for position, column in enumerate(columns):
        try:
            values[:, position] = table[column.name].to_numpy(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {column.name} is not numeric") from error
        found = values[:, position]
        wrong = ~(np.isfinite(found) & (found >= column.low) & (found <= column.high))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"column {column.name}, row {row}: {found[row]!r} is not a finite number in "
                f"{column.low:g}..{column.high:g} ({column.meaning})"
            )
    return values


def extrapolates(values: FloatArray, columns: Sequence[Column]) -> NDArray[np.bool_]:
    """Return [N] whether any value of a row lies outside the range of the training table."""
    low = np.array([column.trained_low for column in columns])
    high = np.array([column.trained_high for column in columns])
    slack = 1e-9 * np.maximum(1.0, np.abs(high))
    return np.asarray(((values < low - slack) | (values > high + slack)).any(axis=1))


def level_path(quantiles: FloatArray, level: FloatArray) -> FloatArray:
    """Return the demand path at a quantile level, linear between the levels of ``LEVELS``.

    Args:
        quantiles: [N, L, Q] forecast quantiles, Q = 4.
        level: [N] level of each row, 0.1..0.99.

    Returns:
        [N, L].
    """
    levels = np.array(LEVELS)
    above = np.clip(np.searchsorted(levels, level, side="right"), 1, len(levels) - 1)
    share = (level - levels[above - 1]) / (levels[above] - levels[above - 1])
    rows = np.arange(len(level))
    lower, upper = quantiles[rows, :, above - 1], quantiles[rows, :, above]
    return np.asarray(lower + share[:, None] * (upper - lower))


def minute_path(now_rps: FloatArray, path_rps: FloatArray) -> FloatArray:
    """Return the demand of each minute of the window, [N, WINDOW_MINUTES], linear between the leads of a path.

    Args:
        now_rps: [N] demand of the last minute.
        path_rps: [N, len(PLAN_MINUTES)] demand at the leads of ``PLAN_MINUTES``.
    """
    knots = np.array((0, *PLAN_MINUTES), np.float64)
    values = np.column_stack([now_rps, path_rps])
    minutes = np.arange(1.0, WINDOW_MINUTES + 1.0)
    after = np.clip(np.searchsorted(knots, minutes), 1, len(knots) - 1)
    share = (minutes - knots[after - 1]) / (knots[after] - knots[after - 1])
    return np.asarray(values[:, after - 1] + share * (values[:, after] - values[:, after - 1]))
