"""What a service reports at every step: the columns that features are made of, with their units and ranges.

Everything is a rate or a share, so that a value does not depend on the length of the step. NaN is a missing reading.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TIMESTAMP: Final = "timestamp"
UNKNOWN: Final = "unknown"
LONGEST_STEP_S: Final = 3600


@dataclass(frozen=True)
class Metric:
    """A number reported at every step.

    Attributes:
        name: Column name.
        unit: Unit; ``share`` runs from 0 to 1.
        low: Least value that can be right.
        high: Greatest value that can be right.
    """

    name: str
    unit: str
    low: float = 0.0
    high: float = math.inf


METRICS: Final = (
    Metric("cpu_utilization", "share", high=1.0),
    Metric("memory_utilization", "share", high=1.0),
    Metric("network_io", "bytes/s"),
    Metric("storage_io", "bytes/s"),
    Metric("requests_per_second", "requests/s"),
    Metric("error_rate", "share", high=1.0),
    Metric("active_users", "users"),
    Metric("cost_usd_per_hour", "USD/h"),
    Metric("spot_share", "share", high=1.0),
    Metric("reserved_share", "share", high=1.0),
)
"""``spot_share`` and ``reserved_share``: parts of the running capacity on the spot market and under a commitment."""

METRIC_BY_NAME: Final[Mapping[str, Metric]] = {metric.name: metric for metric in METRICS}
PLACES: Final = ("instance_type", "availability_zone")
"""Text columns: what runs (``m6i.large``) and where (``us-east-1a``); an empty text or None is unknown."""


def complaint(metric: Metric, value: float) -> str | None:
    """Return what is wrong with a reading, or None; NaN is a missing reading and never wrong.

    A share a little above 1 is refused like any other value out of range; one that looks like a percentage is named so.
    """
    if math.isnan(value) or (metric.low <= value <= metric.high and not math.isinf(value)):
        return None
    if metric.unit == "share" and 1.0 < value <= 100.0:
        return f"{value:g} looks like a percentage; expected a share of 0 to 1"
    return f"{value:g} is out of range; expected {metric.low:g} to {metric.high:g} {metric.unit}"
